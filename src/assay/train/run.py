"""A run directory: made, described, locked against accidents.

recipe.resolved.yaml   every field, defaults written out
run.json               versions, seeds, data fingerprints, dropped rows
train.log              lines for people
train_log.jsonl        lines for programs (fields: assay.train.log.RunLog)
checkpoints/step-N/
model/                 the trained model, a plain Hugging Face directory, with a card
adapter/               LoRA runs: the adapter it was merged from
eval/NAME/             results.json, comparisons.jsonl
trackers.json          what trackers know of the run, where the recipe reports to any that needs it
bad_rows.jsonl         rows that could not be read, where the recipe skips them (of an evaluation
                       set: bad_rows.NAME.jsonl)
tensorboard/, wandb/, swanlog/   where the recipe reports to them
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import ValidationError

import assay
from assay.config import Recipe
from assay.errors import CheckpointError, OutputError, first_line
from assay.files import output_errors, write_text
from assay.machine import processor_vendor
from assay.notices import warn
from assay.recipe import dump_recipe

RECIPE, RUN = "recipe.resolved.yaml", "run.json"
_FREE = {
    ("output_dir",),
    ("train", "engine"),
    ("train", "strategy"),
    ("train", "logging_steps"),
    ("train", "eval_steps"),
    ("train", "save_steps"),
    ("train", "save_total_limit"),
    ("train", "early_stopping_patience"),
    ("train", "load_best_model_at_end"),
    ("train", "report_to"),
    ("data", "eval"),
}
"""Fields that may differ between a run and its continuation. (The engine that computed stands in
run.json, and is compared there.)"""
_BITS = {("train", "max_tokens_per_pack"), ("train", "gradient_checkpointing")}
"""Fields that set memory, not the objective: what an out-of-memory error tells people to change
may be changed on resuming, with a warning."""
_DECIDES_BITS = (
    *("num_threads", "cpu_capability", "processor_vendor"),
    *("engine", "strategy", "num_processes"),
)
"""Of run.json: what the order of sums depends on."""


def origin(checkpoint: Path) -> Path:
    """The directory that says what run wrote a checkpoint: itself, wherever it was copied to."""
    checkpoint = checkpoint.resolve()
    return checkpoint if (checkpoint / RECIPE).exists() else checkpoint.parents[1]


def notes_of(recipe: Recipe, described: dict[str, Any]) -> dict[str, str]:
    """The files that let `origin` say of a checkpoint what run it is of.

    Args:
        recipe: of the run.
        described: what `describe_run` returned.
    """
    names = ("data", "stores", *_DECIDES_BITS)
    kept = {key: described[key] for key in names if key in described}
    return {RECIPE: dump_recipe(recipe), RUN: json.dumps(kept, ensure_ascii=False, indent=2) + "\n"}


def check_same_recipe(recipe: Recipe, run: Path) -> None:
    """Refuse to go on with a checkpoint of a run whose recipe was another.

    Raises:
        CheckpointError: names the field; or the recipe that was written cannot be read.
    """
    if not (run / RECIPE).exists():
        return
    before = _with_new_fields(_read(run / RECIPE, yaml.safe_load))
    now = recipe.model_dump(mode="json")
    others = []
    for key in sorted(set(_leaves(before)) | set(_leaves(now))):
        old, new = _at(before, key), _at(now, key)
        if key in _BITS and old != new:
            _warn_about_bits({".".join(key): old}, {".".join(key): new}, recipe)
        elif key not in _FREE and old != new:
            others.append(f"{'.'.join(key)} was {old!r}, now {new!r}")
    if others:
        raise CheckpointError(
            f"the recipe differs from the run's: {'; '.join(others)}",
            where=run / RECIPE,
            mend="resume with the run's recipe; or start a new run, with --model.path RUN to train "
            "its model on",
        )


def check_run_directory(recipe: Recipe, *, resume: bool, overwrite: bool) -> None:
    """Refuse an `output_dir` in which something would be lost; touches nothing.

    Raises:
        OutputError: it holds something and neither `resume` nor `overwrite` is given.
        CheckpointError: it holds a run of another recipe.
    """
    run = Path(recipe.output_dir)
    with output_errors(run):
        if run.exists() and not run.is_dir():
            raise OutputError("is a file", where=run, mend="choose another output_dir")
        occupied = run.exists() and any(run.iterdir())
        parent = next(path for path in (run, *run.absolute().parents) if path.exists())
        if not parent.is_dir() or not os.access(parent, os.W_OK):
            raise OutputError(
                f"cannot be made: {parent} is not a directory that can be written to",
                where=run,
                mend="choose another output_dir",
            )
    inside = [recipe.model.path, *(s.path for s in [*recipe.data.train, *recipe.data.eval])]
    for path in map(Path, inside):
        if overwrite and path.exists() and run.resolve() in path.resolve().parents:
            raise OutputError(
                f"--overwrite would delete {path}, which the recipe reads",
                where=run,
                mend="choose another output_dir",
            )
    if occupied and (overwrite or resume) and not _is_run(run):
        act, mend = (
            ("--overwrite will not delete it", "choose another output_dir, or empty it yourself")
            if overwrite
            else ("--resume will not write into it", "name the run's own output_dir")
        )
        raise OutputError(f"is not a run directory, so {act}", where=run, mend=mend)
    if occupied and not overwrite and not resume:
        raise OutputError(
            "is not empty",
            where=run,
            mend="add --resume auto to go on, --overwrite to start anew, or choose another "
            "output_dir",
        )
    if resume:
        check_same_recipe(recipe, run)


@contextmanager
def alone_in(run: Path) -> Iterator[None]:
    """Make a run directory, and keep other commands out of it as long as the block runs.

    A lock of the system on the directory itself: nothing is written, and a kill gives it back.
    File systems that have no such locks keep nobody out.

    Raises:
        OutputError: another command is in it; or no permission.
    """
    with output_errors(run):
        run.mkdir(parents=True, exist_ok=True)
        handle = os.open(run, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(
                "another command is training in it",
                where=run,
                mend="wait for its end, or choose another output_dir",
            ) from None
        except OSError:  # Some network file systems.
            pass
        yield
    finally:
        os.close(handle)


def open_run(recipe: Recipe, *, overwrite: bool) -> Path:
    """Make the run directory (after `check_run_directory`) and write the recipe into it.

    Raises:
        OutputError: no space, no permission.
    """
    run = Path(recipe.output_dir)
    with output_errors(run):
        if overwrite:
            _clear(run)
        run.mkdir(parents=True, exist_ok=True)
        write_text(run / RECIPE, dump_recipe(recipe))
    return run


def check_same_data(
    began: Path, data: dict[str, str], stores: dict[str, str], *, evaluated: bool
) -> None:
    """On resuming, check that the data are those of the run that wrote the checkpoint.

    Args:
        began: where that run stands, or a checkpoint of it.
        data: `recipe_data.fingerprints`.
        stores: `recipe_data.store_fingerprints`.
        evaluated: whether the evaluation data decide anything, as they do of the best checkpoint.

    Raises:
        CheckpointError: they changed, or are read or tokenised in another way.
    """
    before = _read(began / RUN, _parse_object)
    if before and before.get("data") != data:
        known = before.get("data") or {}
        changed = sorted(name for name in {*known, *data} if known.get(name) != data.get(name))
        raise CheckpointError(
            f"the training data changed since this run began: {', '.join(changed)}",
            where=began,
            mend="restore the files, or start a new run",
        )
    known = before.get("stores", {})
    for name, fingerprint in stores.items():
        decides = evaluated or name.startswith("train ")
        if decides and known.get(name, fingerprint) != fingerprint:
            raise CheckpointError(
                f"the rows of {name} are not what they were when this run began: the file, a "
                "plug-in, the tokenizer or the version of assay is another",
                where=began,
                mend="restore it, or start a new run",
            )


def describe_run(
    run: Path,
    recipe: Recipe,
    data: dict[str, str],
    stores: dict[str, str],
    counts: dict[str, Any],
    *,
    began: Path | None,
) -> dict[str, Any]:
    """Write `run.json`, and return it; on resuming, warn where the last bits may differ.

    Args:
        run: the run directory.
        recipe: what it does.
        data: fingerprints of the training data.
        stores: fingerprints of all stores.
        counts: what was kept and dropped, and the engine.
        began: on resuming, the `origin` of the checkpoint.

    Raises:
        OutputError: no space, no permission.
    """
    described = {
        "assay_version": assay.__version__,
        "versions": {
            name: metadata.version(name)
            for name in ("torch", "transformers", "peft", "numpy", "tokenizers", "safetensors")
        },
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "processor_vendor": processor_vendor(),
        "num_threads": torch.get_num_threads(),
        "seed": recipe.train.seed,
        "data": data,
        "stores": stores,
        **counts,
    }
    before = _read(began / RUN, _parse_object) if began is not None else {}
    if before:
        now = {key: described[key] for key in _DECIDES_BITS if key in before}
        _warn_about_bits(before, now, recipe)
    with output_errors(run):
        write_text(run / RUN, json.dumps(described, ensure_ascii=False, indent=2) + "\n")
    return described


def flat_settings(recipe: Recipe) -> dict[str, Any]:
    """Every field of a recipe by its dotted name, as trackers take them."""
    values = recipe.model_dump(mode="json")
    found = {".".join(key): _at(values, key) for key in _leaves(values)}
    plain = (str, int, float, bool)
    return {
        key: value if value is None or isinstance(value, plain) else json.dumps(value)
        for key, value in found.items()
    }


def _read(path: Path, parse: Callable[[str], Any]) -> Any:
    """What a run wrote; empty where it wrote nothing.

    Raises:
        CheckpointError: it is not what was written.
    """
    if not path.exists():
        return {}
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        raise CheckpointError(
            f"cannot be read ({first_line(error)})", where=path, mend="start a new run"
        ) from None


def _parse_object(text: str) -> dict[str, Any]:
    return dict(json.loads(text))


def _warn_about_bits(before: dict[str, Any], now: dict[str, Any], recipe: Recipe) -> None:
    if recipe.lora is not None and recipe.lora.dropout > 0:
        effect = "adapters draw other dropout, and train differently than in an unbroken run"
    else:
        effect = "the last bits of the weights may differ from an unbroken run"
    for key in now:
        if before.get(key) != now[key]:
            was = before.get(key)
            warn(f"resuming with {key} {now[key]}, the run began with {was}: {effect}")


def _is_run(path: Path) -> bool:
    return any((path / name).exists() for name in (RECIPE, RUN, f".{RECIPE}.partial"))


def _clear(run: Path) -> None:
    """Delete what is in a run; what marks it as a run goes last, so that a kill can be mended."""
    if not run.exists():
        return
    for entry in sorted(run.iterdir(), key=lambda path: path.name in (RECIPE, RUN)):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _with_new_fields(written: Any) -> Any:
    """A recipe as this version would write it: fields that are newer than the run are added."""
    try:
        return Recipe.model_validate(written).model_dump(mode="json")
    except ValidationError:  # It says something that is no longer known, which will be named.
        return written


def _leaves(tree: Any, at: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if isinstance(tree, dict):
        return [leaf for key, inner in tree.items() for leaf in _leaves(inner, (*at, key))]
    return [at]


def _at(tree: Any, key: tuple[str, ...]) -> Any:
    for part in key:
        if not isinstance(tree, dict):
            return None
        tree = tree.get(part)
    return tree
