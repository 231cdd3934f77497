"""Trackers, for real: what they hold after a run, and after one that was broken and went on."""

from __future__ import annotations

import importlib.util
import json
import shutil
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import log_of, recipe, rows, write_lines

from assay.config import Recipe, TrackerName
from assay.errors import ConfigError
from assay.train.loop import train
from assay.train.trackers import KINDS, KNOWN, Trackers, check_trackers

# From dependencies of the trackers, on import and on reading their own files.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(autouse=True)
def _no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("SWANLAB_MODE", "offline")
    monkeypatch.setenv("SWANLAB_SAVE_DIR", str(tmp_path / "home"))
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))


def needs(name: str) -> None:
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")


def recipe_for(base: Path, folder: Path, *names: TrackerName) -> Recipe:
    train_rows = write_lines(folder / "train.jsonl", list(rows(4)))
    held = write_lines(folder / "held.jsonl", list(rows(2, prefix="held ")))
    return recipe(
        base, train_rows, folder / "run", evals=[str(held)], eval_steps=2, report_to=list(names)
    )


def break_and_go_on(checked: Recipe, folder: Path, step: int) -> None:
    """A run that is broken after its last step, and goes on from an early checkpoint."""
    train(checked)
    for path in (folder / "run/checkpoints").iterdir():
        if int(path.name.removeprefix("step-")) > step:
            shutil.rmtree(path)
    train(checked, resume="auto")


def test_every_name_has_its_tracker() -> None:
    assert set(KINDS) == set(typing.get_args(TrackerName))


def test_a_missing_tracker_is_named_before_anything_is_prepared(
    monkeypatch: pytest.MonkeyPatch, tiny_base: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError) as raised:
        train(recipe_for(tiny_base, tmp_path, "wandb"))
    assert str(raised.value) == (
        "train.report_to: wandb is not installed; pip install 'assay[wandb]'"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("step", [1, 2, 4])
def test_tensorboard_has_each_step_once(tiny_base: Path, tmp_path: Path, step: int) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    check_trackers(["tensorboard"])
    break_and_go_on(recipe_for(tiny_base, tmp_path, "tensorboard"), tmp_path, step)
    events = EventAccumulator(str(tmp_path / "run/tensorboard"))
    events.Reload()
    logged = log_of(tmp_path / "run")
    for tag in ("loss", "accuracy", "learning_rate"):
        found = [(event.step, event.value) for event in events.Scalars(f"train/{tag}")]
        expected = [(e["step"], e[tag]) for e in logged if e["kind"] == "train"]
        assert [one for one, _ in found] == [one for one, _ in expected] == [1, 2, 3, 4]
        assert [v for _, v in found] == pytest.approx([v for _, v in expected], rel=1e-6)
    for tag in ("accuracy", "loss", "mean_margin"):
        found = [event.step for event in events.Scalars(f"eval/held/{tag}")]
        assert found == [2, 4]
    assert not (tmp_path / "run" / KNOWN).exists()


class _Recorder:
    """A tracker that cannot forget."""

    def __init__(self) -> None:
        self.told: list[tuple[int, dict[str, float]]] = []

    def log(self, values: dict[str, float], step: int) -> None:
        self.told.append((step, values))

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        """Nothing."""

    def finish(self) -> None:
        """Nothing."""


def test_what_cannot_forget_is_told_once_over_three_beginnings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = _Recorder()
    monkeypatch.setattr("assay.train.trackers._start", lambda *known: recorder)
    first = Trackers(["wandb"], tmp_path, {})
    for step in (1, 2, 3):
        first.log({"train/loss": 0.1 * step}, (step, "train"))
    # Killed after step 3; on from step 1, and killed after step 2; on from step 1 again.
    second = Trackers(["wandb"], tmp_path, {}, step=1, dropped=[(2, "train"), (3, "train")])
    second.log({"train/loss": 0.2}, (2, "train"))
    third = Trackers(["wandb"], tmp_path, {}, step=1, dropped=[(2, "train")])
    for step in (2, 3, 4):
        third.log({"train/loss": 0.1 * step}, (step, "train"))
    third.log({"eval/a/loss": 1.0}, (4, "final/a"))
    assert [step for step, _ in recorder.told] == [1, 2, 3, 4, 4]


def test_a_tracker_that_fails_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(_Recorder):
        def log(self, values: dict[str, float], step: int) -> None:
            raise OSError("the network is down")

    monkeypatch.setattr("assay.train.trackers._start", lambda *known: Broken())
    trackers = Trackers(["wandb"], tmp_path, {})
    trackers.log({"train/loss": 1.0}, (1, "train"))
    trackers.log({"train/loss": 1.0}, (2, "train"))
    assert caplog.text.count("wandb fails and is told no more of this run: the network is") == 1


def records_of(path: Path) -> Iterator[bytes]:
    """The records of a log as LevelDB writes it: blocks of 32 KiB, after a head of 7 bytes."""
    data, at, pending = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        pending += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield pending
            pending = b""


def test_wandb_offline_holds_each_step_once(tiny_base: Path, tmp_path: Path) -> None:
    needs("wandb")
    break_and_go_on(recipe_for(tiny_base, tmp_path, "wandb"), tmp_path, 2)
    from wandb.proto import wandb_internal_pb2

    steps = []
    for path in sorted((tmp_path / "run/wandb").glob("offline-run-*/run-*.wandb")):
        for data in records_of(path):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            if record.WhichOneof("record_type") == "history":
                found = {
                    (item.key or "/".join(item.nested_key)): json.loads(item.value_json)
                    for item in record.history.item
                }
                if "train/loss" in found:
                    steps.append(found["_step"])
    assert steps == [1, 2, 3, 4]


def test_trackio_holds_each_step_once(tiny_base: Path, tmp_path: Path) -> None:
    needs("trackio")
    import sqlite3

    break_and_go_on(recipe_for(tiny_base, tmp_path, "trackio"), tmp_path, 2)
    found = []
    for path in (tmp_path / "trackio").rglob("*.db"):
        with sqlite3.connect(path) as connection:
            found += connection.execute("select step, metrics from metrics").fetchall()
    steps = [step for step, metrics in found if "train/loss" in str(metrics)]
    assert sorted(steps) == [1, 2, 3, 4]


def test_swanlab_offline_takes_a_run(tiny_base: Path, tmp_path: Path) -> None:
    needs("swanlab")
    break_and_go_on(recipe_for(tiny_base, tmp_path, "swanlab"), tmp_path, 2)
    assert any((tmp_path / "run/swanlog").iterdir())
