"""What a recipe leaves open, settled once before a run: the dtype that is faster here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from assay.config import Recipe
from assay.model.loading import resolve_device, resolve_dtype
from assay.train.run import RECIPE, origin
from assay.train.strategy.team import Team, device_of


def settle_dtype(recipe: Recipe, checkpoint: Path | None, *, resume: bool, team: Team) -> Recipe:
    """The recipe with a dtype in place of `auto`: on resuming, that of the run.

    Args:
        recipe: as it was given.
        checkpoint: what is resumed from.
        resume: whether the run goes on, from a checkpoint or from its beginning.
        team: all processes take the choice of the first.
    """
    if recipe.model.dtype != "auto":
        return recipe
    places = [Path(recipe.output_dir)] if resume else []
    if checkpoint is not None:
        places.insert(0, origin(checkpoint))
    known = [dtype for place in places if (dtype := _dtype_of(place)) is not None]
    if known:
        dtype = known[0]
    else:
        chosen = None
        if team.is_first:
            chosen = resolve_dtype("auto", resolve_device(device_of(recipe.train.device, team)))
        dtype = str(team.gather(chosen)[0])
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"dtype": dtype})})


def _dtype_of(run: Path) -> str | None:
    """The dtype in a run's resolved recipe; None where there is none to be read."""
    try:
        read: Any = yaml.safe_load((run / RECIPE).read_text(encoding="utf-8"))
        dtype = read["model"]["dtype"]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return None
    return dtype if dtype in ("float32", "bfloat16") else None
