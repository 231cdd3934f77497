"""The client for programs without an event loop. Threads may share one."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from assay.client.answers import Rewards
from assay.client.asking import Prompt, Response
from assay.client.asynchronous import AsyncRewardClient
from assay.client.portal import Portal
from assay.client.settings import ClientSettings, Options, settings_of

Result = TypeVar("Result")


class RewardClient:
    """Rewards from a server.

    It can be pickled and copied to other processes: connections are opened where it is used.

    Args:
        base_url: of the server, as `http://host:8000`; by default `ASSAY_BASE_URL`.
        options: fields of `ClientSettings`.

    Raises:
        ConfigError: settings that cannot be.
    """

    settings: ClientSettings
    _lock: threading.Lock
    _opened: tuple[int, AsyncRewardClient, Portal] | None

    def __init__(self, base_url: str | None = None, **options: Unpack[Options]) -> None:
        self._begin(settings_of(base_url, options))

    @classmethod
    def of(cls, settings: ClientSettings) -> Self:
        """A client with these settings."""
        made = cls.__new__(cls)
        made._begin(settings)
        return made

    def rewards(
        self,
        prompts: Prompt | Sequence[Prompt],
        responses: Sequence[Response],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        step: int | None = None,
    ) -> Rewards:
        """Rewards of responses to one prompt, or to a prompt each; see `AsyncRewardClient`."""
        return self.run(
            lambda client: client.rewards(
                prompts,
                responses,
                tools=tools,
                chat_template_kwargs=chat_template_kwargs,
                step=step,
            )
        )

    def rewards_of_texts(self, texts: Sequence[str], *, step: int | None = None) -> Rewards:
        """Rewards of whole texts, prompt and response in the template `input_template`."""
        return self.run(lambda client: client.rewards_of_texts(texts, step=step))

    def health(self) -> bool:
        """Whether every model of the server computes; false, too, where nobody answers."""
        return self.run(lambda client: client.health())

    def models(self) -> list[str]:
        """The served models; requests that name none get the first."""
        return self.run(lambda client: client.models())

    def wait_until_ready(self, seconds: float = 300.0) -> None:
        """Wait for a server that is still loading its models."""
        self.run(lambda client: client.wait_until_ready(seconds))

    def run(self, ask: Callable[[AsyncRewardClient], Coroutine[Any, Any, Result]]) -> Result:
        """What a coroutine of the client with an event loop gives; an interruption ends it.

        Raises:
            RewardError: another thread closed the client meanwhile.
        """
        future = self.start(ask)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def start(
        self, ask: Callable[[AsyncRewardClient], Coroutine[Any, Any, Result]]
    ) -> Future[Result]:
        """The same, without waiting."""
        with self._lock:  # So that nothing is started on what is closed meanwhile.
            client, portal = self._open()
            return portal.start(ask(client))

    def close(self) -> None:
        """Close the connections; the next request opens new ones.

        What is on its way in other threads ends with a `RewardError`.
        """
        with self._lock:
            opened, self._opened = self._opened, None
        if opened is not None and opened[0] == os.getpid():
            opened[2].close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __getstate__(self) -> ClientSettings:
        return self.settings

    def __setstate__(self, settings: ClientSettings) -> None:
        self._begin(settings)

    def _begin(self, settings: ClientSettings) -> None:
        self.settings = settings
        self._lock = threading.Lock()
        self._opened = None

    def _open(self) -> tuple[AsyncRewardClient, Portal]:
        """With the lock held: connections of this process, as those of a parent are not."""
        if self._opened is None or self._opened[0] != os.getpid():
            client = AsyncRewardClient.of(self.settings)
            self._opened = os.getpid(), client, Portal(client.close)
        return self._opened[1], self._opened[2]


_shared: dict[ClientSettings, RewardClient] = {}
_sharing = threading.Lock()


def shared_client(settings: ClientSettings) -> RewardClient:
    """The client of this process with these settings, for functions that are called anew."""
    with _sharing:
        return _shared.setdefault(settings, RewardClient.of(settings))
