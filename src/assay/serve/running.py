"""The process: a listening socket, uvicorn, and how it ends.

SIGTERM (or Ctrl-C): `/ready` turns 503, after a short delay no connection is taken any more, every
request that was taken is answered, and the process ends with 0. A second signal ends it at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from assay.errors import ConfigError
from assay.notices import logger, notice
from assay.serve.app import Served
from assay.serve.gate import failure

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_BACKLOG = 2048


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a server listens.

    Attributes:
        host: name or address.
        port: 0 takes a free one.
        certificate: PEM file of the certificate chain; with it the server speaks TLS.
        key: PEM file of its private key, where that is not in the same file.
        drain_delay: seconds after a signal in which connections are still taken, so that load
            balancers see `/ready` before they see a closed port.
        keep_alive: seconds that an idle connection is kept.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    certificate: Path | None = None
    key: Path | None = None
    drain_delay: float = 0.5
    keep_alive: int = 75

    def __post_init__(self) -> None:
        if self.key is not None and self.certificate is None:
            raise ConfigError("--tls-key without --tls-cert", mend="give both")
        if self.certificate is None:
            return
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
                self.certificate, self.key, password=""
            )
        except (OSError, ValueError) as error:
            wrong = "not a certificate and key"
            why = wrong if isinstance(error, ssl.SSLError | ValueError) else error.strerror
            raise ConfigError(
                f"cannot be used ({why})",
                where=", ".join(str(file) for file in (self.certificate, self.key) if file),
                mend="give PEM files with --tls-cert and --tls-key, the key without a password",
            ) from None

    def url(self, port: int) -> str:
        """Where clients find it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' if self.certificate else ''}://{host}:{port}"


def run(
    served: Served,
    listening: Listening,
    listener: socket.socket,
    started: Callable[[str], object],
) -> None:
    """Serve until a signal ends it.

    Args:
        served: the application.
        listening: how.
        listener: where, from `bound`.
        started: is told the address once connections are taken.
    """
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)  # The gate logs, and without texts.
    config = uvicorn.Config(
        served.asgi,
        log_config=None,
        access_log=False,
        ws="none",
        lifespan="on",
        server_header=False,
        timeout_keep_alive=listening.keep_alive,
        backlog=_BACKLOG,
        ssl_certfile=listening.certificate,
        ssl_keyfile=listening.key,
    )
    url = listening.url(listener.getsockname()[1])
    server = _Server(config, served, listening, lambda: started(url))
    server.run([listener])


def bound(listening: Listening) -> socket.socket:
    """The port, taken before a model is loaded; connections are refused until the server runs.

    Raises:
        ConfigError: it cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            listening.host, listening.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with contextlib.ExitStack() as kept:
            listener = kept.enter_context(socket.socket(family, kind, protocol))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            kept.pop_all()
    except (OSError, UnicodeError) as error:  # The second: of a name that no host can have.
        raise _not_to_be_had(listening, error) from None
    return listener


def _not_to_be_had(listening: Listening, error: Exception) -> ConfigError:
    return ConfigError(
        f"cannot listen at {listening.host}:{listening.port} "
        f"({getattr(error, 'strerror', None) or error})",
        mend="choose another --host or --port",
    )


class _Server(uvicorn.Server):
    """Uvicorn with our end: exit code 0 after all answers."""

    def __init__(
        self,
        config: uvicorn.Config,
        served: Served,
        listening: Listening,
        started: Callable[[], object],
    ) -> None:
        super().__init__(config)
        self._served = served
        self._listening = listening
        self._say_started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn, then say so.

        Raises:
            ConfigError: another server took the port at the same time, and was there first.
        """
        asyncio.get_running_loop().set_exception_handler(_without_words)
        try:
            await super().startup(sockets)
        except OSError as error:
            raise _not_to_be_had(self._listening, error) from None
        if self.started:
            self._say_started()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Uvicorn would raise the signal again, and the process would not end with 0."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._asked_to_end, number)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    def _asked_to_end(self, number: int) -> None:
        if self._served.draining.begun:
            print(
                "ended at once; requests were left without an answer", file=sys.stderr, flush=True
            )
            os._exit(128 + number)
        self._served.draining.begun = True
        notice("no new requests; those that were taken are answered (a second signal ends at once)")
        asyncio.get_running_loop().call_later(self._listening.drain_delay, self._end)

    def _end(self) -> None:
        self.should_exit = True


def _without_words(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what nobody caught; asyncio would write its words, too, which may be a client's."""
    error = context.get("exception")
    if error is None:
        logger.error("%s", context["message"])
    else:
        failure(error)
