"""The directory that an evaluation writes to: nothing in it is lost without being asked."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from assay.data.loading import SkippedRow, bad_rows_said, write_bad_rows
from assay.data.rows import BadRow
from assay.errors import OutputError
from assay.files import check_place, output_errors, sync, whole_file
from assay.notices import warn

BAD_ROWS = "bad_rows.jsonl"

EVALUATION = ("results.json", "comparisons.jsonl", "items.jsonl", "results", BAD_ROWS)
"""What `assay eval` may leave in its directory, with `--benchmark` or without."""

PROBE = ("probe.json", "probe.jsonl", BAD_ROWS)


def check_output_directory(output: Path, names: Sequence[str], *, overwrite: bool) -> None:
    """Refuse a place where results cannot be written or would replace others; nothing is made.

    Args:
        output: the directory.
        names: what will be written there, the telling one first.
        overwrite: what is there already may go.

    Raises:
        OutputError: it is a file, cannot be written to, or holds one of the names.
    """
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
            stack.enter_context(_made(place.parent))
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


def listed(skipped: Iterable[SkippedRow]) -> list[dict[str, str]]:
    """Rows that were left out, for results."""
    return [{"row": str(row.source), "reason": row.reason} for row in skipped]


def put_aside(bad_rows: Sequence[BadRow], output: Path | None) -> None:
    """Write bad rows beside the results and say so.

    Raises:
        OutputError: they cannot be written.
    """
    count = len(bad_rows)
    if output is None:
        warn(bad_rows_said(count, "skipped; give --output to have bad rows written aside"))
        return
    write_bad_rows(output / BAD_ROWS, bad_rows)
    warn(bad_rows_said(count, f"written to {output / BAD_ROWS}"))


@contextmanager
def _made(directory: Path) -> Iterator[None]:
    """A directory; what had to be made for it goes again where the block fails."""
    missing = [place for place in (directory, *directory.parents) if not place.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with suppress(OSError):  # Somebody else may have put something there.
            for place in missing:
                place.rmdir()
        raise
