"""Converting and auditing where no file may grow: one line, exit code 2, nothing half-written."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from running import Ran, cvalues_rows, nothing_left_behind


def limited(largest_file: int, *argv: object, cwd: Path) -> Ran:
    """A command of which no file may become larger: what a quota does, without being root."""
    done = subprocess.run(
        [sys.executable, "-m", "assay", *map(str, argv)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file,) * 2),
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    lines = (json.dumps(row, ensure_ascii=False) for row in cvalues_rows(200))
    (tmp_path / "rows.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return tmp_path


def check_refused(ran: Ran, file: str) -> None:
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == f"error: {file}: cannot be written (File too large); write elsewhere\n"


TARGETS = [
    *(("out.jsonl", to) for to in ("assay", "cvalues", "hh", "messages", "ms-swift", "nemo_rl")),
    *(("out.json", to) for to in ("llamafactory", "openrlhf", "trl")),
]


@pytest.mark.parametrize(("name", "to"), TARGETS)
def test_converting(name: str, to: str, place: Path) -> None:
    argv = ["convert", "rows.jsonl", "--to", to, "--output", name]
    with nothing_left_behind(place):
        check_refused(limited(4096, *argv, cwd=place), name)
    (place / name).write_text("as it was")
    with nothing_left_behind(place):
        check_refused(limited(4096, *argv, "--overwrite", cwd=place), name)


def test_auditing(place: Path) -> None:
    argv = ["audit", "rows.jsonl"]
    check_refused(limited(4096, *argv, "--output", "report", cwd=place), "report/report.html")
    assert not (place / "report").exists()
    # 200 rows that stay are more than 4 KiB, and the list of those that go is short.
    with nothing_left_behind(place):
        check_refused(limited(4096, *argv, "--fix", "out.jsonl", cwd=place), "out.jsonl")
