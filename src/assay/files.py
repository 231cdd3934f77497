"""Files that are whole or absent, and what is said where the system refuses to write them."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from safetensors import SafetensorError

from assay.errors import OutputError

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_SUCH_PLACE = (
    errno.ENOTDIR,
    errno.EEXIST,
    errno.ENOTEMPTY,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.EFBIG,
)


@contextmanager
def output_errors(target: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write into a clear error.

    Raises:
        OutputError: no space, no permission, not a directory.
    """
    try:
        yield
    except Exception as error:
        number = _errno(error)
        if number in DISK_FULL:
            raise OutputError(
                "no space left on the device", where=target, mend="free some, or write elsewhere"
            ) from None
        if number in (errno.EACCES, errno.EPERM, errno.EROFS):
            what = "no permission to write"
        elif number in _NO_SUCH_PLACE or _is_about(error, target):
            what = f"cannot be written ({os.strerror(number or errno.ENOENT)})"
        elif isinstance(error, SafetensorError):
            what = f"cannot be written ({error})"
        else:
            raise
        raise OutputError(what, where=target, mend="write elsewhere") from None


def check_place(target: Path) -> None:
    """Refuse a place that cannot be written to before hours of work; nothing is made.

    Raises:
        OutputError: it is below a file, or may not be written to.
    """
    with output_errors(target):
        above = next(parent for parent in target.absolute().parents if parent.exists())
        if not above.is_dir():
            raise OutputError(
                f"cannot be made: {above} is a file", where=target, mend="write elsewhere"
            )
        if not os.access(above, os.W_OK | os.X_OK):
            raise OutputError("no permission to write", where=target, mend="write elsewhere")


def check_output(output: Path, *, overwrite: bool) -> None:
    """Refuse a file that would be lost or cannot be one; nothing is made.

    Raises:
        OutputError: it is a directory, is there and `overwrite` is off, or cannot be made.
    """
    check_place(output)
    if output.is_dir():
        raise OutputError("is a directory", where=output, mend="name a file in it")
    if str(output) == "-" or (output.exists() and not output.is_file()):
        raise OutputError("is not a file", where=output, mend="name a file")
    if output.exists() and not overwrite:
        raise OutputError("is there already", where=output, mend="add --overwrite, or name another")


def check_not_input(output: Path, inputs: Iterable[Path]) -> None:
    """Refuse a file that is read for what is written to it, by whatever name it is called.

    Raises:
        OutputError: it is one of the inputs; to overwrite it would lose it.
    """
    if not output.exists():
        return
    for path in inputs:
        if path.exists() and path.samefile(output):
            also = "" if path == output else f" ({path})"
            raise OutputError(
                f"is the input{also}, which is never overwritten",
                where=output,
                mend="name another output",
            )


@contextmanager
def whole_file(path: Path, *, lasting: bool = True) -> Iterator[Path]:
    """A place to write to; when the block ends, the file stands at `path`.

    Where it is `lasting`, it outlives a power cut too; a kill it outlives anyway. What a killed
    process leaves behind the next one replaces: the place has a name that does not vary.

    Raises:
        OSError: the disk refused.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        if lasting:
            sync(partial)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def made(directory: Path) -> Iterator[None]:
    """A directory; what had to be made for it goes again where the block fails.

    Raises:
        OSError: the disk refused.
    """
    missing = [place for place in (directory, *directory.parents) if not place.exists()]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for place in missing:
            with suppress(OSError):  # Somebody else may have put something there.
                place.rmdir()
        raise


@contextmanager
def text_output(path: Path) -> Iterator[IO[str]]:
    """An open text file that stands at `path` when the block ends; its directory is made.

    Raises:
        OutputError: the system refuses.
    """
    with (
        output_errors(path),
        made(path.parent),
        whole_file(path) as partial,
        partial.open("w", encoding="utf-8", newline="\n") as file,
    ):
        yield file


def write_text(path: Path, text: str) -> None:
    """Write a small file: a kill leaves the old one or the new one, never half of one.

    Raises:
        OSError: the disk refused.
    """
    with whole_file(path, lasting=False) as partial:
        partial.write_text(text, encoding="utf-8")


def sync(path: Path) -> None:
    """Have a file, or the names in a directory, on the disk itself."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _is_about(error: Exception, target: Path) -> bool:
    """Whether it is said of a target, or of what stands beside it until it is whole, that it is not
    there: so do file systems of the kernel's, as /proc, of a file that is to be made."""
    if not isinstance(error, FileNotFoundError) or not isinstance(error.filename, str | Path):
        return False
    path = Path(error.filename)
    return path.parent == target.parent and path.name.lstrip(".").startswith(target.name)


def _errno(error: Exception) -> int | None:
    """The system's number; safetensors and tokenizers (Rust) only spell it out in their texts."""
    if isinstance(error, OSError):
        return error.errno
    spelt = re.search(r"\(os error (\d+)\)", str(error))
    return int(spelt[1]) if spelt else None
