"""Ctrl-C and SIGTERM: while training, finish the step, checkpoint, then exit; else exit at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

from assay.notices import notice

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 0}
_ENDED = 128 + signal.SIGTERM
"""What SIGTERM before the first step exits with: there is no checkpoint that has what was done."""


@contextmanager
def ending_on_sigterm(active: bool) -> Iterator[None]:
    """While a run is loaded, SIGTERM ends the process as Ctrl-C does: cleaning up, with a word.

    Args:
        active: off where a launcher has processes end each other.
    """
    if not active:
        yield
        return
    owner = os.getpid()

    def end(number: int, frame: FrameType | None) -> None:
        if os.getpid() == owner:  # Processes that prepare data inherit this.
            notice("SIGTERM: ended before the first step")
        raise SystemExit(_ENDED)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Stopped(BaseException):
    """A signal has come where nothing needs to be finished."""


class StopRequest:
    """While active, the first signal asks to stop after the step; a second one stops at once.

    Args:
        announce: say so as soon as it comes. Of several processes each gets it at its own moment,
            and the launcher sends it too where one has failed: there `agreed` says so.
    """

    def __init__(self, *, announce: bool = True) -> None:
        self.signal: signal.Signals | None = None
        self._announce = announce
        self._may_raise = announce
        self._at_once = False
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> StopRequest:
        for number in EXIT_CODES:
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """A block that a signal, also one that has come before, ends: all is in a checkpoint.

        Of several processes none is ended here: they would leave the others waiting.
        """
        self._at_once = self._may_raise
        try:
            if self._at_once and self.signal is not None:
                raise _Stopped
            yield
        except _Stopped:
            notice("stopped before all was written; going on does it again")
        finally:
            self._at_once = False

    def agreed(self, signals: Iterable[signal.Signals | None]) -> signal.Signals | None:
        """The signal that any process has got; from then on this one has it, too."""
        found = next((one for one in signals if one is not None), None)
        if found is not None and not self._announce:
            notice(f"{found.name}: all processes stop after this step, with a checkpoint")
            self._announce = True
        self.signal = self.signal or found
        return found

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)
        if self._at_once:
            raise _Stopped
        if self._announce:
            notice(
                f"{self.signal.name}: finishing the step, then a checkpoint (again to stop at once)"
            )
