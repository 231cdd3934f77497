"""The playground's files, and under which rules a browser shows them."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

PATH = "/"
FILES_PATH = "/playground"
"""The path below which the page finds its files."""

_KINDS = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cache-Control": "no-cache",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


_FILES = {
    PATH if file.name == "index.html" else f"{FILES_PATH}/{file.name}": file
    for file in files(__package__).joinpath("files").iterdir()
    if Path(file.name).suffix in _KINDS
}

PATHS = frozenset(_FILES)
"""Where the page and its files stand on the server."""


def playground_files() -> dict[str, tuple[str, bytes]]:
    """Each file's path on the server, with its media type and its content."""
    return {
        path: (_KINDS[Path(file.name).suffix], file.read_bytes()) for path, file in _FILES.items()
    }


def add_playground(app: FastAPI) -> None:
    """Let an application serve the page at `/`, and its files."""
    for path, (kind, content) in playground_files().items():
        app.add_api_route(
            path, _answer(kind, content), methods=["GET", "HEAD"], include_in_schema=False
        )


def _answer(kind: str, content: bytes) -> Callable[[Request], Awaitable[Response]]:
    mark = f'"{hashlib.sha256(content).hexdigest()[:32]}"'

    async def answer(request: Request) -> Response:
        headers = _HEADERS | {"ETag": mark}
        if request.headers.get("if-none-match") == mark:
            return Response(status_code=304, headers=headers)
        return Response(content, 200, headers, kind)

    return answer
