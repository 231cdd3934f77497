"""Prompts that training shares with what it will be judged by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from assay.data.audit.texts import digest, words
from assay.data.audit.thresholds import NGRAM, NGRAM_COMMON, NGRAM_SHARE
from assay.data.prompts import normalised


@dataclass(frozen=True, slots=True)
class Match:
    """A text that a training prompt meets: where it stands, and how (`same` or a share)."""

    number: int
    place: str
    how: str


class ExactPrompts:
    """Normalised prompts with the place of each; the whole conversation counts."""

    def __init__(self) -> None:
        self.places: list[str] = []
        self._number: dict[bytes, int] = {}

    def add(self, text: str, place: str) -> None:
        """Remember a text; of equal ones the first."""
        if self._number.setdefault(digest(normalised(text)), len(self.places)) == len(self.places):
            self.places.append(place)

    def find(self, normal: str) -> Match | None:
        """The text that equals this normalised one."""
        number = self._number.get(digest(normal))
        return None if number is None else Match(number, self.places[number], "same prompt")


class Benchmark:
    """Texts of files that training must not hold.

    A prompt meets a text when both are the same after normalising, or when it holds at least half
    of the text's distinct 13-grams of words (Chinese, Japanese and Korean characters are words).
    13-grams that stand in more than 10 texts are instructions and do not count. Answers are not
    compared: refusals are alike everywhere.
    """

    def __init__(self) -> None:
        self.exact = ExactPrompts()
        self._texts: list[str] = []
        self._owners: dict[int, list[int]] = {}
        self._sizes: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self.exact.places)

    def add(self, text: str, place: str) -> None:
        """Remember a text."""
        before = len(self.exact.places)
        self.exact.add(text, place)
        if len(self.exact.places) > before:
            for gram in ngrams(text):
                self._owners.setdefault(gram, []).append(before)

    def close(self) -> None:
        """To be called once, behind the last text."""
        self._owners = {
            gram: owners for gram, owners in self._owners.items() if len(owners) <= NGRAM_COMMON
        }
        for owners in self._owners.values():
            self._sizes.update(owners)

    def find(self, prompt: str, normal: str) -> list[Match]:
        """All texts that a prompt meets, by their order."""
        same = self.exact.find(normal)
        found = {same.number: same} if same is not None else {}
        if self._owners:
            hits: Counter[int] = Counter()
            for gram in ngrams(prompt):
                hits.update(self._owners.get(gram, ()))
            for number, count in hits.items():
                share = count / self._sizes[number]
                if share >= NGRAM_SHARE and number not in found:
                    how = f"{share:.0%} of its {NGRAM}-grams"
                    found[number] = Match(number, self.exact.places[number], how)
        return [found[number] for number in sorted(found)]


def ngrams(text: str) -> set[int]:
    """Hashes of the distinct n-grams of a text's words, case folded."""
    return set(_ngrams(words(normalised(text))))


def _ngrams(found: Sequence[str]) -> Iterator[int]:
    for start in range(len(found) - NGRAM + 1):
        yield hash(tuple(found[start : start + NGRAM]))
