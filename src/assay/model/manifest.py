"""Directories that are whole or absent: written beside, listed in a manifest, renamed."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from assay.files import made, output_errors, sync

MANIFEST = "manifest.json"


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
    with output_errors(target), made(target.parent):
        if old.exists() and not target.exists():
            old.rename(target)  # A kill came between the two renames below.
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
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
            sync(target.parent)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


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
        sync(path)
    sync(directory)
