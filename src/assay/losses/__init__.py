"""Losses: pure functions of rewards and what is known of them. No model, no tokenizer."""

from assay.losses.bradley_terry import bradley_terry, centring
from assay.losses.objective import Objective
from assay.losses.pairs import Pairs, comparison_weights, pairs_of
from assay.losses.plackett_luce import Stages, plackett_luce
from assay.losses.registry import LOSSES, objective_of
from assay.losses.regression import Ratings, squared_error
from assay.losses.ties import davidson, rao_kupper
from assay.losses.token_level import first_positions, token_pairs

__all__ = [
    "LOSSES",
    "Objective",
    "Pairs",
    "Ratings",
    "Stages",
    "bradley_terry",
    "centring",
    "comparison_weights",
    "davidson",
    "first_positions",
    "objective_of",
    "pairs_of",
    "plackett_luce",
    "rao_kupper",
    "squared_error",
    "token_pairs",
]
