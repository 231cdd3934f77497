"""Byte-level BPE word by word: a word that comes again is looked up, not merged again.

GPT-2's scheme, which most decoders use: a regular expression cuts a text into words, each byte of
a word becomes a printable character, and merges never cross words (Sennrich et al., 2016, section
3.2; Radford et al., 2019, section 2.2). So the ids of a text are those of its words in a row.

The expression runs in Python's own engine, which is twice as fast as those that know the classes
of Unicode: the letters and numbers among the characters whose classes have been settled for decades
are written out. A text with any other character is left to the tokenizer.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_SPLITS = [
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
    + numbers
    + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    for numbers in (r"\p{N}", r"\p{N}{1,3}")
]
"""Of Qwen 2 and 3, and of Llama 3. Each matches every character."""
_SETTLED = re.compile(
    r"[\t\n\r -~"  # ASCII
    r"\u00a1-\u00ac\u00ae-\u00ff"  # Latin-1 without the no-break space and the soft hyphen
    r"\u0400-\u045f"  # Cyrillic
    r"\u2010-\u2027\u2030-\u203a"  # dashes, quotation marks, bullets, ellipses
    r"\u3001-\u3029\u3041-\u3096\u30a1-\u30fa\u4e00-\u9fa5\uac00-\ud7a3"  # Chinese, kana, Hangul
    r"\uff01-\uff5e]*"  # full-width forms
)
"""None of them combines with another, so that normalisation to NFC changes nothing."""
_KEPT_CHARACTERS = 4_000_000
"""Characters of the words that are remembered; above it all are forgotten. A word may be long: in
Chinese no spaces stand between words."""


class WordEncoder:
    """Ids of texts without added tokens, where all their characters are settled ones.

    Args:
        backend: a tokenizer that `words_pattern` knows.
        pattern: what it says of it.
    """

    def __init__(self, backend: Tokenizer, pattern: str) -> None:
        self._model = backend.model
        self._words = re.compile(written_out(pattern)).findall
        self._known: dict[str, list[int]] = {}
        self._characters = 0

    def encode(self, text: str) -> list[int] | None:
        """Ids of a text, or None where it has to be left to the tokenizer."""
        if not _SETTLED.fullmatch(text):
            return None
        if self._characters > _KEPT_CHARACTERS:
            self.forget()
        words, known = self._words(text), self._known
        try:
            return list(chain.from_iterable(map(known.__getitem__, words)))
        except KeyError:  # A word that was not met before.
            for word in words:
                if word not in known:
                    known[word] = self._merged(word)
                    self._characters += len(word)
            return list(chain.from_iterable(map(known.__getitem__, words)))

    def forget(self) -> None:
        """Forget all words."""
        self._known.clear()
        self._characters = 0

    def _merged(self, word: str) -> list[int]:
        mapped = "".join([_PRINTABLE[byte] for byte in word.encode()])
        return [token.id for token in self._model.tokenize(mapped)]


def written_out(pattern: str) -> str:
    r"""An expression with `\p{L}` and `\p{N}` as the settled letters and numbers, for `re`."""
    classes = {r"\p{L}": _settled("L"), r"\p{N}": _settled("N")}
    parts = []
    within = False
    for part in re.findall(r"\\p\{[LN]\}|\\.|.", pattern):
        within = part == "[" or (within and part != "]")
        ranges = classes.get(part)
        parts.append(part if ranges is None else ranges if within else f"[{ranges}]")
    return "".join(parts)


@cache
def _settled(kind: str) -> str:
    """The settled characters of a kind (the first letter of their category), as ranges."""
    codes = [code for code in range(0x10000) if unicodedata.category(chr(code))[0] == kind]
    codes = [code for code in codes if _SETTLED.fullmatch(chr(code))]
    ends = [(a, b) for a, b in zip([-1, *codes], [*codes, 0x10001], strict=True) if b != a + 1]
    firsts, lasts = [b for _, b in ends[:-1]], [a for a, _ in ends[1:]]
    return "".join(f"{chr(a)}-{chr(b)}" for a, b in zip(firsts, lasts, strict=True))


def words_pattern(spec: dict[str, Any]) -> str | None:
    """The expression that cuts a tokenizer's words, from its JSON; None if it is of another kind.

    Without a prefix space, and without any step that this module does not do.
    """
    model, normalizer = spec["model"], spec["normalizer"]
    if model.get("type") != "BPE" or model.get("dropout") or model.get("byte_fallback"):
        return None
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        return None
    if normalizer is not None and normalizer != {"type": "NFC"}:
        return None
    steps = spec["pre_tokenizer"] or {}
    if steps.get("type") == "Sequence":
        steps = steps["pretokenizers"]
        return _split_then_bytes(*steps) if len(steps) == 2 else None
    return _GPT2 if _is_byte_level(steps, use_regex=True) else None


def _split_then_bytes(split: dict[str, Any], byte_level: dict[str, Any]) -> str | None:
    pattern = split.get("pattern", {}).get("Regex")
    plain = split.get("type") == "Split" and split.get("behavior") == "Isolated"
    if (
        plain
        and pattern
        and not split.get("invert")
        and _is_byte_level(byte_level, use_regex=False)
    ):
        return str(pattern) if pattern in _SPLITS else None
    return None


def _is_byte_level(step: dict[str, Any], *, use_regex: bool) -> bool:
    return (
        step.get("type") == "ByteLevel"
        and step.get("add_prefix_space") is False
        and step.get("use_regex", True) is use_regex
    )


def _printable() -> list[str]:
    """GPT-2's character for each byte: itself where it can be seen, else one from 256 on."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in seen else chr(next(others)) for byte in range(256)]


_PRINTABLE = _printable()
