"""Directories that are whole or absent: written beside, listed in a manifest, renamed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from assay.errors import OutputError

MANIFEST = "manifest.json"

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
def whole_directory(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Write a directory beside its place and rename it when it is complete.

    The directory gets a `manifest.json` with the size and SHA-256 of every file. An error or a
    kill leaves nothing at `target` (or what was there before).

    Args:
        target: where the directory shall be.
        replace: an existing directory is replaced.

    Raises:
        OutputError: no space, no permission.
    """
    partial = target.with_name(f".{target.name}.partial")
    old = target.with_name(f".{target.name}.old")
    with output_errors(target):
        if old.exists() and not target.exists():
            old.rename(target)  # A kill came between the two renames below.
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    try:
        with output_errors(target):
            yield partial
            _write_manifest(partial)
            _sync(partial)
            if replace and target.exists():
                shutil.rmtree(old, ignore_errors=True)
                target.rename(old)
                partial.rename(target)
                shutil.rmtree(old, ignore_errors=True)
            else:
                partial.rename(target)
            _sync_entry(target.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


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
        if number in (errno.ENOSPC, errno.EDQUOT):
            raise OutputError(
                "no space left on the device", where=target, mend="free some, or write elsewhere"
            ) from None
        if number in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise OutputError(
                "no permission to write", where=target, mend="write elsewhere"
            ) from None
        if number in _NO_SUCH_PLACE:
            raise OutputError(
                f"cannot be written ({os.strerror(number)})", where=target, mend="write elsewhere"
            ) from None
        if isinstance(error, SafetensorError):
            raise OutputError(
                f"cannot be written ({error})", where=target, mend="write elsewhere"
            ) from None
        raise


def _errno(error: Exception) -> int | None:
    """The system's number; safetensors and tokenizers (Rust) only spell it out in their texts."""
    if isinstance(error, OSError):
        return error.errno
    spelt = re.search(r"\(os error (\d+)\)", str(error))
    return int(spelt[1]) if spelt else None


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


def torn(directory: Path) -> str | None:
    """What is missing or cut short in a directory with a manifest; None if it is whole."""
    try:
        listed = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))["files"]
        for name, entry in listed.items():
            size = (directory / name).stat().st_size
            if size != entry["size"]:
                return f"{name} has {size} bytes, not {entry['size']}"
    except FileNotFoundError as error:
        return f"{Path(str(error.filename)).name} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{MANIFEST} cannot be read ({error})"
    return None


def altered(directory: Path) -> str | None:
    """`torn`, and every file's content against its SHA-256."""
    damage = torn(directory)
    if damage:
        return damage
    listed = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))["files"]
    for name, entry in listed.items():
        if file_sha256(directory / name) != entry["sha256"]:
            return f"{name} does not have the content that was written"
    return None


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_manifest(directory: Path) -> None:
    files = {
        str(path.relative_to(directory)): {
            "size": path.stat().st_size,
            "sha256": file_sha256(path),
        }
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }
    (directory / MANIFEST).write_text(json.dumps({"files": files}, indent=1), encoding="utf-8")


def _sync(directory: Path) -> None:
    for path in directory.rglob("*"):
        _sync_entry(path)
    _sync_entry(directory)


def _sync_entry(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
