"""What a recipe lacks: fields, files, packages, a place for its output."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from copy import deepcopy
from importlib.util import find_spec
from typing import Any

from pydantic import ValidationError

from assay.config import Recipe, SourceConfig
from assay.data.hub import is_cached, is_dataset
from assay.data.plugins import load_plugins
from assay.data.sources import DataSource, locate, locate_all
from assay.doctor.section import Section, gib
from assay.errors import AssayError, ConfigError, DataError, first_line
from assay.notices import counted
from assay.recipe import load_recipe
from assay.train.recipe_data import data_source, evaluation_names
from assay.train.trackers import KINDS
from assay.yaml_lines import read_mapping

_ROUNDS = 3
"""Times that wrong fields are left out, to look at the others: what one hid may be wrong, too."""


def about_recipe(path: str, section: Section) -> Recipe | None:
    """Say all that a recipe lacks besides its model; the recipe, as far as it can be read."""
    recipe = _read(path, section)
    if recipe is None:
        section.notes.append("files, packages and model are looked at when its fields are right")
        return None
    with section.asked():
        load_plugins(recipe.plugins)
    _look_at_data(recipe, section)
    _look_at_packages(recipe, section)
    with section.asked():
        _look_at_output(recipe, section)
    return recipe


def _read(path: str, section: Section) -> Recipe | None:
    """The recipe; where fields are wrong, the recipe without them, if it is one."""
    try:
        return load_recipe(path)
    except ConfigError as error:
        section.wrong(error)
    values: Any = None
    with contextlib.suppress(ConfigError):
        values, _ = read_mapping(path, "recipe", "")
    for _ in range(_ROUNDS if values else 0):
        try:
            return Recipe.model_validate(values)
        except ValidationError as error:
            values = _without(values, error)
    return None


def _without(values: dict[str, Any], error: ValidationError) -> dict[str, Any]:
    """Some values without those that are wrong; what is missing stays missing."""
    kept = deepcopy(values)
    for item in error.errors():
        at: Any = kept
        *way, last = item["loc"] or ("",)
        for part in way:
            at = at.get(part) if isinstance(at, dict) else None
        if isinstance(at, dict):
            at.pop(last, None)
    return kept


def _look_at_data(recipe: Recipe, section: Section) -> None:
    with section.asked():
        evaluation_names(recipe)
    sides: dict[str, list[DataSource]] = {"train": [], "eval": []}
    for side, configs in (("train", recipe.data.train), ("eval", recipe.data.eval)):
        for config in configs:
            with section.asked():
                if _is_here(config, section):
                    sides[side].append(data_source(config, recipe.model.template))
    with section.asked():
        locate_all(*sides.values())
    for side, sources in sides.items():
        for source in sources:
            with contextlib.suppress(DataError):  # Which has been said.
                _say_source(side, source, section)
    section.notes.append("rows are not read here: assay audit FILE does")


def _is_here(config: SourceConfig, section: Section) -> bool:
    """Whether a source can be looked at; a data set that is not in the cache cannot."""
    if not is_dataset(config.path) or is_cached(config.path, config.revision):
        return True
    section.notes.append(
        f"{config.path} is fetched when training begins, and can then be looked at: assay pull "
        f"--dataset {config.path}{f' --revision {config.revision}' if config.revision else ''}"
    )
    return False


def _say_source(side: str, source: DataSource, section: Section) -> None:
    parts = locate(source)
    size = sum(part.path.stat().st_size for part in parts if part.path is not None)
    said = f"{counted(len(parts), 'file')}, {gib(size)}"
    section.say(f"{side} {source.path}", {"files": len(parts), "bytes": size}, said)


def _look_at_packages(recipe: Recipe, section: Section) -> None:
    for package, extra, why in _packages(recipe):
        if find_spec(package) is None:
            section.problems.append(
                f"{why} needs {package}, which is not installed; pip install 'assay[{extra}]'"
            )
            continue
        try:
            with contextlib.redirect_stdout(sys.stderr):
                importlib.import_module(package)
        except Exception as error:  # Anything may come out of a broken installation.
            section.problems.append(
                f"{why} needs {package}, which cannot be imported ({first_line(error)}); "
                f"pip install --force-reinstall 'assay[{extra}]'"
            )
        else:
            section.say(why, f"{package} is there")


def _packages(recipe: Recipe) -> Iterator[tuple[str, str, str]]:
    """What a recipe needs that not everybody has: package, extra, and the field that asks."""
    for name in recipe.train.report_to:
        yield KINDS[name].package, name, f"train.report_to {name}"
    if recipe.train.strategy.startswith("deepspeed"):
        yield "deepspeed", "deepspeed", f"train.strategy {recipe.train.strategy}"
    if recipe.lora is not None and recipe.lora.quantize != "none":
        yield "bitsandbytes", "qlora", f"lora.quantize {recipe.lora.quantize}"
    named = [recipe.model.path, *(s.path for s in [*recipe.data.train, *recipe.data.eval])]
    for path in named:
        if path.startswith("modelscope:"):
            yield "modelscope", "modelscope", path


def _look_at_output(recipe: Recipe, section: Section) -> None:
    from assay.model.loading import resolve_device
    from assay.model.quantised import quantisation
    from assay.train.run import check_run_directory

    with section.asked():
        check_run_directory(recipe, resume=False, overwrite=False)
        section.say("output_dir", recipe.output_dir, f"{recipe.output_dir}, which is free")
    with section.asked():
        device = resolve_device(recipe.train.device)
        try:
            quantisation(recipe.lora, device)
        except AssayError as error:
            if "not installed" not in error.what:  # Which has been said.
                raise
    if recipe.train.strategy not in ("auto", "single"):
        section.notes.append(
            f"train.strategy {recipe.train.strategy} is for several processes: torchrun "
            "--nproc-per-node N -m assay train ..."
        )
