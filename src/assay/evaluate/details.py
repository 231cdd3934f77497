"""Everything beyond accuracy that a set of scored groups says, as it stands in `results.json`."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.data.audit.signals import RULES, TOKENS, Signals, signals_of
from assay.data.audit.texts import script_of, words
from assay.data.encoding import EncodedData, EncodedGroup
from assay.data.prompts import asked, joined
from assay.data.records import Comparison
from assay.data.rendering import TokenIds
from assay.evaluate.agreement import Rated, rank_agreement
from assay.evaluate.best_of_n import best_of_n
from assay.evaluate.calibration import calibration
from assay.evaluate.intervals import Ints
from assay.evaluate.metrics import Floats
from assay.evaluate.shortcuts import shortcut_tables
from assay.evaluate.slices import by_name, by_quantile
from assay.evaluate.uncertainty import uncertainty_tables

_BADNESS = 0.75
"""Share of the comparisons with unequal ratings that the lower one wins, from which it is better.

Far from one half, so that a rating which says nothing of quality keeps the direction of its name.
"""


@dataclass(frozen=True, slots=True)
class Answers:
    """What was scored.

    Attributes:
        data: the encoded groups.
        rewards: of each group, of each of its sequences.
        members: of each group, the values [R, M] of an ensemble's members; None without one.
    """

    data: EncodedData
    rewards: Sequence[Sequence[float]]
    members: Sequence[Floats] | None = None


@dataclass
class _Columns:
    """A number or a word of each decided comparison, in order."""

    margin: list[float] = field(default_factory=list)
    prompt: list[int] = field(default_factory=list)
    prompt_tokens: list[int] = field(default_factory=list)
    response_tokens: list[float] = field(default_factory=list)
    language: list[str] = field(default_factory=list)
    spread: list[float] = field(default_factory=list)
    signs: dict[str, list[int]] = field(
        default_factory=lambda: {name: [] for name in (*(rule.name for rule in RULES), TOKENS[0])}
    )


def details_of(answers: Answers) -> dict[str, Any]:
    """Calibration, slices, shortcuts, and where the data allow it best-of-n and rank agreement.

    `best_of_n` and `rank_agreement` have an entry for each name of a rating and stand only where
    two responses to one prompt have it; `uncertainty` only of an ensemble.
    """
    columns = _Columns()
    numbers: dict[str, int] = {}
    ratings = _Ratings()
    for place, group in enumerate(answers.data.groups):
        reward_R = answers.rewards[place]
        prompt = numbers.setdefault(group.group.key, len(numbers))
        value_RM = None if answers.members is None else answers.members[place]
        _add(columns, group, prompt, reward_R, value_RM)
        ratings.add(group, prompt, reward_R)
    margin_C = np.array(columns.margin)
    prompt_C: Ints = np.array(columns.prompt, dtype=np.intp)
    signs: dict[str, NDArray[np.int8]] = {
        name: np.array(values, dtype=np.int8) for name, values in columns.signs.items()
    }
    found: dict[str, Any] = {
        "calibration": calibration(margin_C, prompt_C),
        "by_length": {
            "prompt": by_quantile(np.array(columns.prompt_tokens, float), margin_C, prompt_C),
            "response": by_quantile(np.array(columns.response_tokens), margin_C, prompt_C),
        },
        "by_language": by_name(columns.language, margin_C, prompt_C),
        "shortcuts": shortcut_tables(signs, margin_C, prompt_C),
    }
    found |= ratings.tables()
    if answers.members is not None:
        spread_C = np.array(columns.spread)
        found["uncertainty"] = uncertainty_tables(spread_C, margin_C, prompt_C)
    return found


def shared_tokens(sequences: Sequence[TokenIds]) -> int:
    """How many tokens all sequences begin with."""
    # The first and the last in order share what all share.
    first, last = min(sequences), max(sequences)
    end = min(len(first), len(last))
    return bisect_left(range(end), True, key=lambda n: first[: n + 1] != last[: n + 1])


def _add(
    columns: _Columns,
    group: EncodedGroup,
    prompt: int,
    reward_R: Sequence[float],
    value_RM: Floats | None,
) -> None:
    decided = [(c, c.winner_loser) for c in group.comparisons if c.winner_loser is not None]
    if not decided:
        return
    begin = shared_tokens(group.sequences)
    tokens = [len(ids) - begin for ids in group.sequences]
    prompt_words = set(words(joined(group.group.prompt).lower()))
    signals = [signals_of(joined(r.messages), prompt_words) for r in group.group.responses]
    script = script_of(asked(group.group.prompt))
    for comparison, (better, worse) in decided:
        columns.margin.append(reward_R[better] - reward_R[worse])
        columns.prompt.append(prompt)
        columns.prompt_tokens.append(begin)
        columns.response_tokens.append((tokens[better] + tokens[worse]) / 2)
        columns.language.append(_language(group, comparison) or script)
        _add_signs(columns, signals[better], signals[worse])
        columns.signs[TOKENS[0]].append(_sign(tokens[better] - tokens[worse]))
        if value_RM is not None:
            columns.spread.append(float((value_RM[better] - value_RM[worse]).std(ddof=1)))


def _add_signs(columns: _Columns, better: Signals, worse: Signals) -> None:
    for rule in RULES:
        columns.signs[rule.name].append(_sign(rule.measure(better) - rule.measure(worse)))


def _sign(difference: float) -> int:
    return (difference > 0) - (difference < 0)


def _language(group: EncodedGroup, comparison: Comparison) -> str | None:
    """What the row says, if it names its language."""
    named = comparison.tags.get("language") or group.group.extra.get("language")
    return named if isinstance(named, str) and named else None


def _is_of_badness(signs: Sequence[int]) -> bool:
    """Whether less of a rating is better: the better response has less in most comparisons."""
    less, more = signs.count(-1), signs.count(1)
    return less > 0 and less >= _BADNESS * (less + more)


class _Ratings:
    """Groups with ratings, by the name of the rating."""

    def __init__(self) -> None:
        self._rated: dict[str, list[Rated]] = {}
        self._signs: dict[str, list[int]] = {}

    def add(self, group: EncodedGroup, prompt: int, reward_R: Sequence[float]) -> None:
        responses = group.group.responses
        names = dict.fromkeys(name for response in responses for name in response.ratings)
        for name in names:
            found = [(r.ratings.get(name), w) for r, w in zip(responses, reward_R, strict=True)]
            pairs = [(rating, reward) for rating, reward in found if rating is not None]
            if len(pairs) < 2:
                continue
            ratings, rewards = zip(*pairs, strict=True)
            self._rated.setdefault(name, []).append(Rated(prompt, ratings, rewards))
            for comparison in group.comparisons:
                if comparison.winner_loser is not None:
                    better, worse = (
                        responses[i].ratings.get(name) for i in comparison.winner_loser
                    )
                    if better is not None and worse is not None:
                        self._signs.setdefault(name, []).append(_sign(better - worse))

    def tables(self) -> dict[str, Any]:
        """Both tables."""
        agreement, curves = {}, {}
        for name, rated in self._rated.items():
            higher = not _is_of_badness(self._signs.get(name, []))
            oriented = (
                rated
                if higher
                else [Rated(r.prompt, tuple(-x for x in r.ratings), r.rewards) for r in rated]
            )
            about = {"higher_is_better": higher}
            agreement[name] = about | rank_agreement(oriented)
            curves[name] = about | {"curve": best_of_n(rated, higher_is_better=higher)}
        return {"best_of_n": curves, "rank_agreement": agreement} if curves else {}
