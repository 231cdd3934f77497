"""Where a request is taken in and waits for its rewards, whatever protocol it came by."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from starlette.requests import Request

from assay.notices import warn
from assay.serve.items import Asked, Reading
from assay.serve.jobs import Job, Scored
from assay.serve.limits import Limits
from assay.serve.models import Models, ServedModel
from assay.serve.monitor.tags import tag_of
from assay.serve.monitor.watching import Monitor
from assay.serve.refusals import ClientGone, Refusal

_Value = TypeVar("_Value")

_SHOWN = 80
"""Characters of a template's beginning in a warning."""
_MEND = "name its template as input_template, or send messages"


class Held:
    """The bytes of requests that are not answered yet.

    Args:
        limit: above it no other request is taken in.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bytes = 0

    @contextmanager
    def holding(self, count: int) -> Iterator[None]:
        """While a body is held.

        Raises:
            Refusal: too much is held (429).
        """
        if self._bytes + count > self._limit:
            raise Refusal(
                429,
                f"requests of {self._bytes} bytes wait already, and the limit is {self._limit} "
                "(max_held_bytes)",
                mend="come again after the seconds of Retry-After",
                headers={"Retry-After": "1"},
            )
        self._bytes += count
        try:
            yield
        finally:
            self._bytes -= count


class Desk:
    """One request: its models, and the way to its rewards.

    Args:
        request: whose body has been read; its headers may name a run, for the monitor.
        models: of the server.
        limits: of the server.
        monitor: is told the rewards, where the request names a run.
        body: its fields `run` and `step`, where its protocol has them, go before the headers.

    Raises:
        Refusal: a run or a step that cannot be (422).
    """

    def __init__(
        self, request: Request, models: Models, limits: Limits, monitor: Monitor, body: Any
    ) -> None:
        self.models = models
        self.warnings: list[str] = []
        """What the answer says besides its rewards."""
        self._request = request
        self._limits = limits
        self._until = time.monotonic() + limits.deadline
        self._monitor = monitor
        self._tag = tag_of(request.headers, getattr(body, "run", None), getattr(body, "step", None))

    async def score(self, served: ServedModel, asked: Asked) -> Scored:
        """Rewards of all that is asked, computed with whatever else waits.

        Raises:
            Refusal: it cannot be read (422), too much waits (429), or the deadline is over (503).
            ClientGone: the client went away; nothing more is computed for it.
            Exception: whatever the model raises.
        """
        if not asked.num_rewards:
            return Scored([], [])
        gone = asyncio.ensure_future(self._disconnected())
        try:
            scored = await self._scored(served, asked, gone)
        finally:
            gone.cancel()
            with suppress(asyncio.CancelledError):
                await gone
        if self._tag is not None:
            self._monitor.note(self._tag, served.name, asked, scored)
        return scored

    async def _scored(
        self, served: ServedModel, asked: Asked, gone: asyncio.Future[None]
    ) -> Scored:
        loop = asyncio.get_running_loop()
        with served.batcher.arriving():
            reading = loop.run_in_executor(served.readers, served.reader.read, asked)
            readings = await self._in_time(reading, gone)
            job = Job(readings, loop.create_future())
            served.batcher.submit(job)
        self._tell(served, readings)
        try:
            return await self._in_time(job.future, gone)
        finally:
            if job.future.cancelled():
                served.batcher.cancel(job)

    def _tell(self, served: ServedModel, readings: Sequence[Reading]) -> None:
        """What is odd in what was read: to the client, to the metrics, and once to the log."""
        foreign = dict.fromkeys(name for reading in readings for name in reading.foreign)
        untemplated = sum(reading.untemplated for reading in readings)
        truncated = sum(reading.truncated for reading in readings)
        served.meter.read(truncated, sum(bool(one.foreign) for one in readings), untemplated)
        if foreign:
            self.warnings.append(
                f"special tokens of another model in the text: {', '.join(foreign)}; {_MEND}"
            )
            # The log gets no tokens: whoever writes a request makes them up.
            _log_once(served, "special tokens of another model", "foreign")
        if untemplated:
            beginning = repr(served.reader.beginning[:_SHOWN])
            told = f"begins otherwise than the model's own template ({beginning})"
            self.warnings.append(f"a text {told}, so that its reward may mean nothing; {_MEND}")
            _log_once(served, f"a text that {told}", "untemplated")
        if truncated:
            self.warnings.append("texts over the limit were read without their beginning")

    async def _in_time(self, future: asyncio.Future[_Value], gone: asyncio.Future[None]) -> _Value:
        """What comes of it; it is cancelled where nobody waits any more."""
        awaited: set[asyncio.Future[Any]] = {future, gone}
        try:
            await asyncio.wait(
                awaited,
                timeout=max(self._until - time.monotonic(), 0),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if future.done():
                return future.result()
        finally:
            future.cancel()
        if gone.done():
            raise ClientGone
        raise Refusal(
            503,
            f"not computed within {self._limits.deadline:g} seconds (deadline)",
            mend="come again after the seconds of Retry-After",
            headers={"Retry-After": "5"},
        )

    async def _disconnected(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass


def _log_once(served: ServedModel, what: str, counter: str) -> None:
    """Tell who runs the server what answers' `warnings` tell, which many clients do not show."""
    if counter not in served.told:
        served.told.add(counter)
        warn(
            f"model {served.name}: a request holds {what}; its client should {_MEND} "
            f"(said once; /metrics counts them in assay_{counter}_total)"
        )
