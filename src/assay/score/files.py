"""Scoring a source into a file: one line a row, in order, each row's own fields kept.

The work is done window by window. What is done stands in parts beside the output, so that a job
that was killed is gone on with; the output itself is whole or absent.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from assay.data.loading import bad_rows_beside, bad_rows_error
from assay.data.rows import BadRow
from assay.data.scorable import SourceReader
from assay.data.sources import DataSource, check_not_read
from assay.data.store.settings import source_settings
from assay.errors import AssayError, ConfigError, DataError, OutputError
from assay.files import check_output, output_errors, whole_file
from assay.model.manifest import file_sha256
from assay.notices import notice, warn
from assay.score.account import ScoreSummary, sums_of, write_aside
from assay.score.engines.work import Elsewhere, Work
from assay.score.lines import Layout, Style
from assay.score.outputs import Assembler, Lines, assembler_of
from assay.score.parts import Manifest, PartAccount, Parts, bad_row_records
from assay.score.rewarder import Rewarder
from assay.score.settings import circumstances, differences
from assay.score.shards import WHOLE, Shard, ShardAccount, account_file
from assay.score.transform import Transform
from assay.score.watching import Watch
from assay.score.window import (
    WINDOW,
    ScoredWindow,
    digest_of,
    read_window,
    score_window,
    unread_windows,
    unusable_rows,
)

_STDIN = "-"


@dataclass(frozen=True, slots=True)
class ScoreOptions:
    """How `score_source` reads and writes; `transform` adds a column and replaces nothing.

    `window` is the number of rows that are packed and sorted together: another one gives rewards
    that may differ in their last bits.
    """

    style: Style = "assay"
    transform: Transform | None = None
    max_length: int | None = None
    on_bad_row: Literal["error", "skip"] = "error"
    limit: int | None = None
    overwrite: bool = False
    shard: Shard = WHOLE
    window: int = WINDOW


def score_source(
    rewarder: Rewarder,
    source: DataSource,
    output: Path,
    options: ScoreOptions,
    watch: Watch | None = None,
    elsewhere: Elsewhere | None = None,
) -> ScoreSummary:
    """Score every row of a source into a file, whole or not at all.

    A job that was broken off is gone on with: the output is to the byte what it would have been.

    Args:
        rewarder: what gives the rewards.
        source: the rows. All of them are checked before the first is scored, but those of
            standard input, which are checked window by window.
        output: the file; it must not be there unless `options.overwrite`.
        options: see `ScoreOptions`.
        watch: is told how far the job is.
        elsewhere: scores the windows in the place of this process; `rewarder` then only reads.

    Raises:
        ConfigError: standard input is to be scored elsewhere.
        DataError: bad rows and `on_bad_row` is `error`; all of them are listed.
        OutputError: the output is there already, is an input, cannot be written, or parts of
            another job's output lie beside it.
    """
    check_job_output(output, [source], overwrite=options.overwrite)
    assembler = assembler_of(output)
    if options.shard != WHOLE and not isinstance(assembler, Lines):
        raise ConfigError(
            "a shard's output is JSON lines",
            where=output,
            mend="name it .jsonl; --merge makes a .parquet file of the shards",
        )
    if elsewhere is not None and source.path == _STDIN:
        raise ConfigError(
            "standard input is read once, by one process", where="--input", mend="give a file"
        )
    rewarder.check_length(options.max_length)
    job = _Job(rewarder, source, output, options, watch or Watch(), elsewhere)
    return job.run(assembler)


def check_job_output(output: Path, sources: Sequence[DataSource] = (), *, overwrite: bool) -> None:
    """`check_output`, but for an output whose job was killed when it was all but finished.

    Raises:
        OutputError: as `check_output`, or it is a file of the sources.
    """
    check_not_read(output, sources)
    finished = not overwrite and output.is_file() and Parts(output).is_finished()
    check_output(output, overwrite=overwrite or finished)
    check_not_read(bad_rows_beside(output), sources)


@dataclass
class _Job:
    """One call of `score_source`."""

    rewarder: Rewarder
    source: DataSource
    output: Path
    options: ScoreOptions
    watch: Watch
    elsewhere: Elsewhere | None
    formats: Mapping[str, str] | None = None
    total: int | None = None

    def __post_init__(self) -> None:
        self.layout = Layout(self.options.style, self.options.transform, self.rewarder.about)
        self.parts = Parts(self.output)

    def run(self, assembler: Assembler) -> ScoreSummary:
        """Do what is not done yet."""
        settings = self._settings()
        before = self.parts.manifest()
        if before is not None and not self.options.overwrite and self.parts.is_finished():
            return self._end(before, settings)
        manifest = self._prepared(before, settings)
        with self.parts.kept():
            self._begin(before, manifest)
            try:
                accounts = self._score(manifest, assembler)
            except (AssayError, KeyboardInterrupt):
                if self.parts.any_window():
                    notice(f"what is done is kept in {self.parts.path}; the same command goes on")
                raise
            numbers = sums_of(accounts)
            self._assemble(replace(manifest, summary=numbers), accounts, assembler)
            self.parts.remove()
        return ScoreSummary.of(numbers, self.output)

    def _begin(self, before: Manifest | None, manifest: Manifest) -> None:
        """Go on with what is there, or begin anew; nobody else writes now."""
        check_job_output(self.output, overwrite=self.options.overwrite)
        if self.parts.manifest() != before:
            raise OutputError(
                "another job has written it meanwhile", where=self.output, mend="run again"
            )
        if before is None or differences(before.settings, manifest.settings):
            self.parts.clear()
        self.parts.write_manifest(manifest)

    def _end(self, finished: Manifest, settings: dict[str, Any]) -> ScoreSummary:
        """The removal of the parts was broken off, and nothing before."""
        settings["input SHA-256"] = self._survey(trusted=True)
        if not self._same(finished, settings) or finished.summary is None:
            check_output(self.output, overwrite=False)
        self.parts.remove()
        return ScoreSummary.of(finished.summary or {}, self.output)

    def _prepared(self, before: Manifest | None, settings: dict[str, Any]) -> Manifest:
        """The manifest of this job, after a look at every row and at what an earlier job left."""
        trusted = before is not None and before.checked and self._same(before, settings)
        settings["input SHA-256"] = self._survey(trusted=trusted)
        checked = self.source.path != _STDIN and self.options.on_bad_row == "error"
        others = {} if self.elsewhere is None else self.elsewhere.circumstances
        now = Manifest(settings, circumstances() | others, checked=checked)
        if before is None:
            if self.parts.any_window() and not self.options.overwrite:
                raise OutputError(
                    "holds parts of a job of which nothing is known: its manifest cannot be read",
                    where=self.parts.path,
                    mend="add --overwrite to begin anew, or name another output",
                )
            return now
        found = differences(before.settings, settings)
        if found and not self.options.overwrite:
            raise OutputError(
                f"holds parts of another job ({'; '.join(found)})",
                where=self.parts.path,
                mend="repeat that job's command to go on with it, add --overwrite to begin anew, "
                "or name another output",
            )
        if found:
            if trusted:
                self._survey(trusted=False)
            return now
        changed = differences(before.circumstances, now.circumstances)
        if changed:
            warn(
                f"{self.parts.path}: going on under other circumstances ({'; '.join(changed)}): "
                "the last bits of rewards may differ from those of an unbroken job"
            )
        return replace(now, circumstances=before.circumstances)

    def _settings(self) -> dict[str, Any]:
        options, transform = self.options, self.options.transform
        source = {f"input {name}": value for name, value in source_settings(self.source).items()}
        by = self.rewarder.identity() if self.elsewhere is None else self.elsewhere.identity
        return {
            **by,
            **source,
            "limit": options.limit,
            "max_length": options.max_length,
            "style": options.style,
            "transform": None if transform is None else str(transform),
            "window": options.window,
            "shard": None if options.shard == WHOLE else str(options.shard),
        }

    def _same(self, before: Manifest, settings: dict[str, Any]) -> bool:
        return all(before.settings.get(name) == value for name, value in settings.items())

    def _survey(self, *, trusted: bool) -> str | None:
        """See every row of the source; its fingerprint. Standard input cannot be seen twice.

        Raises:
            DataError: bad rows, where they are errors, all of them; rewards have no place in a row.
        """
        if self.source.path == _STDIN:
            return None
        reader = SourceReader(self.source)
        bad: list[BadRow] = []
        self.total = 0
        for number, rows in self._unread(reader):
            self.total += len(rows)
            if not trusted:
                bad += unusable_rows(
                    self.rewarder,
                    read_window(reader, number, rows),
                    self.layout,
                    self.options.max_length,
                    render=self.options.on_bad_row == "error",
                )
        if bad and self.options.on_bad_row == "error":
            raise bad_rows_error(bad)
        self.formats = reader.formats
        return reader.fingerprint

    def _unread(self, reader: SourceReader) -> Iterator[tuple[int, list[Any]]]:
        """The windows of this job's shard."""
        for number, rows in unread_windows(reader, self.options.window, self.options.limit):
            if number in self.options.shard:
                yield number, rows

    def _score(self, manifest: Manifest, assembler: Assembler) -> list[PartAccount]:
        reader = SourceReader(self.source, formats=self.formats)
        accounts: list[PartAccount] = []
        done = 0
        begun = False
        with closing(self._from_elsewhere()) as from_elsewhere:
            for number, rows in self._unread(reader):
                account = self.parts.account(number)
                if account is None:
                    if not begun:
                        self._say_done(done)
                        self.watch.begin(self.total, done)
                        begun = True
                    if self.elsewhere is None:
                        scored = self._score_one(reader, number, rows, done)
                    else:
                        scored = self._next(from_elsewhere, number, rows)
                    account = self._kept(scored)
                elif account.digest != digest_of(rows):
                    raise DataError(
                        f"its rows {number * self.options.window + 1:,} and following are not "
                        "those that were scored",
                        where=self.source.path,
                        mend=f"give the same rows, or delete {self.parts.path}",
                    )
                assembler.look_at(self.parts.body(number))
                accounts.append(account)
                done += len(rows)
                self.watch.at(done)
        if not begun:
            self._say_done(done)
        self._check_read(reader, manifest, accounts)
        return accounts

    def _say_done(self, rows: int) -> None:
        """What an earlier job has done, before this one begins."""
        if rows:
            of = "" if self.total is None else f" of {self.total:,}"
            notice(f"going on with a job that was broken off: {rows:,}{of} rows are done")

    def _from_elsewhere(self) -> Generator[ScoredWindow, None, None]:
        """What others score, in order; nothing where this process does it."""
        if self.elsewhere is None:
            return
        options = self.options
        work = Work(
            self.source,
            self.formats or {},
            self.layout,
            options.max_length,
            options.limit,
            options.window,
            options.shard,
            self.parts.done(),
        )
        yield from self.elsewhere.windows(work)

    def _next(
        self, from_elsewhere: Iterator[ScoredWindow], number: int, rows: Sequence[Any]
    ) -> ScoredWindow:
        """The next window of others, which must be of the rows that this process reads."""
        scored = next(from_elsewhere, None)
        if scored is None or (scored.number, scored.digest) != (number, digest_of(rows)):
            raise self._changed()
        return scored

    def _score_one(
        self, reader: SourceReader, number: int, rows: Sequence[Any], done: int
    ) -> ScoredWindow:
        return score_window(
            self.rewarder,
            read_window(reader, number, rows),
            self.layout,
            self.options.max_length,
            self.watch.within(done, len(rows)),
        )

    def _kept(self, scored: ScoredWindow) -> PartAccount:
        if scored.bad_rows and self.options.on_bad_row == "error":
            raise bad_rows_error(scored.bad_rows)
        return self.parts.write(scored)

    def _check_read(
        self, reader: SourceReader, manifest: Manifest, accounts: Sequence[PartAccount]
    ) -> None:
        expected = manifest.settings["input SHA-256"]
        if expected is not None and reader.fingerprint != expected:
            raise self._changed()
        bad = list(bad_row_records(accounts))
        if bad and self.options.on_bad_row == "error":
            raise bad_rows_error(bad)
        if self.options.shard == WHOLE and not any(account.rows for account in accounts):
            self.parts.remove()
            raise DataError("holds no row to score", where=self.source.path, mend="give it rows")

    def _changed(self) -> DataError:
        return DataError(
            "changed while it was scored",
            where=self.source.path,
            mend=f"delete {self.parts.path}, and run again when nothing writes to it",
        )

    def _assemble(
        self, manifest: Manifest, accounts: Sequence[PartAccount], assembler: Assembler
    ) -> None:
        shard = self.options.shard
        with output_errors(self.output), whole_file(self.output) as partial:
            assembler.write((self.parts.body(account.window) for account in accounts), partial)
            finished = replace(manifest, output=file_sha256(partial))
            write_aside(accounts, self.output)
            if shard != WHOLE:
                sizes = ((one, len(self.parts.body(one.window))) for one in accounts)
                ShardAccount.of(finished, shard, list(sizes)).write(self.output)
            else:
                account_file(self.output).unlink(missing_ok=True)  # of what is overwritten
            self.parts.write_manifest(finished)
