"""What an output is made of its windows' lines: JSON lines as they are, or a Parquet table."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from assay.errors import ConfigError, OutputError, first_line

_PARQUET = ".parquet"


class Assembler(Protocol):
    """Puts windows together; each is shown first, all of them before the first is written."""

    def look_at(self, body: bytes) -> None:
        """See that a window's lines can be written.

        Raises:
            OutputError: the kind of file has no place for them.
        """

    def write(self, bodies: Iterable[bytes], file: Path) -> None:
        """Write all windows."""


def assembler_of(output: Path) -> Assembler:
    """What writes a file of this name.

    Raises:
        ConfigError: its ending is of no kind that is written.
    """
    suffix = output.suffix.lower()
    if suffix == _PARQUET:
        return Table(output)
    if suffix in (".json", ".csv", ".tsv", ".gz", ".zst", ".arrow"):
        raise ConfigError(
            f"'{suffix}' files are not written",
            where=output,
            mend="name a file ending in .jsonl or .parquet",
        )
    return Lines()


class Lines:
    """JSON lines, one a row."""

    def look_at(self, body: bytes) -> None:
        """Any lines will do."""

    def write(self, bodies: Iterable[bytes], file: Path) -> None:
        """One window behind the other."""
        with file.open("wb") as out:
            for body in bodies:
                out.write(body)


class Table:
    """A Parquet file, one row group a window; the columns are those that any row has.

    Args:
        output: the file, for messages.
    """

    def __init__(self, output: Path) -> None:
        self._output = output
        self._schema: Any = None

    def look_at(self, body: bytes) -> None:
        """See that each column is of one type, also with the windows seen before."""
        import pyarrow as pa

        if not body:
            return
        try:
            schema = pa.Table.from_pydict(_columns(body)).schema
            if self._schema is not None:
                schema = pa.unify_schemas([self._schema, schema], promote_options="permissive")
            _check_storable(schema)
        except (pa.ArrowException, OverflowError, ValueError) as error:
            raise OutputError(
                f"a column has no one type that Parquet can hold ({first_line(error)[:160]})",
                where=self._output,
                mend="name an output ending in .jsonl, or make the rows alike",
            ) from None
        self._schema = schema

    def write(self, bodies: Iterable[bytes], file: Path) -> None:
        """With the schema of all windows."""
        import pyarrow as pa
        from pyarrow.parquet import ParquetWriter

        with ParquetWriter(file, self._schema) as writer:
            for body in bodies:
                if body:
                    columns = _columns(body)
                    count = len(next(iter(columns.values())))
                    arrays = [
                        pa.array(columns.get(field.name, [None] * count), field.type)
                        for field in self._schema
                    ]
                    writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))


def rewards_in(output: Path) -> Iterator[float]:
    """All raw rewards of an output with scores under `assay`, in order."""
    if output.suffix.lower() == _PARQUET:
        from pyarrow.parquet import ParquetFile

        for batch in ParquetFile(output).iter_batches(columns=["assay"]):
            for row in batch.to_pylist():
                yield from row["assay"]["scores"]
        return
    with output.open(encoding="utf-8", newline="\n") as file:
        for line in file:
            yield from json.loads(line)["assay"]["scores"]


def _columns(body: bytes) -> dict[str, list[Any]]:
    rows = [json.loads(line) for line in body.split(b"\n") if line]
    names = dict.fromkeys(name for row in rows for name in row)
    return {sys.intern(name): [row.get(name) for row in rows] for name in names}


def _check_storable(schema: Any) -> None:
    """Parquet has no columns of objects without any field."""
    from pyarrow import types

    def is_empty(kind: Any) -> bool:
        if types.is_struct(kind):
            return kind.num_fields == 0 or any(
                is_empty(kind.field(index).type) for index in range(kind.num_fields)
            )
        return types.is_list(kind) and is_empty(kind.value_type)

    for field in schema:
        if is_empty(field.type):
            raise ValueError(f"'{field.name}' holds an object without any field")
