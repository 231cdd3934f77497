"""The third stage: one index over all shards, one account, one list of what was left out."""

from __future__ import annotations

import heapq
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from assay.data.encoding import too_long_error
from assay.data.loading import BAD_ROW, bad_rows_error
from assay.data.rows import BadRow
from assay.data.store.account import Account
from assay.data.store.opening import (
    ACCOUNT,
    BAD_ROWS,
    COMPLETE,
    DROPPED,
    INDEX,
    INDEX_SCHEMA,
    BadRowFile,
)
from assay.data.store.partitions import HASH_BYTES, PartAccount, PartFiles
from assay.data.store.settings import Preparation
from assay.files import sync, whole_file

_FIRST = 20


class CountedRows(Sequence[BadRow]):
    """The first bad rows of many, and how many they are: what an error needs of them."""

    def __init__(self, lines: Iterator[str], count: int) -> None:
        self._first = [BadRowFile.parse(line) for line in islice(lines, _FIRST)]
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        return self._first[index]


def add_parts(account: Account, parts: Sequence[PartAccount], dropped: Counter[str]) -> None:
    """Add the numbers of all partitions to an account.

    Args:
        account: it gets all numbers that it lacks.
        parts: of each partition.
        dropped: rows that were left out before, by reason, bad rows among them.
    """
    reasons = Counter(dropped)
    for part in parts:
        account.groups += part.groups
        account.comparisons += part.comparisons
        account.sequences += part.sequences
        account.tokens += part.tokens
        account.longest = max(account.longest, part.longest)
        account.cut_prompts += part.cut_prompts
        account.specials_in_content += part.specials_in_content
        account.last_tokens.update(part.last_tokens)
        account.shards.append(part.groups)
        reasons.update(part.dropped)
        reasons[BAD_ROW] += part.bad_rows
    account.dropped = {reason: count for reason, count in reasons.items() if count}


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


def check_errors(
    preparation: Preparation, parts: Sequence[PartAccount], files: Sequence[PartFiles]
) -> None:
    """Raise what the policies call an error: rows over the length, rows that are refused.

    Raises:
        DataError: names the rows.
    """
    for path, count, wanted, error in (
        (
            "too_long",
            sum(part.too_long for part in parts),
            preparation.over_length == "error",
            too_long_error,
        ),
        (
            "bad_rows",
            sum(part.bad_rows for part in parts),
            preparation.on_bad_row == "error",
            bad_rows_error,
        ),
    ):
        if wanted and count:
            with ExitStack() as stack:
                lines = _merged(stack, [getattr(file, path) for file in files])
                raise error(CountedRows(lines, count))


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
    for name in ("row", "num_tokens", "num_comparisons", "num_sequences"):
        columns.append(pa.array(np.ascontiguousarray(entries[name])))
    columns.append(
        pa.FixedSizeBinaryArray.from_buffers(pa.binary(HASH_BYTES), len(entries), [None, hashes])
    )
    return pa.RecordBatch.from_arrays(columns, schema=INDEX_SCHEMA)


def _merged(stack: ExitStack, paths: Sequence[Path]) -> Iterator[str]:
    """Lines of all partitions in the order of their groups, without their ordinals."""
    opened = [
        stack.enter_context(path.open(encoding="utf-8", newline="\n"))
        for path in paths
        if path.stat().st_size
    ]
    lines = heapq.merge(*opened, key=lambda line: int(line.partition(" ")[0]))
    return (line.partition(" ")[2].removesuffix("\n") for line in lines)


def _write_lines(path: Path, *sources: Iterable[str]) -> None:
    with whole_file(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        for lines in sources:
            file.writelines(f"{line}\n" for line in lines)
