"""Bodies of requests: bounded, in time, and JSON in the strict sense. Bodies of answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from assay.data.strict_json import StrictDecoder
from assay.serve.limits import Limits
from assay.serve.refusals import ClientGone, Refusal
from assay.serve.wrong_fields import wrong_field

Body = TypeVar("Body", bound=BaseModel)

_READ_ON = 8
"""A body up to so many times the limit is read to its end, unkept, before it is refused: a client
that is still sending would otherwise see a broken connection and not the answer."""


async def read_body(request: Request, limits: Limits) -> bytes:
    """The body of a request.

    Raises:
        Refusal: it is too large (413), or does not come (408).
        ClientGone: the client went away.
    """
    limit = limits.max_body_bytes
    stated = _stated_length(request)
    if stated > _READ_ON * limit or (stated > limit and "expect" in request.headers):
        raise _too_large(limit)
    kept = bytearray()
    seen = 0
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for chunk in request.stream():
                seen += len(chunk)
                if seen > _READ_ON * limit:
                    break
                if seen <= limit:
                    kept += chunk
                else:
                    kept.clear()
    except ClientDisconnect:
        raise ClientGone from None
    except TimeoutError:
        raise Refusal(
            408,
            f"the body did not come within {limits.body_seconds:g} seconds",
            headers={"Connection": "close"},
        ) from None
    if seen > limit:
        raise _too_large(limit)
    return bytes(kept)


def parsed(body: bytes) -> dict[str, Any]:
    """The object in a body.

    Raises:
        Refusal: it is none (400, or 422 for another value).
    """
    try:
        found = StrictDecoder().parse_all(body.decode("utf-8"))
    except UnicodeDecodeError:
        raise Refusal(400, "the body is not UTF-8", mend="send JSON in UTF-8") from None
    except json.JSONDecodeError as error:
        raise Refusal(
            400,
            f"the body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}",
        ) from None
    except RecursionError:
        raise Refusal(400, "the body is nested too deeply") from None
    if found.flaw is not None:
        raise Refusal(400, f"the body has a flaw: {found.flaw.what}", mend=found.flaw.mend)
    if not isinstance(found.value, dict):
        raise Refusal(422, "the body is not an object", mend='send {"...": ...}')
    return found.value


def json_answer(
    value: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer of JSON: one way of writing for all of them."""
    # A number that is none must not become one on the way.
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Response(text.encode(), status, headers, "application/json")


def validated(kind: type[Body], value: dict[str, Any]) -> Body:
    """An object as what it must be.

    Raises:
        Refusal: it is not (422), with the first field that is wrong.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise wrong_field(kind, error) from None


def _stated_length(request: Request) -> int:
    stated = request.headers.get("content-length", "")
    return int(stated) if stated.isascii() and stated.isdigit() and len(stated) < 20 else 0


def _too_large(limit: int) -> Refusal:
    return Refusal(
        413,
        f"the body is larger than the limit of {limit} bytes (max_body_bytes)",
        mend="send less in one request",
        headers={"Connection": "close"},
    )
