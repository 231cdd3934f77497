"""An event loop in a thread of its own, for programs that have none."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

Result = TypeVar("Result")

_PATIENCE = 5.0
"""Seconds that closing waits for connections to be closed."""


class Portal:
    """Runs coroutines for any number of threads.

    Args:
        last: a coroutine function that closes what they opened.
    """

    def __init__(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        loop = asyncio.new_event_loop()
        # A thread that does not keep the process: Ctrl-C ends it whatever is on its way.
        thread = threading.Thread(target=loop.run_forever, name="rewards", daemon=True)
        thread.start()
        self._loop = loop
        self.close = weakref.finalize(self, _end, loop, thread, last)
        """Ends the loop and its thread; also when nobody holds the portal, or the process ends."""

    def start(self, work: Coroutine[Any, Any, Result]) -> Future[Result]:
        """Begin a coroutine; cancelling the future ends it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Wait for a coroutine; an interruption ends it, too."""
        future = self.start(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise


def _end(
    loop: asyncio.AbstractEventLoop,
    thread: threading.Thread,
    last: Callable[[], Coroutine[Any, Any, None]],
) -> None:
    if not thread.is_alive():  # After a fork it is in the other process.
        return

    async def finish() -> None:
        own = asyncio.current_task()
        others = [task for task in asyncio.all_tasks() if task is not own]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await last()

    if threading.current_thread() is thread:  # Garbage is collected anywhere.
        loop.create_task(finish()).add_done_callback(lambda task: loop.stop())
        return
    try:
        asyncio.run_coroutine_threadsafe(finish(), loop).result(_PATIENCE)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_PATIENCE)
        if not thread.is_alive():
            loop.close()
