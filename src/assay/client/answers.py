"""What the server says, looked at before anybody learns from it, and put together in order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from assay.client.asking import Question
from assay.client.failures import RewardError

_MORE = ("tokens", "truncated", "uncertainty", "components", "foreign_special_tokens")


@dataclass(frozen=True, slots=True)
class Rewards:
    """Of each item of a call, in order; of one that failed, None, and its error in `errors`.

    Attributes:
        rewards: raw rewards, without bounds.
        tokens: what the model read of each, the prompt included.
        truncated: whether the prompt's beginning was left out.
        uncertainty: of an ensemble, the standard deviation over its members; else None.
        components: of heads of attributes, the rating of each by name; else None.
        foreign_special_tokens: special tokens of other models that each text holds; None where
            no text holds any.
        warnings: of the server, each once.
        errors: by the index of the item.
        model: the served name that answered; empty where nothing was asked.
    """

    rewards: list[float | None]
    tokens: list[int | None]
    truncated: list[bool | None]
    uncertainty: list[float | None] | None = None
    components: list[dict[str, float] | None] | None = None
    foreign_special_tokens: list[list[str] | None] | None = None
    warnings: list[str] = field(default_factory=list)
    errors: dict[int, RewardError] = field(default_factory=dict)
    model: str = ""

    def __len__(self) -> int:
        return len(self.rewards)

    def complete(self) -> list[float]:
        """The rewards, all of them.

        Raises:
            RewardError: one failed; the first.
        """
        for index in sorted(self.errors):
            raise self.errors[index]
        return [reward for reward in self.rewards if reward is not None]


class Collected:
    """What comes in for a call, in whatever order.

    Args:
        count: items of the call.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._rewards: list[float | None] = [None] * count
        self._more: dict[str, list[Any]] = {}
        self._warnings: dict[str, None] = {}
        self._model = ""
        self.errors: dict[int, RewardError] = {}

    def take(self, question: Question, answer: object) -> list[RewardError]:
        """Take an answer; gives the failures of single items.

        Raises:
            RewardError: it is no answer to this question.
        """
        if not isinstance(answer, dict):
            raise RewardError("the answer is no object", mend="is this a server of Assay?")
        count = len(question.items)
        rewards = _listed(answer, "rewards", count)
        more = {name: _listed(answer, name, count) for name in _MORE if answer.get(name)}
        failed = []
        for item, (place, reward) in enumerate(zip(question.places, rewards, strict=True)):
            if _is_number(reward):
                self._rewards[place] = float(reward)
            else:
                failed.append(
                    question.failed(RewardError(f"the reward is {reward!r}, no number"), item)
                )
            for name, values in more.items():
                self._more.setdefault(name, [None] * self._count)[place] = values[item]
        self._warnings |= dict.fromkeys(map(str, answer.get("warnings") or ()))
        self._model = str(answer.get("model") or self._model)
        return failed

    def result(self) -> Rewards:
        """Everything."""
        empty: list[Any] = [None] * self._count
        found = self._more.get
        return Rewards(
            self._rewards,
            found("tokens", empty),
            found("truncated", list(empty)),
            found("uncertainty"),
            found("components"),
            found("foreign_special_tokens"),
            list(self._warnings),
            dict(sorted(self.errors.items())),
            self._model,
        )


def _listed(answer: dict[str, Any], name: str, count: int) -> Sequence[Any]:
    values = answer.get(name)
    if not isinstance(values, list) or len(values) != count:
        got = f"{len(values)}" if isinstance(values, list) else "no list of"
        raise RewardError(f"the answer has {got} {name} for {count} items")
    return values


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
