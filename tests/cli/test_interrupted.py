"""Ctrl-C in the commands that evaluate: exit code 130, one word, nothing half-written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
from running import Assay, Models, cvalues_rows, nothing_left_behind

ROWS, OUT = "rows.jsonl", "new/out"
EVAL = ("eval", "--model", "MODEL", "--input", ROWS, "--output", OUT)
BENCHMARK = (*EVAL, "--benchmark", "cvalues")
PROBE = ("probe", "--model", "MODEL", "--input", ROWS, "--output", OUT, "--transform", "empty")
WINDOW = "assay.evaluate.evaluator.score_window"
VERSUS = ("versus", ROWS, ROWS, "--model", "MODEL", "--output", "new/out.json")
COMPARE = ("compare", "done", "done", "--output", "new/out.json")
WRITTEN = "assay.evaluate.outputs.sync"
"""The first of several files is whole, and stands beside its place."""
ALONE = "assay.files.sync"
"""So is the only one."""

CASES: list[tuple[tuple[str, ...], str]] = [
    (EVAL, WINDOW),
    (EVAL, WRITTEN),
    (BENCHMARK, WINDOW),
    (BENCHMARK, WRITTEN),
    (PROBE, WINDOW),
    (PROBE, WRITTEN),
    (VERSUS, "assay.evaluate.versus_command.score_or_refuse"),
    (VERSUS, ALONE),
    (COMPARE, "assay.evaluate.compare.difference"),
    (COMPARE, ALONE),
    (("merge", "ADAPTER", "--output", "new/merged"), "assay.model.merging.save_plain"),
]


@pytest.fixture
def heard() -> Iterator[None]:
    """As in a terminal, wherever the tests were started."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def struck(function: Callable[..., Any]) -> Callable[..., Any]:
    """Ctrl-C when the function has done its work."""

    def then(*arguments: Any, **options: Any) -> Any:
        found = function(*arguments, **options)
        os.kill(os.getpid(), signal.SIGINT)
        return found

    return then


@pytest.mark.slow
@pytest.mark.parametrize(("argv", "place"), CASES)
def test_one_word_and_nothing_half_written(
    argv: tuple[str, ...],
    place: str,
    assay: Assay,
    models: Models,
    write_rows: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    heard: None,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_rows(cvalues_rows(6), ROWS)
    named = {"MODEL": str(models.reward), "ADAPTER": str(models.adapter)}
    words = [named.get(word, word) for word in argv]
    if "done" in words:
        flags = ("--model", models.reward, "--input", ROWS, "--output", "done")
        assert assay("eval", *flags).code == 0
    with nothing_left_behind(tmp_path), monkeypatch.context() as patch:
        patch.setattr(place, struck(resolve_name(place)))
        ran = assay(*words)
    assert ran.code == 130, ran.err
    assert ran.errors[-1:] == ["error: interrupted"]
    assert "Traceback" not in ran.err
    assert "results: " not in ran.out
    if "done" not in words:
        assert assay(*words).code == 0  # The place is free, and nothing stands in the way.


STRUCK_WHILE_IMPORTING = """
import os, signal, sys

class Struck:
    def find_spec(self, name, path=None, target=None):
        if name == "assay.cli.commands":
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Struck())
from assay.cli import main

main()
"""


def test_while_the_commands_are_imported() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", STRUCK_WHILE_IMPORTING], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (130, "error: interrupted\n")
