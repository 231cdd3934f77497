"""The second stage: the rows of a partition, merged by prompt, tokenised, written as a shard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from assay.data.encoding import EncodedGroup, encode_each
from assay.data.group_json import group_from_json
from assay.data.loading import BAD_ROW, compare_where_rated, grouped
from assay.data.prompts import normalised_prompt_hash
from assay.data.records import Group
from assay.data.store.account import Numbers
from assay.data.store.chunks import Ordinal
from assay.data.store.left_out import bad_row_line, skipped_line
from assay.data.store.settings import Preparation
from assay.data.store.shards import write_shard
from assay.data.store.spill import Spill
from assay.files import whole_file

HASH_BYTES = 16
ENTRY = np.dtype(
    [
        ("ordinal", np.int64),
        ("row", np.int32),
        ("num_tokens", np.int64),
        ("num_comparisons", np.int32),
        ("prompt_hash", f"V{HASH_BYTES}"),
    ]
)
"""What the index keeps of a group."""


@dataclass(frozen=True, slots=True)
class PartFiles:
    """Where a partition's work lies.

    `dropped`, `bad_rows` and `too_long` hold lines that begin with the ordinal of their group.
    `account` is written last: where it is, all is.
    """

    shard: Path
    index: Path
    merged: Path
    dropped: Path
    bad_rows: Path
    too_long: Path
    account: Path

    @classmethod
    def of(cls, store: Path, work: Path, number: int) -> PartFiles:
        """The files of a partition: its shard in the store, the rest in the workshop."""
        names = ("index.npy", "merged", "dropped", "bad", "long", "json")
        rest = (work / f"part-{number:05}.{name}" for name in names)
        return cls(store / f"shard-{number:05}.arrow", *rest)

    def read_account(self) -> Numbers | None:
        """The numbers, or None where the partition is not done."""
        try:
            return Numbers.read(self.account)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None


def encode_spilled(
    preparation: Preparation,
    spills: Sequence[Spill],
    number: int,
    files: PartFiles,
    formats: Mapping[str, str],
    label: str | None,
) -> None:
    """Encode one partition of all chunks, unless that is done.

    Raises:
        OSError: the disk refused.
    """
    if files.read_account() is None:
        rows = _rows_of_partition(spills, number)
        encode_partition(preparation, list(rows), files, formats, label)


def _rows_of_partition(spills: Sequence[Spill], number: int) -> Iterator[tuple[Ordinal, Group]]:
    for spill in spills:
        for line in spill.lines(number):
            ordinal, key, text = line.split(b" ", 2)
            yield int(ordinal), group_from_json(text).with_key(key.decode())


def encode_partition(
    preparation: Preparation,
    rows: list[tuple[Ordinal, Group]],
    files: PartFiles,
    formats: Mapping[str, str],
    label: str | None,
) -> None:
    """Merge the rows of some prompts, tokenise, and write all files of the partition.

    Args:
        preparation: how.
        rows: all rows of the partition, in order; the list is emptied to save memory.
        files: where to.
        formats: of each file of the source, and `label` the label that it was read with.
        label: see there.

    Raises:
        OSError: the disk refused.
    """
    begins = {group.source: ordinal for ordinal, group in rows}
    groups = [group for _, group in rows]
    rows.clear()
    groups, left_out = compare_where_rated(groups, formats, label)
    groups = grouped(groups, preparation.group_by)
    ordinals = [begins[group.source] for group in groups]
    account = Numbers(dropped=Counter(row.reason for row in left_out))
    _write(files.merged, [f"{begins[row.source]} {skipped_line(row)}" for row in left_out])
    entries: list[tuple[Any, ...]] = []
    lines: dict[Path, list[str]] = {files.dropped: [], files.bad_rows: [], files.too_long: []}
    kept = _encoded(preparation, groups, ordinals, files, account, lines, entries)
    write_shard(files.shard, kept)
    for path, written in lines.items():
        _write(path, written)
    with whole_file(files.index, lasting=False) as partial, partial.open("wb") as file:
        np.save(file, np.array(entries, dtype=ENTRY))
    _write(files.account, [account.to_json()])


def _encoded(
    preparation: Preparation,
    groups: Sequence[Group],
    ordinals: Sequence[Ordinal],
    files: PartFiles,
    account: Numbers,
    lines: dict[Path, list[str]],
    entries: list[tuple[Any, ...]],
) -> Iterator[tuple[Ordinal, EncodedGroup]]:
    """The groups that are kept; everything else goes into the account, lines and entries."""
    encodings = encode_each(
        groups,
        preparation.renderer,
        max_length=preparation.max_length,
        over_length=preparation.over_length,
    )
    for ordinal, encoding in zip(ordinals, encodings, strict=True):
        lines[files.dropped] += (f"{ordinal} {skipped_line(row)}" for row in encoding.skipped)
        lines[files.bad_rows] += (f"{ordinal} {bad_row_line(row)}" for row in encoding.bad_rows)
        account.dropped.update(row.reason for row in encoding.skipped)
        account.dropped[BAD_ROW] += len(encoding.bad_rows)
        account.specials_in_content += encoding.specials_in_content
        account.unread_thoughts += encoding.unread_thoughts
        account.cut_prompts += encoding.cut
        if preparation.over_length == "error":
            lines[files.too_long] += (f"{ordinal} {bad_row_line(row)}" for row in encoding.too_long)
        group = encoding.group
        if group is None:
            continue
        entries.append(_entry(ordinal, account.groups, group))
        account.groups += 1
        account.comparisons += len(group.comparisons)
        account.sequences += len(group.sequences)
        account.tokens += group.num_tokens
        account.longest = max(account.longest, *map(len, group.sequences))
        account.last_tokens.update(sequence[-1] for sequence in group.sequences)
        yield ordinal, group


def _entry(ordinal: Ordinal, row: int, group: EncodedGroup) -> tuple[Any, ...]:
    return (
        ordinal,
        row,
        group.num_tokens,
        len(group.comparisons),
        normalised_prompt_hash(group.group.prompt),
    )


def _write(path: Path, lines: Iterable[str]) -> None:
    with whole_file(path, lasting=False) as partial:
        partial.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
