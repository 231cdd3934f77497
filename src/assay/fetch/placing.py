"""How a directory comes into the cache whole or not at all."""

from __future__ import annotations

import errno
import glob
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from assay.cache import exclusive
from assay.errors import PullError
from assay.files import DISK_FULL

# Of safetensors and of huggingface_hub, whose errors carry no number.
_SAID_WHEN_FULL = ("No space left", "Not enough free disk space")
_TAKEN = {errno.ENOTEMPTY, errno.EEXIST}
_OTHER_CACHE, _OTHER_OUTPUT = "set ASSAY_CACHE to another directory", "give another --output"
"""How the user chooses another place."""


def build_once(final: Path, build: Callable[[Path, Path], None]) -> None:
    """Make sure that `final` exists, building it at most once however many ask.

    `build(directory, scratch)` fills an empty directory that lies beside `final` and is then
    renamed, so `final` is never seen half-written. Whoever comes second waits and finds it there.

    Raises:
        PullError: the disk refused.
    """
    with _disk_errors(final, _OTHER_CACHE):
        final.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(final) as locked:
            if final.is_dir():
                return
            if locked:
                _sweep(final)
            with _workshop(final) as workshop:
                directory, scratch = workshop / "whole", workshop / "scratch"
                directory.mkdir()
                scratch.mkdir()
                build(directory, scratch)
                _rename(directory, final)


def copy_directory(source: Path, target: Path) -> None:
    """Copy `source` to `target`, which does not exist or is empty, whole or not at all.

    Raises:
        PullError: the disk refused, or `target` was filled in the meantime.
    """
    with _disk_errors(target, _OTHER_OUTPUT):
        target = target.resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        with _workshop(target) as workshop:
            shutil.copytree(source, workshop / "whole")
            (workshop / "whole").rename(target)


def check_free(output: Path) -> Path:
    """Check, before anything is fetched, that a copy can go to `output`.

    Raises:
        PullError: something is there, or the disk refused to say.
    """
    with _disk_errors(output, _OTHER_OUTPUT):
        taken = output.is_symlink() and not output.exists()
        taken = taken or (output.exists() and (not output.is_dir() or any(output.iterdir())))
    if taken:
        raise PullError(
            "something is there already",
            where=output,
            mend="give --output a new or empty directory",
        )
    return output


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name, or a copy where the file systems do not allow that.

    Raises:
        OSError: the disk refused.
    """
    source = source.resolve()
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


@contextmanager
def _disk_errors(place: Path, instead: str) -> Iterator[None]:
    """What the disk refuses, as an error that names `place`: its own may be a temporary one."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            what, instead = "no space left on the device", f"free some, or {instead}"
        else:
            what = f"cannot write here ({error.strerror or error})"
        raise PullError(what, where=place, mend=instead) from error


def is_full(error: BaseException) -> bool:
    """Whether the cause of an error, at any depth, is a full disk."""
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return True
    if any(sign in str(error) for sign in _SAID_WHEN_FULL):
        return True
    # modelscope gathers the errors of single files in a dictionary.
    within = [error.__cause__, error.__context__, *getattr(error, "failed_files", {}).values()]
    return any(is_full(inner) for inner in within if inner)


def _prefix(final: Path) -> str:
    # With the host's name: a lock may hold on one host only, and its sweep must not go further.
    return f".{final.name}.partial-{socket.gethostname()}-"


def _sweep(final: Path) -> None:
    """Remove what killed builds of this name left. Needs the lock: then none can be alive."""
    for left in final.parent.glob(f"{glob.escape(_prefix(final))}*"):
        shutil.rmtree(left, ignore_errors=True)


@contextmanager
def _workshop(final: Path) -> Iterator[Path]:
    workshop = Path(tempfile.mkdtemp(prefix=_prefix(final), dir=final.parent))
    try:
        yield workshop
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def _rename(directory: Path, final: Path) -> None:
    try:
        directory.rename(final)
    except OSError as error:
        # Without a lock another pull may have been first. It built the same: use that one.
        if error.errno not in _TAKEN:
            raise
