"""JSON that a run wrote, read with the place of whatever is wrong in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from assay.errors import DataError

_MEND = "restore the file, or make it anew"


def read_object(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises:
        DataError: it is none, or cannot be read; names file and line.
    """
    content = read_text(path)
    try:
        found = json.loads(content)
    except json.JSONDecodeError as error:
        raise DataError(
            f"is no JSON ({error.msg}, column {error.colno})",
            where=f"{path}:{error.lineno}",
            mend=_MEND,
        ) from None
    if not isinstance(found, dict):
        raise DataError("holds no JSON object", where=f"{path}:1", mend=_MEND)
    return found


def read_text(path: Path) -> str:
    """A text file.

    Raises:
        DataError: it cannot be read, or is no UTF-8.
    """
    try:
        return _text(path.read_bytes(), path)
    except OSError as error:
        raise _refused(path, error) from None


def object_lines(path: Path, *, last_may_be_cut: bool = False) -> Iterator[tuple[int, bytes, Any]]:
    """Each line of a file of JSON objects: its number from 1, its bytes, the object.

    Args:
        path: of the file.
        last_may_be_cut: a last line without an end, which a kill may have cut, is left out.

    Raises:
        DataError: a line is no object, or the file cannot be read; names file and line.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if last_may_be_cut and not line.endswith(b"\n"):
                    return
                yield number, line, _object(line, path, number)
    except OSError as error:
        raise _refused(path, error) from None


def parsed(line: bytes) -> Any:
    """The value of a line; also NaN and halves of pairs, which strict JSON refuses.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return json.loads(line)


def _object(line: bytes, path: Path, number: int) -> Any:
    place = f"{path}:{number}"
    try:
        found = parsed(line)
    except json.JSONDecodeError as error:
        raise DataError(
            f"is no JSON ({error.msg}, column {error.colno})", where=place, mend=_MEND
        ) from None
    except UnicodeDecodeError:
        raise DataError("is no UTF-8", where=place, mend=_MEND) from None
    if not isinstance(found, dict):
        raise DataError("is no JSON object", where=place, mend=_MEND)
    return found


def _text(content: bytes, path: Path) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError("is no UTF-8", where=f"{path}:{line}", mend=_MEND) from None


def _refused(path: Path, error: OSError) -> DataError:
    return DataError(
        f"cannot be read ({error.strerror or error})", where=path, mend="check the path and rights"
    )
