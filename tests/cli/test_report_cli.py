"""`assay report`: a page of what `assay eval` and `assay probe` wrote, or one line and code 2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from running import Assay, Models, cvalues_rows, nothing_left_behind

WriteRows = Callable[..., Path]


@pytest.mark.slow
def test_a_page_of_an_evaluation_and_its_probe(
    assay: Assay, models: Models, write_rows: WriteRows, tmp_path: Path
) -> None:
    rows = write_rows(cvalues_rows(12))
    made, probed = tmp_path / "made", tmp_path / "probed"
    assert assay("eval", "--model", models.reward, "--input", rows, "--output", made).code == 0
    argv = ("--transform", "filler", "--transform", "empty", "--output", probed)
    assert assay("probe", "--model", models.reward, "--input", rows, *argv).code == 0
    ran = assay("report", made, "--probe", probed, "--title", "Mine")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"report: {made / 'report.html'}\n"
    page = (made / "report.html").read_text(encoding="utf-8")
    for part in (
        "Mine</h1>",
        "Calibration",
        "filler",
        "a good answer",
        "Rules that read no meaning",
    ):
        assert part in page
    refused = assay("report", probed)
    assert refused.code == 2
    assert "is what assay probe wrote" in refused.err


def test_what_is_no_run_is_one_line(assay: Assay, tmp_path: Path) -> None:
    with nothing_left_behind(tmp_path):
        ran = assay("report", tmp_path, "--output", tmp_path / "page.html")
    assert ran.code == 2
    assert ran.err.startswith(f"error: {tmp_path}: is no run")
    assert len(ran.err.splitlines()) == 1
