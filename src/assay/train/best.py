"""Which checkpoint is the best so far, and whether it is time to stop looking for a better one."""

from __future__ import annotations

import difflib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.config import Recipe
from assay.errors import ConfigError
from assay.evaluate.metrics import METRICS
from assay.model.manifest import altered
from assay.notices import warn
from assay.train.checkpoint import Progress
from assay.train.recipe_data import evaluation_names

DEFAULT = "loss"


@dataclass(frozen=True, slots=True)
class Watch:
    """The metric that is watched, of which evaluation set, and for how long it may get no better.

    What has been seen stands in `Progress`, hence in every checkpoint.
    """

    name: str
    metric: str
    patience: int | None

    @classmethod
    def of(cls, recipe: Recipe) -> Watch | None:
        """What a recipe watches; None where it does not look for the best checkpoint.

        Raises:
            ConfigError: there is no such evaluation set or metric, or it is not said which set.
        """
        config, names = recipe.train, evaluation_names(recipe)
        if not config.looks_for_best:
            return None
        wanted = config.metric_for_best_model or DEFAULT
        name, slash, metric = wanted.rpartition("/")
        known = [f"{name}/{metric}" for name in names for metric in METRICS]
        if metric not in METRICS or (slash and name not in names):
            near = difflib.get_close_matches(wanted, known, n=1)
            raise ConfigError(
                f"'{wanted}' is no metric of an evaluation set",
                where="train.metric_for_best_model",
                mend=f"did you mean '{near[0]}'?" if near else f"one of {', '.join(known)}",
            )
        if not slash and len(names) > 1:
            raise ConfigError(
                f"{len(names)} sets are evaluated, and it is not said which tells the best",
                where="train.metric_for_best_model",
                mend=f"write one of {', '.join(f'{each}/{metric}' for each in names)}",
            )
        return cls(name if slash else names[0], metric, config.early_stopping_patience)

    @property
    def tag(self) -> str:
        """The metric as recipes write it."""
        return f"{self.name}/{self.metric}"

    def look(self, metrics: Mapping[str, Mapping[str, Any]], progress: Progress) -> bool:
        """Note the metrics of each set after a step; returns whether they are the best so far.

        An equal value is no better: the earlier checkpoint stays the best.
        """
        value = float(metrics[self.name][self.metric])
        sign = METRICS[self.metric]
        if progress.best_value is None or sign * value > sign * progress.best_value:
            progress.best_value, progress.best_step, progress.num_bad = value, progress.step, 0
            return True
        progress.num_bad += 1
        return False

    def gives_up(self, progress: Progress) -> bool:
        """Whether patience is at its end."""
        return self.patience is not None and progress.num_bad >= self.patience

    def describe(self, progress: Progress) -> str:
        """The best so far, for people."""
        return f"best {self.tag} {progress.best_value:.4f} after step {progress.best_step}"


def best_checkpoint(run: Path, progress: Progress) -> Path:
    """Where the best checkpoint of a run stands."""
    return run / "checkpoints" / f"step-{progress.best_step}"


def bring_best(run: Path, resumed: Path, progress: Progress) -> bool:
    """On resuming, see that the best checkpoint is in the run; from elsewhere it is brought along.

    Args:
        run: the run directory.
        resumed: the checkpoint that the run goes on from.
        progress: as that checkpoint has it.

    Returns:
        whether it is there; where it is not, the search should begin anew.
    """
    if progress.best_value is None:
        return True
    best = best_checkpoint(run, progress)
    itself = [resumed] if progress.step == progress.best_step else []
    for place in (best, resumed.resolve().with_name(best.name), *itself):
        if not place.is_dir() or altered(place) is not None:
            continue
        if place.resolve() != best.resolve():
            partial = best.with_name(f".{best.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(place, partial)
            shutil.rmtree(best, ignore_errors=True)
            partial.rename(best)
        return True
    warn(f"{best} is not there or damaged: the best checkpoint is looked for anew from here")
    return False
