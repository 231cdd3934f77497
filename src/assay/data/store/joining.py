"""Several stores, or parts of them, as one; still nothing is in memory but what is being used."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from assay.data.encoding import EncodedData, EncodedGroup
from assay.data.store.opening import StoredData, StoredGroups

Item = TypeVar("Item")


class Joined(Sequence[Item]):
    """Sequences one after the other, none of them copied."""

    def __init__(self, parts: Sequence[Sequence[Item]]) -> None:
        self.parts = list(parts)
        self._ends = list(accumulate(map(len, self.parts)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __iter__(self) -> Iterator[Item]:
        for part in self.parts:
            yield from part

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | Sequence[Item]:
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        number = range(len(self))[index]
        part = bisect_right(self._ends, number)
        return self.parts[part][number - (self._ends[part - 1] if part else 0)]


class JoinedData(EncodedData):
    """Groups of several stores, with the account of what those stores left out.

    Args:
        stores: where they come from.
        groups: of each store, those that are taken.
    """

    def __init__(self, stores: Sequence[StoredData], groups: Sequence[StoredGroups]) -> None:
        last_tokens: Counter[int] = Counter()
        for store in stores:
            last_tokens.update(store.last_tokens)
        joined: Joined[EncodedGroup] = Joined(groups)
        super().__init__(
            joined,
            Joined([store.skipped for store in stores]),
            Joined([store.bad_rows for store in stores]),
            sum(store.specials_in_content for store in stores),
            last_tokens,
            sum(store.cut_prompts for store in stores),
            sum(store.unread_thoughts for store in stores),
        )
        self._groups = list(groups)

    @property
    def num_comparisons(self) -> int:
        """Comparisons of the groups that are taken."""
        return int(self.column("num_comparisons").sum())

    @property
    def num_tokens(self) -> int:
        """Tokens of all their sequences, shared prefixes counted in each."""
        return int(self.column("num_tokens").sum())

    def column(self, name: str) -> NDArray[Any]:
        """A column of the stores' indices (see `INDEX_SCHEMA`); no group is built."""
        return np.concatenate([groups.column(name) for groups in self._groups])
