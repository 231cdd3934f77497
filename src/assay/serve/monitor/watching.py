"""The monitor: rewards of tagged requests, by run and step, in bounded memory.

All of it happens on the event loop, between two requests, so that nothing is locked.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from assay.serve.items import Asked
from assay.serve.jobs import Scored
from assay.serve.metrics import Metrics, RunMeter
from assay.serve.monitor.answers import answers_of
from assay.serve.monitor.baseline import Baseline
from assay.serve.monitor.log import MonitorLog, check_log
from assay.serve.monitor.tags import Tag
from assay.serve.monitor.tally import Tally

RECENT_RUNS = 16
"""Runs of a model that metrics have labels for; those that were asked of longest ago lose them."""
MOST_OPEN = 32
"""Steps of all runs that are counted at once: beyond, the one unheard of for longest ends."""
IDLE_SECONDS = 120.0
"""A step without a request for so long is over."""
_LOOKS_EVERY = 5.0


@dataclass(frozen=True, slots=True)
class MonitorSettings:
    """What the monitor knows from the beginning.

    Attributes:
        log: file of its log; None writes none.
        baselines: by model, what its rewards are compared with.

    Raises:
        OutputError: the log cannot be written, or the file holds something else.
    """

    log: Path | None = None
    baselines: Mapping[str, Baseline] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.log is not None:
            check_log(self.log)


class _Run(NamedTuple):
    model: str
    name: str


@dataclass(slots=True)
class _Watched:
    meter: RunMeter
    newest: int = -1


class Monitor:
    """Counts what tagged requests get, and says it when a step is over.

    A step is over when a later step of its run begins, when nothing came for `IDLE_SECONDS`, or
    when the server ends. What comes for it later is counted by itself.

    Args:
        settings: log and baselines.
        metrics: of the server.

    Raises:
        OutputError: the log cannot be written.
    """

    def __init__(self, settings: MonitorSettings, metrics: Metrics) -> None:
        self._baselines = settings.baselines
        self._metrics = metrics
        self._log = None if settings.log is None else MonitorLog(settings.log)
        self._runs: OrderedDict[_Run, _Watched] = OrderedDict()
        self._open: OrderedDict[tuple[_Run, int | None], Tally] = OrderedDict()

    def note(self, tag: Tag, model: str, asked: Asked, scored: Scored) -> None:
        """Take in the rewards of a request."""
        if not scored.rewards:
            return
        run = _Run(model, tag.run)
        watched = self._watched(run)
        if tag.step is not None and tag.step > watched.newest:
            self._close([key for key in self._open if key[0] == run and key[1] is not None])
            watched.newest = tag.step
        tally = self._tally(run, tag.step)
        truncated = sum(reading.truncated for reading in scored.readings)
        tally.add(scored.rewards, answers_of(asked), truncated)
        watched.meter.rewards(scored.rewards)

    def close_idle(self, now: float | None = None) -> None:
        """End the steps that nothing came for.

        Args:
            now: by `time.monotonic`.
        """
        until = (time.monotonic() if now is None else now) - IDLE_SECONDS
        self._close([key for key, tally in self._open.items() if tally.used <= until])

    def close(self) -> None:
        """End all steps, and the log."""
        self._close(list(self._open))
        if self._log is not None:
            self._log.close()
            self._log = None

    async def look_now_and_then(self) -> None:
        """End idle steps for as long as the server runs."""
        while True:
            await asyncio.sleep(_LOOKS_EVERY)
            self.close_idle()

    def _watched(self, run: _Run) -> _Watched:
        found = self._runs.get(run)
        if found is not None:
            self._runs.move_to_end(run)
            return found
        of_model = [other for other in self._runs if other.model == run.model]
        if len(of_model) >= RECENT_RUNS:
            oldest = of_model[0]
            self._close([key for key in self._open if key[0] == oldest])
            self._runs.pop(oldest).meter.forget()
        made = _Watched(RunMeter(self._metrics, run.model, run.name))
        self._runs[run] = made
        return made

    def _tally(self, run: _Run, step: int | None) -> Tally:
        key = run, step
        if key in self._open:
            self._open.move_to_end(key)
        else:
            if len(self._open) >= MOST_OPEN:
                self._close([next(iter(self._open))])
            self._open[key] = Tally(run.model, run.name, step, self._baselines.get(run.model))
        return self._open[key]

    def _close(self, keys: Iterable[tuple[_Run, int | None]]) -> None:
        for key in keys:
            tally = self._open.pop(key)
            watched = self._runs.get(key[0])
            if watched is not None and (tally.step is None or tally.step == watched.newest):
                watched.meter.step(tally)
            if self._log is not None:
                self._log.write(tally.line())
