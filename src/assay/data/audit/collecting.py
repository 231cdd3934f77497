"""One pass over rows: what the audit remembers of each, with no text but a short excerpt."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from assay.data.audit.lengths import Lengths, Measure
from assay.data.audit.near import Sketches
from assay.data.audit.shape import Shape
from assay.data.audit.signals import RULES, TOKENS, Signals, signals_of
from assay.data.audit.texts import digest, excerpt, words
from assay.data.prompts import asked, joined, message_text, normalised
from assay.data.records import Comparison, Group, Message, Response, Source, prompt_key
from assay.data.special_tokens import SpecialTokenGuard

Edge = tuple[bytes, bytes, bool]
"""Winner, loser, False; or two tied answers in ascending order, True. Answers by exact hash."""


@dataclass(frozen=True, slots=True)
class RowFacts:
    """What is kept of a row: its place, exact hashes, and the numbers of its normalised texts."""

    source: Source
    key: bytes
    """Of all that the model reads before a response."""
    prompt: int
    """The number of the normalised prompt (without system messages) among distinct ones."""
    edges: tuple[Edge, ...]
    identical: bool
    """Every comparison is between two equal answers."""
    empty: int
    """How many answers are empty."""
    excerpt: str


@dataclass(slots=True)
class Positions:
    """Of a file's decided comparisons: 1 where the answer that stands first wins, else -1."""

    signs: array[int] = field(default_factory=lambda: array("b"))
    prompts: array[int] = field(default_factory=lambda: array("q"))


class Collector:
    """Collects the facts of the rows that would be trained on.

    `on_prompt` is given each row's number, what it asks, and the same normalised: the texts
    themselves are not kept.
    """

    def __init__(
        self,
        measure: Measure,
        on_prompt: Callable[[int, str, str], object],
        *,
        in_tokens: bool,
        guard: SpecialTokenGuard | None = None,
    ) -> None:
        self.rows: list[RowFacts] = []
        self.lengths: dict[str, Lengths] = {}
        self.prompts = Sketches()
        self.answers = Sketches()
        self.shape = Shape()
        self.signs: dict[str, array[int]] = {rule.name: array("b") for rule in RULES}
        self.prompt_of_comparison: array[int] = array("q")
        self.file_of_comparison: array[int] = array("q")
        """By the number of the file."""
        self.files: dict[str, int] = {}
        """Their numbers, in order of appearance."""
        self.positions: dict[tuple[str, str], Positions] = {}
        """By file and format."""
        self.specials: dict[str, Counter[str]] = {}
        """By file."""
        self.rows_with_specials: list[int] = []
        self._measure = measure
        self._on_prompt = on_prompt
        self._guard = guard
        if in_tokens:
            self.signs[TOKENS[0]] = array("b")

    def add(self, groups: Sequence[Group], format: str) -> None:
        """Collect some rows of one format."""
        for group, answers in record_lengths(groups, self._measure, self.lengths):
            self._add(group, answers, format)

    def _add(self, group: Group, lengths: Sequence[int], format: str) -> None:
        row = len(self.rows)
        texts = [joined(response.messages) for response in group.responses]
        prompt_text = asked(group.prompt)
        normal = normalised(prompt_text)
        self._on_prompt(row, prompt_text, normal)
        prompt = self.prompts.add(normal, row)
        for text in texts:
            self.answers.add(normalised(text), row)
        if self._guard is not None:
            self._find_specials(group, row)
        self.shape.add(group, prompt_text, texts)
        hashes = [_hash(response) for response in group.responses]
        self.rows.append(
            RowFacts(
                source=group.source,
                key=bytes.fromhex(group.key),
                prompt=prompt,
                edges=tuple(_edge(comparison, hashes) for comparison in group.comparisons),
                identical=bool(group.comparisons)
                and all(hashes[c.a] == hashes[c.b] for c in group.comparisons),
                empty=sum(not text.strip() for text in texts),
                excerpt=excerpt(prompt_text),
            )
        )
        prompt_words = set(words(joined(group.prompt).lower()))
        signals = [signals_of(text, prompt_words) for text in texts]
        positions = self.positions.setdefault((group.source.file, format), Positions())
        file = self.files.setdefault(group.source.file, len(self.files))
        for comparison in group.comparisons:
            if comparison.winner_loser and hashes[comparison.a] != hashes[comparison.b]:
                self._compare(comparison.winner_loser, signals, lengths, prompt)
                self.file_of_comparison.append(file)
                positions.signs.append(1 if comparison.outcome == "a" else -1)
                positions.prompts.append(prompt)

    def _compare(
        self,
        winner_loser: tuple[int, int],
        signals: Sequence[Signals],
        lengths: Sequence[int],
        prompt: int,
    ) -> None:
        winner, loser = winner_loser
        self.prompt_of_comparison.append(prompt)
        for rule in RULES:
            difference = rule.measure(signals[winner]) - rule.measure(signals[loser])
            self.signs[rule.name].append(_sign(difference))
        if TOKENS[0] in self.signs:
            self.signs[TOKENS[0]].append(_sign(lengths[winner] - lengths[loser]))

    def _find_specials(self, group: Group, row: int) -> None:
        assert self._guard is not None
        messages = [*group.prompt, *(m for r in group.responses for m in r.messages)]
        found = self._guard.find(messages, group.tools, group.template_kwargs)
        if found:
            self.specials.setdefault(group.source.file, Counter()).update(found)
            self.rows_with_specials.append(row)


def record_lengths(
    groups: Sequence[Group], measure: Measure, lengths: dict[str, Lengths]
) -> Iterator[tuple[Group, list[int]]]:
    """Enter the comparisons of some groups into the lengths of their files; each with its answers'.

    The length of a prompt or an answer is the sum over its messages.
    """
    for group, (prompt, *answers) in zip(groups, _lengths_of(groups, measure), strict=True):
        entry = lengths.setdefault(group.source.file, Lengths())
        for comparison in group.comparisons:
            entry.prompt.append(prompt)
            if comparison.winner_loser is not None:
                winner, loser = comparison.winner_loser
                entry.chosen.append(answers[winner])
                entry.rejected.append(answers[loser])
        yield group, answers


def _lengths_of(groups: Sequence[Group], measure: Measure) -> list[list[int]]:
    """Of each group, the length of its prompt and of each response."""
    parts: list[Sequence[Message]] = []
    for group in groups:
        parts.append(group.prompt)
        parts.extend(response.messages for response in group.responses)
    measured = iter(measure([message_text(m) for part in parts for m in part]))
    sums = iter([sum(next(measured) for _ in part) for part in parts])
    return [[next(sums) for _ in range(1 + len(group.responses))] for group in groups]


def _hash(response: Response) -> bytes:
    """The same for equal messages only; a plain turn, the common case, needs no JSON."""
    first = response.messages[0]
    if response.messages == (Message("assistant", first.content),):
        return digest(first.content)
    return bytes.fromhex(prompt_key(response.messages))


def _edge(comparison: Comparison, hashes: Sequence[bytes]) -> Edge:
    if comparison.winner_loser is None:
        low, high = sorted((hashes[comparison.a], hashes[comparison.b]))
        return low, high, True
    winner, loser = comparison.winner_loser
    return hashes[winner], hashes[loser], False


def _sign(difference: float) -> int:
    return (difference > 0) - (difference < 0)
