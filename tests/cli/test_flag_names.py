"""Messages name what the user can change: a flag of the command, or a field of the recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from running import Assay, Models, cvalues_rows

import assay as package
from assay.cli.flag_names import FLAG_NAMES

SOURCES = [
    path.read_text(encoding="utf-8") for path in (Path(package.__path__[0]) / "data").rglob("*.py")
]


@pytest.mark.parametrize("field", FLAG_NAMES)
def test_the_readers_say_so(field: str) -> None:
    assert any(field in text for text in SOURCES)


def test_flags_and_fields(assay: Assay, models: Models, write_rows: Any, tmp_path: Path) -> None:
    rows = write_rows([*cvalues_rows(1), {"prompt": 3, "pos_resp": "a", "neg_resp": "b"}])
    argv = ("convert", rows, "--to", "trl", "--output", tmp_path / "out.jsonl")
    assert assay(*argv).err.rstrip().endswith("mend them, or give --on-bad-row skip")
    wrong = assay(*argv, "--columns", "prompt=question")
    assert "; correct --columns" in wrong.err
    assert "leave --label out" in assay(*argv, "--label", "safer").err
    flags = ("--model.path", models.base, "--output", tmp_path / "stores")
    ran = assay("prepare", "--data.train", rows, *flags)
    assert ran.err.rstrip().endswith("mend them, or set data.on_bad_row to skip")
