"""JSON, read strictly: what other tools accept and corrupt later is a flaw here.

Flaws (a key given twice, NaN, half of a surrogate pair, ...) do not stop the parser, so that the
rows behind a flawed one are still found. Only broken syntax and endless nesting do.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from assay.errors import DataError

JsonObject = dict[str, object]

MAX_DEPTH = 100
"""Levels of nesting; deeper rows would exhaust the stack of some later reader."""

_MAX_DIGITS = 4300
"""Python's own limit for reading an integer."""

_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, slots=True)
class Parsed:
    """A JSON value, where its text begins and ends, and the first thing wrong with it, if any."""

    value: object
    start: int
    end: int
    flaw: DataError | None


class StrictDecoder:
    """Reads JSON values out of a text, one at a time."""

    def __init__(self) -> None:
        self._flaws: list[DataError] = []
        self._decoder = json.JSONDecoder(
            object_pairs_hook=self._object,
            parse_constant=self._constant,
            parse_float=self._float,
            parse_int=self._integer,
        )

    def parse(self, text: str, start: int = 0) -> Parsed:
        """Read the value that begins at `start`.

        Raises:
            json.JSONDecodeError: the syntax is broken; it holds the line and the column.
            RecursionError: the nesting exhausts the stack.
        """
        self._flaws.clear()
        value, end = self._decoder.raw_decode(text, start)
        flaw = self._flaws[0] if self._flaws else _structural_flaw(value, text, start, end)
        return Parsed(value, start, end, flaw)

    def parse_all(self, text: str) -> Parsed:
        """Read a text that holds one value and nothing else.

        Raises:
            json.JSONDecodeError, RecursionError: as `parse`.
        """
        parsed = self.parse(text, behind_space(text, 0))
        end = behind_space(text, parsed.end)
        if end < len(text):
            raise json.JSONDecodeError("Extra data", text, end)
        return parsed

    def _object(self, pairs: list[tuple[str, object]]) -> JsonObject:
        row = dict(pairs)
        if len(row) < len(pairs):
            [(twice, _)] = Counter(key for key, _ in pairs).most_common(1)
            self._flaws.append(DataError(f"the field '{twice}' is given twice", mend="keep one"))
        return row

    def _constant(self, name: str) -> float:
        self._flaws.append(
            DataError(f"{name} is not a JSON number", mend="write a finite number or null")
        )
        return 0.0

    def _float(self, digits: str) -> float:
        number = float(digits)
        if not math.isfinite(number):
            self._flaws.append(
                DataError("a number is too large to hold", mend="write a finite number")
            )
        return number

    def _integer(self, digits: str) -> int:
        if len(digits) > _MAX_DIGITS:
            self._flaws.append(
                DataError(f"a number has {len(digits)} digits", mend="write it as text")
            )
            return 0
        return int(digits)


def depth_error() -> DataError:
    """What to say of nesting that exhausts the stack or exceeds `MAX_DEPTH`."""
    return DataError(f"nested more than {MAX_DEPTH} levels deep", mend="flatten the row")


def behind_space(text: str, at: int) -> int:
    """The first place at or behind `at` without JSON's white space."""
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _structural_flaw(value: object, text: str, start: int, end: int) -> DataError | None:
    """What only the whole value shows; each check looks at the text first, which is cheap."""
    openings = text.count("[", start, end) + text.count("{", start, end)
    if openings > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        return depth_error()
    if _SURROGATE_ESCAPE.search(text, start, end) and _has_lone_surrogate(value):
        return DataError(
            r"holds half of a surrogate pair (a lone \ud800 to \udfff escape)",
            mend="write the whole character, or remove it",
        )
    return None


def _children(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _depth(value: object) -> int:
    level, depth = [value], 0
    while level:
        depth += 1
        level = [
            child
            for parent in level
            for child in _children(parent)
            if isinstance(child, dict | list)
        ]
    return depth


def _has_lone_surrogate(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False
