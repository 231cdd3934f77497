"""What a run has in memory, from its first step to its card."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch.optim.lr_scheduler import LRScheduler

from assay.config import Recipe
from assay.train.best import Watch
from assay.train.checkpoint import Progress
from assay.train.plan import Plan
from assay.train.prepare import PreparedData
from assay.train.recipe_data import RecipeData
from assay.train.strategy.single import Strategy


@dataclass
class RunState:
    """A run.

    Attributes:
        recipe: what it does.
        stores: its data, as prepared.
        data: what it takes of them.
        plan: which groups stand in which step.
        strategy: the engine that holds the weights.
        schedule: of the optimizer's rates.
        watch: what tells the best checkpoint, if anything does.
        progress: how far the run is.
        described: `run.json`; known to the first process.
    """

    recipe: Recipe
    stores: RecipeData
    data: PreparedData
    plan: Plan
    strategy: Strategy
    schedule: LRScheduler
    watch: Watch | None
    progress: Progress = field(default_factory=Progress)
    described: dict[str, Any] = field(default_factory=dict)

    @property
    def run(self) -> Path:
        """Its directory."""
        return Path(self.recipe.output_dir)

    @property
    def has_ended(self) -> bool:
        """Whether no step is left to be made."""
        gives_up = self.watch is not None and self.watch.gives_up(self.progress)
        return self.progress.step >= self.plan.num_steps or gives_up
