"""Which known name a user may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`did you mean 'x'? ` for the nearest known name, or an empty text where none is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean '{near[0]}'? " if near else ""


def file_you_meant(name: str, known: Iterable[str]) -> str:
    """`did_you_mean` of files, whose endings make any two names alike: what stands before must be
    alike by itself."""
    stem = _stem(name)
    return did_you_mean(
        name, (one for one in known if difflib.get_close_matches(stem, [_stem(one)]))
    )


def _stem(name: str) -> str:
    return name.split(".")[0] or name
