"""Early stopping and the best checkpoint: decided by hand, kept, written, resumed to the bit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.numpy import load_file
from tiny_runs import differences, log_of, recipe, rows, write_lines

from assay.config import Recipe
from assay.errors import CheckpointError, ConfigError
from assay.recipe import load_recipe
from assay.train.best import Watch, bring_best
from assay.train.checkpoint import Progress
from assay.train.loop import train

MakeRecipe = Callable[..., Recipe]
FLAGS = ["--model.path", "m", "--data.train", "t.jsonl", "--output_dir", "o"]
ONE = ["--data.eval", "a.jsonl", "--train.eval_steps", "2"]
TWO = ["--data.eval", "[a.jsonl, b.jsonl]", "--train.eval_steps", "2"]


def watch(*flags: str) -> Watch | None:
    return Watch.of(load_recipe(None, [*FLAGS, *flags]))


@pytest.mark.parametrize(
    ("flags", "tag"),
    [
        ([*ONE], None),
        ([*ONE, "--train.early_stopping_patience", "3"], "a/loss"),
        ([*ONE, "--train.load_best_model_at_end", "true"], "a/loss"),
        ([*ONE, "--train.metric_for_best_model", "accuracy"], "a/accuracy"),
        ([*TWO, "--train.metric_for_best_model", "b/mean_margin"], "b/mean_margin"),
        ([*ONE, "--data.held_out", "0.1", "--train.metric_for_best_model", "held-out/loss"],
         "held-out/loss"),
    ],
)  # fmt: skip
def test_what_is_watched(flags: list[str], tag: str | None) -> None:
    found = watch(*flags)
    assert (found.tag if found is not None else None) == tag


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([*ONE, "--train.metric_for_best_model", "accurracy"],
         "train.metric_for_best_model: 'accurracy' is no metric of an evaluation set; did you mean "
         "'a/accuracy'?"),
        ([*ONE, "--train.metric_for_best_model", "c/loss"],
         "'c/loss' is no metric of an evaluation set; did you mean 'a/loss'?"),
        ([*TWO, "--train.early_stopping_patience", "1"],
         "2 sets are evaluated, and it is not said which tells the best; write one of a/loss, "
         "b/loss"),
        (["--data.eval", "a.jsonl", "--train.early_stopping_patience", "1"],
         "train.early_stopping_patience is set and train.eval_steps is not"),
        (["--train.load_best_model_at_end", "true", "--train.eval_steps", "2"],
         "train.eval_steps is set and data.eval names no file"),
    ],
)  # fmt: skip
def test_what_cannot_be_watched_is_refused(flags: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        watch(*flags)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("metric", "values", "best", "stops"),
    [
        # An equal value is no better, and two in a row that are no better are the end.
        ("loss", [0.7, 0.5, 0.5, 0.6, 0.1], (0.5, 2), 4),
        ("accuracy", [0.7, 0.5, 0.8, 0.8, 0.8], (0.8, 3), 5),
        ("mean_margin", [-1.0, -0.5, 0.0, 0.5, 1.0], (1.0, 5), None),
    ],
)
def test_the_best_by_hand(
    metric: str, values: list[float], best: tuple[float, int], stops: int | None
) -> None:
    looking, progress = Watch("set", metric, 2), Progress()
    stopped = None
    for step, value in enumerate(values, start=1):
        progress.step = step
        is_best = looking.look({"set": {metric: value}, "other": {}}, progress)
        assert is_best == (progress.best_step == step)
        if looking.gives_up(progress):
            stopped = step
            break
    assert (progress.best_value, progress.best_step) == best
    assert stopped == stops


STEPS = 8
LOSING = {"lr_scheduler_type": "constant", "learning_rate": 3e-2, "eval_steps": 2}
"""A rate at which the loss on other prompts soon gets worse."""


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> MakeRecipe:
    folder = tmp_path_factory.mktemp("data")
    train_rows = write_lines(folder / "train.jsonl", list(rows(4)))
    # Evaluated the other way round: what training teaches makes the loss worse.
    swapped = [
        row | {"pos_resp": row["neg_resp"], "neg_resp": row["pos_resp"]}
        for row in rows(4, prefix="other ")
    ]
    held = write_lines(folder / "held.jsonl", list(swapped))

    def build(output: Path, **changes: object) -> Recipe:
        settings = LOSING | {"max_steps": STEPS, "save_steps": None, "save_total_limit": 1}
        return recipe(tiny_base, train_rows, output, evals=[str(held)], **(settings | changes))

    return build


def losses_of(run: Path) -> dict[int, float]:
    """Of the evaluations on the way, by step."""
    return {e["step"]: e["loss"] for e in log_of(run) if e["kind"] == "eval" and not e.get("final")}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory, make: MakeRecipe) -> Path:
    """A run that stops early; every step has a checkpoint, so that it can be broken anywhere."""
    run = tmp_path_factory.mktemp("stopped") / "run"
    result = train(
        make(
            run,
            early_stopping_patience=2,
            load_best_model_at_end=True,
            save_steps=1,
            save_total_limit=None,
        )
    )
    assert result.stopped_by is None
    return run


def test_a_run_that_gets_no_better_stops_and_gives_the_best(stopped: Path) -> None:
    losses = losses_of(stopped)
    best = min(losses, key=lambda step: losses[step])
    last = max(losses)
    assert last == best + 2 * 2 < STEPS
    assert max(e["step"] for e in log_of(stopped)) == last
    written = load_file(stopped / "model/model.safetensors")
    kept = load_file(stopped / f"checkpoints/step-{best}/model/model.safetensors")
    assert {k: v.tobytes() for k, v in written.items()} == {k: v.tobytes() for k, v in kept.items()}
    results = json.loads((stopped / "eval/held/results.json").read_text(encoding="utf-8"))
    assert results["step"] == best
    assert results["loss"] == pytest.approx(losses[best], rel=1e-6)
    text = (stopped / "train.log").read_text(encoding="utf-8")
    assert f"stopped after step {last}: no better for 2 evaluations" in text
    assert f"best held/loss {losses[best]:.4f} after step {best}" in text
    assert f"after step {best}" in (stopped / "model/README.md").read_text(encoding="utf-8")


def test_without_patience_the_best_outlives_all_others(make: MakeRecipe, tmp_path: Path) -> None:
    # One checkpoint is kept, the newest; nothing is saved on the way but what was the best.
    train(make(tmp_path / "run", metric_for_best_model="held/loss"))
    losses = losses_of(tmp_path / "run")
    assert set(losses) == {2, 4, 6, 8}
    best = min(losses, key=lambda step: losses[step])
    assert best < STEPS
    kept = {path.name for path in (tmp_path / "run/checkpoints").iterdir()}
    assert kept == {f"step-{best}", f"step-{STEPS}"}
    results = json.loads((tmp_path / "run/eval/held/results.json").read_text(encoding="utf-8"))
    assert results["step"] == STEPS


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5, 6])
def test_resuming_stops_where_the_unbroken_run_stopped(
    stopped: Path, make: MakeRecipe, step: int, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(stopped, run)
    for name in ("model", "eval"):
        shutil.rmtree(run / name)
    for path in (run / "checkpoints").iterdir():
        if int(path.name.removeprefix("step-")) > step:
            shutil.rmtree(path)
    checked = make(
        run,
        early_stopping_patience=2,
        load_best_model_at_end=True,
        save_steps=1,
        save_total_limit=None,
    )
    train(checked, resume="auto")
    assert differences(run, stopped) == []
    # The lines for people are cut back, too: each step and evaluation stands once.
    lines = [
        line.split(", loss:")[0].split(", acc:")[0]
        for line in (run / "train.log").read_text(encoding="utf-8").splitlines()
        if "step:[" in line
    ]
    unbroken = [
        line.split(", loss:")[0].split(", acc:")[0]
        for line in (stopped / "train.log").read_text(encoding="utf-8").splitlines()
        if "step:[" in line
    ]
    assert lines == unbroken


def test_more_patience_goes_on(stopped: Path, make: MakeRecipe, tmp_path: Path) -> None:
    shutil.copytree(stopped, tmp_path / "run")
    checked = make(tmp_path / "run", early_stopping_patience=9, save_steps=1, save_total_limit=None)
    assert train(checked, resume="auto").step == STEPS


def test_the_best_comes_along_with_a_checkpoint_from_elsewhere(
    stopped: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    progress = Progress(step=4, best_value=0.5, best_step=2)
    assert bring_best(tmp_path / "run", stopped / "checkpoints/step-4", progress)
    names = {path.name for path in (tmp_path / "run/checkpoints").iterdir()}
    assert names == {"step-2"}
    copied = tmp_path / "elsewhere" / "mine"
    shutil.copytree(stopped / "checkpoints/step-4", copied)
    assert not bring_best(tmp_path / "other", copied, progress)
    assert "looked for anew" in caplog.text
    itself = Progress(step=4, best_value=0.5, best_step=4)
    assert bring_best(tmp_path / "other", copied, itself)


def test_an_ended_run_that_has_lost_its_best_keeps_its_model(
    make: MakeRecipe, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train(make(run, load_best_model_at_end=True))
    losses = losses_of(run)
    best = min(losses, key=lambda step: losses[step])
    shutil.rmtree(run / f"checkpoints/step-{best}")
    before = (run / "model/model.safetensors").read_bytes()
    with pytest.raises(CheckpointError, match="not known which checkpoint is its best; resume"):
        train(make(run, load_best_model_at_end=True), resume="auto")
    assert (run / "model/model.safetensors").read_bytes() == before
    last = make(run, load_best_model_at_end=False, metric_for_best_model=None)
    assert train(last, resume="auto").step == STEPS
    assert (run / "model/model.safetensors").read_bytes() != before


def test_what_is_watched_only_after_the_end_tells_nothing(make: MakeRecipe, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(make(run))
    train(make(run, early_stopping_patience=3), resume="auto")
    card = (run / "model/README.md").read_text(encoding="utf-8")
    assert f"after step {STEPS}" in card
    assert "checkpoints" not in card
