"""What the data is made of: scripts, turns, system prompts, ties, margins, tags."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from assay.data.audit.texts import digest, excerpt, script_of
from assay.data.records import Comparison, Group

_MANY_VALUES = 30
"""Tags with more values than this name things (ids, sources by address), not kinds."""


@dataclass(frozen=True, slots=True)
class TagBalance:
    """A value of a tag. `win_rate` is None where no decided comparison has it on one side only.

    For tags of answers, `count` is how often an answer with the value is compared, and `win_rate`
    the share of wins where the other answer has another value. Tags of comparisons have no rate.
    """

    tag: str
    value: str
    of: str
    count: int
    win_rate: float | None

    def shown(self) -> list[str]:
        """All of it, as tables show it."""
        rate = "" if self.win_rate is None else f"{self.win_rate:.3f}"
        return [self.tag, self.value, self.of, str(self.count), rate]


@dataclass(frozen=True, slots=True)
class Margins:
    """Stated strengths of preference, in the units of the data."""

    stated: int
    missing: int
    low: float | None
    mean: float | None
    high: float | None
    not_positive: int
    """Decided comparisons whose margin is zero or negative."""


@dataclass(frozen=True, slots=True)
class Composition:
    """What the training rows are made of; counts are of rows unless named otherwise."""

    prompt_scripts: dict[str, int]
    answer_scripts: dict[str, int]
    """Of answers."""
    script_changes: int
    """Rows in which the preferred answer's script is not the prompt's, both being clear."""
    user_turns: dict[int, int]
    """Rows by the number of user turns in the prompt."""
    with_system: int
    system_prompts: int
    """Distinct ones."""
    most_common_system: str | None
    ties: int
    """Comparisons."""
    responses_per_prompt: dict[int, int]
    """Prompts by the number of their distinct answers."""
    margins: Margins
    tags: list[TagBalance]
    tags_left_out: list[str]


@dataclass(slots=True)
class Shape:
    """Collects what `Composition` says."""

    prompt_scripts: Counter[str] = field(default_factory=Counter)
    answer_scripts: Counter[str] = field(default_factory=Counter)
    script_changes: int = 0
    user_turns: Counter[int] = field(default_factory=Counter)
    systems: Counter[bytes] = field(default_factory=Counter)
    system_texts: dict[bytes, str] = field(default_factory=dict)
    with_system: int = 0
    ties: int = 0
    margins: array[float] = field(default_factory=lambda: array("d"))
    margins_missing: int = 0
    margins_not_positive: int = 0
    tags: dict[tuple[str, str, str], list[int]] = field(default_factory=dict)
    """By (of, tag, value): count, wins, decided against another value."""

    def add(self, group: Group, prompt: str, answers: Sequence[str]) -> None:
        """Collect one row; `prompt` and `answers` are its texts."""
        script = script_of(prompt)
        self.prompt_scripts[script] += 1
        scripts = [script_of(answer) for answer in answers]
        self.answer_scripts.update(scripts)
        self.user_turns[sum(m.role == "user" for m in group.prompt)] += 1
        self._add_system(group)
        changed = False
        for comparison in group.comparisons:
            changed |= self._add_comparison(group, comparison, script, scripts)
        self.script_changes += changed

    def _add_system(self, group: Group) -> None:
        texts = [m.content for m in group.prompt if m.role in ("system", "developer")]
        if texts:
            self.with_system += 1
            text = "\n".join(texts)
            key = digest(text)
            self.systems[key] += 1
            self.system_texts.setdefault(key, excerpt(text))

    def _add_comparison(
        self, group: Group, comparison: Comparison, script: str, scripts: Sequence[str]
    ) -> bool:
        for tag, value in comparison.tags.items():
            self._tag("comparison", tag, value)[0] += 1
        if comparison.margin is None:
            self.margins_missing += 1
        else:
            self.margins.append(comparison.margin)
        if comparison.winner_loser is None:
            self.ties += 1
            for index in (comparison.a, comparison.b):
                for tag, value in group.responses[index].tags.items():
                    self._tag("answer", tag, value)[0] += 1
            return False
        if comparison.margin is not None and comparison.margin <= 0:
            self.margins_not_positive += 1
        winner, loser = comparison.winner_loser
        for own, other, won in ((winner, loser, 1), (loser, winner, 0)):
            for tag, value in group.responses[own].tags.items():
                entry = self._tag("answer", tag, value)
                entry[0] += 1
                if group.responses[other].tags.get(tag) != value:
                    entry[1] += won
                    entry[2] += 1
        unclear = ("none", "mixed")
        return script not in unclear and scripts[winner] not in (script, *unclear)

    def _tag(self, of: str, tag: str, value: str) -> list[int]:
        return self.tags.setdefault((of, tag, value), [0, 0, 0])

    def composition(self, responses_per_prompt: dict[int, int]) -> Composition:
        """All of it, counted."""
        common = self.systems.most_common(1)
        kinds = Counter((of, tag) for of, tag, _ in self.tags)
        many = {kind for kind, values in kinds.items() if values > _MANY_VALUES}
        return Composition(
            prompt_scripts=dict(self.prompt_scripts.most_common()),
            answer_scripts=dict(self.answer_scripts.most_common()),
            script_changes=self.script_changes,
            user_turns=dict(sorted(self.user_turns.items())),
            with_system=self.with_system,
            system_prompts=len(self.systems),
            most_common_system=self.system_texts[common[0][0]] if common else None,
            ties=self.ties,
            responses_per_prompt=responses_per_prompt,
            margins=self._margins(),
            tags=[
                TagBalance(tag, value, of, count, wins / decided if decided else None)
                for (of, tag, value), (count, wins, decided) in sorted(self.tags.items())
                if (of, tag) not in many
            ],
            tags_left_out=sorted(tag for _, tag in many),
        )

    def _margins(self) -> Margins:
        values = self.margins
        low, high = (min(values), max(values)) if values else (None, None)
        mean = sum(values) / len(values) if values else None
        return Margins(
            len(values), self.margins_missing, low, mean, high, self.margins_not_positive
        )
