"""Losses by their name in a recipe."""

from __future__ import annotations

from assay.config import LossConfig
from assay.losses.comparing import Comparisons, TokenComparisons
from assay.losses.objective import Objective
from assay.losses.ranking import Rankings
from assay.losses.rating import Attributes

LOSSES: dict[str, type[Objective]] = {
    "bradley_terry": Comparisons,
    "plackett_luce": Rankings,
    "token_level": TokenComparisons,
    "regression": Attributes,
}
"""Objectives by their name in a recipe."""


def objective_of(config: LossConfig, seed: int) -> Objective:
    """The objective that a recipe names."""
    return LOSSES[config.kind](config, seed)
