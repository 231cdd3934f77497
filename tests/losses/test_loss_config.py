"""The recipe's section on the loss: what contradicts itself is refused with its names."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from assay.config import LossConfig
from assay.losses import LOSSES
from assay.recipe import recipe_fields


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kind": "listwise"}, "'plackett_luce'"),
        (
            {"kind": "plackett_luce", "margin_scale": 1},
            "loss.margin_scale belongs to bradley_terry",
        ),
        (
            {"kind": "plackett_luce", "ties": "davidson", "tie_probability": 0.1},
            "loss.ties belongs",
        ),
        ({"kind": "regression", "attributes": ["a"], "label_smoothing": 0.1}, "leave it out"),
        ({"kind": "token_level", "center_coefficient": 0.1}, "loss.kind is token_level"),
        ({"kind": "token_level", "ensemble": 2}, "loss.ensemble belongs to bradley_terry"),
        ({"attributes": {"a": 1}}, "loss.attributes belongs to regression"),
        ({"ranking_ties": "orders"}, "loss.ranking_ties belongs to plackett_luce"),
        ({"kind": "regression"}, "needs loss.attributes"),
        ({"kind": "regression", "attributes": {"a": 1, "b": -1}}, "a sum above 0"),
        ({"kind": "regression", "attributes": {"a": True}}, "weights should be numbers"),
        ({"ties": "davidson"}, "needs loss.tie_probability"),
        ({"tie_probability": 0.5}, "belongs to loss.ties rao_kupper and davidson"),
        ({"ties": "davidson", "tie_probability": 1.0}, "less than 1"),
        ({"ties": "rao_kupper", "tie_probability": 0.2, "margin_scale": 1}, "no margin"),
        ({"ties": "rao_kupper", "tie_probability": 0.2, "label_smoothing": 0.1}, "no margin"),
        ({"label_smoothing": 0.5}, "less than 0.5"),
        ({"margin_scale": -1}, "greater than or equal to 0"),
        ({"ensemble": 0}, "greater than or equal to 1"),
        ({"ensemble": True}, "should not be true or false"),
    ],
)
def test_contradictions_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        LossConfig.model_validate(settings)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"margin_scale": 1, "label_smoothing": 0.1, "center_coefficient": 0.01, "ensemble": 5},
        {"ties": "davidson", "tie_probability": 0.2, "center_coefficient": 0.1, "ensemble": 2},
        {"kind": "token_level", "margin_scale": 1, "label_smoothing": 0.1},
        {"kind": "plackett_luce", "ranking_ties": "orders", "weight_by": "prompt"},
        {"kind": "regression", "attributes": {"helpfulness": 0.7, "verbosity": -0.2, "x": 0}},
    ],
)
def test_what_goes_together_is_taken(settings: dict[str, Any]) -> None:
    LossConfig.model_validate(settings)


def test_a_list_of_attributes_has_equal_weights() -> None:
    found = LossConfig.model_validate({"kind": "regression", "attributes": ["a", "b"]})
    assert found.attributes == {"a": 1.0, "b": 1.0}


def test_every_kind_of_the_recipe_has_a_loss() -> None:
    (kinds,) = (field.type for field in recipe_fields() if field.path == "loss.kind")
    assert kinds.split("|") == list(LOSSES)
