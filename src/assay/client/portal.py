"""An event loop in a thread of its own, for programs that have none."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from assay.client.failures import closed_meanwhile

Result = TypeVar("Result")

_PATIENCE = 5.0
"""Seconds that closing waits for connections to be closed."""


class Portal:
    """Runs coroutines for any number of threads, which may close it at any time.

    Args:
        last: a coroutine function that closes what they opened.
    """

    def __init__(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._loop = asyncio.new_event_loop()
        self._works = _Works()
        # A thread that does not keep the process: Ctrl-C ends it whatever is on its way.
        thread = threading.Thread(
            target=_serve, args=(self._loop, self._works, last), name="rewards", daemon=True
        )
        thread.start()
        self.close = weakref.finalize(self, _end, self._loop, self._works, thread)
        """Ends what is on its way, the loop and its thread; also when nobody holds the portal, or
        the process ends."""

    def start(self, work: Coroutine[Any, Any, Result]) -> Future[Result]:
        """Begin a coroutine; cancelling the future ends it. Not after `close`.

        The future has a `RewardError` where the portal is closed before the coroutine ends.
        """
        return asyncio.run_coroutine_threadsafe(self._works.run(work), self._loop)


class _Works:
    """What is on its way in a loop. Held by its thread, which must not hold the portal."""

    def __init__(self) -> None:
        self.closing = False
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """A coroutine until it ends, or `end` ends it."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            return await work
        except asyncio.CancelledError:
            if self.closing:
                raise closed_meanwhile() from None
            raise
        finally:
            self._tasks.discard(task)

    async def end(self) -> None:
        """End all of them; what they have started themselves they end."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _serve(
    loop: asyncio.AbstractEventLoop, works: _Works, last: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    """What the thread does: the loop's work until it is stopped, then what it takes to end."""
    try:
        loop.run_forever()
        # Whatever was started before the stop takes its first step before this does, so that
        # nothing is ended before it has begun.
        loop.run_until_complete(works.end())
        loop.run_until_complete(last())
    finally:
        loop.close()


def _end(loop: asyncio.AbstractEventLoop, works: _Works, thread: threading.Thread) -> None:
    if not thread.is_alive():  # After a fork it is in the other process.
        return
    works.closing = True
    loop.call_soon_threadsafe(loop.stop)
    if threading.current_thread() is not thread:  # Garbage is collected anywhere.
        thread.join(_PATIENCE)
