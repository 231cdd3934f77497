"""What reading the rows of benchmarks has in common: formats that are known, and ids."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from assay.data.formats import FormatOptions, VerbatimText, get_format
from assay.data.records import Group, Source
from assay.data.strict_json import JsonObject
from assay.evaluate.benchmarks.benchmark import Item, ScoredItem


def group_by_format(name: str, row: JsonObject, source: Source, label: str | None = None) -> Group:
    """What a format of preferences makes of a row.

    Raises:
        DataError: it is no row of that format.
    """
    group = get_format(name).read(row, source, FormatOptions(label))
    assert not isinstance(group, VerbatimText), name
    return group


def item_of(
    group: Group,
    row: JsonObject,
    *,
    id: object,
    subset: str,
    good: tuple[int, ...],
    labels: Mapping[str, str] | None = None,
) -> Item:
    """The item of a row that a format has read."""
    return Item(
        id=str(id),
        subset=subset,
        good=good,
        num_responses=len(group.responses),
        source=group.source,
        cluster=group.key,
        labels=labels or {},
        row=row,
        group=group,
    )


def stored_item(
    row: JsonObject,
    source: Source,
    *,
    id: object,
    subset: str,
    good: tuple[int, ...],
    rewards: tuple[float, ...],
    prompt: object = None,
    labels: Mapping[str, str] | None = None,
) -> ScoredItem:
    """The item of a row of scores.

    Args:
        row: the row.
        source: its place.
        id: of the item.
        subset: of the item.
        good: the right responses.
        rewards: of all responses.
        prompt: what rows of one prompt have in common; without it each id is a prompt.
        labels: what else the metric goes by.
    """
    item = Item(
        id=str(id),
        subset=subset,
        good=good,
        num_responses=len(rewards),
        source=source,
        cluster=_cluster(f"{subset}#{id}" if prompt is None else prompt),
        labels=labels or {},
        row=row,
    )
    return ScoredItem(item, rewards)


def id_of(row: JsonObject, source: Source, field: str = "id") -> str:
    """The id of a row; its place in the file where it has none."""
    value = row.get(field)
    return str(source.line) if value is None else str(value)


def _cluster(prompt: object) -> str:
    text = json.dumps(prompt, ensure_ascii=False, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()
