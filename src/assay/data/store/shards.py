"""Shards: encoded groups in Arrow files, written in one pass, read from the mapped file.

The columns of a group: `ordinal`, the number of the row where it first appeared; `group`, as JSON;
`prompt`, the tokens that all its sequences begin with; `suffixes`, what each sequence has behind
them; `lengths`, the tokens of each sequence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from assay.data.encoding import EncodedGroup
from assay.data.group_json import group_from_json, group_to_json
from assay.data.rendering import TokenIds, shared_prefix
from assay.files import whole_file

ROWS_PER_BATCH = 256
"""Groups in a record batch, always: so that a group's batch is known by its number."""
_KEPT_BATCHES = 64

_IDS = pa.list_(pa.field("item", pa.int32(), nullable=False))
SCHEMA = pa.schema(
    [
        pa.field("ordinal", pa.int64(), nullable=False),
        pa.field("group", pa.large_string(), nullable=False),
        pa.field("prompt", _IDS, nullable=False),
        pa.field("suffixes", pa.list_(pa.field("item", _IDS, nullable=False)), nullable=False),
        pa.field("lengths", _IDS, nullable=False),
    ]
)


def write_shard(path: Path, groups: Iterator[tuple[int, EncodedGroup]]) -> None:
    """Write a shard of groups with their ordinals; memory holds one batch.

    Raises:
        OSError: the disk refused.
    """
    with (
        whole_file(path) as partial,
        pa.OSFile(str(partial), "wb") as file,
        pa.ipc.new_file(file, SCHEMA) as sink,
    ):
        while batch := list(islice(groups, ROWS_PER_BATCH)):
            sink.write_batch(_batch(batch))


class Shard:
    """A mapped shard; nothing is read before it is asked for, and no token is copied twice.

    Raises:
        OSError, pyarrow.ArrowInvalid: it cannot be opened, or is no shard.
    """

    def __init__(self, path: Path) -> None:
        with pa.memory_map(str(path)) as file:  # The map outlives it; hundreds of files need not.
            self._reader = pa.ipc.open_file(file.read_buffer())
        self._batch = lru_cache(_KEPT_BATCHES)(self._open_batch)

    def __getitem__(self, row: int) -> EncodedGroup:
        return self._batch(row // ROWS_PER_BATCH)[row % ROWS_PER_BATCH]

    def _open_batch(self, number: int) -> _Batch:
        return _Batch(self._reader.get_batch(number))


class _Batch:
    """One record batch as views into the mapped file."""

    def __init__(self, batch: Any) -> None:
        self._groups = batch.column("group")
        prompt, suffixes = batch.column("prompt"), batch.column("suffixes")
        self._prompt_begins, self._prompt_ids = _list_views(prompt)
        self._group_begins = suffixes.offsets.to_numpy()
        self._suffix_begins, self._suffix_ids = _list_views(suffixes.values)

    def __getitem__(self, row: int) -> EncodedGroup:
        group = group_from_json(self._groups[row].as_buffer().to_pybytes())
        begin, end = self._prompt_begins[row : row + 2]
        prompt: list[int] = self._prompt_ids[begin:end].tolist()
        first, last = self._group_begins[row : row + 2]
        begins = self._suffix_begins[first : last + 1].tolist()
        suffixes: list[int] = self._suffix_ids[begins[0] : begins[-1]].tolist()
        sequences = tuple(
            tuple(prompt + suffixes[a - begins[0] : b - begins[0]]) for a, b in pairwise(begins)
        )
        return EncodedGroup(group, sequences)


def _list_views(lists: Any) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    return lists.offsets.to_numpy(), lists.values.to_numpy()


def _batch(rows: Sequence[tuple[int, EncodedGroup]]) -> Any:
    ordinals, groups = [ordinal for ordinal, _ in rows], [encoded for _, encoded in rows]
    prompts: list[TokenIds] = []
    suffixes: list[TokenIds] = []
    for encoded in groups:
        shared = shared_prefix(encoded.sequences)
        prompts.append(encoded.sequences[0][:shared])
        suffixes += [sequence[shared:] for sequence in encoded.sequences]
    counts = [len(encoded.sequences) for encoded in groups]
    lengths = [[len(sequence) for sequence in encoded.sequences] for encoded in groups]
    arrays = [
        pa.array(ordinals, pa.int64()),
        pa.array([group_to_json(encoded.group) for encoded in groups], pa.large_string()),
        _lists(prompts),
        pa.ListArray.from_arrays(
            _begins(counts), _lists(suffixes), type=SCHEMA.field("suffixes").type
        ),
        _lists(lengths),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def _lists(lists: Sequence[Sequence[int]]) -> Any:
    counts = [len(row) for row in lists]
    values = np.fromiter(chain.from_iterable(lists), np.int32, sum(counts))
    return pa.ListArray.from_arrays(_begins(counts), pa.array(values, pa.int32()), type=_IDS)


def _begins(counts: Sequence[int]) -> Any:
    begins = np.zeros(len(counts) + 1, np.int32)
    np.cumsum(counts, out=begins[1:])
    return pa.array(begins, pa.int32())
