"""The parts of an output that is not whole yet: one file a window, in a directory beside it.

A part is written whole or not at all, and begins with a line that says what is in it. What a kill
leaves, the next job of the same settings goes on with. The directory goes when the output stands.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from assay.data.records import Source
from assay.data.rows import BadRow
from assay.errors import OutputError
from assay.files import made, output_errors, whole_file
from assay.model.manifest import file_sha256
from assay.score.window import ScoredWindow

VERSION = 1
_MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class PartAccount:
    """The first line of a part: what became of its window. Numbers are as in `ScoredWindow`."""

    window: int
    digest: str
    rows: int
    responses: int
    truncated: int
    unread_thoughts: int
    tokens: int
    computed: int
    sha256: str
    bad_rows: list[dict[str, Any]]

    def bad(self) -> list[BadRow]:
        """The rows that were not scored."""
        return [
            BadRow(Source(row["file"], row["line"]), row["what"], row["mend"], row["raw"])
            for row in self.bad_rows
        ]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the parts are parts of.

    Attributes:
        settings: by name, all that decides the output but for the last bits of rewards.
        circumstances: what those may depend on, besides.
        checked: whether all rows were found to be good before the first was scored.
        output: SHA-256 of the whole output, once it is about to stand in its place.
        summary: what became of its rows, then.
    """

    settings: dict[str, Any]
    circumstances: dict[str, Any]
    checked: bool = False
    output: str | None = None
    summary: dict[str, int] | None = None
    version: int = VERSION


class Parts:
    """The parts of one output.

    Args:
        output: the file that they become.
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        self.path = output.with_name(f"{output.name}.parts")

    def manifest(self) -> Manifest | None:
        """That of a job that was broken off; None where there is none, or of another version."""
        try:
            found = Manifest(**json.loads((self.path / _MANIFEST).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return found if found.version == VERSION else None

    def is_finished(self) -> bool:
        """Whether the output stands, and only the removal of its parts was broken off."""
        found = self.manifest()
        if found is None or found.output is None or not self.output.is_file():
            return False
        return file_sha256(self.output) == found.output

    def account(self, number: int) -> PartAccount | None:
        """Of a window that is done, after a look at every byte of its part; else None."""
        try:
            with self._file(number).open("rb") as file:
                found = PartAccount(**json.loads(file.readline()))
                whole = hashlib.file_digest(file, "sha256").hexdigest() == found.sha256
        except (OSError, ValueError, TypeError):
            return None
        return found if whole and found.window == number else None

    def done(self) -> frozenset[int]:
        """The numbers of the windows that are done."""
        names = (path.stem.removeprefix("window-") for path in self.path.glob("window-*.jsonl"))
        numbers = (int(name) for name in names if name.isdecimal())
        return frozenset(number for number in numbers if self.account(number) is not None)

    def body(self, number: int) -> bytes:
        """The lines of the output that come of a window."""
        with self._file(number).open("rb") as file:
            file.readline()
            return file.read()

    def write(self, scored: ScoredWindow) -> PartAccount:
        """Keep a window that is done.

        Raises:
            OutputError: the system refuses.
        """
        body = "".join(f"{line}\n" for line in scored.lines).encode()
        account = PartAccount(
            window=scored.number,
            digest=scored.digest,
            **scored.numbers(),
            sha256=hashlib.sha256(body).hexdigest(),
            bad_rows=[_record(row) for row in scored.bad_rows],
        )
        with output_errors(self.output), whole_file(self._file(scored.number)) as partial:
            partial.write_bytes(json.dumps(asdict(account)).encode() + b"\n" + body)
        return account

    def write_manifest(self, manifest: Manifest) -> None:
        """Say what the parts are parts of.

        Raises:
            OutputError: the system refuses.
        """
        # It lasts as the windows do, of which nobody knows without it what they are parts of.
        with output_errors(self.output), whole_file(self.path / _MANIFEST) as partial:
            partial.write_text(json.dumps(asdict(manifest), indent=1) + "\n", encoding="utf-8")

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Make the directory and keep other jobs out of it as long as the block runs.

        Where the block fails before any window is done, nothing is left, no directory either.

        Raises:
            OutputError: another job writes the same output; or the system refuses.
        """
        with ExitStack() as stack:
            with output_errors(self.output):
                stack.enter_context(made(self.path.absolute().parent))
                self.path.mkdir(exist_ok=True)
                handle = os.open(self.path, os.O_RDONLY)
                stack.callback(os.close, handle)
            self._lock(handle)
            try:
                yield
            except BaseException:
                self._clear_if_empty()
                raise

    def clear(self) -> None:
        """Remove all parts; the manifest last, so that a kill on the way is seen for what it is.

        The directory stays: it is what `kept` holds.
        """
        for file in sorted(self.path.iterdir(), key=lambda file: file.name == _MANIFEST):
            file.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove all parts and their directory."""
        if self.path.exists():
            self.clear()
            shutil.rmtree(self.path, ignore_errors=True)

    def any_window(self) -> bool:
        """Whether there is a window that is done."""
        return any(self.path.glob("window-*"))

    def _clear_if_empty(self) -> None:
        if self.path.exists() and not self.any_window():
            shutil.rmtree(self.path, ignore_errors=True)

    def _lock(self, handle: int) -> None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_ours = os.path.samestat(os.fstat(handle), self.path.stat())
        except (BlockingIOError, FileNotFoundError):
            is_ours = False  # Another job has it, or has just ended and removed it.
        except OSError:  # Some network file systems have no locks.
            return
        if not is_ours:
            raise OutputError(
                "another job is writing it",
                where=self.output,
                mend="wait for its end, or name another output",
            )

    def _file(self, number: int) -> Path:
        return self.path / f"window-{number:07d}.jsonl"


def bad_row_records(rows: Sequence[PartAccount]) -> Iterator[BadRow]:
    """All rows of some parts that were not scored."""
    for account in rows:
        yield from account.bad()


def _record(row: BadRow) -> dict[str, Any]:
    return {
        "file": row.source.file,
        "line": row.source.line,
        "what": row.what,
        "mend": row.mend,
        "raw": row.raw,
    }
