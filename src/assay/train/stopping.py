"""Ctrl-C and SIGTERM: finish the step, checkpoint, then exit."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from types import FrameType, TracebackType

from assay.notices import notice

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 0}


class StopRequest:
    """While active, the first signal asks to stop after the step; a second one stops at once.

    Args:
        announce: say so as soon as it comes. Of several processes each gets it at its own moment,
            and the launcher sends it too where one has failed: there `agreed` says so.
    """

    def __init__(self, *, announce: bool = True) -> None:
        self.signal: signal.Signals | None = None
        self._announce = announce
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> StopRequest:
        for number in EXIT_CODES:
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

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
        if self._announce:
            notice(
                f"{self.signal.name}: finishing the step, then a checkpoint (again to stop at once)"
            )
