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

from assay.model.rounding import shortest
from assay.strict import Strict

Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]


class NameTwice(ValueError):
    """Two parts have one name; `place` are the keys on the way to the second in a file."""

    def __init__(self, name: str, place: tuple[str, ...]) -> None:
        self.place = place
        super().__init__(f"two parts are called '{name}'")


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
        places: list[tuple[str, tuple[str, ...]]] = [
            *((part.name, ("models", str(at), "name")) for at, part in enumerate(self.models)),
            *((rule.name, ("rules", str(at), "name")) for at, rule in enumerate(self.rules)),
        ]
        if self.length is not None:
            places.append((LENGTH, ("length",)))
        seen: set[str] = set()
        for name, place in places:
            if name in seen:
                raise NameTwice(name, place)
            seen.add(name)
        return self


LENGTH = "length"
"""What the length penalty is called among the components."""


@dataclass(frozen=True, slots=True)
class Combined:
    """A composite reward and what it is made of.

    `components` holds, for every part, the raw value of a model or head, without its weight; what
    length and a rule with `add` have added; and of a rule with `set` its number where it applies,
    None where it does not.
    """

    reward: float
    components: dict[str, float | None]


def combine(spec: CompositeReward, values: Mapping[str, float], text: str) -> Combined:
    """The reward of a response; all numbers as float32, as the rewards of models are.

    Args:
        spec: the parts.
        values: of each model part its raw value, by name.
        text: the response, as it was written.
    """
    components: dict[str, float | None] = {part.name: values[part.name] for part in spec.models}
    reward = sum(part.weight * values[part.name] for part in spec.models)
    if spec.length is not None:
        taken = spec.length.of(text)
        components[LENGTH] = 0.0 - taken
        reward -= taken
    fixed: float | None = None
    for rule in spec.rules:
        applies = rule.applies(text)
        if rule.add is not None:
            added = rule.add if applies else 0.0
            components[rule.name] = added
            reward += added
        else:
            components[rule.name] = rule.set if applies else None
            fixed = components[rule.name] if fixed is None else fixed
    rounded = {name: None if one is None else shortest(one) for name, one in components.items()}
    return Combined(shortest(reward if fixed is None else fixed), rounded)
