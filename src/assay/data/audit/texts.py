"""What is read off a text: its words, its script, a hash, an excerpt."""

from __future__ import annotations

import hashlib
import re

import numpy as np
from numpy.typing import NDArray

_CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"
WORD = re.compile(f"[{_CJK}]|[^\\W_{_CJK}]+")

_RANGES = (
    (0x41, 0x5A, "latin"),
    (0x61, 0x7A, "latin"),
    (0xC0, 0x24F, "latin"),
    (0x370, 0x3FF, "greek"),
    (0x400, 0x52F, "cyrillic"),
    (0x590, 0x5FF, "hebrew"),
    (0x600, 0x6FF, "arabic"),
    (0x750, 0x77F, "arabic"),
    (0x900, 0x97F, "devanagari"),
    (0x980, 0x9FF, "bengali"),
    (0xE00, 0xE7F, "thai"),
    (0x1100, 0x11FF, "hangul"),
    (0x1E00, 0x1EFF, "latin"),
    (0x3040, 0x30FF, "kana"),
    (0x3400, 0x4DBF, "han"),
    (0x4E00, 0x9FFF, "han"),
    (0xAC00, 0xD7AF, "hangul"),
    (0xF900, 0xFAFF, "han"),
    (0x20000, 0x3134F, "han"),
)
"""First and last code point of each block that counts, and its script; other letters do not."""

_NAMES = sorted({name for _, _, name in _RANGES})
# A code point between two edges belongs to the script of the edge on its left; 0 is none.
_EDGES = np.array([edge for low, high, _ in _RANGES for edge in (low, high + 1)], dtype=np.uint32)
_SCRIPT_AT = np.array(
    [0, *(number for _, _, name in _RANGES for number in (_NAMES.index(name) + 1, 0))]
)
_KANA = _NAMES.index("kana")
_HAN = _NAMES.index("han")

DOMINANT = 0.6
"""Share of a text's letters that one script must have; below, the text is `mixed`."""
JAPANESE = 0.05
"""Share of kana among han and kana from which a text is Japanese and counts as `kana`."""
_READ_FOR_SCRIPT = 4096


def digest(text: str) -> bytes:
    """96 bits of a text."""
    return hashlib.blake2b(text.encode(), digest_size=12).digest()


def words(text: str) -> list[str]:
    """Runs of letters and digits; each Chinese, Japanese or Korean character is a word."""
    return WORD.findall(text)


def code_points(text: str) -> NDArray[np.uint32]:
    """The characters as numbers."""
    return np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)


def script_of(text: str) -> str:
    """The script of a text's beginning: `latin`, `han`, ..., `mixed`, or `none` without letters.

    Scripts are not languages: English and French are both latin. Japanese is `kana`.
    """
    points = code_points(text[:_READ_FOR_SCRIPT])
    at = _SCRIPT_AT[np.searchsorted(_EDGES, points, side="right")]
    counts = np.bincount(at, minlength=len(_NAMES) + 1)[1:]
    letters = int(counts.sum())
    if not letters:
        return "none"
    if counts[_KANA] and counts[_KANA] >= JAPANESE * (counts[_KANA] + counts[_HAN]):
        counts[_KANA] += counts[_HAN]
        counts[_HAN] = 0
    best = int(counts.argmax())
    return _NAMES[best] if counts[best] >= DOMINANT * letters else "mixed"


def excerpt(text: str, length: int = 60) -> str:
    """The beginning of a text in one line."""
    line = " ".join(text[: 4 * length].split())
    return line if len(line) <= length and len(text) <= 4 * length else line[:length] + "…"
