"""Which words of two texts differ; each Chinese, Japanese or Korean character is a word."""

from __future__ import annotations

import re
import unicodedata
from difflib import SequenceMatcher
from functools import cache

from assay.data.audit.texts import WORD

MOST_WORDS = 1500
"""Longer texts are compared as sets of words: aligning them takes up to the product of both."""
_ALIKE = 0.5
"""Share of common words from which two texts are aligned; below, what they share is chance."""
_JOINERS = "\u200c\u200d"
_LAST_WITH_MARKS = 0x1E94B

Marked = list[tuple[str, bool]]
"""A text in pieces: each with whether the other text lacks it."""


def differing(first: str, second: str) -> tuple[Marked, Marked, bool]:
    """What is in one text and not in the other.

    Returns:
        both texts in pieces, and whether they were aligned; where they were not, because they are
        too long or share too little, a word is marked that stands nowhere in the other.
    """
    spaced_a, spaced_b = _spaced(first), _spaced(second)
    a, b = [word for word, _ in spaced_a], [word for word, _ in spaced_b]
    matcher = SequenceMatcher(None, a, b, autojunk=False)
    is_short = len(a) <= MOST_WORDS and len(b) <= MOST_WORDS
    if is_short and matcher.quick_ratio() >= _ALIKE and matcher.ratio() >= _ALIKE:
        only_a, only_b = [True] * len(a), [True] * len(b)
        for at_a, at_b, size in matcher.get_matching_blocks():
            only_a[at_a : at_a + size] = [False] * size
            only_b[at_b : at_b + size] = [False] * size
        return _marked(spaced_a, only_a), _marked(spaced_b, only_b), True
    return _marked(spaced_a, _lacking(a, b)), _marked(spaced_b, _lacking(b, a)), False


def pieces(text: str) -> list[str]:
    """A text cut into words, white space and other characters; joined they are the text.

    A mark that belongs to the character before it, an accent or a vowel sign, stays with it.
    """
    return _pattern().findall(text)


@cache
def _pattern() -> re.Pattern[str]:
    codes = [c for c in range(_LAST_WITH_MARKS + 1) if unicodedata.category(chr(c))[0] == "M"]
    ends = [(a, b) for a, b in zip([-1, *codes], [*codes, -1], strict=True) if b != a + 1]
    firsts, lasts = [b for _, b in ends[:-1]], [a for a, _ in ends[1:]]
    marks = "".join(f"{chr(a)}-{chr(b)}" for a, b in zip(firsts, lasts, strict=True))
    mark, word = f"[{marks}{_JOINERS}]", f"(?:{WORD.pattern})"
    return re.compile(
        rf"{word}(?:{mark}+{word}?)*|\s+|\S{mark}*(?:(?<=\u200d)\S{mark}*)*", re.DOTALL
    )


def _spaced(text: str) -> list[tuple[str, str]]:
    """Each word, or other character, and the white space after it."""
    found: list[tuple[str, str]] = []
    for piece in pieces(text):
        if not piece.isspace():
            found.append((piece, ""))
        elif found:
            found[-1] = found[-1][0], piece
        else:
            found.append(("", piece))
    return found


def _lacking(own: list[str], other: list[str]) -> list[bool]:
    known = {word.casefold() for word in other}
    return [word[:1].isalnum() and word.casefold() not in known for word in own]


def _marked(spaced: list[tuple[str, str]], only: list[bool]) -> Marked:
    """Neighbours of one kind as one piece; white space is marked between two marked words."""
    runs: Marked = []

    def add(piece: str, is_only: bool) -> None:
        if runs and runs[-1][1] == is_only:
            runs[-1] = runs[-1][0] + piece, is_only
        elif piece:
            runs.append((piece, is_only))

    for place, (word, space) in enumerate(spaced):
        add(word, only[place])
        add(space, only[place] and place + 1 < len(only) and only[place + 1])
    return runs
