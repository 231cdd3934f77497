"""The monitor's log: a line of JSON for each step of a run, behind what stands there already."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from assay.errors import OutputError
from assay.files import check_output, output_errors
from assay.notices import logger, notice

FIELDS = ("run", "step", "model", "responses", "reward_mean", "histogram")
"""By these a line of the log is told from other JSON."""
_BEGIN = b'{"run":'
SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Of these the quantiles in a line are."""
MIXED = "several"
"""The unit of lengths that count different things: they are not put together."""


class MonitorLog:
    """An open log. Each line is written at once, and whole.

    Args:
        path: of the file; it is made, or gone on with.

    Raises:
        OutputError: it cannot be written, or holds something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._is_failing = False
        check_log(path)
        with output_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                _cut_to_whole_lines(path)
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(self, line: Mapping[str, Any]) -> None:
        """Add a line; where the system refuses, the server's log says so, and requests go on."""
        text = json.dumps(line, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        try:
            self._write(text.encode() + b"\n")
            self._is_failing = False
        except OSError as error:
            if not self._is_failing:
                logger.error(
                    "%s: cannot be written (%s); steps are lost", self.path, error.strerror
                )
            self._is_failing = True

    def _write(self, line: bytes) -> None:
        before = os.fstat(self._file).st_size
        if os.write(self._file, line) < len(line):
            os.ftruncate(self._file, before)  # No half line is left before the next one.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        """Nothing more is written."""
        os.close(self._file)


def check_log(path: Path) -> None:
    """See that a log can be written there, or gone on with; nothing is changed.

    Raises:
        OutputError: it cannot be written, or holds something else.
    """
    check_output(path, overwrite=True)
    if not path.exists():
        return
    with output_errors(path), path.open("rb") as file:
        first = file.readline(2**20)
    # Of a log that a kill has cut in its first line there is its beginning.
    if first and not is_line(first) and (first.endswith(b"\n") or not first.startswith(_BEGIN)):
        raise OutputError(
            "is there, and holds something else than a monitor's log",
            where=path,
            mend="name another file with --monitor-log",
        )


def _cut_to_whole_lines(path: Path) -> None:
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        kept = _whole_lines(file, size)
        if kept < size:
            notice(f"{path}: the last line was cut off, and is removed")
            file.truncate(kept)


def is_line(line: bytes) -> bool:
    """Whether this is a line of a monitor's log."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and all(field in found for field in FIELDS)


def _whole_lines(file: BinaryIO, end: int) -> int:
    """The bytes up to the end of the last line that has one, of so many."""
    while end:
        begin = max(0, end - 65536)
        file.seek(begin)
        place = file.read(end - begin).rfind(b"\n")
        if place >= 0:
            return begin + place + 1
        end = begin
    return 0
