"""Text that is not, or not only, what it says: cells of tables, and values that are no text."""

from __future__ import annotations

import ast
import json
import re
import warnings

from assay.data.strict_json import StrictDecoder
from assay.errors import DataError

_WORDS: dict[str, object] = {"": None, "true": True, "false": False, "null": None}
_PRINTED = re.compile(r"\[?\{'.*\}\]?", re.DOTALL)
_LISTED = re.compile(r"""\[\s*(?:'.*'|".*")\s*\]""", re.DOTALL)
_BETWEEN = re.compile(r"\}\s+\{")


class Cell(str):
    """The text of a cell of CSV or TSV. It is text wherever text is wanted: `42` may be an answer.

    Elsewhere it may stand for a number, a truth value, a list or an object.
    """

    __slots__ = ()


class NotText(str):
    """What is shown of a value that JSON has no place for, such as the bytes of a picture.

    It is kept with its row, and is a flaw of the row where text is wanted.
    """

    __slots__ = ()


def literal(value: object) -> object:
    """What a cell stands for where text is not wanted; any other value unchanged.

    A number, `true` or `false` in any case, a list or an object, in JSON or as Python prints it;
    nothing for an empty cell; and the text itself where it is none of these.
    """
    if not isinstance(value, Cell):
        return value
    text = value.strip()
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        parsed = StrictDecoder().parse_all(text)
    except (json.JSONDecodeError, RecursionError):
        printed = _as_printed(text)
        return value if printed is None else printed
    return value if parsed.flaw is not None else parsed.value


def _as_printed(text: str) -> object:
    """The list or object that Python (pandas, numpy) prints so, or None where that is in doubt."""
    if not text.startswith(("[", "{")):
        return None
    # numpy puts no commas. Within a text no line ends, but anything else may stand.
    for known in (text, text.replace("}\n {", "}, {")):
        value = _evaluated(known)
        if value is not None:
            return value
    value = _evaluated(listed := _BETWEEN.sub("}, {", text))
    between = len(value) - 1 if isinstance(value, list) else 0
    return value if listed.count("}, {") == between else None


def _evaluated(text: str) -> object:
    """A value that Python prints as exactly this text, and that JSON can hold."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of escapes that Python would not have printed.
            value = ast.literal_eval(text)
        if repr(value) != text:
            return None
        parsed = StrictDecoder().parse_all(json.dumps(value))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    return value if parsed.flaw is None and parsed.value == value else None


def looks_listed(value: object) -> bool:
    """Whether a cell looks like a list of texts, as Python, numpy or JSON writes it."""
    return isinstance(value, Cell) and _LISTED.fullmatch(value.strip()) is not None


def nested(value: object, *keys: str) -> object:
    """What a cell holds where it is an object with one of the keys, or a list of such.

    Any other value unchanged: most text in braces and brackets is only text.

    Raises:
        DataError: Python has printed such an object, and it cannot be read back.
    """
    if not (isinstance(value, Cell) and value.lstrip().startswith(("[", "{"))):
        return value
    found = literal(value)
    items = found if isinstance(found, list) else [found]
    meant = all(isinstance(item, dict) and any(key in item for key in keys) for item in items)
    if found is value and _PRINTED.fullmatch(value) and any(f"'{key}': " in value for key in keys):
        raise DataError(
            f"'{value[:30]}...' was printed by Python in a way that cannot be read back",
            mend="write such columns with json.dumps, or the table as JSON lines or Parquet",
        )
    return found if items and meant else value
