"""What reading the rows of benchmarks has in common: formats that are known, ids, scores."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping

from assay.data.formats import FormatOptions, VerbatimText, get_format
from assay.data.formats.fields import as_number, wrong_type
from assay.data.records import Group, Source
from assay.data.strict_json import JsonObject
from assay.errors import DataError
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


def one_score(value: object, field: str) -> float:
    """A stored reward; some pipelines write each as a list of one.

    Raises:
        DataError: it is no finite number: compared, it would be neither win, tie nor loss.
    """
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, float) and not math.isfinite(value):
        raise DataError(
            f"'{field}' is {value}, and a reward must be finite",
            mend="score the row again; it cannot be counted as a win, a tie or a loss",
        )
    return as_number(value, field)


def scores(row: JsonObject, field: str, count: int | None = None) -> tuple[float, ...]:
    """A list of stored rewards.

    Args:
        row: the row.
        field: holds the list.
        count: how many it must have.

    Raises:
        DataError: it is no list of so many finite numbers.
    """
    if field not in row:
        raise DataError(f"there is no field '{field}'", mend="give the file that holds the scores")
    value = row[field]
    if not isinstance(value, list):
        raise wrong_type(field, value, "a list of numbers")
    if count is not None and len(value) != count:
        raise DataError(
            f"'{field}' holds {len(value)} scores, not {count}", mend="give one for each response"
        )
    return tuple(one_score(each, f"{field}[{index}]") for index, each in enumerate(value))


def id_of(row: JsonObject, source: Source, field: str = "id") -> str:
    """The id of a row; its place in the file where it has none."""
    value = row.get(field)
    return str(source.line) if value is None else str(value)


def _cluster(prompt: object) -> str:
    text = json.dumps(prompt, ensure_ascii=False, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()
