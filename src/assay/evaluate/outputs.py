"""The directory that an evaluation writes to: nothing in it is lost without being asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.data.loading import SkippedRow, bad_rows_said, write_bad_rows
from assay.data.records import Group, Source
from assay.data.rows import BadRow
from assay.errors import OutputError
from assay.files import check_place, made, output_errors, sync, whole_file
from assay.notices import warn

if TYPE_CHECKING:
    from assay.evaluate.metrics import Scored

BAD_ROWS = "bad_rows.jsonl"

EVALUATION = ("results.json", "comparisons.jsonl", "items.jsonl", "results", BAD_ROWS)
"""What `assay eval` may leave in its directory, with `--benchmark` or without."""

PROBE = ("probe.json", "probe.jsonl", BAD_ROWS)


def check_output_directory(output: Path | None, names: Sequence[str], *, overwrite: bool) -> None:
    """Refuse a place where results cannot be written or would replace others; nothing is made.

    Args:
        output: the directory; None where nothing is written.
        names: what will be written there, the telling one first.
        overwrite: what is there already may go.

    Raises:
        OutputError: it is a file, cannot be written to, or holds one of the names.
    """
    if output is None:
        return
    if output.exists() and not output.is_dir():
        raise OutputError("is a file", where=output, mend=f"name a directory for {names[0]}")
    check_place(output / names[0])
    for name in names:
        if (output / name).exists() and not overwrite:
            raise OutputError(
                "is there already",
                where=output / name,
                mend="add --overwrite, or name another directory",
            )


def write_all(directory: Path, texts: Mapping[str, Iterable[str]]) -> None:
    """Write files below a directory, all beside their places, and rename them when all are whole.

    Stopped on the way (Ctrl-C, a full disk), the directory is as it was, and is not made.

    Args:
        directory: where.
        texts: the parts of each file by its path below the directory, the telling one first: it
            is renamed last.

    Raises:
        OutputError: no space, no permission.
    """
    with output_errors(directory), ExitStack() as stack:
        for name, parts in texts.items():
            place = directory / name
            stack.enter_context(made(place.parent))
            partial = stack.enter_context(whole_file(place, lasting=False))
            with partial.open("w", encoding="utf-8", newline="\n") as file:
                file.writelines(parts)
            sync(partial)


def remove_earlier(output: Path, names: Sequence[str], written: Collection[str]) -> None:
    """Remove what an overwritten evaluation left and the new one has not replaced.

    Args:
        output: the directory.
        names: what an evaluation may leave there.
        written: the files of the new one, as paths below it.

    Raises:
        OutputError: the system refuses.
    """
    with output_errors(output):
        for name in names:
            # The deepest first, so that a directory is empty when its turn comes.
            for place in (*sorted((output / name).rglob("*"), reverse=True), output / name):
                if place.is_dir():
                    if not any(place.iterdir()):
                        place.rmdir()
                elif place.relative_to(output).as_posix() not in written:
                    place.unlink(missing_ok=True)


def comparison_row(
    pair: Scored,
    source: Source,
    tags: Mapping[str, str],
    texts: tuple[Group, int, int] | None,
    *,
    has_tokens: bool,
) -> dict[str, Any]:
    """A line of `comparisons.jsonl`.

    Args:
        pair: the comparison.
        source: of its row.
        tags: of it.
        texts: prompt and responses, the better response and the worse one; None where not known.
        has_tokens: whether its token counts are known.
    """
    row: dict[str, Any] = {
        "row": str(source),
        "group": pair.prompt,
        "result": pair.result,
        "margin": pair.margin,
        "chosen_reward": pair.chosen_reward,
        "rejected_reward": pair.rejected_reward,
        "chosen_tokens": pair.chosen_tokens if has_tokens else None,
        "rejected_tokens": pair.rejected_tokens if has_tokens else None,
        "tags": tags,
    }
    if texts is not None:
        group, chosen, rejected = texts
        row["prompt"] = [message.as_dict() for message in group.prompt]
        for name, place in (("chosen", chosen), ("rejected", rejected)):
            row[name] = [message.as_dict() for message in group.responses[place].messages]
    return row


def listed(skipped: Iterable[SkippedRow]) -> list[dict[str, str]]:
    """Rows that were left out, for results."""
    return [{"row": str(row.source), "reason": row.reason} for row in skipped]


def counts_of(skipped: Iterable[SkippedRow]) -> dict[str, int]:
    """How many rows were left out, by reason."""
    return dict(Counter(row.reason for row in skipped))


def reasons_told(counts: Mapping[str, int]) -> str:
    """The same in one line, empty where no row was left out."""
    return ", ".join(f"{count} {reason}" for reason, count in counts.items())


def put_aside(bad_rows: Sequence[BadRow], output: Path | None) -> None:
    """Write bad rows, where there are any, beside the results and say so.

    Raises:
        OutputError: they cannot be written.
    """
    count = len(bad_rows)
    if not count:
        return
    if output is None:
        warn(bad_rows_said(count, "skipped; give --output to have bad rows written aside"))
        return
    write_bad_rows(output / BAD_ROWS, bad_rows)
    warn(bad_rows_said(count, f"written to {output / BAD_ROWS}"))
