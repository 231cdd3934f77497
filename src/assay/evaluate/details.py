"""Everything beyond accuracy that a set of scored groups says, as it stands in `results.json`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.data.audit.signals import POSITION, RULES, TOKENS, signals_of
from assay.data.audit.texts import script_of, words
from assay.data.prompts import asked, joined
from assay.data.records import Comparison, Group
from assay.data.rendering import TokenIds, common_prefix
from assay.evaluate import shortcuts
from assay.evaluate.agreement import Rated, rank_agreement
from assay.evaluate.best_of_n import best_of_n
from assay.evaluate.calibration import calibration
from assay.evaluate.intervals import Ints
from assay.evaluate.metrics import Floats
from assay.evaluate.slices import by_name, by_quantile
from assay.evaluate.uncertainty import uncertainty_tables

_BADNESS = 0.75
"""Share of the comparisons with unequal ratings that the lower one wins, from which it is better.

Far from one half, so that a rating which says nothing of quality keeps the direction of its name.
"""


@dataclass(frozen=True, slots=True)
class Answered:
    """A prompt whose responses have rewards.

    Attributes:
        group: prompt, responses, comparisons.
        rewards: of each response.
        tokens: of each response with its prompt; None where they are not known.
        prompt_tokens: what all of them begin with; None where it is not known.
        members: the values [R, M] of an ensemble's members; None without one.
    """

    group: Group
    rewards: Sequence[float]
    tokens: Sequence[int] | None = None
    prompt_tokens: int | None = None
    members: Floats | None = None


@dataclass
class _Columns:
    """A number or a word of each decided comparison, in order; no lengths where one is unknown."""

    margin: list[float] = field(default_factory=list)
    prompt: list[int] = field(default_factory=list)
    prompt_tokens: list[int] = field(default_factory=list)
    response_tokens: list[float] = field(default_factory=list)
    language: list[str] = field(default_factory=list)
    spread: list[float] = field(default_factory=list)
    file: list[str] = field(default_factory=list)
    signs: dict[str, list[int]] = field(
        default_factory=lambda: {name: [] for name in shortcuts.NAMES}
    )

    def known_signs(self) -> dict[str, NDArray[np.int8]]:
        """Of each rule that can be asked here: token counts and an order may not be there.

        A file whose better response always stands first calls it the chosen one, and has no order.
        """
        signs = self.signs[POSITION[0]]
        ordered = {file for file, sign in zip(self.file, signs, strict=True) if sign < 0}
        position = [
            sign if file in ordered else 0 for file, sign in zip(self.file, signs, strict=True)
        ]
        found = self.signs | {POSITION[0]: position if ordered else []}
        return {
            name: np.array(values, dtype=np.int8)
            for name, values in found.items()
            if len(values) == len(self.margin)
        }


def details_of(answers: Iterable[Answered]) -> dict[str, Any]:
    """Calibration, slices, shortcuts, and where the data allow it best-of-n and rank agreement.

    `best_of_n` and `rank_agreement` have an entry for each name of a rating and stand only where
    two responses to one prompt have it; `by_length` only where token counts are known, and
    `uncertainty` only of an ensemble.
    """
    columns = _Columns()
    numbers: dict[str, int] = {}
    ratings = _Ratings()
    for one in answers:
        prompt = numbers.setdefault(one.group.key, len(numbers))
        _add(columns, one, prompt)
        ratings.add(one.group, prompt, one.rewards)
    margin_C = np.array(columns.margin)
    prompt_C: Ints = np.array(columns.prompt, dtype=np.intp)
    found: dict[str, Any] = {"calibration": calibration(margin_C, prompt_C)}
    if len(columns.prompt_tokens) == len(margin_C):
        found["by_length"] = {
            "prompt": by_quantile(np.array(columns.prompt_tokens, float), margin_C, prompt_C),
            "response": by_quantile(np.array(columns.response_tokens), margin_C, prompt_C),
        }
    found["by_language"] = by_name(columns.language, margin_C, prompt_C)
    found["shortcuts"] = shortcuts.shortcut_tables(columns.known_signs(), margin_C, prompt_C)
    found |= ratings.tables()
    if columns.spread:
        found["uncertainty"] = uncertainty_tables(np.array(columns.spread), margin_C, prompt_C)
    return found


def shared_tokens(sequences: Sequence[TokenIds]) -> int:
    """How many tokens all sequences begin with."""
    # The first and the last in order share what all share.
    return common_prefix(min(sequences), max(sequences))


def _add(columns: _Columns, one: Answered, prompt: int) -> None:
    group = one.group
    decided = [(c, c.winner_loser) for c in group.comparisons if c.winner_loser is not None]
    if not decided:
        return
    prompt_words = set(words(joined(group.prompt).lower()))
    signals = [signals_of(joined(r.messages), prompt_words) for r in group.responses]
    script = script_of(asked(group.prompt))
    for comparison, (better, worse) in decided:
        columns.margin.append(one.rewards[better] - one.rewards[worse])
        columns.prompt.append(prompt)
        columns.language.append(_language(group, comparison) or script)
        columns.file.append((comparison.row or group.source).file)
        for rule in RULES:
            more = rule.measure(signals[better]) - rule.measure(signals[worse])
            columns.signs[rule.name].append(_sign(more))
        columns.signs[POSITION[0]].append(1 if comparison.outcome == "a" else -1)
        if one.tokens is not None:
            longer = one.tokens[better] - one.tokens[worse]
            columns.signs[TOKENS[0]].append(_sign(longer))
            if one.prompt_tokens is not None:
                both = one.tokens[better] + one.tokens[worse]
                columns.prompt_tokens.append(one.prompt_tokens)
                columns.response_tokens.append(both / 2 - one.prompt_tokens)
        if one.members is not None:
            columns.spread.append(float((one.members[better] - one.members[worse]).std(ddof=1)))


def _sign(difference: float) -> int:
    return (difference > 0) - (difference < 0)


def _language(group: Group, comparison: Comparison) -> str | None:
    """What the row says, if it names its language."""
    named = comparison.tags.get("language") or group.extra.get("language")
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

    def add(self, group: Group, prompt: int, reward_R: Sequence[float]) -> None:
        """Take the rated responses of a prompt."""
        responses = group.responses
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
