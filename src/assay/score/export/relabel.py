"""What `assay export relabel` writes and prints: comparisons without those that rewards contradict.

Every comparison that was read is in one of two files: kept, flipped or tied in the output; dropped
in the file of changes, where the flipped ones stand as well, with the reason.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from assay.data.records import Group
from assay.data.scorable import SourceReader
from assay.data.sources import DataSource, check_not_read
from assay.data.strict_json import JsonObject
from assay.data.writers import get_writer
from assay.data.writers.holding import as_dicts
from assay.data.writers.output import row_file
from assay.errors import DataError
from assay.files import check_output, text_output
from assay.model.rounding import shortest
from assay.notices import counted, warn
from assay.score.export.candidates import rewards_by_row
from assay.score.export.command import bias_lines, check_rows_output
from assay.score.export.folds import check_held_out
from assay.score.export.judging import Judged, Thresholds, cleaned, judge

_SCORES = "assay"
"""The field of a scored row that is no field of the row."""


def export_relabelled(
    sources: Sequence[DataSource],
    output: Path,
    thresholds: Thresholds,
    *,
    folds: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Write the rows of some scored files as Assay's own rows, and print what became of them.

    Args:
        sources: files that `assay score` wrote, one a fold where there are folds.
        output: the file; what was changed stands beside it.
        thresholds: what is flipped and dropped.
        folds: what `assay export folds` made; then each file must be one fold's, scored by a model
            that was trained on the others.
        overwrite: replace both files.

    Raises:
        ConfigError: the output is of an unknown kind.
        DataError: a row cannot be read, has no rewards or no comparison; or a file is not of the
            fold that it should be of.
        OutputError: an output is there already, or cannot be written.
    """
    check_rows_output(output, sources, overwrite=overwrite)
    changes = output.with_name(f"{output.name}.changed.jsonl")
    check_not_read(changes, sources)
    check_output(changes, overwrite=overwrite)
    if folds is not None:
        check_held_out(folds, [Path(source.path) for source in sources])
    else:
        warn(
            "labels are judged as they are read: a model that was trained on these comparisons "
            "agrees with their mistakes; see `assay export folds`"
        )
    rows = [(group, judge(group, rewards, thresholds)) for group, rewards in _rows(sources)]
    judged = [one for _, found in rows for one in found]
    left = [(row, found) for group, found in rows if (row := cleaned(group, found)) is not None]
    _check(judged, left, sources)
    write = get_writer("assay").write
    with ExitStack() as both:
        write_row = both.enter_context(row_file(output))
        aside = both.enter_context(text_output(changes))
        for row, _ in left:
            for written in write(row).rows:
                write_row(written)
        for one in judged:
            if one.verdict != "kept":
                aside.write(json.dumps(_change(one, thresholds), ensure_ascii=False) + "\n")
    for line in _said(judged, [group for group, _ in rows], output, changes):
        print(line)


def _rows(sources: Iterable[DataSource]) -> Iterator[tuple[Group, list[float]]]:
    for source in sources:
        for group, rewards in rewards_by_row(SourceReader(source)):
            if not group.comparisons:
                raise DataError(
                    "the row has no comparison",
                    where=group.source,
                    mend="give rows of comparisons; rated answers become some by "
                    "`assay convert --to assay`",
                )
            extra = {key: value for key, value in group.extra.items() if key != _SCORES}
            yield replace(group, extra=extra), rewards


def _check(judged: Sequence[Judged], left: Sequence[object], sources: Sequence[DataSource]) -> None:
    where = ", ".join(source.path for source in sources)
    if not judged:
        raise DataError(
            "no comparison has a winner", where=where, mend="give rows that say which is better"
        )
    if not left:
        raise DataError(
            f"all {len(judged)} comparisons would be dropped",
            where=where,
            mend="lower --drop-below, or score with a model that reads these rows",
        )


def _change(one: Judged, thresholds: Thresholds) -> JsonObject:
    """A flipped or dropped comparison as it was labelled, which every reader of pairs can read."""
    winner, loser = one.comparison.winner_loser or (0, 0)
    group = one.group
    row: JsonObject = {
        "what": one.verdict,
        "reason": thresholds.reason(one.verdict),
        "posterior": one.posterior,
        "reward_margin": shortest(one.margin),
        "row": str(one.comparison.row or group.source),
        "prompt": as_dicts(group.prompt),
        "chosen": as_dicts(group.responses[winner].messages),
        "rejected": as_dicts(group.responses[loser].messages),
    }
    return row if group.tools is None else row | {"tools": list(group.tools)}


def _said(
    judged: Sequence[Judged], groups: Sequence[Group], output: Path, changes: Path
) -> Iterator[str]:
    count = Counter(one.verdict for one in judged)
    ties = sum(len(group.comparisons) for group in groups) - len(judged)
    tied = f", {ties:,} ties left as they are" if ties else ""
    told = ", ".join(f"{count[name]:,} {name}" for name in ("kept", "flipped", "dropped"))
    yield f"{counted(len(judged), 'comparison')}: {told}{tied}: {output}"
    yield "before:"
    yield from _summary([(one.margin, one.longer) for one in judged])
    after = [
        (one.margin, one.longer) if one.verdict == "kept" else (-one.margin, -one.longer)
        for one in judged
        if one.verdict != "dropped"
    ]
    if after:
        yield "after:"
        yield from _summary(after)
    if count["flipped"] or count["dropped"]:
        yield f"flipped and dropped, with the reason: {changes}"


def _summary(margins_and_lengths: Sequence[tuple[float, int]]) -> list[str]:
    margins, longer = zip(*margins_and_lengths, strict=True)
    return [f"  {line}" for line in bias_lines(margins, longer)]
