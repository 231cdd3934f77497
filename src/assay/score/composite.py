"""Composite rewards: models and heads by weight, a length penalty, and rules, as pure functions.

    reward = sum(weight * model) - length penalty + sum(add of the rules that hold)

A rule with `set` that holds puts its number in the place of all that; of several the first one
counts. Nothing here opens a model: values come in, sums and their parts go out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import Field, model_validator

from assay.strict import Strict

Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]


class ModelPart(Strict):
    """A model's reward, or the value of one of its heads, times a weight."""

    name: Name
    model: str | None = None
    """What `--model` takes; without it, that of `--model` itself."""
    head: str | None = None
    """A head of attributes; without it, the model's reward."""
    weight: float = 1.0


class LengthPenalty(Strict):
    """`min(at_most, per_character * max(0, characters - free))`, taken from the sum."""

    per_character: float = Field(gt=0)
    free: int = Field(0, ge=0)
    at_most: float | None = Field(None, gt=0)

    def of(self, text: str) -> float:
        """The penalty of a response, 0 or more."""
        penalty = self.per_character * max(0, len(text) - self.free)
        return penalty if self.at_most is None else min(penalty, self.at_most)


class Condition(Strict):
    """Something that holds for a response, or does not; lengths are in characters."""

    contains: str | None = Field(None, min_length=1)
    regex: str | None = None
    longer_than: int | None = Field(None, ge=0)
    shorter_than: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError("give one of contains, regex, longer_than, shorter_than")
        if self.regex is not None:
            try:
                re.compile(self.regex)
            except re.error as error:
                raise ValueError(f"'{self.regex}' is no regular expression ({error})") from None
        return self

    def holds(self, text: str) -> bool:
        """Whether it does for a response."""
        if self.contains is not None:
            return self.contains in text
        if self.regex is not None:
            return re.search(self.regex, text) is not None
        if self.longer_than is not None:
            return len(text) > self.longer_than
        return self.shorter_than is not None and len(text) < self.shorter_than


class Rule(Strict):
    """What a response that meets a condition (`when`), or does not (`unless`), gets."""

    name: Name
    when: Condition | None = None
    unless: Condition | None = None
    add: float | None = None
    set: float | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if (self.when is None) == (self.unless is None):
            raise ValueError("give one of when, unless")
        if (self.add is None) == (self.set is None):
            raise ValueError("give one of add, set")
        return self

    def applies(self, text: str) -> bool:
        """Whether it counts for a response."""
        if self.when is not None:
            return self.when.holds(text)
        return self.unless is not None and not self.unless.holds(text)


class CompositeReward(Strict):
    """A reward file, read and checked."""

    models: list[ModelPart] = Field(min_length=1)
    length: LengthPenalty | None = None
    rules: tuple[Rule, ...] = ()

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Self:
        names = [part.name for part in self.models] + [rule.name for rule in self.rules]
        if self.length is not None:
            names.append(LENGTH)
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two parts are called '{twice}'")
        return self


LENGTH = "length"
"""What the length penalty is called among the components."""


@dataclass(frozen=True, slots=True)
class Combined:
    """A composite reward and what it is made of.

    `components` holds the raw value of each model or head, without its weight; what length and
    each rule that applies have added; and for a rule with `set` the number that it has set.
    """

    reward: float
    components: dict[str, float]


def combine(spec: CompositeReward, values: Mapping[str, float], text: str) -> Combined:
    """The reward of a response.

    Args:
        spec: the parts.
        values: of each model part its raw value, by name.
        text: the response, as it was written.
    """
    components = {part.name: values[part.name] for part in spec.models}
    reward = sum(part.weight * values[part.name] for part in spec.models)
    if spec.length is not None:
        components[LENGTH] = 0.0 - spec.length.of(text)
        reward += components[LENGTH]
    fixed: float | None = None
    for rule in spec.rules:
        applies = rule.applies(text)
        if rule.add is not None:
            components[rule.name] = rule.add if applies else 0.0
            reward += components[rule.name]
        elif applies and rule.set is not None:
            components[rule.name] = rule.set
            fixed = rule.set if fixed is None else fixed
    return Combined(reward if fixed is None else fixed, components)
