"""What OpenAPI says of the protocols: their bodies are read by hand, so that it has to be told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from starlette.responses import PlainTextResponse, Response

from assay.client.settings import LONGEST_RUN
from assay.serve.monitor.tags import RUN_HEADER, STEP_HEADER
from assay.serve.protocols.own import RewardAnswer
from assay.serve.protocols.registry import Endpoint, ForeignBody

_SCHEMAS = "#/components/schemas/{model}"
_TEXT = {"type": "string"}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "anyOf": [
                {
                    "type": "object",
                    "required": ["message", "type", "param", "code"],
                    "properties": {
                        "message": _TEXT,
                        "type": _TEXT,
                        "param": {"anyOf": [_TEXT, {"type": "null"}]},
                        "code": {"type": "integer"},
                    },
                },
                {"type": "string", "description": "To clients of align-anything."},
            ]
        }
    },
}
_TAGS = [
    {
        "name": RUN_HEADER,
        "in": "header",
        "description": "Name of the training run that asks, for the monitor.",
        "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST_RUN},
    },
    {
        "name": STEP_HEADER,
        "in": "header",
        "description": "Its step, for the monitor.",
        "schema": {"type": "integer", "minimum": 0},
    },
]
_STATUSES = {
    400: "The body is not JSON.",
    401: "No valid API key.",
    404: "No such model.",
    408: "The body did not come in time.",
    413: "The body is too large.",
    422: "A field is wrong, or a limit is passed; the message names it.",
    429: "Too much waits; Retry-After says when to come again.",
    500: "The model failed; the message holds the id in the server's log.",
    503: "The deadline is over, or the server shuts down.",
}


def _error(text: str) -> dict[str, Any]:
    schema = {"$ref": _SCHEMAS.format(model="Error")}
    return {"description": text, "content": {"application/json": {"schema": schema}}}


_CLOSED = {401: _error(_STATUSES[401])}
# Without 4XX FastAPI would tell of a 422 of its own, which a path that is a text never gets.
_NAMED = {404: _error(_STATUSES[404]), "4XX": _error("No other is sent.")}

NOTHING: dict[str, Any] = {
    "response_class": Response,
    "responses": {503: {"description": "A model does not compute."}},
}
"""The arguments of routes whose answer is their status."""
READY: dict[str, Any] = {
    "responses": {503: {"description": "Not now.", "content": {"application/json": {}}}}
}
"""Of an object that says whether requests are welcome, with a status that says so, too."""
TEXT: dict[str, Any] = {"response_class": PlainTextResponse, "responses": _CLOSED}
"""Of text, where keys are wanted."""
OBJECT: dict[str, Any] = {"responses": _CLOSED}
"""Of an object, where keys are wanted."""
OBJECT_OF_A_NAME: dict[str, Any] = {"responses": _CLOSED | _NAMED}
"""The same, where there may be nothing of that name."""


def described(candidates: Sequence[Endpoint]) -> dict[str, Any]:
    """The arguments of a route: summary, bodies, answers."""
    bodies = [{"$ref": _SCHEMAS.format(model=_name(one))} for one in candidates]
    responses: dict[int | str, dict[str, Any]] = {
        status: _error(text) for status, text in _STATUSES.items()
    }
    responses[200] = {
        "description": "The rewards.",
        "content": {
            "application/json": {
                "schema": _answer_of(candidates),
                "examples": {one.protocol: {"value": one.example[1]} for one in candidates},
            }
        },
    }
    return {
        "summary": "; ".join(one.summary for one in candidates),
        "tags": [one.protocol for one in candidates],
        "responses": responses,
        "openapi_extra": {
            "parameters": _TAGS,
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {
                        "schema": bodies[0] if len(bodies) == 1 else {"anyOf": bodies},
                        "examples": {one.protocol: {"value": one.example[0]} for one in candidates},
                    }
                },
            },
        },
    }


def with_bodies(app: FastAPI, endpoints: Sequence[Endpoint]) -> None:
    """Give an application's description the schemas that its routes name."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is not None:
            return app.openapi_schema
        found = plain()
        schemas = found.setdefault("components", {}).setdefault("schemas", {})
        schemas["Error"] = _ERROR
        kinds = {_name(one): one.body for one in endpoints} | {"RewardAnswer": RewardAnswer}
        for name, kind in kinds.items():
            schema = kind.model_json_schema(ref_template=_SCHEMAS)
            schemas |= schema.pop("$defs", {})
            schemas[name] = schema
        return found

    app.openapi = openapi  # type: ignore[method-assign]


def _name(endpoint: Endpoint) -> str:
    owner = "".join(part.capitalize() for part in endpoint.protocol.split("-"))
    return f"{owner}{endpoint.body.__name__}"


def _answer_of(candidates: Sequence[Endpoint]) -> dict[str, Any]:
    if all(not issubclass(one.body, ForeignBody) for one in candidates):
        return {"$ref": _SCHEMAS.format(model="RewardAnswer")}
    return {}
