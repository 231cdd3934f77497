"""Which comparisons a reward model contradicts, and what becomes of them: pure functions.

The posterior of a label is what Bradley-Terry says of it: the probability, by the rewards, that the
answer that was called better is better, sigmoid(margin / temperature).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from assay.data.records import Comparison, Group
from assay.errors import ConfigError
from assay.score.transform import probability

Verdict = Literal["kept", "flipped", "dropped"]

TAG, FLIPPED = "relabelled", "flipped"
"""What a comparison is tagged with whose label was turned round."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Below which posterior a label is not taken at its word.

    Attributes:
        drop_below: the comparison is dropped.
        flip_below: the other answer is called better; at most 0.5, for above that the rewards
            support the label.
        temperature: what margins are divided by.

    Raises:
        ConfigError: a threshold does nothing, or goes against the rewards.
    """

    drop_below: float | None = None
    flip_below: float | None = None
    temperature: float = 1.0

    def __post_init__(self) -> None:
        drop, flip = self.drop_below, self.flip_below
        if drop is None and flip is None:
            raise ConfigError(
                "neither a threshold to drop at nor one to flip at",
                mend="give --drop-below, --flip-below or both",
            )
        for flag, value in (("--drop-below", drop), ("--flip-below", flip)):
            if value is not None and not 0 < value <= 1:
                raise ConfigError(
                    f"{value:g} is no posterior that something is below",
                    where=flag,
                    mend="give more than 0 and at most 1",
                )
        if not self.temperature > 0:
            raise ConfigError(
                f"{self.temperature:g} is not above 0", where="--temperature", mend="give 1, say"
            )
        if flip is not None and flip > 0.5:
            raise ConfigError(
                f"{flip:g} would flip labels that the rewards support",
                where="--flip-below",
                mend="give at most 0.5",
            )
        if drop is not None and flip is not None and drop <= flip:
            raise ConfigError(
                f"{drop:g} drops nothing beyond what --flip-below {flip:g} flips",
                where="--drop-below",
                mend="give more than --flip-below, or leave it out",
            )

    def verdict(self, posterior: float) -> Verdict:
        """What becomes of a label with this posterior."""
        if self.flip_below is not None and posterior < self.flip_below:
            return "flipped"
        if self.drop_below is not None and posterior < self.drop_below:
            return "dropped"
        return "kept"

    def reason(self, verdict: Verdict) -> str:
        """Which threshold said so."""
        flipped = verdict == "flipped"
        name, value = ("flip", self.flip_below) if flipped else ("drop", self.drop_below)
        return f"posterior below --{name}-below {value:g}"


@dataclass(frozen=True, slots=True)
class Judged:
    """A comparison with a winner, as its row holds it, and what the rewards say of it.

    Attributes:
        group: the row.
        comparison: as it was labelled.
        margin: reward of the answer that was called better less that of the other.
        posterior: of the label.
        verdict: what becomes of it.
    """

    group: Group
    comparison: Comparison
    margin: float
    posterior: float
    verdict: Verdict

    @property
    def longer(self) -> int:
        """Characters by which the answer that was called better is longer."""
        winner, loser = self.comparison.winner_loser or (0, 0)
        return _length(self.group, winner) - _length(self.group, loser)


def judge(group: Group, rewards: Sequence[float], thresholds: Thresholds) -> list[Judged]:
    """The comparisons of a row that have a winner, in order.

    Args:
        group: the row.
        rewards: of its answers.
        thresholds: see there.
    """
    judged = []
    for comparison in group.comparisons:
        pair = comparison.winner_loser
        if pair is None:
            continue
        margin = rewards[pair[0]] - rewards[pair[1]]
        posterior = probability(margin / thresholds.temperature)
        verdict = thresholds.verdict(posterior)
        judged.append(Judged(group, comparison, margin, posterior, verdict))
    return judged


def cleaned(group: Group, judged: Sequence[Judged]) -> Group | None:
    """A row as it is after the verdicts on it; None where no comparison is left.

    Ties stay as they are. The stated strength of a flipped preference goes, and where anything has
    changed the row's ranking goes, too: it says the old order.
    """
    if all(one.verdict == "kept" for one in judged):
        return group
    verdicts = iter(judged)
    left = []
    for comparison in group.comparisons:
        if comparison.winner_loser is None:
            left.append(comparison)
            continue
        verdict = next(verdicts).verdict
        if verdict == "kept":
            left.append(comparison)
        elif verdict == "flipped":
            left.append(flipped(comparison))
    return replace(group, comparisons=tuple(left), rankings=()) if left else None


def flipped(comparison: Comparison) -> Comparison:
    """The comparison with the other answer the better one, tagged as such."""
    outcome: Literal["a", "b"] = "b" if comparison.outcome == "a" else "a"
    tags = comparison.tags | {TAG: FLIPPED}
    return replace(comparison, outcome=outcome, margin=None, tags=tags)


def _length(group: Group, response: int) -> int:
    return sum(len(message.content) for message in group.responses[response].messages)
