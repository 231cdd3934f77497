"""SIGKILL at fixed and random moments of real scoring jobs: run again, the same to the byte."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from killed_jobs import Death, Jobs

WINDOW = 20
ROWS = 110  # six windows, the last one smaller

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Whole:
    """An unbroken job: what it wrote, and how long it took."""

    output: bytes
    aside: bytes
    seconds: float


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory, tiny_reward: Path) -> Iterator[Jobs]:
    folder = tmp_path_factory.mktemp("jobs")
    rows = folder / "rows.jsonl"
    with rows.open("w", encoding="utf-8") as file:
        for number in range(ROWS):
            row = {"prompt": f"Why {number}?", "responses": ["so " * (number % 7), "深", "x"]}
            file.write("{oops\n" if number % 37 == 5 else json.dumps(row) + "\n")
    warm = Jobs(folder / "log.txt", tiny_reward, rows, WINDOW)
    yield warm
    warm.close()


@pytest.fixture(scope="module")
def whole(jobs: Jobs, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    output = tmp_path_factory.mktemp("whole") / "o.jsonl"
    started = time.monotonic()
    assert jobs.run(output) == 0, jobs.log.read_text()
    seconds = time.monotonic() - started
    found = output.read_bytes()
    assert found.count(b"\n") == ROWS - 3
    return Whole(found, aside_of(output).read_bytes(), seconds)


def aside_of(output: Path) -> Path:
    return output.with_name(f"{output.name}.bad.jsonl")


def check_mended(jobs: Jobs, output: Path, whole: Whole) -> None:
    """The same job again: nothing is lost or doubled, nothing else lies there."""
    if not output.exists() or output.with_name("o.jsonl.parts").exists():
        assert jobs.run(output) == 0, jobs.log.read_text()
    assert output.read_bytes() == whole.output
    assert aside_of(output).read_bytes() == whole.aside
    assert sorted(path.name for path in output.parent.iterdir()) == ["o.jsonl", "o.jsonl.bad.jsonl"]


# Renamings: the manifest, six parts, the rows aside, the manifest again, the output. Removals: the
# account of a shard that may have stood there, the parts, the manifest.
FIXED = {
    "a part is written and not yet in its place": (Death("replace", 4), 2),
    "all stands but the output": (Death("replace", 10), 6),
    "the output stands and a part is removed": (Death("unlink", 2, after=True), 5),
}


@pytest.mark.parametrize("name", FIXED)
def test_a_kill_at_a_fixed_moment(name: str, jobs: Jobs, whole: Whole, tmp_path: Path) -> None:
    death, parts = FIXED[name]
    output = tmp_path / "o.jsonl"
    assert jobs.run(output, death=death) == -9
    found = sorted(tmp_path.glob("o.jsonl.parts/window-*"))
    assert len(found) == parts
    written = {path: path.stat().st_mtime_ns for path in found}
    assert output.exists() == (death.method == "unlink")
    if death.count == 4:  # What is done is not done again.
        assert jobs.run(output, death=Death("replace", 2, after=True)) == -9
        again = {path: path.stat().st_mtime_ns for path in tmp_path.glob("o.jsonl.parts/window-*")}
        assert len(again) == parts + 1
        assert written.items() <= again.items()
    check_mended(jobs, output, whole)


@pytest.mark.parametrize("seed", range(2))
def test_a_kill_at_a_random_moment(seed: int, jobs: Jobs, whole: Whole, tmp_path: Path) -> None:
    moment = random.SystemRandom().uniform(0.3, 1) * whole.seconds
    assert jobs.run(tmp_path / "o.jsonl", kill_after=moment) in (-9, 0), f"killed after {moment} s"
    check_mended(jobs, tmp_path / "o.jsonl", whole)
