"""Bad input to the commands that evaluate: one clear line, exit code 2, nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import Assay, Models, cvalues_rows, nothing_left_behind

ROW = cvalues_rows(1)[0]
SCORED = ROW | {"assay": {"scores": [1.0, 0.0]}}
ANSWER = {"prompt": "q?", "response": "a"}


def rows(*given: object) -> Callable[[Path], str]:
    """A file of rows; text and bytes stand in it as they are."""

    def make(place: Path) -> str:
        path = place / f"rows-{len([*place.iterdir()])}.jsonl"
        lines = [
            row if isinstance(row, bytes) else json.dumps(row).encode() if row != "" else b""
            for row in given
        ]
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        return path.name

    return make


def nowhere(place: Path) -> str:
    return "nowhere.jsonl"


def directory(place: Path) -> str:
    (place / "folder").mkdir(exist_ok=True)
    return "folder"


BINARY = rows(bytes(range(256)))
EMPTY = rows()
GOOD = rows(*cvalues_rows(3))
ANSWERS = rows(*(ANSWER | {"prompt": f"{n}?"} for n in range(3)))
MODEL = "MODEL"

CASES: list[tuple[list[Any], str]] = [
    (["eval", "--scores", nowhere], "nowhere.jsonl: no such file"),
    (["eval", "--scores", EMPTY], "holds no rows"),
    (["eval", "--scores", BINARY], ".jsonl:1"),
    (["eval", "--scores", directory], "folder: holds no data file"),
    (["eval", "--scores", GOOD], "jsonl:1: holds no rewards"),
    (["eval", "--scores", rows({"promt": "q"})], "'promt'"),
    (["eval", "--scores", rows(SCORED, b'{"prompt": NaN}')], "NaN is not a JSON number"),
    (
        ["eval", "--scores", rows(SCORED), "--output", GOOD],
        "is a file; name a directory for results.json",
    ),
    (["eval", "--scores", rows(SCORED), "--format", "cvaleus"], "mean 'cvalues'?"),
    (["eval", "--scores", rows(SCORED), "--label", "safer"], "leave --label out"),
    (["eval", "--benchmark", "cvalues", "--scores", nowhere], "nowhere.jsonl: no such file"),
    (["eval", "--benchmark", "cvalues", "--scores", EMPTY], "holds no rows"),
    (["eval", "--benchmark", "cvalues", "--scores", BINARY], ".jsonl:1"),
    (["eval", "--benchmark", "cvalues", "--scores", rows(SCORED)], "is no line of items.jsonl"),
    (["eval", "--benchmark", "cvalues", "--model", MODEL, "--input", EMPTY], "holds no rows"),
    (["eval", "--benchmark", "cvalues", "--model", MODEL, "--input", BINARY], ".jsonl:1"),
    (
        ["eval", "--benchmark", "cvalues", "--model", MODEL, "--input", rows({"prompt": "q"})],
        "rows of CValues-Comparison: prompt, pos_resp",
    ),
    (
        ["eval", "--benchmark", "cvalues", "--model", "./none", "--input", GOOD],
        "./none: no such",
    ),
    (["probe", "--model", MODEL, "--input", nowhere], "nowhere.jsonl: no such file"),
    (["probe", "--model", MODEL, "--input", EMPTY], "holds no rows"),
    (["probe", "--model", MODEL, "--input", BINARY], ".jsonl:1"),
    (["probe", "--model", MODEL, "--input", rows({"promt": "q"})], "'promt'"),
    (["probe", "--model", MODEL, "--input", GOOD, "--output", GOOD], "is a file"),
    (["probe", "--model", "./none", "--input", GOOD], "./none: no such"),
    (["versus", nowhere, ANSWERS, "--model", MODEL], "nowhere.jsonl: no such file"),
    (["versus", ANSWERS, EMPTY, "--model", MODEL], "holds no rows"),
    (["versus", ANSWERS, BINARY, "--model", MODEL], ".jsonl:1"),
    (["versus", ANSWERS, rows({"promt": "q"}), "--model", MODEL], "'promt'"),
    (["versus", ANSWERS, ANSWERS, "--model", MODEL, "--output", directory], "is a directory"),
    (["versus", ANSWERS, ANSWERS, "--model", MODEL, "--output", "rows-0.jsonl/x"], "is a file"),
    (["versus", ANSWERS, ANSWERS, "--model", "./none"], "./none: no such"),
    (["compare", nowhere, nowhere], "no results.json here"),
    (["compare", EMPTY, EMPTY], "is not JSON"),
    (["compare", BINARY, BINARY], "is not JSON"),
    (["compare", GOOD, GOOD], "is not JSON"),
    (["compare", directory, directory], "folder: no results.json here"),
    (["merge", MODEL, "--output", GOOD], "is a file"),
    (["merge", "./none", "--output", "out"], "./none: no such"),
    (["merge", MODEL, "--output", "out"], "nothing to merge"),
    (["merge", directory, "--output", "out"], "holds no model"),
    (["merge", MODEL, "--output", "out", "--dtype", "int3"], "unknown dtype 'int3'"),
]


@pytest.mark.parametrize(("argv", "says"), CASES)
def test_one_line(
    argv: list[Any],
    says: str,
    assay: Assay,
    models: Models,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    made = [word(tmp_path) if callable(word) else word for word in argv]
    named = [str(models.reward) if word is MODEL else word for word in made]
    if named[0] != "compare" and "--output" not in named:
        named += ["--output", "out"]
    with nothing_left_behind(tmp_path):
        ran = assay(*named)
    print(ran.err)
    assert (ran.code, ran.out) == (2, ""), ran.err
    assert "Traceback" not in ran.err
    lines = ran.errors
    assert all(line.startswith("error: ") and "; " in line for line in lines), ran.err
    assert len(lines) == 1, ran.err
    assert says in lines[0]


@pytest.mark.slow
def test_ctrl_c_leaves_nothing_half_written(
    models: Models, tmp_path: Path, write_rows: Any
) -> None:
    """Stopped when the first window of many is scored: 130, no traceback, no output."""
    file = write_rows([ROW | {"prompt": f"question {n} {'and ' * 20}?"} for n in range(4000)])
    before = sorted(tmp_path.iterdir())
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "assay", "eval", "--model", models.reward),
            *("--input", file, "--output", "out"),
        ],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("acc: ")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert err == "error: interrupted\n"
    assert sorted(tmp_path.iterdir()) == before
