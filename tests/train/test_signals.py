"""SIGTERM and Ctrl-C where no step is on its way: while a model is loaded, and at the end."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_runs import Fault, Processes, differences, recipe, recipe_file, rows, write_lines

from assay.config import Recipe
from assay.train.loop import train

MakeRecipe = Callable[..., Recipe]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> MakeRecipe:
    folder = tmp_path_factory.mktemp("data")
    train_rows = write_lines(folder / "train.jsonl", list(rows(4)))
    held = write_lines(folder / "held.jsonl", list(rows(2, prefix="held ")))

    def build(output: Path) -> Recipe:
        return recipe(tiny_base, train_rows, output, evals=[str(held)], num_train_epochs=1)

    return build


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Processes:
    return Processes(tmp_path_factory.mktemp("said"))


@pytest.mark.slow
def test_sigterm_while_loading_ends_cleanly(
    processes: Processes, make: MakeRecipe, tmp_path: Path, tiny_base: Path
) -> None:
    file = recipe_file(tmp_path / "recipe.yaml", make(tmp_path / "run"))
    # The base's config is opened while the model is looked at and loaded.
    loading = (("open", str(tiny_base / "config.json")),) * 2
    ended = processes.run("train", file, fault=Fault(loading, sent=signal.SIGTERM))
    assert ended.code == 128 + signal.SIGTERM, ended.said
    assert "note: SIGTERM: ended before the first step" in ended.said
    assert "Traceback" not in ended.said
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
@pytest.mark.parametrize(
    "place", [("os.mkdir", ".model.partial"), ("os.mkdir", "eval/held")], ids=["model", "eval"]
)
def test_a_signal_at_the_end_stops_at_once_and_nothing_is_half_written(
    processes: Processes,
    make: MakeRecipe,
    tmp_path: Path,
    place: tuple[str, str],
    sent: signal.Signals,
    code: int,
) -> None:
    run = tmp_path / "run"
    file = recipe_file(tmp_path / "recipe.yaml", make(run))
    ended = processes.run("train", file, fault=Fault((place,), sent=sent))
    assert ended.code == code, ended.said
    assert "note: stopped before all was written; going on does it again" in ended.said
    assert (
        f"stopped after step 2 of 2; go on with:\n  assay train {run} --resume auto" in ended.said
    )
    assert "Traceback" not in ended.said
    assert not list(run.rglob(".*"))
    assert not list(run.glob("eval/*/*"))
    resumed = processes.run("train", run, "--resume", "auto")
    assert resumed.code == 0, resumed.said
    train(make(tmp_path / "unbroken"))
    assert differences(run, tmp_path / "unbroken") == []
