"""The flags `--benchmark` and `--scores` of `assay eval`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from benchmark_rows import cvalues, write

from assay.evaluate.benchmarks import benchmarks


def assay(*argv: object) -> tuple[int, str, str]:
    ran = subprocess.run(
        [sys.executable, "-m", "assay", *map(str, argv)],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    return ran.returncode, ran.stdout, ran.stderr


def test_the_list_names_every_benchmark() -> None:
    code, out, err = assay("eval", "--benchmark", "list")
    assert (code, err) == (0, "")
    for known in benchmarks():
        assert known.name in out


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--benchmark", "rmbench", "--scores", "x"], "did you mean 'rm-bench'"),
        (["--benchmark", "cvalues", "--input", "x"], "--model"),
        (["--benchmark", "cvalues", "--model", "x"], "--input"),
        (["--scores", "x"], "--scores needs --benchmark"),
        (["--benchmark", "cvalues", "--scores", "x", "--model", "m"], "leave --model out"),
        (["--benchmark", "cvalues", "--scores", "nowhere.jsonl"], "no such file"),
        (
            ["--benchmark", "cvalues", "--model", "m", "--input", "x", "--all-checkpoints"],
            "leave --all-checkpoints out",
        ),
    ],
)
def test_refusals_are_one_line(flags: list[str], says: str) -> None:
    code, out, err = assay("eval", *flags)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert says in err


def test_stored_scores_need_no_torch(tmp_path: Path) -> None:
    row = {"benchmark": "cvalues", "row": "r.jsonl:1", "id": "1", "subset": "a > b", "good": [0]}
    row |= {"rewards": [1.5, 0.5], "num_tokens": [], "cluster": "x", "labels": {}}
    file = write(tmp_path / "items.jsonl", [row | {"data": cvalues(0)}])
    code = (
        "import sys; from assay.evaluate.benchmarks import get_benchmark\n"
        "from assay.evaluate.benchmarks.stored import read_scores\n"
        "from assay.evaluate.benchmarks.measuring import measure\n"
        "b = get_benchmark('cvalues'); found = measure(b, read_scores(b, sys.argv[1]).scored)\n"
        "assert found['benchmark']['headline']['value'] == 1.0\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(file)], check=False).returncode == 0
