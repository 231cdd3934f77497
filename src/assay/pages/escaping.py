"""Any text of anybody's data as text of a page, and as nothing else."""

from __future__ import annotations

import re
from html import escape

_HARMFUL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
"""Controls but tab and line feed, halves of pairs, and what is no character at all."""
_PICTURES, _DELETE = 0x2400, 0x2421


def text(value: object) -> str:
    """A value between tags or in a quoted attribute; what cannot be seen is made visible.

    Controls become their pictures (U+2400 and on), other code points that no page can hold are
    spelt, as `\\ud800`. Line ends become line feeds.
    """
    lines = str(value).replace("\r\n", "\n").replace("\r", "\n")
    return escape(_HARMFUL.sub(_visible, lines))


def _visible(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x20:
        return chr(_PICTURES + code)
    return chr(_DELETE) if code == 0x7F else f"\\u{code:04x}"
