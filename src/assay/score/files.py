"""Scoring a file: one JSON line a row, in order, each row's own fields kept."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from assay.data.loading import bad_rows_error, write_bad_rows
from assay.data.rows import BadRow
from assay.data.scorable import ScorableRow, scorable_rows
from assay.data.sources import DataSource
from assay.errors import AssayError, DataError
from assay.files import check_output, text_output
from assay.model.reward_model import RewardModel
from assay.score.scorer import RowScores, reading_limit, refusals, score_items

Style = Literal["assay", "messages"]

WINDOW = 4096
"""Rows rendered, sorted and scored together; windows do not influence one another."""


@dataclass(frozen=True, slots=True)
class ScoreOptions:
    """How `score_file` reads and writes; `transform` adds a column and replaces nothing."""

    style: Style = "assay"
    transform: Literal["sigmoid"] | None = None
    max_length: int | None = None
    on_bad_row: Literal["error", "skip"] = "error"
    limit: int | None = None
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class ScoreSummary:
    """What was written, and what was not."""

    rows: int
    responses: int
    truncated: int
    bad_rows: int
    bad_rows_file: Path | None


def score_file(
    model: RewardModel,
    name: str,
    source: DataSource,
    output: Path,
    options: ScoreOptions,
    progress: Callable[[int], None] | None = None,
) -> ScoreSummary:
    """Score every row of a source into a JSONL file, whole or not at all.

    Args:
        model: the model.
        name: what to call it in the output.
        source: the rows.
        output: the file; it must not be there unless `options.overwrite`.
        options: see `ScoreOptions`.
        progress: called with the number of rows done since the last call.

    Raises:
        DataError: bad rows and `on_bad_row` is `error`; all of them are listed, nothing is written.
        OutputError: the output is there already, or cannot be written.
    """
    check_output(output, overwrite=options.overwrite)
    reading_limit(model, options.max_length)
    rows, bad = _check(model, source, options)
    if not rows:
        raise DataError("holds no row to score", where=source.path, mend="give it rows")
    about = {"model": name, "template_hash": model.renderer.template.hash}
    responses = truncated = 0
    with text_output(output) as file:
        for start in range(0, len(rows), WINDOW):
            window = rows[start : start + WINDOW]
            scores = score_items(
                model, [item for _, _, item in window], max_length=options.max_length
            )
            for (source_row, fields, _), result in zip(window, scores, strict=True):
                line = _styled(fields, result, about, options, str(source_row))
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
                responses += len(result.scores)
                truncated += sum(result.truncated)
            if progress is not None:
                progress(len(window))
    aside = output.with_name(f"{output.name}.bad.jsonl")
    if bad:
        write_bad_rows(aside, bad)
    elif options.overwrite:
        aside.unlink(missing_ok=True)  # of the output that was overwritten
    return ScoreSummary(len(rows), responses, truncated, len(bad), aside if bad else None)


def probability(score: float) -> float:
    """The logistic function, without overflow."""
    if score >= 0:
        return 1 / (1 + math.exp(-score))
    return math.exp(score) / (1 + math.exp(score))


def _check(
    model: RewardModel, source: DataSource, options: ScoreOptions
) -> tuple[list[ScorableRow], list[BadRow]]:
    """All rows, before anything is computed: a bad row at the end must not cost hours."""
    read: list[ScorableRow] = []
    bad: list[BadRow] = []
    for row in _limited(scorable_rows(source), options.limit):
        if isinstance(row, BadRow):
            bad.append(row)
        else:
            read.append(row)
    rows = []
    found: list[AssayError | None] = []
    for start in range(0, len(read), WINDOW):
        items = [item for _, _, item in read[start : start + WINDOW]]
        found += refusals(model, items, max_length=options.max_length)
    for row, refusal in zip(read, found, strict=True):
        if refusal is None:
            rows.append(row)
        else:
            raw = json.dumps(row[1], ensure_ascii=False)
            bad.append(BadRow(row[0], refusal.what, refusal.mend or "mend the row", raw))
    if bad and options.on_bad_row == "error":
        raise bad_rows_error(bad)
    for place, fields, _ in rows:
        if options.style == "messages":
            _last_valued(fields, str(place))
        elif "assay" in fields:
            raise DataError(
                "the row has a field 'assay' already, which would be lost",
                where=place,
                mend="rename or remove it",
            )
    return rows, bad


def _limited(
    rows: Iterable[ScorableRow | BadRow], limit: int | None
) -> Iterator[ScorableRow | BadRow]:
    for index, row in enumerate(rows):
        if limit is not None and index >= limit:
            return
        yield row


def _styled(
    fields: dict[str, Any],
    result: RowScores,
    about: dict[str, Any],
    options: ScoreOptions,
    place: str,
) -> dict[str, Any]:
    if options.style == "messages":
        return _in_messages(fields, result, options, place)
    added: dict[str, Any] = {
        "scores": result.scores,
        "num_tokens": result.num_tokens,
        "truncated": result.truncated,
        **about,
    }
    if options.transform == "sigmoid":
        added["sigmoid"] = [probability(score) for score in result.scores]
    if result.uncertainty is not None:
        added["uncertainty"] = result.uncertainty
    if result.components is not None:
        added["components"] = result.components
    return fields | {"assay": added}


def _in_messages(
    fields: dict[str, Any], result: RowScores, options: ScoreOptions, place: str
) -> dict[str, Any]:
    last = dict(_last_valued(fields, place))
    for index, (key, score) in enumerate(zip(("chosen", "rejected"), result.scores, strict=True)):
        last[f"{key}_score"] = score
        if options.transform == "sigmoid":
            last[f"{key}_score_sigmoid"] = probability(score)
        if result.uncertainty is not None:
            last[f"{key}_uncertainty"] = result.uncertainty[index]
        if result.components is not None:
            last[f"{key}_components"] = result.components[index]
    return fields | {"messages": [*fields["messages"][:-1], last]}


def _last_valued(fields: dict[str, Any], place: str) -> dict[str, Any]:
    messages = fields.get("messages")
    last = messages[-1] if isinstance(messages, list) and messages else None
    if not isinstance(last, dict) or "chosen_value" not in last:
        raise DataError(
            "--style messages writes into rows whose last message has chosen_value and "
            "rejected_value, and this row has none",
            where=place,
            mend="leave --style out",
        )
    return last
