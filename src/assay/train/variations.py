"""Several runs of variations of one recipe: seeds, and a learning curve over parts of the data.

OUTPUT/NAME/           a run directory for each
OUTPUT/seeds.json, or OUTPUT/curve.json
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from assay.config import Recipe
from assay.consoles import console
from assay.data.plugins import load_plugins
from assay.errors import ConfigError, OutputError
from assay.evaluate.metrics import METRICS
from assay.files import check_place, output_errors, write_text
from assay.model.reader import reader_for_training
from assay.notices import notice
from assay.train.best import Watch
from assay.train.curve import gain_of_doubling
from assay.train.loop import TrainResult, train
from assay.train.recipe_data import (
    RecipeData,
    check_recipe_data,
    evaluation_names,
    fingerprints,
    mix_and_split,
    prepare_recipe,
    store_fingerprints,
)
from assay.train.run import RECIPE, check_run_directory, check_same_data
from assay.train.trackers import check_trackers

SEEDS, CURVE = "seeds.json", "curve.json"
PARTS = (Fraction(1, 8), Fraction(1, 4), Fraction(1, 2), Fraction(1))


@dataclass(frozen=True)
class Variation:
    """One of several runs: its name, which is its directory's, and what makes it another."""

    name: str
    about: dict[str, Any]
    recipe: Recipe


@dataclass(frozen=True)
class Series:
    """How far some runs came: what stopped them, or the table and file that came of them."""

    stopped: TrainResult | None
    result: Path


def train_seeds(
    recipe: Recipe, count: int, *, resume: bool = False, overwrite: bool = False
) -> Series:
    """Train with seed, seed + 1, ...; the data drawn, held out and taken stay the same.

    Args:
        recipe: of the first.
        count: of seeds.
        resume: go on with what is there, and leave finished runs as they are.
        overwrite: delete the runs of these names that are in output_dir.

    Raises:
        AssayError: as in `train`.
    """
    seeds = range(recipe.train.seed, recipe.train.seed + count)
    made = [
        Variation(
            f"seed-{seed}",
            {"seed": seed},
            _changed(recipe, f"seed-{seed}", train={"seed": seed}),
        )
        for seed in seeds
    ]
    runs = _train_all(recipe, made, resume=resume, overwrite=overwrite)
    path = Path(recipe.output_dir) / SEEDS
    if isinstance(runs, TrainResult):
        return Series(runs, path)
    spread = {
        name: {metric: _spread([run["evals"][name][metric] for run in runs]) for metric in METRICS}
        for name in evaluation_names(recipe)
    }
    write_text(path, _json({"runs": runs, "spread": spread}))
    _print_seeds(runs, spread)
    return Series(None, path)


def train_curve(recipe: Recipe, *, resume: bool = False, overwrite: bool = False) -> Series:
    """Train on 1/8, 1/4, 1/2 and all of the training prompts, and say whether more would help.

    Raises:
        AssayError: as in `train`.
    """
    made = []
    for fraction in PARTS:
        part = float(fraction) * recipe.data.part
        name = f"part-{str(fraction).replace('/', '-')}"
        made.append(Variation(name, {"part": part}, _changed(recipe, name, data={"part": part})))
    runs = _train_all(recipe, made, resume=resume, overwrite=overwrite)
    path = Path(recipe.output_dir) / CURVE
    if isinstance(runs, TrainResult):
        return Series(runs, path)
    gains = {
        name: gain_of_doubling(
            [run["groups"] for run in runs],
            [Path(run["run"]) / "eval" / name / "comparisons.jsonl" for run in runs],
        )
        for name in evaluation_names(recipe)
    }
    write_text(path, _json({"runs": runs, "gain_of_doubling": gains}))
    _print_curve(runs, gains, recipe.data.group_name)
    return Series(None, path)


def _changed(recipe: Recipe, name: str, **sections: Mapping[str, Any]) -> Recipe:
    """The recipe of one variation; what is drawn of the data does not vary with the seed."""
    values = recipe.model_dump(mode="json")
    values["data"]["seed"] = recipe.data_seed
    for section, changes in sections.items():
        values[section] |= changes
    values["output_dir"] = str(Path(recipe.output_dir) / name)
    return Recipe.model_validate(values)


def _train_all(
    recipe: Recipe, variations: Sequence[Variation], *, resume: bool, overwrite: bool
) -> list[dict[str, Any]] | TrainResult:
    """Train one after the other; what each came to, or the one that a signal stopped."""
    if int(os.environ.get("WORLD_SIZE") or 1) > 1:
        raise ConfigError(
            "several runs after each other are not made by several processes",
            where="WORLD_SIZE",
            mend="start one run for each --train.seed (or --data.part) with torchrun",
        )
    if not evaluation_names(recipe):
        raise ConfigError(
            "there is nothing to compare the runs by",
            where="data.eval",
            mend="name a file in it, or set data.held_out",
        )
    output = Path(recipe.output_dir)
    _check_output(output, variations, resume=resume, overwrite=overwrite)
    watch = Watch.of(recipe)
    check_trackers(recipe.train.report_to)
    load_plugins(recipe.plugins)
    stores = prepare_recipe(recipe, reader_for_training(recipe.model))
    check_recipe_data(recipe, stores)
    data = fingerprints(recipe, stores.train)
    for each in variations:  # What leaves nothing to train on is said before hours of training.
        mix_and_split(each.recipe, stores)
        if resume:
            prints, looks = store_fingerprints(stores), watch is not None
            check_same_data(output / each.name, data, prints, evaluated=looks)
    if overwrite:
        _clear(output, variations)
    output.mkdir(parents=True, exist_ok=True)
    found = []
    for number, each in enumerate(variations, start=1):
        run = output / each.name
        if resume and _is_finished(each.recipe, stores):
            notice(f"{each.name} is finished")
        else:
            print(f"\n== {each.name} ({number} of {len(variations)})", flush=True)
            result = train(each.recipe, resume="auto" if resume else None, overwrite=overwrite)
            if result.stopped_by is not None:
                return result
        found.append({"name": each.name, "run": str(run), **each.about, **_outcome(each.recipe)})
    return found


def _check_output(
    output: Path, variations: Sequence[Variation], *, resume: bool, overwrite: bool
) -> None:
    """Refuse a directory in which something would be lost."""
    check_place(output)
    if (output / RECIPE).exists():
        raise OutputError("is a run of its own", where=output, mend="choose another output_dir")
    if output.is_dir() and any(output.iterdir()) and not (resume or overwrite):
        raise OutputError(
            "is not empty",
            where=output,
            mend="add --resume auto to go on, --overwrite to start anew, or choose another "
            "output_dir",
        )
    for each in variations:
        check_run_directory(each.recipe, resume=resume, overwrite=overwrite)


def _clear(output: Path, variations: Sequence[Variation]) -> None:
    """Delete an old series, all at once: half of it must not be taken for new."""
    with output_errors(output):
        for name in (SEEDS, CURVE):
            (output / name).unlink(missing_ok=True)
        for each in variations:
            shutil.rmtree(output / each.name, ignore_errors=True)


def _is_finished(recipe: Recipe, stores: RecipeData) -> bool:
    """Whether a run came to its end, on the evaluation sets that are now there.

    The card is what a run writes last.
    """
    run = Path(recipe.output_dir)
    results = {name: run / "eval" / name / "results.json" for name in evaluation_names(recipe)}
    if not all(path.exists() for path in (run / "model" / "README.md", *results.values())):
        return False
    return all(
        _read(results[name])["input_sha256"] == store.account.sha256
        for name, _, store in stores.evals
    )


def _outcome(recipe: Recipe) -> dict[str, Any]:
    """What a finished run was trained on and how it was evaluated, from its directory."""
    run = Path(recipe.output_dir)
    taken = _read(run / "run.json")["train"]
    kept = (*METRICS, "accuracy_ci95", "num_comparisons", "num_prompts", "step")
    evals = {}
    for name in evaluation_names(recipe):
        results = _read(run / "eval" / name / "results.json")
        evals[name] = {key: results[key] for key in kept}
    return {"groups": taken["groups"], "comparisons": taken["comparisons"], "evals": evals}


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {
        "mean": statistics.fmean(values),
        "std": statistics.stdev(values),
        "min": min(values),
        "max": max(values),
    }


def _print_seeds(runs: Sequence[Mapping[str, Any]], spread: Mapping[str, Any]) -> None:
    header = ("", "mean", "standard deviation", "min", "max", *(run["name"] for run in runs))
    rows = []
    for name, metrics in spread.items():
        for metric, numbers in metrics.items():
            row = [f"{numbers[key]:.4f}" for key in ("mean", "std", "min", "max")]
            single = [f"{run['evals'][name][metric]:.4f}" for run in runs]
            rows.append([f"{name}/{metric}", *row, *single])
    _print(header, rows)


def _print_curve(
    runs: Sequence[Mapping[str, Any]], gains: Mapping[str, Any], group_name: str
) -> None:
    rows = []
    for run in runs:
        for name, found in run["evals"].items():
            low, high = found["accuracy_ci95"]
            rows.append(
                [
                    run["name"],
                    str(run["groups"]),
                    str(run["comparisons"]),
                    name,
                    f"{found['accuracy']:.4f}",
                    f"[{low:.3f}, {high:.3f}]",
                    f"{found['loss']:.4f}",
                ]
            )
    _print(("", group_name, "comparisons", "set", "accuracy", "95% interval", "loss"), rows)
    for name, gain in gains.items():
        print(f"{name}: {gain['verdict']}")


def _print(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(show_header=True, header_style="bold")
    for column in header:
        table.add_column(column, justify="right" if column else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console(120).print(table)


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"
