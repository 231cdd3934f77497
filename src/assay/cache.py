"""The cache directory, answers that are kept in it, and a lock on a name in it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from assay.files import write_text


def cache_dir() -> Path:
    """`$ASSAY_CACHE`, else `~/.cache/assay`. Nothing is created."""
    return Path(os.environ.get("ASSAY_CACHE") or "~/.cache/assay").expanduser().absolute()


def keep_answer(place: Path, answer: object) -> None:
    """Write an answer as JSON; where the disk refuses, it is found out again next time."""
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        write_text(place, json.dumps(answer))


@contextmanager
def exclusive(final: Path) -> Iterator[bool]:
    """Hold the lock of one name, whose directory exists; False where the disk has no locks.

    The kernel drops the lock with its process, so that a killed one blocks nobody.
    """
    path = final.parent / f".{final.name}.lock"
    while True:
        with path.open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
            except OSError:
                # Some cluster file systems have no locks: two then do the work, the rename decides.
                yield False
                return
            # While we waited, the holder before us removed the file: that lock guards nothing.
            if not _is_open_file(path, handle.fileno()):
                continue
            try:
                yield True
            finally:
                path.unlink(missing_ok=True)
            return


def _is_open_file(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
