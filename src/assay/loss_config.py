"""The section `loss` of a recipe. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from assay.strict import Strict


def _as_weights(value: Any) -> Any:
    if isinstance(value, dict) and any(isinstance(weight, bool) for weight in value.values()):
        raise ValueError("weights should be numbers")
    return dict.fromkeys(value, 1.0) if isinstance(value, list) else value


class LossConfig(Strict):
    """What is minimised; docs/losses.md has the formulas."""

    kind: Literal["bradley_terry", "plackett_luce", "token_level", "regression"] = Field(
        "bradley_terry",
        description="bradley_terry: -log sigmoid(reward gap); plackett_luce: of whole rankings; "
        "token_level: bradley_terry at every token from the first difference on; regression: "
        "squared error of ratings",
    )
    weight_by: Literal["comparison", "prompt"] = Field(
        "comparison",
        description="each comparison (ranking, rating) counts 1, or 1 / number of those of its "
        "group (InstructGPT, section 3.5)",
    )
    margin_scale: float = Field(
        0.0, ge=0, description="a win's gap has to exceed this times its margin in the data"
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=0.5, description="probability that a label is wrong"
    )
    center_coefficient: float = Field(
        0.0, ge=0, description="adds this times the mean of (reward a + reward b)^2; 0.01 is usual"
    )
    ties: Literal["half", "rao_kupper", "davidson"] = Field(
        "half", description="a tie is half a win of either, or an outcome of its own in a model"
    )
    tie_probability: float | None = Field(
        None, gt=0, lt=1, description="of a tie between equal rewards, for rao_kupper and davidson"
    )
    ranking_ties: Literal["breslow", "orders"] = Field(
        "breslow",
        description="equal ranks in plackett_luce: one denominator for all, or the mean "
        "probability of all their orders (at most 4 of a rank)",
    )
    attributes: Annotated[dict[str, float], BeforeValidator(_as_weights)] = Field(
        {},
        description="ratings to learn, each with its weight in the reward: {helpfulness: 0.7, "
        "correctness: 0.3}, or a list for equal weights; a head for each",
    )
    ensemble: int = Field(
        1,
        ge=1,
        le=64,
        description="heads, each trained on a bootstrap sample of the comparisons; the reward is "
        "their mean, their spread an uncertainty",
    )

    @model_validator(mode="after")
    def _settings_fit_the_kind(self) -> LossConfig:
        fits = {
            "margin_scale": ("bradley_terry", "token_level"),
            "label_smoothing": ("bradley_terry", "token_level"),
            "center_coefficient": ("bradley_terry",),
            "ties": ("bradley_terry",),
            "ranking_ties": ("plackett_luce",),
            "attributes": ("regression",),
            "ensemble": ("bradley_terry",),
        }
        for name, kinds in fits.items():
            default = type(self).model_fields[name].default
            if self.kind not in kinds and getattr(self, name) != default:
                raise ValueError(
                    f"loss.{name} belongs to {' and '.join(kinds)}, and loss.kind is {self.kind}; "
                    f"leave it out"
                )
        return self

    @model_validator(mode="after")
    def _ties_have_their_number(self) -> LossConfig:
        if self.ties == "half":
            if self.tie_probability is not None:
                raise ValueError(
                    "loss.tie_probability belongs to loss.ties rao_kupper and davidson; "
                    "name one, or leave it out"
                )
            return self
        if self.tie_probability is None:
            raise ValueError(
                f"loss.ties {self.ties} needs loss.tie_probability, the share of ties among "
                "equally good responses"
            )
        if self.margin_scale or self.label_smoothing:
            raise ValueError(
                f"loss.ties {self.ties} has no margin and no label smoothing; leave them out, or "
                "set loss.ties: half"
            )
        return self

    @model_validator(mode="after")
    def _attributes_make_a_mean(self) -> LossConfig:
        if self.kind == "regression" and not self.attributes:
            raise ValueError(
                "loss.kind regression needs loss.attributes, the names of the ratings with their "
                "weights: {helpfulness: 1}"
            )
        if self.attributes and sum(self.attributes.values()) <= 0:
            raise ValueError(
                "the weights of loss.attributes should have a sum above 0; the reward is the mean "
                "with these weights"
            )
        return self
