"""Parquet and Arrow files, read batch by batch in bounded memory."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import IO, Any

from assay.data.cells import NotText
from assay.data.records import Source
from assay.data.rows.row import BadRow, Row, bad_row
from assay.data.rows.stream import BLOCK
from assay.data.strict_json import JsonObject
from assay.errors import DataError, first_line

_ROWS_AT_ONCE = 256
_AGAIN = "write or download it again"
_FILE_MAGIC = b"ARROW1"


def rows_of_parquet(
    name: str, file: IO[bytes], on_bytes: Callable[[bytes], object]
) -> Iterator[Row | BadRow]:
    """The rows of a Parquet file, each with its 1-based number.

    Raises:
        DataError: it is damaged, or is no Parquet file.
    """
    if _passed_through(file, on_bytes) != b"PAR1":
        raise _not_one("Parquet", name)
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        opened = ParquetFile(file, buffer_size=BLOCK, pre_buffer=False)
        _check_names(opened.schema_arrow.names, name)
        yield from _rows_of_batches(
            name, opened.iter_batches(batch_size=_ROWS_AT_ONCE, use_threads=False)
        )
    except (ArrowException, OSError) as error:
        raise _damaged("Parquet", name, error) from None


def rows_of_arrow(
    name: str, file: IO[bytes], on_bytes: Callable[[bytes], object]
) -> Iterator[Row | BadRow]:
    """The rows of an Arrow file, in the file format or in the stream format of `datasets`.

    Raises:
        DataError: it is damaged, or is no Arrow file.
    """
    beginning = _passed_through(file, on_bytes)
    if not beginning.startswith((_FILE_MAGIC[:4], b"\xff\xff\xff\xff")):
        raise _not_one("Arrow", name)
    from pyarrow import ArrowException, ipc

    try:
        if beginning == _FILE_MAGIC[:4]:
            opened = ipc.open_file(file)
            batches = (opened.get_batch(at) for at in range(opened.num_record_batches))
            _check_names(opened.schema.names, name)
            yield from _rows_of_batches(name, _sliced(batches))
        else:
            stream = ipc.open_stream(file)
            _check_names(stream.schema.names, name)
            yield from _rows_of_batches(name, _sliced(stream))
    except (ArrowException, OSError) as error:
        raise _damaged("Arrow", name, error) from None


def _passed_through(file: IO[bytes], on_bytes: Callable[[bytes], object]) -> bytes:
    """Show all bytes for the fingerprint, go back to the beginning and return its first four."""
    beginning = b""
    while data := file.read(BLOCK):
        beginning = beginning or data[:4]
        on_bytes(data)
    file.seek(0)
    return beginning


def _sliced(batches: Iterator[Any]) -> Iterator[Any]:
    for batch in batches:
        # Offsets come from the file as they are: damaged ones would lead anywhere in memory.
        batch.validate(full=True)
        for start in range(0, batch.num_rows, _ROWS_AT_ONCE):
            yield batch.slice(start, _ROWS_AT_ONCE)


def _rows_of_batches(name: str, batches: Iterator[Any]) -> Iterator[Row | BadRow]:
    number = 0
    for batch in batches:
        for row in _rows_of_batch(name, batch, number):
            number += 1
            yield row


def _rows_of_batch(name: str, batch: Any, before: int) -> Iterator[Row | BadRow]:
    try:
        columns = [_values(column) for column in batch.columns]
    except UnicodeDecodeError:
        yield from _rows_one_by_one(name, batch, before)
        return
    plain = [_is_plain(column.type) and not _has_gaps(column) for column in batch.columns]
    for index in range(batch.num_rows):
        place = Source(name, before + index + 1)
        fields: JsonObject = {}
        flaw: DataError | None = None
        for column, values, as_it_is in zip(batch.schema.names, columns, plain, strict=True):
            try:
                fields[column] = values[index] if as_it_is else _json_value(values[index])
            except DataError as error:
                flaw = flaw or error
                fields[column] = str(values[index])
        if flaw is None:
            yield Row(place, fields)
        else:
            yield bad_row(place, flaw, Row(place, fields).raw)


def _rows_one_by_one(name: str, batch: Any, before: int) -> Iterator[Row | BadRow]:
    """Text that is not UTF-8 fails a whole batch: find the rows that hold it."""
    for index in range(batch.num_rows):
        single = batch.slice(index, 1)
        try:
            for column in single.columns:
                _values(column)
        except UnicodeDecodeError:
            place = Source(name, before + index + 1)
            yield BadRow(place, "is not UTF-8", "write text columns as UTF-8", "")
        else:
            yield from _rows_of_batch(name, single, before + index)


def _values(column: Any) -> list[Any]:
    """The values of a column as Python has them.

    Raises:
        UnicodeDecodeError: a text is not UTF-8.
    """
    from pyarrow import ArrowException

    if _has_nanoseconds(column.type):
        return [_value(scalar) for scalar in column]
    try:
        values: list[Any] = column.to_pylist()
    except UnicodeDecodeError:
        raise
    except (ArrowException, ValueError, OverflowError):
        return [_value(scalar) for scalar in column]
    return values


def _value(scalar: Any) -> Any:
    """A value as Python has it; `NotText` where it has none, as for the year 100 000."""
    from pyarrow import (
        ArrowException,
        ListScalar,
        MapScalar,
        StructScalar,
        duration,
        string,
        timestamp,
        types,
    )

    if not scalar.is_valid:
        return None
    try:
        if types.is_timestamp(scalar.type) and scalar.type.unit == "ns":
            return scalar.cast(timestamp("us", scalar.type.tz)).as_py()
        if types.is_duration(scalar.type) and scalar.type.unit == "ns":
            return scalar.cast(duration("us")).as_py()
        if not _has_nanoseconds(scalar.type):
            return scalar.as_py()
    except UnicodeDecodeError:
        raise
    except (ArrowException, ValueError, OverflowError):
        pass
    if isinstance(scalar, StructScalar) and len(set(scalar)) == len(scalar):
        return {name: _value(inner) for name, inner in scalar.items()}
    if isinstance(scalar, MapScalar):
        return [(_value(entry["key"]), _value(entry["value"])) for entry in scalar.values]
    if isinstance(scalar, ListScalar):
        return [_value(inner) for inner in scalar.values]
    try:
        return NotText(scalar.cast(string()).as_py())
    except ArrowException:
        return NotText(f"<{scalar.type}>")


def _has_nanoseconds(kind: Any) -> bool:
    """Whether values of an Arrow type are other objects in Python where pandas is installed."""
    from pyarrow import types

    if types.is_timestamp(kind) or types.is_duration(kind):
        return bool(kind.unit == "ns")
    return any(_has_nanoseconds(kind.field(at).type) for at in range(kind.num_fields))


def _has_gaps(column: Any) -> bool:
    """Whether a struct in the column may have a null."""
    from pyarrow import types

    if types.is_list(column.type) or types.is_large_list(column.type):
        return _has_gaps(column.values)
    if types.is_struct(column.type):
        fields = [column.field(index) for index in range(column.type.num_fields)]
        return any(field.null_count or _has_gaps(field) for field in fields)
    return False


def _is_plain(kind: Any) -> bool:
    """Whether all values of an Arrow type are JSON values as they come."""
    from pyarrow import types

    if types.is_list(kind) or types.is_large_list(kind):
        return _is_plain(kind.value_type)
    if types.is_struct(kind):
        return all(_is_plain(field.type) for field in kind)
    return bool(
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_integer(kind)
        or types.is_boolean(kind)
        or types.is_null(kind)
    )


def _json_value(value: Any) -> object:
    """A value as JSON would hold it.

    A table gives every struct of a column each key that any has, null where it has none: such keys
    are left out, so that rows are what they are as JSON lines.

    Raises:
        DataError: JSON cannot hold it.
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise DataError(f"{value} is not a JSON number", mend="write a finite number or null")
        return value
    if isinstance(value, Mapping):
        items = ((str(key), inner) for key, inner in value.items() if inner is not None)
        return {key: _json_value(inner) for key, inner in items}
    if isinstance(value, list):
        if value and isinstance(value[0], tuple):  # the entries of a map
            return {str(key): _json_value(inner) for key, inner in value}
        return [_json_value(inner) for inner in value]
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return _json_value(int(value) if value == value.to_integral_value() else float(value))
    if isinstance(value, bytes):
        return _text_of_bytes(value)
    return str(value)


def _text_of_bytes(value: bytes) -> str:
    """Some writers store text without saying that it is text; other bytes show as base64."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return NotText(base64.b64encode(value).decode())


def _check_names(names: list[str], file: str) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"has two columns named '{twice}'", where=file, mend="rename one")


def _not_one(kind: str, name: str) -> DataError:
    return DataError(
        f"does not hold {kind}", where=name, mend=f"name it by what it holds, or {_AGAIN}"
    )


def _damaged(kind: str, name: str, error: Exception) -> DataError:
    return DataError(f"holds damaged {kind} ({first_line(error)[:160]})", where=name, mend=_AGAIN)
