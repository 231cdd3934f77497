"""What every request passes: the keys, the clock, and the last place where a fault is caught."""

from __future__ import annotations

import asyncio
import secrets
import time
import traceback
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from assay.errors import AssayError
from assay.notices import logger
from assay.serve.auth import OPEN_PATHS, Keys
from assay.serve.bodies import json_answer
from assay.serve.metrics import Metrics
from assay.serve.refusals import ClientGone, Refusal

GONE = 499
"""The status under which requests are counted whose client went away; it is never sent."""
_CLOSING_SECONDS = 1.0


class Draining:
    """Whether the server takes no new requests: `/ready` says so, and connections are closed."""

    def __init__(self) -> None:
        self.begun = False


class Gate:
    """Middleware around the whole application.

    Args:
        app: the application.
        keys: that open it; None lets everyone in.
        metrics: of the server.
        draining: whether it shuts down.
        paths: that metrics name; others are counted together.
    """

    def __init__(
        self,
        app: ASGIApp,
        keys: Keys | None,
        metrics: Metrics,
        draining: Draining,
        paths: Collection[str],
    ) -> None:
        self._app = app
        self._keys = keys
        self._metrics = metrics
        self._draining = draining
        self._paths = frozenset(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let the application do it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        route = scope["path"] if scope["path"] in self._paths else "other"
        status = 0

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if self._draining.begun:
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
            try:
                await send(message)
            except Exception:
                if await _closed(receive):
                    raise ClientGone from None
                raise

        self._metrics.in_flight.inc()
        try:
            refusal = self._closed_to(scope)
            answer: ASGIApp = self._app if refusal is None else _told(refusal)
            await answer(scope, receive, counted)
        except ClientGone:
            status = GONE
        except Exception as error:
            refusal = failure(error)
            if not status:
                await _told(refusal)(scope, receive, counted)
        finally:
            self._metrics.in_flight.dec()
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.seconds.labels(route).observe(time.monotonic() - started)

    def _closed_to(self, scope: Scope) -> Refusal | None:
        if self._keys is None or scope["path"] in OPEN_PATHS or self._keys.open(scope["headers"]):
            return None
        return Refusal(
            401,
            "no valid API key",
            mend="send Authorization: Bearer KEY",
            headers={"WWW-Authenticate": "Bearer"},
        )


def _told(refusal: Refusal) -> Response:
    return json_answer(refusal.body, refusal.status, refusal.headers)


async def _closed(receive: Receive) -> bool:
    """Whether the connection is closed: it is told a little after the first try to write to it."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_CLOSING_SECONDS):
            while (await receive())["type"] != "http.disconnect":
                pass
            return True
    return False


def failure(error: BaseException) -> Refusal:
    """A fault of the server or its model, logged under an id.

    Of errors that are not Assay's own the log has the kind and the places, not the words: these may
    hold what a client sent.
    """
    number = secrets.token_hex(6)
    own = f": {error.what}" if isinstance(error, AssayError) else ""
    kind = type(error).__name__
    logger.error("failure %s: %s%s at %s", number, kind, own, _places(error.__traceback__))
    return Refusal(
        500,
        f"the model or the server failed{own} (failure {number})",
        mend="tell who runs the server, whose log names the place",
    )


def _places(trace: TracebackType | None) -> str:
    frames = traceback.extract_tb(trace, limit=-4)
    return " < ".join(
        f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames)
    )
