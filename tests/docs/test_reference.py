"""docs/reference/ says what the code gives now, and nothing in it is without a word."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "scripts"))

from reference import PAGES, REFERENCE

from assay.recipe import recipe_fields, source_fields


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_that_of_the_code(name: str) -> None:
    written = (REFERENCE / name).read_text(encoding="utf-8")
    assert written == PAGES[name](), f"docs/reference/{name} is older than the code: make reference"


@pytest.mark.parametrize("name", PAGES)
def test_everything_is_described(name: str) -> None:
    rows = [line for line in PAGES[name]().splitlines() if line.startswith("| `")]
    assert len(rows) > 60
    assert [row for row in rows if re.search(r"\|\s*\|$", row)] == []
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} <= {3, 4, 5}


def test_every_field_is_there_once() -> None:
    named = re.findall(r"^\| `(\w+)`", PAGES["recipe.md"](), re.M)
    fields = [*recipe_fields(), *source_fields()]
    assert sorted(named) == sorted(field.path.rpartition(".")[2] for field in fields)


def test_bounds_stand_beside_defaults() -> None:
    page = PAGES["recipe.md"]()
    assert re.search(r"^\| `dropout` \| float, at least 0, below 1 \| `0\.0` \| ", page, re.M)
    assert re.search(r"^\| `path` \| str \| required \| ", page, re.M)
