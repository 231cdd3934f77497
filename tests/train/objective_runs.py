"""Runs of every loss: their settings, rows that have all they need, and what they wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tiny_runs import recipe, write_lines

from assay.config import LossConfig, Recipe
from assay.model.loading import load_reward_model

LOSSES: dict[str, dict[str, Any]] = {
    "margin, smoothing, centring": {
        "margin_scale": 0.5,
        "label_smoothing": 0.1,
        "center_coefficient": 0.01,
    },
    "rao_kupper": {"ties": "rao_kupper", "tie_probability": 0.2},
    "davidson": {"ties": "davidson", "tie_probability": 0.2, "weight_by": "prompt"},
    "plackett_luce": {"kind": "plackett_luce"},
    "plackett_luce, orders": {"kind": "plackett_luce", "ranking_ties": "orders"},
    "token_level": {"kind": "token_level"},
    "regression": {"kind": "regression", "attributes": {"good": 2.0, "long": -0.5}},
    "ensemble": {"ensemble": 4},
}
ADAPTERS = {"r": 4, "alpha": 8, "target_modules": "all-linear"}
WITH_ADAPTERS = ("ensemble", "token_level")
WITH_HEADS = ("regression", "ensemble")


def groups_of(prompts: int, prefix: str = "") -> list[dict[str, Any]]:
    """Rows in Assay's own format: three answers, rated, ranked, compared; every third a tie."""
    found = []
    for number in range(prompts):
        words = ("good", "plain", "bad")
        answers = [
            f"{word} answer {number} {'so ' * ((3 * number + place) % 5)}".strip()
            for place, word in enumerate(words)
        ]
        tied = number % 3 == 0
        outcomes = [(0, 1, "tie" if tied else "a"), (0, 2, "a"), (1, 2, "a")]
        found.append(
            {
                "assay_group": 1,
                "prompt": [{"role": "user", "content": f"{prefix}question {number}?"}],
                "responses": [
                    {
                        "messages": [{"role": "assistant", "content": answer}],
                        "ratings": {"good": float(4 - 2 * place), "long": len(answer) / 10},
                    }
                    for place, answer in enumerate(answers)
                ],
                "comparisons": [
                    {"a": a, "b": b, "outcome": outcome, "margin": float(b - a)}
                    for a, b, outcome in outcomes
                ],
                "rankings": [[[0, 1], [2]] if tied else [[0], [1], [2]]],
            }
        )
    return found


MakeRecipe = Callable[..., Recipe]


def recipes_in(folder: Path, base: Path) -> MakeRecipe:
    """Recipes over the same files for any loss and output directory."""
    rows = write_lines(folder / "train.jsonl", list(groups_of(6)))
    held = write_lines(folder / "held.jsonl", list(groups_of(2, "held ")))

    def build(output: Path, loss: dict[str, Any], **changes: object) -> Recipe:
        built = recipe(base, rows, output, evals=[str(held)], eval_steps=2, **changes)
        return built.model_copy(update={"loss": LossConfig.model_validate(loss)})

    return build


def rewards(place: Path) -> list[float]:
    """Of three answers that training has not seen."""
    model = load_reward_model(str(place), engine="tree")
    return model.score("another question?", ["good answer", "a bad answer so so", ""])
