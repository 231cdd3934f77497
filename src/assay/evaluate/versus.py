"""Two policies' answers to the same prompts: reading, matching, and the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Literal

import numpy as np

from assay.data.audit.texts import excerpt
from assay.data.formats import VerbatimText
from assay.data.loading import SkippedRow, bad_rows_error
from assay.data.prompts import asked
from assay.data.records import Group
from assay.data.rows import BadRow
from assay.data.scorable import SourceReader
from assay.data.sources import DataSource
from assay.errors import DataError
from assay.evaluate.intervals import mean_interval
from assay.evaluate.length_control import RIDGE, length_controlled
from assay.evaluate.metrics import clustered_accuracy


@dataclass
class Policy:
    """One policy's answers, by prompt, in the order of first appearance."""

    source: DataSource
    groups: dict[str, Group] = field(default_factory=dict)
    bad_rows: list[BadRow] = field(default_factory=list)
    left_out: list[SkippedRow] = field(default_factory=list)
    num_rows: int = 0
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Matched:
    """A prompt that both policies answered: one group, the first policy's answers first."""

    key: str
    group: Group
    num_a: int


@dataclass(frozen=True, slots=True)
class Duel:
    """A scored prompt: rewards and tokens of both policies' answers."""

    matched: Matched
    rewards_a: tuple[float, ...]
    rewards_b: tuple[float, ...]
    tokens_a: tuple[int, ...]
    tokens_b: tuple[int, ...]

    @property
    def win(self) -> float:
        """The share of pairs that the first policy's answer wins, a tie counting one half."""
        difference = np.subtract.outer(self.rewards_a, self.rewards_b)
        return float(((np.sign(difference) + 1) / 2).mean())

    @property
    def difference(self) -> float:
        """The first policy's mean reward minus the second's."""
        return float(np.mean(self.rewards_a) - np.mean(self.rewards_b))

    @property
    def longer(self) -> float:
        """The first policy's mean length minus the second's, in tokens."""
        return float(np.mean(self.tokens_a) - np.mean(self.tokens_b))


def read_policy(
    source: DataSource, *, on_bad_row: Literal["error", "skip"] = "error", limit: int | None = None
) -> Policy:
    """All answers of a file, rows of one prompt together.

    Raises:
        DataError: bad rows and `on_bad_row` is `error`, texts without a prompt, or no row.
    """
    reader = SourceReader(source)
    policy = Policy(source)
    for row in islice(reader, limit):
        policy.num_rows += 1
        if isinstance(row, BadRow):
            policy.bad_rows.append(row)
            continue
        place, _, group = row
        if isinstance(group, VerbatimText):
            raise DataError(
                "is a text without a prompt, which cannot be matched",
                where=place,
                mend="write rows with prompt and response(s), or messages",
            )
        if group.left_out or not group.responses:
            policy.left_out.append(SkippedRow(place, group.left_out or "no answer"))
            continue
        before = policy.groups.get(group.key)
        if before is not None:
            group = replace(before, responses=(*before.responses, *group.responses))
        policy.groups[group.key] = group
    policy.fingerprint = reader.fingerprint
    if policy.bad_rows and on_bad_row == "error":
        raise bad_rows_error(policy.bad_rows)
    if not policy.groups:
        raise DataError("holds no answer", where=source.path, mend="give it rows")
    return policy


def match(a: Policy, b: Policy) -> list[Matched]:
    """The prompts that both answered, in the order of the first.

    Raises:
        DataError: there is none.
    """
    found = [
        Matched(
            key,
            Group(
                id=group.id,
                source=group.source,
                prompt=group.prompt,
                responses=(*group.responses, *b.groups[key].responses),
                tools=group.tools,
                template_kwargs=group.template_kwargs,
            ),
            len(group.responses),
        )
        for key, group in a.groups.items()
        if key in b.groups
    ]
    if not found:
        raise DataError(
            f"shares no prompt with {a.source.path}; the first prompts are "
            f"{_first(b)!r} and {_first(a)!r}",
            where=b.source.path,
            mend="both files must hold the same prompts, system messages and tools included",
        )
    return found


def unmatched(policy: Policy, other: Policy) -> list[dict[str, str]]:
    """The prompts that only one policy answered."""
    return [
        {"row": str(group.source), "prompt": excerpt(asked(group.prompt))}
        for key, group in policy.groups.items()
        if key not in other.groups
    ]


def duel_metrics(duels: Sequence[Duel]) -> dict[str, Any]:
    """Win rate, mean difference and length-controlled win rate of the first policy, by prompt.

    Each prompt counts once, however many answers it has. The interval of the win rate is that of
    an accuracy (Wilson's, with the effective number that the variance implies, and Student's t).
    """
    win_P = np.array([duel.win for duel in duels])
    difference_P = np.array([duel.difference for duel in duels])
    longer_P = np.array([duel.longer for duel in duels])
    prompt_P = np.arange(len(duels))
    rate, error, ends = clustered_accuracy(win_P, prompt_P)
    mean, mean_ends = mean_interval(difference_P, prompt_P)
    controlled = length_controlled(win_P, longer_P)
    return {
        "num_prompts": len(duels),
        "win_rate": rate,
        "win_rate_se": None if np.isnan(error) else error,
        "win_rate_ci95": list(ends),
        "wins": int((win_P > 0.5).sum()),
        "ties": int((win_P == 0.5).sum()),
        "losses": int((win_P < 0.5).sum()),
        "mean_difference": mean,
        "mean_difference_ci95": mean_ends,
        "length_controlled_win_rate": controlled.value,
        "length_controlled_ci95": controlled.interval and list(controlled.interval),
        "length_slope": controlled.slope,
        "length_note": controlled.note,
        "length_ridge": RIDGE,
        "reward_mean": {
            "a": _mean([duel.rewards_a for duel in duels]),
            "b": _mean([duel.rewards_b for duel in duels]),
        },
        "mean_longer": float(longer_P.mean()),
        "share_longer": float(((np.sign(longer_P) + 1) / 2).mean()),
    }


def _mean(rewards: Sequence[tuple[float, ...]]) -> float:
    """The mean over prompts of the mean over their answers."""
    return float(np.mean([np.mean(values) for values in rewards]))


def _first(policy: Policy) -> str:
    return excerpt(asked(next(iter(policy.groups.values())).prompt), 40)
