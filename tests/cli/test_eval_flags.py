"""The flags `--benchmark` and `--scores` of `assay eval`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from running import Assay, cvalues_rows

from assay.evaluate.benchmarks import benchmarks


def test_the_list_names_every_benchmark(assay: Assay) -> None:
    ran = assay("eval", "--benchmark", "list")
    assert (ran.code, ran.err) == (0, "")
    for known in benchmarks():
        assert known.name in ran.out


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--benchmark", "rmbench", "--scores", "x"], "did you mean 'rm-bench'"),
        (["--benchmark", "cvalues", "--input", "x"], "--model"),
        (["--benchmark", "cvalues", "--model", "x"], "--input"),
        (["--scores", "nowhere.jsonl"], "nowhere.jsonl: no such file"),
        (["--scores", "x", "--model", "m"], "leave --model out"),
        (
            ["--scores", "x", "--device", "auto", "--engine", "tree", "--max-length", "9"],
            "--device, --engine and --max-length are given; leave",
        ),
        (["--benchmark", "cvalues", "--scores", "x", "--label", "safer"], "leave --label out"),
        (["--benchmark", "cvalues", "--scores", "x", "--model", "m"], "leave --model out"),
        (["--benchmark", "cvalues", "--scores", "nowhere.jsonl"], "no such file"),
        (
            ["--benchmark", "cvalues", "--model", "m", "--input", "x", "--all-checkpoints"],
            "leave --all-checkpoints out",
        ),
    ],
)
def test_refusals_are_one_line(flags: list[str], says: str, assay: Assay) -> None:
    ran = assay("eval", *flags)
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (2, "", 1)
    assert says in ran.err


@pytest.mark.slow
def test_stored_scores_need_no_torch(tmp_path: Path) -> None:
    row = {"benchmark": "cvalues", "row": "r.jsonl:1", "id": "1", "subset": "a > b", "good": [0]}
    row |= {"rewards": [1.5, 0.5], "num_tokens": [], "cluster": "x", "labels": {}}
    file = tmp_path / "items.jsonl"
    file.write_text(json.dumps(row | {"data": cvalues_rows(1)[0]}) + "\n")
    code = (
        "import sys; from assay.evaluate.benchmarks import get_benchmark\n"
        "from assay.evaluate.benchmarks.stored import read_scores\n"
        "from assay.evaluate.benchmarks.measuring import measure\n"
        "b = get_benchmark('cvalues'); found = measure(b, read_scores(b, sys.argv[1]).good)\n"
        "assert found['benchmark']['headline']['value'] == 1.0\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(file)], check=False).returncode == 0
