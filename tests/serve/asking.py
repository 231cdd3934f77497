"""Asking an application in this process: many requests at once, over ASGI and no socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from assay.serve.app import Served as App

Request = tuple[str, str, Any]


@dataclass
class Served:
    app: App

    def ask(self, *requests: Request, headers: dict[str, str] | None = None) -> list[Any]:
        """Answers of all requests, sent at once: method, path, and JSON, bytes or None."""

        async def all_of_them() -> list[Any]:
            transport = httpx.ASGITransport(app=self.app.asgi)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return list(
                    await asyncio.gather(
                        *[_one(client, *request, headers=headers) for request in requests]
                    )
                )

        return asyncio.run(all_of_them())

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        given = {name.replace("_", "-"): text for name, text in headers.items()}
        found: httpx.Response = self.ask(("POST", path, body), headers=given)[0]
        return found

    def get(self, path: str, **headers: str) -> httpx.Response:
        found: httpx.Response = self.ask(("GET", path, None), headers=headers)[0]
        return found

    def rewards(self, body: dict[str, Any]) -> list[float]:
        answer = self.post("/v1/reward", body)
        assert answer.status_code == 200, answer.text
        return answer.json()["rewards"]


Make = Callable[..., Served]
"""Makes a server, of settings by name."""


async def _one(
    client: httpx.AsyncClient,
    method: str,
    path: str,
    body: Any,
    headers: dict[str, str] | None,
) -> httpx.Response:
    if isinstance(body, bytes):
        return await client.request(method, path, content=body, headers=headers)
    if body is None:
        return await client.request(method, path, headers=headers)
    return await client.request(method, path, json=body, headers=headers)


def asking(app: App) -> Served:
    return Served(app)
