"""Processes that share the work; with one, the work is done where it is asked for."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import connection, forkserver, resource_tracker
from types import FrameType
from typing import Any, TypeVar

from assay.data.plugins import load_plugins, loaded_files
from assay.data.store.code import foreign_formats
from assay.data.store.settings import Preparation
from assay.errors import AssayError, ResourceError
from assay.process import COLLECTED

Result = TypeVar("Result")

_STARTING = 1.0
"""Seconds after `start_early` in which processes cannot be had without waiting for imports."""
_WAITING = 2
"""Pieces of work in the queue for each process: more would only fill memory."""
MOST = 16
"""Processes that are started unasked."""
_PRELOAD = (
    "assay.data.store.chunks",
    "assay.data.store.partitions",
    "transformers.tokenization_utils_tokenizers",
)

_shared: Preparation | AssayError | None = None
"""In a process of the pool: what it prepares, or why it cannot."""


class Workers:
    """Runs functions of a preparation; `with` ends the processes.

    Args:
        preparation: the first argument of every call.
        count: processes; 1 needs none.
    """

    def __init__(self, preparation: Preparation, count: int) -> None:
        self._preparation = preparation
        self._pool = _pool(preparation, count) if count > 1 else None
        self._waiting = count * _WAITING
        self._started = False
        self._opened = time.monotonic()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if self._pool is None:
            return
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            # Nobody who stops a program waits for work that will be done again.
            for process in list(self._pool._processes.values()):
                process.terminate()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _lends_a_hand(self, waiting: Sequence[Future[Any]]) -> bool:
        """Whether to do the work here, for the processes are still starting."""
        if time.monotonic() < self._opened + _STARTING:
            return True
        self._started = self._started or any(future.done() for future in islice(waiting, 1))
        return len(waiting) >= self._waiting and not self._started

    def run(
        self, function: Callable[..., Result], calls: Iterable[tuple[Any, ...]]
    ) -> Iterator[Result]:
        """`function(preparation, *call)` for each call; results in the order of the calls.

        Raises:
            ResourceError: a process was killed.
        """
        if self._pool is None:
            for call in calls:
                yield function(self._preparation, *call)
            return
        waiting: deque[Future[Result]] = deque()
        try:
            for call in calls:
                if self._lends_a_hand(waiting):
                    waiting.append(_done(function(self._preparation, *call)))
                    continue
                while len(waiting) >= self._waiting:
                    yield waiting.popleft().result()
                with _starting():
                    waiting.append(self._pool.submit(_call, function, call))
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise _killed() from None


def _killed() -> ResourceError:
    return ResourceError(
        "a process that prepared data was killed, most likely for want of memory",
        mend="run again with fewer --workers; what is done will not be done again",
    )


def _done(result: Result) -> Future[Result]:
    future: Future[Result] = Future()
    future.set_result(result)
    return future


@contextmanager
def rarely_collected() -> Iterator[None]:
    """Where this process makes what others work on."""
    before = gc.get_threshold()
    gc.set_threshold(*COLLECTED)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def start_early() -> None:
    """Let the server of processes begin its imports, while this process reads."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(list(_PRELOAD))
    with _starting():
        resource_tracker.ensure_running()  # It unblocks the signal.
        # Ctrl-C in a terminal reaches all processes of a program; this one stops the others.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _pool(preparation: Preparation, count: int) -> ProcessPoolExecutor | None:
    start_early()
    context = multiprocessing.get_context("forkserver")
    given = (pickle.dumps(preparation), loaded_files())
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_begin, initargs=given)
    here = _foreign_names()
    if here:
        try:
            with _starting():
                asked = pool.submit(_call, _foreign_names, ())
            there = asked.result()
        except BrokenProcessPool:
            raise _killed() from None
        except BaseException:
            pool.shutdown()
            raise
        if there != here:  # The running program has added some itself.
            pool.shutdown()
            return None
    return pool


def _foreign_names(preparation: Preparation | None = None) -> list[str]:
    """Of formats, here or, as any function of a preparation, in a process of the pool."""
    return [known.name for known in foreign_formats()]


def _begin(preparation: bytes, plugins: list[str]) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    global _shared
    gc.freeze()
    gc.set_threshold(*COLLECTED)
    try:
        load_plugins(plugins)
        _shared = pickle.loads(preparation)
    except AssayError as error:  # Of a plug-in that works in one process and not in another.
        _shared = error
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """A parent that was killed cannot say so; its end of a pipe closes."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _call(function: Callable[..., Result], arguments: tuple[Any, ...]) -> Result:
    if isinstance(_shared, AssayError):
        raise _shared
    assert _shared is not None
    return function(_shared, *arguments)


@contextmanager
def _starting() -> Iterator[None]:
    """Where processes may be started."""
    with _interrupted_later(), _without_main_module():
        yield


@contextmanager
def _interrupted_later() -> Iterator[None]:
    """Hold Ctrl-C back: a process that is half started is known to nobody who could stop it."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Ctrl-C interrupts the main thread alone.
        return
    held: list[tuple[int, FrameType | None]] = []
    before = signal.signal(signal.SIGINT, lambda *given: held.append(given))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)
        if held and callable(before):
            before(*held[0])


@contextmanager
def _without_main_module() -> Iterator[None]:
    """Keep new processes from running the user's program again, which they need nothing of.

    Otherwise a program that trains without asking `__name__ == "__main__"` would start anew in
    each of them.
    """
    main = sys.modules["__main__"]
    hidden: dict[str, Any] = {
        name: vars(main)[name] for name in ("__file__", "__spec__") if name in vars(main)
    }
    vars(main).pop("__file__", None)
    vars(main)["__spec__"] = None
    try:
        yield
    finally:
        vars(main).update(hidden)
