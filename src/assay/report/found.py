"""What lies in a directory that a report is asked of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from assay.errors import CheckpointError, DataError
from assay.report.comparisons import NAME as COMPARISONS
from assay.report.comparisons import Comparisons, read_comparisons
from assay.report.reading import object_lines, read_object, read_text
from assay.report.training_log import JSONL, TrainingLog, read_log

RECIPE, RUN, RESULTS, PROBE = "recipe.resolved.yaml", "run.json", "results.json", "probe.json"
_NEEDED = ("accuracy", "accuracy_ci95", "num_comparisons", "num_prompts", "wins", "ties", "losses")
_OTHERS = {
    PROBE: ("is what assay probe wrote", "name the run, and give this directory as --probe"),
    "seeds.json": ("is a series of runs", "name one of them, such as seed-42"),
    "curve.json": ("is a series of runs", "name one of them"),
    "trainer.json": ("is a checkpoint", "name its run, two directories up"),
    "manifest.json": ("is a model", "name its run, the directory above"),
    "items.jsonl": (
        "is half of a benchmark's results: results.json is not there",
        "evaluate again",
    ),
    COMPARISONS: ("is half of an evaluation: results.json is not there", "evaluate again"),
}
"""Files by which a directory that is no run is told, what it is, and the mend."""


@dataclass(frozen=True, slots=True)
class EvaluatedSet:
    """An evaluation: its name, `results.json`, its comparisons."""

    name: str
    results: Mapping[str, Any]
    comparisons: Comparisons


@dataclass
class Found:
    """All that a report is made of.

    Attributes:
        directory: that was asked of.
        sets: evaluations.
        unfinished: directories of evaluations that hold no results yet.
        recipe_text: the resolved recipe as it is written; None where there is no run.
        recipe: the same as values.
        described: `run.json`.
        log: of the training.
        probe: `probe.json`.
        bad_rows: rows of each file `bad_rows*.jsonl`, by its name.
        has_model: whether `model/` is written.
    """

    directory: Path
    sets: list[EvaluatedSet] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    recipe_text: str | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    described: Mapping[str, Any] = field(default_factory=dict)
    log: TrainingLog | None = None
    probe: Mapping[str, Any] | None = None
    bad_rows: dict[str, int] = field(default_factory=dict)
    has_model: bool = False

    @property
    def is_finished(self) -> bool:
        """Whether the training has ended and `model/` is there."""
        return self.has_model and not self.unfinished


def find(directory: Path, *, rows: int, probe: Path | None = None) -> Found:
    """Read a run directory, the output of `assay eval`, or of a benchmark.

    Args:
        directory: of the run.
        rows: mistakes and close calls that are kept of each evaluation.
        probe: what `assay probe` wrote; by default `probe/` in the directory, where it is there.

    Raises:
        CheckpointError: it is none of these, or only half of one.
        DataError: a file is not as it was written.
    """
    if directory.name == RESULTS:
        directory = directory.parent
    if not directory.is_dir():
        raise CheckpointError(
            "is no directory" if directory.exists() else "there is no such directory",
            where=directory,
            mend="name a run, or the --output of assay eval",
        )
    found = Found(directory)
    if (directory / RECIPE).exists() or (directory / RUN).exists():
        _read_run(found, rows)
    elif (directory / RESULTS).exists():
        found.sets = [_read_set(directory, directory.absolute().name, rows)]
    elif within := _evaluations(directory):
        found.sets = [_read_set(path, path.name, rows) for path in within]
    else:
        raise _not_a_run(directory)
    for path in sorted(directory.glob("bad_rows*.jsonl")):
        found.bad_rows[path.name] = sum(1 for _ in object_lines(path))
    found.probe = _read_probe(directory, probe)
    return found


def _read_run(found: Found, rows: int) -> None:
    run = found.directory
    for name in (RECIPE, RUN, JSONL):
        if not (run / name).exists():
            raise CheckpointError(
                f"is half of a run: {name} is not there",
                where=run,
                mend="wait for its first step, or go on with assay train --resume auto",
            )
    found.recipe_text = read_text(run / RECIPE)
    found.recipe = _recipe(found.recipe_text, run / RECIPE)
    found.described = read_object(run / RUN)
    found.log = read_log(run)
    found.has_model = (run / "model" / "config.json").exists()
    evaluations = run / "eval"
    for path in sorted(evaluations.iterdir()) if evaluations.is_dir() else []:
        if (path / RESULTS).exists():
            found.sets.append(_read_set(path, path.name, rows))
        elif path.is_dir():
            found.unfinished.append(path.name)
    if not found.log.steps and not found.sets:
        raise CheckpointError(
            "is a run that has logged no step yet",
            where=run / JSONL,
            mend="wait for its first step, or go on with assay train --resume auto",
        )


def _recipe(text: str, path: Path) -> Mapping[str, Any]:
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark is not None else path
        raise DataError("is no YAML", where=place, mend="restore the file") from None
    if not isinstance(found, dict):
        raise DataError("is no recipe", where=path, mend="restore the file")
    return found


def _read_set(directory: Path, name: str, rows: int) -> EvaluatedSet:
    path = directory / RESULTS
    results = read_object(path)
    lacking = [key for key in _NEEDED if key not in results]
    if lacking:
        raise DataError(
            f"is no result of assay eval: it lacks '{lacking[0]}'",
            where=path,
            mend="evaluate again",
        )
    if not (directory / COMPARISONS).exists():
        raise CheckpointError(
            f"is half of an evaluation: {COMPARISONS} is not there",
            where=directory,
            mend="evaluate again",
        )
    comparisons = read_comparisons(directory / COMPARISONS, rows)
    count = len(comparisons.chosen_C)
    if count != results["num_comparisons"]:
        raise DataError(
            f"holds {count} comparisons, and {RESULTS} is of {results['num_comparisons']}",
            where=directory / COMPARISONS,
            mend="evaluate again",
        )
    return EvaluatedSet(name, results, comparisons)


def _evaluations(directory: Path) -> list[Path]:
    """Of `--all-checkpoints`: a directory each, by the number in its name."""
    found = [path for path in directory.iterdir() if (path / RESULTS).exists()]
    return sorted(
        found, key=lambda path: [int(part) for part in re.findall(r"\d+", path.name)] or [0]
    )


def _read_probe(directory: Path, named: Path | None) -> Mapping[str, Any] | None:
    place = directory / "probe" if named is None else named
    path = place if place.name == PROBE else place / PROBE
    if not path.exists():
        if named is None:
            return None
        raise CheckpointError(
            f"holds no {PROBE}", where=named, mend="name the --output of assay probe"
        )
    found = read_object(path)
    if not isinstance(found.get("transforms"), list) or "reward_sd" not in found:
        raise DataError(
            "is no result of assay probe", where=path, mend="probe again: assay probe --output"
        )
    return found


def _not_a_run(directory: Path) -> CheckpointError:
    for name, (what, mend) in _OTHERS.items():
        if (directory / name).exists():
            return CheckpointError(what, where=directory, mend=mend)
    if (directory / f".{RECIPE}.partial").exists():
        return CheckpointError(
            "is half of a run", where=directory, mend="start it anew with --overwrite"
        )
    return CheckpointError(
        f"is no run: it has no {RECIPE} and no {RESULTS}",
        where=directory,
        mend="name a run, or the --output of assay eval",
    )
