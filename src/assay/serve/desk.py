"""Where a request is taken in and waits for its rewards, whatever protocol it came by."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

from starlette.requests import Request

from assay.serve.items import Asked
from assay.serve.jobs import Job, Scored
from assay.serve.limits import Limits
from assay.serve.models import Models, ServedModel
from assay.serve.refusals import ClientGone, Refusal


class Held:
    """The bytes of requests that are not answered yet.

    Args:
        limit: above it no other request is taken in.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bytes = 0

    def take(self, count: int) -> None:
        """Hold a body.

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

    def release(self, count: int) -> None:
        """Let it go."""
        self._bytes -= count


class Desk:
    """One request: its models, and the way to its rewards.

    Args:
        request: whose body has been read.
        models: of the server.
        limits: of the server.
    """

    def __init__(self, request: Request, models: Models, limits: Limits) -> None:
        self.models = models
        self.warnings: list[str] = []
        """What the answer says besides its rewards."""
        self._request = request
        self._limits = limits
        self._until = time.monotonic() + limits.deadline

    async def score(self, served: ServedModel, asked: Asked) -> Scored:
        """Rewards of all that is asked, computed with whatever else waits.

        Raises:
            Refusal: it cannot be read (422), too much waits (429), or the deadline is over (503).
            ClientGone: the client went away; nothing more is computed for it.
            Exception: whatever the model raises.
        """
        loop = asyncio.get_running_loop()
        if not asked.num_rewards:
            return Scored([], [])
        with served.batcher.arriving():
            readings = await loop.run_in_executor(served.readers, served.reader.read, asked)
            job = Job(readings, loop.create_future())
            served.batcher.submit(job)
        foreign = dict.fromkeys(name for reading in readings for name in reading.foreign)
        served.meter.read(
            sum(reading.truncated for reading in readings),
            sum(bool(reading.foreign) for reading in readings),
        )
        if foreign:
            self.warnings.append(
                f"special tokens of another model in the text: {', '.join(foreign)}; name its "
                "template as input_template, or send messages"
            )
        if any(reading.truncated for reading in readings):
            self.warnings.append("texts over the limit were read without their beginning")
        try:
            return await self._result(job)
        finally:
            if not job.future.done():
                served.batcher.cancel(job)

    async def _result(self, job: Job) -> Scored:
        gone = asyncio.ensure_future(self._disconnected())
        awaited: set[asyncio.Future[Any]] = {job.future, gone}
        try:
            await asyncio.wait(
                awaited,
                timeout=max(self._until - time.monotonic(), 0),
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            gone.cancel()
            with suppress(asyncio.CancelledError):
                await gone
        if job.future.done():
            return job.future.result()
        if gone.done() and not gone.cancelled():
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
