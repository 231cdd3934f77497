"""HTTP: one request, repeated where that can help, and its answer as JSON."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from assay.client.failures import RewardError, closed_meanwhile
from assay.client.retrying import RETRIED, Patience, seconds_of
from assay.client.settings import API_KEY, ClientSettings
from assay.errors import ConfigError

if TYPE_CHECKING:
    import httpx

_SHOWN = 300
"""Characters of an answer that is not JSON, in a message."""

_MENDS = {401: f"give api_key, or set {API_KEY}", 404: "client.models() lists what is served"}

_MEND_OF_TLS = "look at the address, and give certificates to trust as ca_file"


class Wire:
    """Connections to one server, of one event loop.

    Args:
        settings: how.

    Raises:
        ConfigError: httpx is not installed, the certificates cannot be read, or the key is none.
    """

    def __init__(self, settings: ClientSettings) -> None:
        try:
            import httpx
        except ImportError:
            raise ConfigError(
                "httpx is not installed", mend="pip install 'assay[client]'"
            ) from None
        self._settings = settings
        self._transport_error = httpx.TransportError
        self._slots = asyncio.Semaphore(settings.concurrency)
        key = settings.key
        headers = [(b"Authorization", f"Bearer {key}".encode())] if key else []
        if settings.run is not None:
            headers.append((b"X-Assay-Run", settings.run.encode()))
        self._http = httpx.AsyncClient(
            base_url=settings.base_url,
            auth=settings.login,
            headers=headers,
            timeout=httpx.Timeout(settings.timeout, connect=settings.connect_timeout, pool=None),
            limits=httpx.Limits(max_connections=settings.concurrency),
            verify=_trusted(settings.ca_file),
        )

    async def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Any:
        """The JSON that answers a body; at most `concurrency` are on their way at once.

        Raises:
            RewardError: there is none.
        """
        sent = {"Content-Type": "application/json", **headers}
        async with self._slots:
            patience = Patience(self._settings.retries)
            while True:
                try:
                    return await self._once("POST", path, body, sent)
                except RewardError as failure:
                    pause = patience.pause(failure)
                await asyncio.sleep(pause)

    async def get(self, path: str) -> Any:
        """The JSON at a path, asked once.

        Raises:
            RewardError: there is none.
        """
        return await self._once("GET", path, None, {})

    async def status(self, path: str, seconds: float | None = None) -> int | None:
        """The status at a path; None where nobody answers, within so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                return (await self._http.get(path)).status_code
        except (TimeoutError, self._transport_error):
            return None

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _once(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Any:
        if self._http.is_closed:  # While this one waited to be repeated.
            raise closed_meanwhile()
        try:
            answer = await self._http.request(method, path, content=body, headers=dict(headers))
        except self._transport_error as error:
            kind = type(error).__name__
            of_tls = _is_of_tls(error)
            raise RewardError(
                f"no answer from {self._settings.base_url} ({str(error) or kind})",
                mend=_MEND_OF_TLS if of_tls else "is the server running?",
                passing=not of_tls,
            ) from None
        if answer.status_code != 200:
            raise _refused(answer)
        try:
            return json.loads(answer.content)
        except ValueError:
            raise RewardError(
                f"the answer is not JSON: {_shown(answer)}", mend="is this a server of Assay?"
            ) from None


def _trusted(ca_file: str | None) -> ssl.SSLContext | bool:
    if ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"cannot be read ({getattr(error, 'strerror', None) or error})",
            where=ca_file,
            mend="give a PEM file of certificates as ca_file",
        ) from None


def _is_of_tls(error: BaseException | None) -> bool:
    """Whether the two do not agree on TLS, which asking again does not change; a connection that
    breaks on the way is not of it."""
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__
    return error is not None and "EOF" not in str(error)


def _refused(answer: httpx.Response) -> RewardError:
    """What an answer other than 200 says, in the words of whoever wrote it."""
    status = answer.status_code
    said, param = _said(answer)
    if param and said.startswith(f"{param}: "):
        said = said.removeprefix(f"{param}: ")
    return RewardError(
        f"the server answered {status}: {said}",
        mend=_MENDS.get(status),
        status=status,
        param=param,
        passing=status in RETRIED,
        retry_after=seconds_of(answer.headers.get("Retry-After")),
    )


def _said(answer: httpx.Response) -> tuple[str, str | None]:
    try:
        error = json.loads(answer.content)["error"]
    except (ValueError, KeyError, TypeError):
        return _shown(answer), None
    if isinstance(error, dict):
        param = error.get("param")
        return str(error.get("message", error)), param if isinstance(param, str) else None
    return str(error), None


def _shown(answer: httpx.Response) -> str:
    return repr(answer.content[:_SHOWN].decode("utf-8", "replace"))


def fatal(error: RewardError) -> bool:
    """Whether it is of the client as a whole: no other request would fare better."""
    return error.status in (401, 403, 404, 405)
