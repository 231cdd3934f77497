"""Rows of preferences with their rewards beside them: what `assay score` and `assay eval` write."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from assay.data.formats import VerbatimText
from assay.data.formats.fields import as_text, wrong_type
from assay.data.loading import (
    IDENTICAL,
    SkippedRow,
    check_not_empty,
    compare_where_rated,
    grouped,
    sorted_row,
)
from assay.data.records import Group, Response, prompt_key
from assay.data.rows import BadRow, bad_row
from assay.data.scorable import ScorableRow, SourceReader
from assay.data.sources import DataSource, locate
from assay.data.strict_json import JsonObject
from assay.errors import DataError
from assay.evaluate.account import ReadRows, read_all, refusal
from assay.evaluate.details import Answered
from assay.evaluate.outputs import counts_of
from assay.evaluate.stored_numbers import one_score, place_of, scores, whole_numbers
from assay.notices import warn

_NEAR = 1e-5
"""Rewards of one answer that differ by no more are the same but for rounding."""

_FIRST_LINE = 2**20
"""Bytes of a first line that are looked at."""

_OF_A_LINE = {"row", "group", "result", "margin", "tags"}
"""Fields that only lines of `comparisons.jsonl` have together."""


@dataclass(slots=True)
class StoredPairs:
    """What a file of rows and rewards holds: rows = decided comparisons + skipped + bad_rows.

    `rows_fingerprint` is of prompts, answers and labels alone: the same whatever their rewards.
    """

    answers: list[Answered]
    skipped: list[SkippedRow]
    bad_rows: list[BadRow]
    num_rows: int
    format: str
    fingerprint: str
    rows_fingerprint: str


@dataclass(frozen=True, slots=True)
class _Reward:
    value: float
    tokens: int | None


@dataclass(slots=True)
class _Rewards:
    """Rewards by prompt and answer. An answer that stands in several rows has its first one."""

    of_answer: dict[tuple[str, str], _Reward] = field(default_factory=dict)
    repeated: int = 0
    truncated: int = 0

    def add(self, group: Group, found: Sequence[_Reward]) -> None:
        for response, reward in zip(group.responses, found, strict=True):
            first = self.of_answer.setdefault(_key(group, response), reward)
            self.repeated += abs(first.value - reward.value) > _NEAR

    def answered(self, group: Group) -> Answered:
        found = [self.of_answer[_key(group, response)] for response in group.responses]
        tokens = [reward.tokens for reward in found if reward.tokens is not None]
        known = len(tokens) == len(found)
        distinct = tuple(c for c in group.comparisons if c.a != c.b)
        group = replace(group, comparisons=distinct).with_key(group.key)
        return Answered(group, [reward.value for reward in found], tokens if known else None)


def read_stored(
    source: DataSource,
    *,
    limit: int | None = None,
    on_bad_row: Literal["error", "skip"] = "error",
) -> StoredPairs:
    """Read rows of any format of preferences that hold rewards, too.

    Either `assay.scores`, one for each response in the order in which the row names them, as
    `assay score` writes them; or `chosen_reward` and `rejected_reward`, as `comparisons.jsonl` has
    them. All else is read as `assay eval` reads it.

    Raises:
        DataError: there is no such file, it holds bad rows (a reward that is not finite is one), or
            no comparison.
    """
    _refuse_items(source)
    reader = SourceReader(source, need_comparisons=True)
    rewards = _Rewards()
    digest = hashlib.sha256()

    def read(row: ScorableRow) -> Group | SkippedRow | BadRow:
        place, fields, group = row
        if not isinstance(group, VerbatimText):
            try:
                group = _with_rewards(group, fields, rewards)
            except DataError as error:
                return bad_row(place, error, "")
            digest.update(_content(group))
        return sorted_row((place, fields, group), reader)

    found: ReadRows[Group | SkippedRow] = read_all(reader, read, limit=limit)
    if found.bad_rows and (on_bad_row == "error" or not found.good):
        raise refusal(found.bad_rows)
    groups, alone = compare_where_rated(
        [row for row in found.good if isinstance(row, Group)], reader.formats, source.label
    )
    skipped = [*(row for row in found.good if isinstance(row, SkippedRow)), *alone]
    check_not_empty(source, not groups, found.num_rows, counts_of(skipped))
    _say(rewards)
    # A merged group has the key that it was merged by as its id.
    merged = [group.with_key(group.id) for group in grouped(groups, "prompt")]
    # A row of several answers may compare one with itself.
    same = [(group, c) for group in merged for c in group.comparisons if c.a == c.b]
    skipped += [SkippedRow(c.row or group.source, IDENTICAL) for group, c in same]
    return StoredPairs(
        [rewards.answered(group) for group in merged],
        skipped,
        found.bad_rows,
        found.num_rows,
        reader.format,
        reader.fingerprint,
        digest.hexdigest(),
    )


def _refuse_items(source: DataSource) -> None:
    """See that the source is there, and that it is not what a benchmark's evaluation wrote."""
    [*parts] = locate(source)
    path = parts[0].path if len(parts) == 1 else None
    if path is None:
        return
    try:
        with path.open("rb") as file:
            first = json.loads(file.readline(_FIRST_LINE))
    except (OSError, ValueError, RecursionError):
        return  # Whoever reads it says what is wrong.
    if isinstance(first, dict) and "benchmark" in first and ("rewards" in first or "row" in first):
        raise DataError(
            f"holds scores of the benchmark {first['benchmark']}",
            where=source.path,
            mend=f"add --benchmark {first['benchmark']}",
        )


def _with_rewards(group: Group, row: JsonObject, rewards: _Rewards) -> Group:
    """Take the rewards of a row; returns the group, which a line of comparisons says more of."""
    added = row.get("assay")
    if isinstance(added, dict):
        values = scores(added, "scores", len(group.responses))
        counts: Sequence[int | None] = [None] * len(values)
        if "num_tokens" in added:
            counts = whole_numbers(added, "num_tokens", len(values))
        truncated = added.get("truncated")
        rewards.truncated += truncated.count(True) if isinstance(truncated, list) else 0
        rewards.add(group, [*map(_Reward, values, counts)])
        return group
    if "chosen_reward" in row and "rejected_reward" in row:
        group = _as_compared(group, row)
        rewards.add(group, [_of_side(row, side) for side in ("chosen", "rejected")])
        return group
    raise DataError(
        "holds no rewards: neither 'assay' with 'scores' nor 'chosen_reward' and 'rejected_reward'",
        mend="give what `assay score` wrote of these rows, or a comparisons.jsonl",
    )


def _of_side(row: JsonObject, side: str) -> _Reward:
    tokens = row.get(f"{side}_tokens")
    if tokens is not None and type(tokens) is not int:
        raise wrong_type(f"{side}_tokens", tokens, "a whole number")
    return _Reward(one_score(row[f"{side}_reward"], f"{side}_reward"), tokens)


def _as_compared(group: Group, row: JsonObject) -> Group:
    """The one comparison of a row whose fields are called chosen and rejected, better one first.

    A line of `comparisons.jsonl` says which row and prompt it is of, and its tags.
    """
    decided = [c.winner_loser for c in group.comparisons]
    if len(group.responses) != 2 or decided != [(0, 1)]:
        raise DataError(
            "'chosen_reward' and 'rejected_reward' stand in a row without one chosen and one "
            "rejected answer",
            mend="write the rewards as assay: {scores: [...]}, one for each answer in its order",
        )
    (comparison,) = group.comparisons
    tags = row.get("tags")
    if not row.keys() >= _OF_A_LINE or not isinstance(tags, dict):
        return group
    comparison = replace(
        comparison,
        row=place_of(as_text(row["row"], "row")),
        tags={str(name): as_text(value, f"tags.{name}") for name, value in tags.items()},
    )
    return replace(group, comparisons=(comparison,)).with_key(as_text(row["group"], "group"))


def _key(group: Group, response: Response) -> tuple[str, str]:
    return group.key, prompt_key(response.messages)


def _content(group: Group) -> bytes:
    """What a row holds but for rewards and its place."""
    answers = [prompt_key(response.messages) for response in group.responses]
    labels = [(c.a, c.b, c.outcome) for c in group.comparisons]
    return repr((group.key, answers, labels)).encode()


def _say(rewards: _Rewards) -> None:
    if rewards.repeated:
        warn(
            f"{rewards.repeated} answers have another reward in a later row of their prompt; the "
            "first one counts"
        )
    if rewards.truncated:
        warn(f"{rewards.truncated} answers were scored without the beginning of their prompt")
