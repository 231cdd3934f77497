"""Ctrl-C and SIGTERM: finish the step, checkpoint, then exit."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType

from assay.notices import notice

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 0}


class StopRequest:
    """While active, the first signal asks to stop after the step; a second one stops at once."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
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

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)
        notice(f"{self.signal.name}: finishing the step, then a checkpoint (again to stop at once)")
