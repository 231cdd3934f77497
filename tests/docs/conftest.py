"""What the tests of the documentation share: a quick `assay`, and the files that pages name."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from warm_assay import CLIENT

from tests.conftest import cvalues_rows

RECIPE = """\
model: {path: tiny}
data: {train: train.jsonl, eval: test.jsonl}
train:
  learning_rate: 1.0e-3
  max_steps: 2
  global_batch_size: 4
  max_length: 256
  logging_steps: 1
output_dir: runs/recipe
"""
RUNS = {"runs/mine": ("12", "3.0e-3", "42"), "runs/other": ("6", "3.0e-3", "7")}
"""Steps, learning rate and seed."""


@pytest.fixture(scope="session")
def environment() -> Iterator[dict[str, str]]:
    """An environment in which `assay` is a warm process's, for as long as the tests run."""
    with tempfile.TemporaryDirectory(prefix="assay-docs-") as name:  # Sockets want short paths.
        directory = Path(name)
        place = directory / "socket"
        programs = directory / "bin"
        programs.mkdir()
        client = CLIENT.format(python=sys.executable, socket=str(place))
        for program in ("assay", "run-python"):
            (programs / program).write_text(client, encoding="utf-8")
            (programs / program).chmod(0o755)
        path = os.pathsep.join(
            [str(programs), str(Path(sys.executable).parent), os.environ["PATH"]]
        )
        server = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("warm_assay.py")), str(place)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        yield os.environ | {"PATH": path, "PYTHONUNBUFFERED": "1"}
        server.communicate()  # It ends when its standard input does.


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text("".join(lines), encoding="utf-8")


def _answers(prompts: range, quality: slice) -> list[dict[str, Any]]:
    words = ("good", "plain", "bad")[quality]
    return [
        {
            "prompt": f"question {number}?",
            "responses": [f"{word} answer {number} {'so ' * (number % 5)}" for word in words],
        }
        for number in prompts
    ]


@pytest.fixture(scope="session")
def beginning(
    tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, environment: dict[str, str]
) -> Path:
    """The files that stand in a page's directory before its first block, as a reader's own."""
    directory = tmp_path_factory.mktemp("beginning")
    rows = cvalues_rows(18)
    _write(directory / "train.jsonl", rows[:36])
    _write(directory / "test.jsonl", rows[36:])
    _write(directory / "answers.jsonl", _answers(range(6), slice(3)))
    _write(directory / "before.jsonl", _answers(range(12, 18), slice(2, 3)))
    _write(directory / "after.jsonl", _answers(range(12, 18), slice(1)))
    _write(directory / "bench.jsonl", [{"question": "Why is the sky blue in the evening?"}])
    (directory / "lines.txt").write_text("Why is the sky blue?\n", encoding="utf-8")
    for name in ("recipe.yaml", "RECIPE.yaml"):
        (directory / name).write_text(RECIPE, encoding="utf-8")
    shutil.copytree(tiny_base, directory / "tiny")
    config = json.loads((directory / "tiny" / "config.json").read_text(encoding="utf-8"))
    # Longer than what pages train at; rotary positions have no weights.
    longer = json.dumps(config | {"max_position_embeddings": 4096})
    (directory / "tiny" / "config.json").write_text(longer, encoding="utf-8")
    shutil.copytree(directory / "tiny", directory / "BASE")
    for name, (steps, rate, seed) in RUNS.items():
        flags = ["--train.max_steps", steps, "--train.learning_rate", rate, "--train.seed", seed]
        subprocess.run(
            ["assay", "train", "recipe.yaml", *flags, "--output_dir", name],
            cwd=directory,
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )
    return directory
