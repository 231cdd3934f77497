"""Preparing a source: found in the cache, gone on with, or made anew.

A store is made in a workshop beside its place and moved there when it is whole. The workshop has a
fixed name, so that whoever comes after a kill goes on in it: a file of it is whole or absent, and
what it holds is decided by the fingerprint, not by who wrote it. It says of which fingerprint it
is, and is emptied for another. A lock keeps two processes from working in it at once; where the
disk has no locks, each gets a workshop of its own.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from assay.cache import cache_dir, exclusive
from assay.data.loading import BAD_ROW, bad_rows_error, check_not_empty
from assay.data.rows import BadRow
from assay.data.sources import DataSource, Part, locate, unreadable
from assay.data.store.account import Account, Numbers
from assay.data.store.assembling import CountedRows, assemble, check_errors
from assay.data.store.chunks import RowSource, number_of_partitions, spill_all
from assay.data.store.left_out import bad_row_line, read_skipped, skipped_line
from assay.data.store.opening import StoredData, damage_of, open_store
from assay.data.store.partitions import PartFiles, encode_partition, encode_spilled
from assay.data.store.settings import (
    Content,
    Preparation,
    content_of,
    fingerprint,
    source_settings,
    states_of,
    versions,
)
from assay.data.store.spill import Spill
from assay.data.store.workers import MOST, Workers, rarely_collected, start_early
from assay.errors import AssayError, DataError, OutputError
from assay.files import DISK_FULL, output_errors, sync, write_text
from assay.machine import available_cores

_PIECE = 1 << 20
_LARGE = 5_000_000
"""Bytes above which a source is hardly prepared in memory."""
_ANOTHER = "holds a store of other data or settings"
_DROPPED, _BAD = -2, -1
"""Blocks of a spill."""


def prepare_source(
    source: DataSource,
    preparation: Preparation,
    *,
    workers: int | None = None,
    output: Path | None = None,
) -> StoredData:
    """Rows to token ids, once: the store of a source, which later calls only open.

    The content depends on the bytes of the source, on `preparation` and on versions; not on the
    number of processes, nor on whether an earlier call was killed.

    Args:
        source: what to read.
        preparation: how.
        workers: processes; None takes one for each core. Small sources need none.
        output: where the store shall be; None puts it into the cache directory.

    Raises:
        DataError: the source cannot be read, holds bad rows, or has no usable row.
        OutputError: no space, no permission, or something else is at `output`.
        ResourceError: a process was killed.
    """
    with _readable_twice(source) as rewind:
        content = content_of(locate(source))
        rewind()
        key = fingerprint(source, content, preparation)
        final = output or cache_dir() / "prepared" / key
        ready = _ready(final, key, ours=output is None)
        if ready is not None:
            return ready
        job = _Job(source, preparation, content, key, workers or min(available_cores(), MOST))
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            with exclusive(final) as locked:
                ready = _ready(final, key, ours=output is None)
                return ready or _build(job, final, locked=locked)
        except OSError as error:
            raise _refused(error, final) from None


class _Job:
    """What to make; every step names the files it makes."""

    def __init__(
        self,
        source: DataSource,
        preparation: Preparation,
        content: Content,
        key: str,
        workers: int,
    ) -> None:
        self.source = source
        self.preparation = preparation
        self.content = content
        self.workers = workers
        self.account = Account(
            fingerprint=key,
            source=source_settings(source),
            format=source.format,
            sha256=content.sha256,
            settings=preparation.settings(),
            versions=versions(),
        )

    def run(self, store: Path, work: Path) -> None:
        """Fill `store`, with `work` for what is needed on the way."""
        if self.workers > 1 and self.content.num_bytes > _LARGE:
            start_early()
        rows = RowSource(self.source)
        if rows.is_small:
            self._in_memory(rows, store, work)
        else:
            self._over_the_disk(rows, store, work)

    def _in_memory(self, rows: RowSource, store: Path, work: Path) -> None:
        found = rows.all_rows()
        self._check_unchanged()
        reasons = Counter(row.reason for row in found.skipped)
        self._check_rows(rows, found.num_rows, not found.groups, reasons, found.bad_rows)
        files = [PartFiles.of(store, work, 0)]
        dropped = [skipped_line(row) for row in found.skipped]
        bad = [bad_row_line(row) for row in found.bad_rows]
        formats, label = rows.reader.formats, self.source.label
        encode_partition(self.preparation, found.groups, files[0], formats, label)
        self._finish(store, files, reasons, dropped, bad)

    def _over_the_disk(self, rows: RowSource, store: Path, work: Path) -> None:
        count = number_of_partitions(self.content.num_bytes)
        files = [PartFiles.of(store, work, number) for number in range(count)]
        with rarely_collected(), Workers(self.preparation, self.workers) as pool:
            spills = spill_all(rows, self.source, work, count, pool)
            self._check_unchanged()
            num_rows = sum(spill.num_rows for spill in spills)
            is_empty = all(spill.is_empty for spill in spills)
            reasons = Counter(read_skipped(line).reason for line in _lines(spills, _DROPPED))
            bad_rows = CountedRows(_lines(spills, _BAD))
            self._check_rows(rows, num_rows, is_empty, reasons, bad_rows)
            shared = (rows.reader.formats, self.source.label)
            calls = ((spills, number, files[number], *shared) for number in range(count))
            for _ in pool.run(encode_spilled, calls):
                pass
        self._finish(store, files, reasons, _lines(spills, _DROPPED), _lines(spills, _BAD))

    def _check_unchanged(self) -> None:
        if states_of(locate(self.source)) != self.content.states:
            raise DataError(
                "changed while it was read",
                where=self.source.path,
                mend="run again when nothing writes to it",
            )

    def _check_rows(
        self,
        rows: RowSource,
        num_rows: int,
        is_empty: bool,
        reasons: Counter[str],
        bad_rows: Sequence[BadRow],
    ) -> None:
        """Enter what was read into the account, see that it will do, count bad rows as a reason."""
        self.account.rows, self.account.format = num_rows, rows.reader.format
        if bad_rows and self.preparation.on_bad_row == "error":
            raise bad_rows_error(bad_rows)
        reasons[BAD_ROW] = len(bad_rows)
        check_not_empty(self.source, is_empty, num_rows, reasons)

    def _finish(
        self,
        store: Path,
        files: list[PartFiles],
        reasons: Counter[str],
        dropped: Iterable[str],
        bad: Iterable[str],
    ) -> None:
        check_errors(self.preparation, files)
        self.account.add(Numbers(dropped=reasons))
        for part in (file.read_account() for file in files):
            assert part is not None
            self.account.add(part)
            self.account.shards.append(part.groups)
        assemble(store, self.account, files, dropped, bad)


def _ready(final: Path, key: str, *, ours: bool) -> StoredData | None:
    """The store, if it stands at its place already.

    Raises:
        OutputError: something else stands there, and the user chose the place.
    """
    if not final.exists():
        return None
    damage = damage_of(final)
    if damage is None:
        data = open_store(final)
        if data.account.fingerprint == key:
            return data
        damage = _ANOTHER
    if ours:
        return None
    if final.is_dir() and not any(final.iterdir()):
        return None
    raise OutputError(damage, where=final, mend="choose another output, or delete it")


def _build(job: _Job, final: Path, *, locked: bool) -> StoredData:
    key = job.account.fingerprint
    with _workshop(final, key, locked=locked) as workshop:
        store, work = workshop / "store", workshop / "work"
        for directory in (store, work):
            directory.mkdir(parents=True, exist_ok=True)
        if damage_of(store) is not None:
            job.run(store, work)
        for torn in store.glob(".*.partial"):  # of processes that were killed
            torn.unlink(missing_ok=True)
        _move(store, final)
    data = open_store(final)
    if data.account.fingerprint != key:  # Without a lock another process may have been first.
        raise OutputError(_ANOTHER, where=final, mend="choose another output, or delete it")
    return data


@contextmanager
def _workshop(final: Path, key: str, *, locked: bool) -> Iterator[Path]:
    """A directory to work in. What a kill leaves stays there; what an error leaves does not."""
    if locked:
        workshop = final.parent / f".{final.name}.partial"
        _empty_for(workshop, key)
    else:
        workshop = Path(tempfile.mkdtemp(prefix=f".{final.name}.partial-", dir=final.parent))
    try:
        yield workshop
    except KeyboardInterrupt:
        raise
    except BaseException:
        shutil.rmtree(workshop, ignore_errors=True)
        raise
    shutil.rmtree(workshop, ignore_errors=True)


def _empty_for(workshop: Path, key: str) -> None:
    """Remove what was to become another store; what a kill left of this one stays."""
    mark = workshop / "fingerprint"
    if mark.is_file() and mark.read_text() == key:
        return
    if workshop.exists():
        shutil.rmtree(workshop)
    workshop.mkdir()
    write_text(mark, key)


def _move(store: Path, final: Path) -> None:
    if final.is_dir():
        shutil.rmtree(final)  # Damaged, or an empty directory: anything else was refused.
    try:
        store.rename(final)
    except OSError:
        # Without a lock another process may have been first.
        if damage_of(final) is not None:
            raise
    sync(final.parent)


def _refused(error: OSError, final: Path) -> AssayError:
    what = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in DISK_FULL:
        what = "no space left on the device"
    return OutputError(
        f"the prepared data cannot be written ({what})",
        where=final,
        mend="free some space, or choose another place with --output or ASSAY_CACHE",
    )


@contextmanager
def _readable_twice(source: DataSource) -> Iterator[Callable[[], object]]:
    """Keep standard input on the disk while it is needed; gives what goes back to its beginning."""
    if source.path != "-":
        yield lambda: None
        return
    (part,) = locate(source)
    given = sys.stdin
    with tempfile.TemporaryFile() as kept:
        _copy(part, kept)
        kept.seek(0)
        sys.stdin = io.TextIOWrapper(kept)
        try:
            yield lambda: kept.seek(0)
        finally:
            sys.stdin.detach()
            sys.stdin = given


def _copy(part: Part, kept: IO[bytes]) -> None:
    with part.open() as rows:
        while True:
            try:
                piece = rows.read(_PIECE)
            except OSError as error:
                raise unreadable(error, part.name) from None
            if not piece:
                break
            with output_errors(Path(tempfile.gettempdir())):
                kept.write(piece)
        with output_errors(Path(tempfile.gettempdir())):
            kept.flush()


def _lines(spills: Sequence[Spill], block: int) -> Iterator[str]:
    return (line.decode() for spill in spills for line in spill.lines(block))
