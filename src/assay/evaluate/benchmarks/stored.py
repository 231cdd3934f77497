"""Items with their rewards as a file, and the authors' own files of scores."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from assay.data.formats.fields import as_text, require, wrong_type
from assay.data.loading import SkippedRow, bad_rows_error
from assay.data.records import Group, Source
from assay.data.rows import BadRow, Row, bad_row
from assay.data.rows.reading import read_rows
from assay.data.sources import DataSource, locate
from assay.data.strict_json import JsonObject
from assay.errors import DataError
from assay.evaluate.benchmarks.benchmark import Benchmark, Item, ScoredItem
from assay.evaluate.benchmarks.rows import scores

OURS = ("row", "rewards", "good", "cluster")
"""Fields that only Assay's own lines have together."""


@dataclass(slots=True)
class StoredScores:
    """What a file of scores holds."""

    scored: list[ScoredItem] = field(default_factory=list)
    skipped: list[SkippedRow] = field(default_factory=list)
    bad_rows: list[BadRow] = field(default_factory=list)
    num_rows: int = 0
    is_partial: bool = False
    fingerprint: str = ""


def lines_of(
    benchmark: Benchmark,
    scored: Sequence[ScoredItem],
    skipped: Sequence[SkippedRow],
    *,
    is_partial: bool = False,
) -> Iterator[str]:
    """`items.jsonl`: scored items with their rows, then the places of items that were left out.

    Where a limit left rows unread, the last line says so.
    """
    for each in scored:
        item = each.item
        line = {
            "benchmark": benchmark.name,
            "row": str(item.source),
            "id": item.id,
            "subset": item.subset,
            "good": list(item.good),
            "rewards": list(each.rewards),
            "num_tokens": list(each.num_tokens),
            "cluster": item.cluster,
            "labels": dict(item.labels),
            "data": item.row,
        }
        yield json.dumps(line, ensure_ascii=False, allow_nan=False, default=str) + "\n"
    for row in skipped:
        line = {"benchmark": benchmark.name, "row": str(row.source), "skipped": row.reason}
        yield json.dumps(line, ensure_ascii=False) + "\n"
    if is_partial:
        yield json.dumps({"benchmark": benchmark.name, "partial": True}) + "\n"


def read_scores(
    benchmark: Benchmark,
    path: str,
    *,
    limit: int | None = None,
    on_bad_row: Literal["error", "skip"] = "error",
) -> StoredScores:
    """Read `items.jsonl`, or a file of scores that the authors' scripts have written.

    Raises:
        DataError: there is no such file, it holds bad rows (a reward that is not finite is one),
            rows of another benchmark, or no scores.
    """
    source = DataSource(path)
    [*parts] = locate(source)
    found = StoredScores()
    digest = hashlib.sha256()
    single = parts[0].path if len(parts) == 1 and parts[0].kind == "json" else None
    columns = None if single is None else _columns(single, path)
    rows = read_rows(source, digest.update) if columns is None else iter(columns)
    for row in rows:
        if found.num_rows == limit:
            found.is_partial = True
            break
        if isinstance(row, Row) and row.fields == {"benchmark": benchmark.name, "partial": True}:
            found.is_partial = True
            continue
        found.num_rows += 1
        if isinstance(row, BadRow):
            found.bad_rows.append(row)
            continue
        try:
            one = _one(benchmark, row.fields, row.source)
        except DataError as error:
            found.bad_rows.append(bad_row(row.source, error, row.raw))
            continue
        (found.skipped if isinstance(one, SkippedRow) else found.scored).append(one)  # type: ignore[arg-type]
    if columns is not None and single is not None:
        digest.update(single.read_bytes())
    found.fingerprint = digest.hexdigest()
    if found.bad_rows and (on_bad_row == "error" or not found.scored):
        raise bad_rows_error(found.bad_rows)
    return found


def _one(benchmark: Benchmark, row: JsonObject, place: Source) -> ScoredItem | SkippedRow:
    if all(name in row for name in OURS) or ("skipped" in row and "benchmark" in row):
        return _ours(benchmark, row)
    if benchmark.read_scores is None:
        raise DataError(
            f"is no line of items.jsonl, and the authors of {benchmark.title} write no scores",
            mend="give the items.jsonl of an evaluation of this benchmark",
        )
    return benchmark.read_scores(row, place)


def _ours(benchmark: Benchmark, row: JsonObject) -> ScoredItem | SkippedRow:
    if row.get("benchmark") != benchmark.name:
        raise DataError(
            f"holds scores of the benchmark {row.get('benchmark')}",
            mend=f"give --benchmark {row.get('benchmark')}",
        )
    place = _place(as_text(row["row"], "row"))
    if "skipped" in row:
        return SkippedRow(place, as_text(row["skipped"], "skipped"))
    rewards = scores(row, "rewards")
    good = _whole_numbers(row, "good")
    labels, data = row.get("labels"), row.get("data")
    if not isinstance(labels, dict) or not isinstance(data, dict):
        raise wrong_type("labels" if isinstance(data, dict) else "data", None, "an object")
    if not good or not set(good) < set(range(len(rewards))):
        raise DataError(
            f"'good' is {list(good)} of {len(rewards)} rewards",
            mend="some responses are right and some are not",
        )
    item = Item(
        id=as_text(require(row, "id"), "id"),
        subset=as_text(require(row, "subset"), "subset"),
        good=good,
        num_responses=len(rewards),
        source=place,
        cluster=as_text(row["cluster"], "cluster"),
        labels={str(key): as_text(value, f"labels.{key}") for key, value in labels.items()},
        row=data,
        group=_group(benchmark, data, place, len(rewards)),
    )
    return ScoredItem(item, rewards, _whole_numbers(row, "num_tokens"))


def _group(benchmark: Benchmark, data: JsonObject, place: Source, count: int) -> Group | None:
    """The texts, for files that show them; the numbers do not need them."""
    try:
        group = benchmark.read(data, place).group
    except DataError:
        return None  # A row of a table, whose cells are only text by now.
    return group if group is not None and len(group.responses) == count else None


def _whole_numbers(row: JsonObject, field: str) -> tuple[int, ...]:
    value = require(row, field)
    if not isinstance(value, list) or any(type(each) is not int for each in value):
        raise wrong_type(field, value, "a list of whole numbers")
    return tuple(value)


def _place(text: str) -> Source:
    file, _, line = text.rpartition(":")
    if not line.isdigit():
        raise DataError(f"'row' is '{text[:40]}', not FILE:LINE", mend="keep it as it was written")
    return Source(file, int(line))


def _columns(path: Path, name: str) -> list[Row] | None:
    """The rows of one object of columns, as RewardBench writes its scores; None of other files."""
    try:
        table = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None  # Whoever reads it by rows says what is wrong.
    if not isinstance(table, dict) or not isinstance(table.get("subset"), list):
        return None
    count = len(table["subset"])
    columns: Mapping[str, list[Any]] = {
        key: value for key, value in table.items() if isinstance(value, list)
    }
    for key, values in columns.items():
        if len(values) != count:
            raise DataError(
                f"the column '{key}' has {len(values)} values, and 'subset' has {count}",
                where=name,
                mend="give the file as the script wrote it",
            )
    return [
        Row(Source(name, number + 1), {key: values[number] for key, values in columns.items()})
        for number in range(count)
    ]
