"""The third stage: one index over all shards, one account, one list of what was left out."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from assay.data.encoding import too_long_error
from assay.data.loading import bad_rows_error
from assay.data.rows import BadRow
from assay.data.store.account import Account
from assay.data.store.left_out import BAD_ROWS, DROPPED, read_bad_row
from assay.data.store.opening import ACCOUNT, COMPLETE, INDEX, INDEX_SCHEMA
from assay.data.store.partitions import HASH_BYTES, PartFiles
from assay.data.store.settings import Preparation
from assay.files import sync, whole_file

_FIRST = 20
_MERGED_AT_ONCE = 32
"""Files that a merge opens, three of which run at once: some systems allow a process only 256."""


class CountedRows(Sequence[BadRow]):
    """The first bad rows of many, and how many they are: what an error needs of them."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._first = [read_bad_row(line) for line in islice(lines, _FIRST)]
        self._count = len(self._first) + sum(1 for _ in lines)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        return self._first[index]


def assemble(
    store: Path,
    account: Account,
    files: Sequence[PartFiles],
    early_dropped: Iterable[str],
    early_bad: Iterable[str],
) -> None:
    """Write all files of a store but its shards, the completion mark last.

    Args:
        store: the directory, with the shards in it.
        account: the finished account.
        files: of each partition.
        early_dropped: lines for the rows that were left out before the partitions.
        early_bad: lines for the bad rows among those.

    Raises:
        OSError: the disk refused.
    """
    _write_index(store / INDEX, files)
    with ExitStack() as stack:
        merged, dropped, bad = (
            _merged(stack, [getattr(file, name) for file in files])
            for name in ("merged", "dropped", "bad_rows")
        )
        _write_lines(store / DROPPED, early_dropped, merged, dropped)
        _write_lines(store / BAD_ROWS, early_bad, bad)
    _write_lines(store / ACCOUNT, [account.to_json().rstrip("\n")])
    sizes = {
        path.name: path.stat().st_size
        for path in sorted(store.iterdir())
        if path.name != COMPLETE and not path.name.startswith(".")
    }
    _write_lines(store / COMPLETE, [json.dumps({"files": sizes}, indent=1)])
    sync(store)


def check_errors(preparation: Preparation, files: Sequence[PartFiles]) -> None:
    """Raise what the policies call an error: rows over the length, rows that are refused.

    Raises:
        DataError: names the rows.
    """
    for name, is_error, error in (
        ("too_long", preparation.over_length == "error", too_long_error),
        ("bad_rows", preparation.on_bad_row == "error", bad_rows_error),
    ):
        if is_error:
            with ExitStack() as stack:
                rows = CountedRows(_merged(stack, [getattr(file, name) for file in files]))
            if rows:
                raise error(rows)


def _write_index(path: Path, files: Sequence[PartFiles]) -> None:
    parts = [np.load(file.index) for file in files]
    shards = np.repeat(np.arange(len(parts), dtype=np.int32), [len(part) for part in parts])
    entries = np.concatenate(parts)
    order = np.argsort(entries["ordinal"], kind="stable")
    with (
        whole_file(path) as partial,
        pa.OSFile(str(partial), "wb") as file,
        pa.ipc.new_file(file, INDEX_SCHEMA) as sink,
    ):
        # One batch, so that each column is one view of the mapped file.
        sink.write_batch(_index_batch(shards[order], entries[order]))


def _index_batch(shards: Any, entries: Any) -> Any:
    hashes = pa.py_buffer(np.ascontiguousarray(entries["prompt_hash"]).tobytes())
    columns: list[Any] = [pa.array(shards)]
    for name in ("row", "num_tokens", "num_comparisons"):
        columns.append(pa.array(np.ascontiguousarray(entries[name])))
    columns.append(
        pa.FixedSizeBinaryArray.from_buffers(pa.binary(HASH_BYTES), len(entries), [None, hashes])
    )
    return pa.RecordBatch.from_arrays(columns, schema=INDEX_SCHEMA)


def _merged(stack: ExitStack, paths: Sequence[Path]) -> Iterator[str]:
    """Lines of all partitions in the order of their groups, without their ordinals."""
    paths = [path for path in paths if path.stat().st_size]
    while len(paths) > _MERGED_AT_ONCE:
        starts = range(0, len(paths), _MERGED_AT_ONCE)
        paths = [_merged_file(paths[start : start + _MERGED_AT_ONCE]) for start in starts]
    return (line.partition(" ")[2].removesuffix("\n") for line in _in_order(stack, paths))


def _merged_file(paths: Sequence[Path]) -> Path:
    """One file for several, beside the first."""
    merged = paths[0].with_name(f"{paths[0].name}+")
    with ExitStack() as stack, merged.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(_in_order(stack, paths))
    return merged


def _in_order(stack: ExitStack, paths: Sequence[Path]) -> Iterator[str]:
    opened = [stack.enter_context(path.open(encoding="utf-8", newline="\n")) for path in paths]
    return heapq.merge(*opened, key=lambda line: int(line.partition(" ")[0]))


def _write_lines(path: Path, *sources: Iterable[str]) -> None:
    with whole_file(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        for lines in sources:
            file.writelines(f"{line}\n" for line in lines)
