"""Reading a store: nothing is in memory but what is being used."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from assay.data.encoding import EncodedData, EncodedGroup
from assay.data.store.account import Account
from assay.data.store.left_out import BAD_ROWS, DROPPED, LineFile, read_bad_row, read_skipped
from assay.data.store.shards import Shard
from assay.errors import DataError

INDEX, ACCOUNT, COMPLETE = "index.arrow", "prepare.json", "complete.json"

INDEX_SCHEMA = pa.schema(
    [
        pa.field("shard", pa.int32(), nullable=False),
        pa.field("row", pa.int32(), nullable=False),
        pa.field("num_tokens", pa.int64(), nullable=False),
        pa.field("num_comparisons", pa.int32(), nullable=False),
        pa.field("prompt_hash", pa.binary(16), nullable=False),
    ]
)
"""Of each group, in the order of first appearance: its shard and its row there, and numbers."""


class _Mapped:
    """The mapped files of a store, each opened when it is first needed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.index = _open_index(path / INDEX)
        self._shards: dict[int, Shard] = {}

    def group(self, number: int) -> EncodedGroup:
        """The group of this number, in the order of first appearance."""
        shard = int(self.index["shard"][number])
        if shard not in self._shards:
            self._shards[shard] = Shard(self.path / f"shard-{shard:05}.arrow")
        return self._shards[shard][int(self.index["row"][number])]


class StoredGroups(Sequence[EncodedGroup]):
    """The groups of a store; each is built from the mapped files when it is asked for.

    A slice is a view. Pickling keeps the place and not the groups.
    """

    def __init__(self, mapped: _Mapped, chosen: NDArray[np.int64] | range) -> None:
        self._mapped = mapped
        self._chosen = chosen

    @classmethod
    def of(cls, path: Path, chosen: NDArray[np.int64] | range | None = None) -> StoredGroups:
        """The groups of the store in a directory: those of some numbers, or all."""
        mapped = _Mapped(path)
        return cls(mapped, range(len(mapped.index["row"])) if chosen is None else chosen)

    def __len__(self) -> int:
        return len(self._chosen)

    @overload
    def __getitem__(self, index: int) -> EncodedGroup: ...
    @overload
    def __getitem__(self, index: slice) -> StoredGroups: ...
    def __getitem__(self, index: int | slice) -> EncodedGroup | StoredGroups:
        if isinstance(index, slice):
            return StoredGroups(self._mapped, self._chosen[index])
        return self._mapped.group(int(self._chosen[index]))

    def __reduce__(self) -> tuple[Any, ...]:
        return StoredGroups.of, (self._mapped.path, self._chosen)

    def take(self, numbers: Sequence[int] | NDArray[np.int64]) -> StoredGroups:
        """The groups at these places, in this order; no group is built."""
        return StoredGroups(self._mapped, np.asarray(self._chosen, np.int64)[numbers])

    def column(self, name: str) -> NDArray[Any]:
        """A column of the index (see `INDEX_SCHEMA`) for these groups; no group is built."""
        column = self._mapped.index[name]
        if isinstance(self._chosen, range):
            if self._chosen.step > 0:
                return column[self._chosen.start : self._chosen.stop : self._chosen.step]
            return column[np.asarray(self._chosen, np.int64)]
        return column[self._chosen]


class StoredData(EncodedData):
    """A store as training and evaluation read it.

    `skipped` and `bad_rows` hold every row that was left out, those before grouping too; they are
    read from their files. `account` has all numbers.
    """

    groups: StoredGroups
    account: Account

    def __init__(self, path: Path, account: Account) -> None:
        super().__init__(
            StoredGroups.of(path),
            LineFile(path / DROPPED, account.num_dropped - account.bad_rows, read_skipped),
            LineFile(path / BAD_ROWS, account.bad_rows, read_bad_row),
            account.specials_in_content,
            account.last_tokens,
            account.cut_prompts,
            account.unread_thoughts,
        )
        self.path = path
        self.account = account

    @property
    def num_comparisons(self) -> int:
        """Comparisons in the store."""
        return self.account.comparisons

    @property
    def num_tokens(self) -> int:
        """Tokens of all sequences, shared prefixes counted in each."""
        return self.account.tokens


def open_store(path: str | Path) -> StoredData:
    """Open a store; no group is read.

    Raises:
        DataError: there is none, or it is not whole.
    """
    path = Path(path)
    damage = damage_of(path)
    if damage is not None:
        raise DataError(damage, where=path, mend="prepare it again")
    return StoredData(path, Account.read(path / ACCOUNT))


def damage_of(path: Path) -> str | None:
    """Why a directory is no whole store; None where it is one."""
    try:
        files = json.loads((path / COMPLETE).read_text(encoding="utf-8"))["files"]
        for name, size in files.items():
            found = (path / name).stat().st_size
            if found != size:
                return f"{name} has {found} bytes, not {size}"
        Account.read(path / ACCOUNT)
    except FileNotFoundError as error:
        return f"is not a whole store ({Path(str(error.filename)).name} is missing)"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"is not a whole store ({error})"
    return None


def _open_index(path: Path) -> dict[str, NDArray[Any]]:
    """The columns of the index as views of the mapped file."""
    batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
    columns = {}
    for field in INDEX_SCHEMA:
        column = batch.column(field.name)
        if pa.types.is_fixed_size_binary(field.type):
            data = np.frombuffer(column.buffers()[1] or b"", dtype="V16")
            columns[field.name] = data[: len(column)]
        else:
            columns[field.name] = column.to_numpy()
    return columns
