"""docs/traps.md names each trap once, and tests that are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROWS = re.findall(
    r"^\| T(\d+) \| (.+) \| (.+) \| (.+) \|$",
    (ROOT / "docs" / "traps.md").read_text(encoding="utf-8"),
    re.M,
)
TESTS = sorted({name for *_, tests in ROWS for name in re.findall(r"`(.+?)`", tests)})


def test_every_trap_has_one_row_in_order() -> None:
    assert [int(number) for number, *_ in ROWS] == list(range(1, 55))


def test_every_trap_is_a_test() -> None:
    assert [int(number) for number, *_, tests in ROWS if "::" not in tests] == []


@pytest.mark.parametrize("name", TESTS)
def test_the_test_is_there(name: str) -> None:
    path, _, function = name.partition("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    assert function.startswith("test_")
    assert [node.name for node in tree.body if isinstance(node, ast.FunctionDef)].count(
        function
    ) == 1, f"{path} has no {function}"
