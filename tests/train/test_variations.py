"""Several runs of one recipe: seeds with their spread, and the learning curve."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_runs import Processes, recipe, recipe_file, rows, write_lines

from assay.config import Recipe
from assay.errors import CheckpointError, ConfigError, DataError, OutputError
from assay.train.curve import gain_of_doubling, slope_of, verdict
from assay.train.variations import train_curve, train_seeds

MakeRecipe = Callable[..., Recipe]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> MakeRecipe:
    folder = tmp_path_factory.mktemp("data")
    train_rows = write_lines(folder / "train.jsonl", list(rows(20)))
    held = write_lines(folder / "held.jsonl", list(rows(3, prefix="held ")))

    def build(output: Path, **changes: object) -> Recipe:
        settings: dict[str, object] = {"num_train_epochs": 1, "global_batch_size": 8}
        settings |= {"save_steps": None}
        return recipe(tiny_base, train_rows, output, evals=[str(held)], **(settings | changes))

    return build


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory, make: MakeRecipe) -> Path:
    output = tmp_path_factory.mktemp("seeds") / "out"
    series = train_seeds(make(output, data={"held_out": 0.2}), 2)
    assert (series.stopped, series.result) == (None, output / "seeds.json")
    return output


def test_seeds_are_runs_on_the_same_data(seeds: Path) -> None:
    found = read(seeds / "seeds.json")
    assert {path.name for path in seeds.iterdir()} == {"seed-3", "seed-4", "seeds.json"}
    assert [run["seed"] for run in found["runs"]] == [3, 4]
    prompts = []
    for run in found["runs"]:
        results = read(Path(run["run"]) / "eval/held-out/results.json")
        assert run["evals"]["held-out"]["loss"] == results["loss"]
        text = (Path(run["run"]) / "eval/held-out/comparisons.jsonl").read_text(encoding="utf-8")
        prompts.append({json.loads(line)["group"] for line in text.splitlines()})
    assert prompts[0] == prompts[1] != set()
    one, two = (run["evals"]["held"]["loss"] for run in found["runs"])
    assert one != two
    # Of two values: the mean, and their distance over the square root of 2.
    spread = found["spread"]["held"]["loss"]
    assert spread["mean"] == pytest.approx((one + two) / 2)
    assert spread["std"] == pytest.approx(abs(one - two) / 2**0.5)
    assert (spread["min"], spread["max"]) == (min(one, two), max(one, two))


def test_a_finished_seed_is_left_alone_and_a_missing_one_made(
    seeds: Path, make: MakeRecipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = read(seeds / "seeds.json")
    output = tmp_path / "out"
    shutil.copytree(seeds, output)
    shutil.rmtree(output / "seed-4")
    marked = output / "seed-3/model/README.md"
    marked.write_text("not made again", encoding="utf-8")
    checked = make(output, data={"held_out": 0.2})
    with pytest.raises(OutputError, match="is not empty; add --resume auto"):
        train_seeds(checked, 2)
    train_seeds(checked, 2, resume=True)
    assert marked.read_text(encoding="utf-8") == "not made again"
    assert read(output / "seeds.json")["spread"] == before["spread"]
    said = capsys.readouterr().out
    assert "== seed-4 (2 of 2)" in said
    assert "== seed-3" not in said
    assert re.search(r"held/accuracy\s+│\s+[01]\.\d{4}", said)


def test_a_series_is_refused_before_any_run(make: MakeRecipe, tmp_path: Path, seeds: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to compare the runs by"):
        train_seeds(make(tmp_path / "out", data={"eval": []}), 2)
    with pytest.raises(OutputError, match="is a run of its own"):
        train_seeds(make(seeds / "seed-3"), 2, resume=True)
    with pytest.raises(CheckpointError, match=r"train\.learning_rate was 0\.001, now 0\.5"):
        train_seeds(make(seeds, data={"held_out": 0.2}, learning_rate=0.5), 2, resume=True)
    assert not (tmp_path / "out").exists()


def test_overwriting_a_series_that_cannot_be_made_keeps_the_old_one(
    make: MakeRecipe, tmp_path: Path, seeds: Path
) -> None:
    output = tmp_path / "out"
    shutil.copytree(seeds, output)
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    bad = str(write_lines(tmp_path / "bad.jsonl", ["{"]))
    with pytest.raises(DataError, match=r"bad\.jsonl:1"):
        train_seeds(make(output, data={"train": bad}), 2, overwrite=True)
    reads_itself = make(output, model={"path": str(output / "seed-3/model")})
    with pytest.raises(OutputError, match=r"--overwrite would delete .*, which the recipe reads"):
        train_seeds(reads_itself, 2, overwrite=True)
    assert {path: path.read_bytes() for path in output.rglob("*") if path.is_file()} == before


@pytest.fixture(scope="module")
def curve(tmp_path_factory: pytest.TempPathFactory, make: MakeRecipe) -> Path:
    output = tmp_path_factory.mktemp("curve") / "out"
    train_curve(make(output))
    return output


def test_the_curve_trains_on_nested_parts_of_the_prompts(
    curve: Path, make: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = read(curve / "curve.json")
    names = ["part-1-8", "part-1-4", "part-1-2", "part-1"]
    assert [run["name"] for run in found["runs"]] == names
    # 20 prompts: 2.5 rounds to 2, then 5, 10, 20.
    assert [run["groups"] for run in found["runs"]] == [2, 5, 10, 20]
    assert [run["part"] for run in found["runs"]] == [0.125, 0.25, 0.5, 1.0]
    assert found["runs"][-1]["comparisons"] == len(rows(20))
    from assay.model.reader import reader_for_training
    from assay.train.recipe_data import mix_and_split, prepare_recipe

    checked = make(curve)
    stores = prepare_recipe(checked, reader_for_training(checked.model))
    taken = []
    for name in names:
        text = (curve / name / "recipe.resolved.yaml").read_text(encoding="utf-8")
        part = float(re.findall(r"part: (\S+)", text)[0])
        data = checked.data.model_copy(update={"part": part})
        train, _ = mix_and_split(checked.model_copy(update={"data": data}), stores)
        taken.append({bytes(value) for value in train.column("prompt_hash")})
    assert [len(each) for each in taken] == [2, 5, 10, 20]
    assert taken[0] < taken[1] < taken[2] < taken[3]
    gain = found["gain_of_doubling"]["held"]
    low, high = gain["ci95"]
    assert low <= gain["slope"] <= high


def test_a_slope_by_hand() -> None:
    # Three runs at 0, 1, 2; weights -1/2, 0, 1/2. Comparisons of prompts A, A, B: the slope of each
    # is (last - first) / 2 = 1/2, 0, 1/2; the mean 1/3.
    # Residuals by prompt: A 1/6 - 1/3 = -1/6, B 1/6. Error: sqrt(2/36 * 2) / 3 = 1/9.
    # t(0.975; 1 degree) = 12.7062.
    win = np.array([[0, 1, 0], [1, 1, 0], [1, 1, 1]], dtype=np.float64)
    slope, (low, high) = slope_of(np.array([0.0, 1.0, 2.0]), win, np.array([0, 0, 1]), 2)
    assert slope == pytest.approx(1 / 3)
    assert (low, high) == pytest.approx((1 / 3 - 12.7062 / 9, 1 / 3 + 12.7062 / 9), rel=1e-5)


@pytest.mark.parametrize(
    ("interval", "says"),
    [
        ((0.01, 0.03), "+2.0 points of accuracy [+1.0, +3.0]: more data would still help"),
        ((-0.03, -0.01), "more of this data does not help"),
        ((-0.01, 0.05), "cannot be told"),
    ],
)
def test_what_a_slope_says(interval: tuple[float, float], says: str) -> None:
    assert says in verdict(sum(interval) / 2, interval)


def test_a_curve_over_other_comparisons_is_refused(tmp_path: Path) -> None:
    def file(name: str, *lines: tuple[str, str]) -> Path:
        entries = [
            # A text may hold what Python counts as the end of a line, and JSON does not.
            {"row": row, "group": row, "result": result, "prompt": "a\u2028b\x85c"}
            for row, result in lines
        ]
        return write_lines(tmp_path / name, list(entries))

    one = file("one", ("a", "loss"), ("b", "win"))
    two = file("two", ("a", "win"), ("b", "win"))
    assert gain_of_doubling([1, 2], [one, two])["slope"] == 0.5
    assert gain_of_doubling([2, 2], [one, two])["slope"] is None
    with pytest.raises(CheckpointError, match="holds other comparisons than"):
        gain_of_doubling([1, 2], [one, file("three", ("a", "win"), ("c", "win"))])


@pytest.mark.slow
def test_the_command_makes_a_series_and_goes_on(make: MakeRecipe, tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    output = tmp_path / "out"
    file = recipe_file(tmp_path / "recipe.yaml", make(output))
    both = processes.run("train", file, "--seeds", "2", "--learning-curve")
    assert both.code == 2
    assert "error: --seeds and --learning-curve are two series of runs; give one" in both.said
    made = processes.run("train", file, "--seeds", "2")
    assert made.code == 0, made.said
    assert f"results: {output / 'seeds.json'}" in made.said
    again = processes.run("train", file, "--seeds", "2", "--resume", "auto")
    assert again.code == 0, again.said
    assert "note: seed-3 is finished" in again.said
    # A run directory stands for its recipe, also when it was moved.
    moved = tmp_path / "moved"
    (output / "seed-3").rename(moved)
    shutil.rmtree(moved / "model")
    refused = processes.run("train", moved)
    assert (refused.code, "is a run; add --resume auto" in refused.said) == (2, True)
    went_on = processes.run("train", moved, "--resume", "auto")
    assert went_on.code == 0, went_on.said
    assert (moved / "model/README.md").exists()
    assert not (output / "seed-3").exists()
