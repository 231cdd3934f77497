"""The application: protocols by path, health, and what a refusal looks like."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp

import assay
from assay.model.vllm.either import ScoringModel
from assay.serve.auth import Keys
from assay.serve.bodies import json_answer, parsed, read_body, validated
from assay.serve.desk import Desk, Held
from assay.serve.gate import GONE, Draining, Gate, failure
from assay.serve.health import Health
from assay.serve.limits import Limits
from assay.serve.metrics import Metrics
from assay.serve.models import Models
from assay.serve.monitor.watching import Monitor, MonitorSettings
from assay.serve.openapi import (
    NOTHING,
    OBJECT,
    OBJECT_OF_A_NAME,
    READY,
    TEXT,
    described,
    with_bodies,
)
from assay.serve.playground.page import add_playground
from assay.serve.protocols import endpoints
from assay.serve.protocols.registry import Endpoint, choose, nested_error
from assay.serve.reading import ReadingOptions
from assay.serve.refusals import ClientGone, Refusal


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """How a server serves.

    Attributes:
        limits: of requests and queues.
        reading: how texts are taken.
        keys: that open it; None lets everyone in.
        protocols: by name; by default all.
        monitor: where rewards are logged by run and step, and what they are compared with.
        playground: whether there is a page for people at `/`.
    """

    limits: Limits = field(default_factory=Limits)
    reading: ReadingOptions = field(default_factory=ReadingOptions)
    keys: Keys | None = None
    protocols: tuple[str, ...] = ()
    monitor: MonitorSettings = field(default_factory=MonitorSettings)
    playground: bool = True

    def __post_init__(self) -> None:
        endpoints(self.protocols)


@dataclass(frozen=True, slots=True)
class Served:
    """An application, for whatever runs it.

    Attributes:
        asgi: the application.
        models: of the server; `close` ends their threads.
        metrics: what it tells.
        monitor: of runs; `close` writes what it still counts.
        draining: set by who shuts it down.
    """

    asgi: ASGIApp
    models: Models
    metrics: Metrics
    monitor: Monitor
    draining: Draining


def create_app(models: Mapping[str, ScoringModel], settings: ServeSettings | None = None) -> Served:
    """An application that serves models by name.

    Each model is owned by a thread of its own, which ends with the application's lifespan.

    Args:
        models: loaded models; requests that name none get the first.
        settings: how.

    Raises:
        ConfigError, DataError: settings that cannot be.
        OutputError: the monitor's log cannot be written.
    """
    settings = settings or ServeSettings()
    metrics, draining = Metrics(), Draining()
    monitor = Monitor(settings.monitor, metrics)
    served = Models(models, settings.limits, settings.reading, metrics)
    paths = endpoints(settings.protocols)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        looking = asyncio.create_task(monitor.look_now_and_then())
        yield
        looking.cancel()
        served.close()
        monitor.close()

    app = FastAPI(
        title="Assay",
        version=assay.__version__,
        summary="Rewards of responses.",
        docs_url=None,  # The pages that FastAPI has fetch their scripts from elsewhere.
        redoc_url=None,
        lifespan=lifespan,
    )
    _add_health(app, Health(served, metrics, draining))
    if settings.playground:
        add_playground(app)
    held = Held(settings.limits.max_held_bytes)
    for path, candidates in paths.items():
        handler = _handler(candidates, served, settings.limits, held, monitor)
        for method in dict.fromkeys(method for one in candidates for method in one.methods):
            app.add_api_route(
                path,
                handler,
                methods=[method],
                operation_id=f"{method.lower()}{path.replace('/', '_')}",
                **described([one for one in candidates if method in one.methods]),
            )
    app.add_exception_handler(HTTPException, _no_route)
    app.add_exception_handler(Refusal, _refused)
    with_bodies(app, [one for candidates in paths.values() for one in candidates])
    known = {route.path for route in app.routes if hasattr(route, "path")}
    gate = Gate(app, settings.keys, metrics, draining, known)
    return Served(gate, served, metrics, monitor, draining)


def _add_health(app: FastAPI, health: Health) -> None:
    for path, answer, summary, told in (
        ("/health", health.health, "Whether all models compute", NOTHING),
        ("/ping", health.health, "The same", NOTHING),
        ("/ready", health.ready, "Whether requests are welcome", READY),
        ("/metrics", health.metrics, "Metrics for Prometheus", TEXT),
        ("/version", health.version, "The version of Assay", OBJECT),
        ("/v1/models", health.models, "The served models", OBJECT),
        ("/v1/models/{name:path}", health.model, "One served model", OBJECT_OF_A_NAME),
    ):
        app.add_api_route(path, answer, methods=["GET"], summary=summary, tags=["server"], **told)
        app.add_api_route(path, answer, methods=["HEAD"], include_in_schema=False)


def _handler(
    candidates: list[Endpoint], models: Models, limits: Limits, held: Held, monitor: Monitor
) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    """What answers at a path."""

    async def answer(request: Request) -> Response:
        error_of = candidates[0].error if len(candidates) == 1 else nested_error
        fitting = [one for one in candidates if request.method in one.methods]
        try:
            body = await read_body(request, limits)
            with held.holding(len(body)):
                fields = parsed(body)
                endpoint = choose(fitting, fields)
                error_of = endpoint.error
                asked = validated(endpoint.body, fields)
                desk = Desk(request, models, limits, monitor, asked)
                found = await endpoint.answer(asked, desk)
            if desk.warnings and isinstance(found, dict) and "meta_info" not in found:
                found["warnings"] = desk.warnings
            return json_answer(found)
        except ClientGone:
            return Response(status_code=GONE)
        except Refusal as refusal:
            return _refusal(refusal, error_of)
        except Exception as error:
            return _refusal(failure(error), error_of)

    return answer


def _refusal(refusal: Refusal, error_of: Callable[[Refusal], Any]) -> Response:
    return json_answer(error_of(refusal), refusal.status, refusal.headers)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return _refusal(error, nested_error)


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(_methods_at(request))
    refusal = Refusal(error.status_code, str(error.detail).lower(), headers=headers)
    return _refusal(refusal, nested_error)


def _methods_at(request: Request) -> list[str]:
    """Of all routes at a path: the router knows the first one's only."""
    found: set[str] = set()
    for route in request.app.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            found |= route.methods or set()
    return sorted(found)
