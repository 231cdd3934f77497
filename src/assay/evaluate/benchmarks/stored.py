"""Items with their rewards as a file, and the authors' own files of scores."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from assay.data.formats.fields import as_text, require, wrong_type
from assay.data.loading import SkippedRow
from assay.data.records import Group, Source
from assay.data.rows import BadRow, Row, bad_row
from assay.data.rows.reading import read_rows
from assay.data.sources import DataSource, locate
from assay.data.strict_json import JsonObject
from assay.errors import DataError
from assay.evaluate.account import ReadRows, read_all, refusal
from assay.evaluate.benchmarks.benchmark import Benchmark, Item, ScoredItem
from assay.evaluate.stored_numbers import place_of, scores, whole_numbers

OURS = ("row", "rewards", "good", "cluster")
"""Fields that only Assay's own lines have together."""


@dataclass(frozen=True, slots=True)
class InputRead:
    """The input that items were read from; each field as in `results.json`."""

    input: str
    input_sha256: str
    split: str | None = None


@dataclass(slots=True)
class StoredItems(ReadRows[ScoredItem | SkippedRow]):
    """What a file of scores holds.

    Attributes:
        read: the input of all items, where the file names it.
        rows_fingerprint: SHA-256 of everything but rewards: equal for the same items in one order.
    """

    read: InputRead | None = None
    rows_fingerprint: str = ""


def lines_of(
    benchmark: Benchmark,
    scored: Sequence[ScoredItem],
    skipped: Sequence[SkippedRow],
    *,
    read: InputRead | None = None,
    is_partial: bool = False,
) -> Iterator[str]:
    """`items.jsonl`: scored items with their rows, then the places of items that were left out.

    The last line is of the whole file: the input that was read, and whether a limit left rows of
    it unread. There is none where there is nothing to say.
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
    if read is not None or is_partial:
        about = {} if read is None else asdict(read)
        last = {"benchmark": benchmark.name, **about, "partial": is_partial}
        yield json.dumps(last, ensure_ascii=False) + "\n"


def read_scores(
    benchmark: Benchmark,
    path: str,
    *,
    limit: int | None = None,
    on_bad_row: Literal["error", "skip"] = "error",
) -> StoredItems:
    """Read `items.jsonl`, or a file of scores that the authors' scripts have written.

    Raises:
        DataError: there is no such file, it holds bad rows (a reward that is not finite is one),
            rows of another benchmark, or no scores.
    """
    source = DataSource(path)
    [*parts] = locate(source)
    digest = hashlib.sha256()
    single = parts[0].path if len(parts) == 1 and parts[0].kind == "json" else None
    columns = None if single is None else _columns(single, path)
    last: list[JsonObject] = []

    def rows() -> Iterator[Row | BadRow]:
        """All but the line that is of the whole file; of files put together there are several."""
        for row in read_rows(source, digest.update) if columns is None else columns:
            if isinstance(row, Row) and _is_last(benchmark, row.fields):
                last.append(row.fields)
            else:
                yield row

    def read(row: Row) -> ScoredItem | SkippedRow | BadRow:
        try:
            return _one(benchmark, row.fields, row.source)
        except DataError as error:
            return bad_row(row.source, error, row.raw)

    found: ReadRows[ScoredItem | SkippedRow] = read_all(rows(), read, limit=limit)
    if columns is not None and single is not None:
        digest.update(single.read_bytes())
    if found.bad_rows and (on_bad_row == "error" or not found.good):
        raise refusal(found.bad_rows)
    return StoredItems(
        found.good,
        found.bad_rows,
        found.is_partial or any(line["partial"] is True for line in last),
        digest.hexdigest(),
        _input_read(last[0]) if len(last) == 1 else None,
        _rows_fingerprint(found.good),
    )


def _is_last(benchmark: Benchmark, row: JsonObject) -> bool:
    return row.get("benchmark") == benchmark.name and "partial" in row and "row" not in row


def _input_read(last: JsonObject) -> InputRead | None:
    input, fingerprint, split = (last.get(field.name) for field in fields(InputRead))
    if not isinstance(input, str) or not isinstance(fingerprint, str):
        return None
    return InputRead(input, fingerprint, split if isinstance(split, str) else None)


def _rows_fingerprint(rows: Sequence[ScoredItem | SkippedRow]) -> str:
    """Of what items are, and in which order; not of rewards, and not of the path of their file."""
    digest = hashlib.sha256()
    for row in rows:
        if isinstance(row, SkippedRow):
            about: tuple[object, ...] = (row.source.line,)
        else:
            item = row.item
            about = (item.source.line, item.id, item.subset, item.good, item.num_responses)
            about += (item.cluster, sorted(item.labels.items()))
        digest.update(repr(about).encode())
    return digest.hexdigest()


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
    place = place_of(as_text(require(row, "row"), "row"))
    if "skipped" in row:
        return SkippedRow(place, as_text(row["skipped"], "skipped"))
    rewards = scores(row, "rewards")
    num_tokens = whole_numbers(row, "num_tokens", len(rewards) if row.get("num_tokens") else None)
    good = whole_numbers(row, "good")
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
    benchmark.check(item)
    return ScoredItem(item, rewards, num_tokens)


def _group(benchmark: Benchmark, data: JsonObject, place: Source, count: int) -> Group | None:
    """The texts, for files that show them; the numbers do not need them."""
    try:
        group = benchmark.read(data, place).group
    except DataError:
        return None  # A row of a table, whose cells are only text by now.
    return group if group is not None and len(group.responses) == count else None


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
