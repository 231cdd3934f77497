"""How the processes of a run end together: one says why, and none waits for one that is gone.

Each process signs when it fails, or sees that another one has; who signs first speaks. The
signatures are in the store by which the processes found each other. Where no launcher holds it,
the first process does, and leaves last.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from torch import distributed as dist

from assay.errors import AssayError, ResourceError

_SIGNED = "assay/signed"
_POLL, _GRACE = 1.0, 20.0
"""Seconds between looks at whether a process has failed, and until this one is ended for it."""
_STAY = 5 * _POLL
"""Seconds that the first process stays for the others at most: one that was killed never signs."""


@contextmanager
def ending_together(store: Any, rank: int, size: int) -> Iterator[None]:
    """Let an error on one process end all: it is raised there, the others leave without a word.

    Args:
        store: of torch.distributed, the one by which all processes found each other.
        rank: of this process.
        size: how many processes there are.

    Raises:
        ResourceError: another process died.
        SystemExit: another process failed before this one.
    """
    notes = _Notes(store.clone(), rank, size)
    done = threading.Event()
    watch = threading.Thread(target=notes.watch, args=[done], name="assay-watch", daemon=True)
    watch.start()
    try:
        yield
    except BaseException as error:
        speaks = notes.sign_first()
        if rank == 0:
            atexit.register(notes.stay)  # Until then it has spoken.
        if not speaks:
            # Said by the process that it happened to; here it is but a broken connection.
            raise SystemExit(_exit_code(error)) from None
        if isinstance(error, AssayError):
            error.what += f" (process {rank} of {size})"
        if isinstance(error, RuntimeError) and _is_broken_connection(error):
            raise ResourceError(
                f"another process of this run ended without a word (noticed by process {rank} of "
                f"{size})",
                mend="see whether the system killed it for want of memory; then --resume auto",
            ) from None
        raise
    finally:
        done.set()
        # An interpreter that ends while a thread is in the store's C++ code aborts.
        watch.join(_GRACE)


class _Notes:
    """Which processes have signed, as one of them reads it."""

    def __init__(self, store: Any, rank: int, size: int) -> None:
        self._store, self._rank, self._size = store, rank, size
        self._signing = threading.Lock()
        self._is_first: bool | None = None

    def sign_first(self) -> bool:
        """Note, once, that this process ends; False where another one did so before."""
        with self._signing:
            if self._is_first is None:
                try:
                    self._is_first = int(self._store.add(_SIGNED, 1)) == 1
                except RuntimeError:
                    # Who held the notes is gone without a word: the second speaks.
                    self._is_first = self._rank == 1
            return self._is_first

    def watch(self, done: threading.Event) -> None:
        """End this process some time after another one has failed: it may wait for that one."""
        while not done.wait(_POLL):
            try:
                failed = self._store.check([_SIGNED])
            except RuntimeError:  # Who held the notes is gone.
                failed = True
            if failed:
                self.sign_first()
                if not done.wait(_GRACE):
                    os._exit(2)

    def stay(self) -> None:
        """Give the others time to sign; a process that finds no notes would speak too."""
        until = time.monotonic() + _STAY
        with suppress(RuntimeError):  # A launcher held them, and has gone.
            while time.monotonic() < until and int(self._store.add(_SIGNED, 0)) < self._size:
                time.sleep(_POLL / 20)


def _exit_code(error: BaseException) -> int:
    match error:
        case AssayError():
            return error.exit_code
        case KeyboardInterrupt():
            return 130
        case SystemExit(code=int(code)):
            return code
    return 2


def _is_broken_connection(error: RuntimeError) -> bool:
    text = str(error).lower()
    return isinstance(error, dist.DistError) or "gloo" in text or "connection closed" in text
