"""The client for programs with an event loop; the other one is this one in a thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self, Unpack

from assay.client.answers import Collected, Rewards
from assay.client.asking import (
    Prompt,
    Question,
    Response,
    after_refusal,
    questions,
    questions_of_texts,
)
from assay.client.failures import RewardError
from assay.client.settings import ClientSettings, Options, settings_of
from assay.client.wire import Wire, fatal
from assay.errors import ConfigError
from assay.notices import warn

_POLL = 0.2
"""Seconds between two looks at a server that is not ready."""


class AsyncRewardClient:
    """Rewards from a server, for the event loop that uses it first.

    Args:
        base_url: of the server, as `http://host:8000`; by default `ASSAY_BASE_URL`.
        options: fields of `ClientSettings`.

    Raises:
        ConfigError: settings that cannot be.
    """

    settings: ClientSettings
    _opened: Wire | None = None

    def __init__(self, base_url: str | None = None, **options: Unpack[Options]) -> None:
        self.settings = settings_of(base_url, options)

    @classmethod
    def of(cls, settings: ClientSettings) -> Self:
        """A client with these settings."""
        made = cls.__new__(cls)
        made.settings = settings
        return made

    async def rewards(
        self,
        prompts: Prompt | Sequence[Prompt],
        responses: Sequence[Response],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        step: int | None = None,
    ) -> Rewards:
        """Rewards of responses to one prompt, or to a prompt each, in their order.

        Without responses nothing is asked, and the result is empty.

        Args:
            prompts: the user's words or messages; a list of them has one for each response.
            responses: each a text, a message, or the messages of one response.
            tools: of the prompts, as OpenAI describes them.
            chat_template_kwargs: variables of the model's own template.
            step: of the training, for whoever reads the server's records.

        Raises:
            DataError: prompts and responses do not fit together.
            RewardError: there is no reward; with `on_error="none"` only where no item could have
                one: a wrong key, an unknown model.
        """
        about: dict[str, Any] = {}
        if tools is not None:
            about["tools"] = list(tools)
        if chat_template_kwargs is not None:
            about["chat_template_kwargs"] = dict(chat_template_kwargs)
        size = self.settings.responses_per_request
        asked = questions(prompts, responses, self._about(about), size)
        return await self._all(asked, len(responses), step)

    async def rewards_of_texts(self, texts: Sequence[str], *, step: int | None = None) -> Rewards:
        """Rewards of whole texts, prompt and response in the template `input_template`.

        Args:
            texts: in the order of the rewards.
            step: of the training.

        Raises:
            DataError: they are no texts.
            RewardError: as `rewards`.
        """
        about = self._about({})
        if self.settings.input_template is not None:
            about["input_template"] = self.settings.input_template
        asked = questions_of_texts(texts, about, self.settings.responses_per_request)
        return await self._all(asked, len(texts), step)

    async def health(self) -> bool:
        """Whether every model of the server computes; false, too, where nobody answers."""
        return await self._wire.status("/health") == 200

    async def models(self) -> list[str]:
        """The served models; requests that name none get the first.

        Raises:
            RewardError: the server did not say.
        """
        answer = await self._wire.get("/v1/models")
        try:
            return [str(model["id"]) for model in answer["data"]]
        except (KeyError, TypeError):
            raise RewardError(
                "the answer lists no models", mend="is this a server of Assay?"
            ) from None

    async def wait_until_ready(self, seconds: float = 300.0) -> None:
        """Wait for a server that is still loading its models.

        Raises:
            RewardError: it takes no requests within this time.
        """
        until = time.monotonic() + seconds
        while True:
            left = max(until - time.monotonic(), _POLL)
            status = await self._wire.status("/ready", left)
            if status == 200:
                return
            if time.monotonic() > until:
                said = "nobody answers" if status is None else f"/ready answers {status}"
                raise RewardError(
                    f"{self.settings.base_url} is not ready after {seconds:g} seconds: {said}",
                    mend="look at what the server says",
                )
            await asyncio.sleep(_POLL)

    async def close(self) -> None:
        """Close the connections; the next request opens new ones."""
        wire, self._opened = self._opened, None
        if wire is not None:
            await wire.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def _wire(self) -> Wire:
        if self._opened is None:
            self._opened = Wire(self.settings)
        return self._opened

    def _about(self, more: dict[str, Any]) -> dict[str, Any]:
        return more | ({} if self.settings.model is None else {"model": self.settings.model})

    async def _all(self, asked: Sequence[Question], count: int, step: int | None) -> Rewards:
        """Ask everything at once; what is raised ends what is still on its way."""
        collected = Collected(count)
        if step is not None and (isinstance(step, bool) or not isinstance(step, int) or step < 0):
            raise ConfigError(f"{step!r} is no number of a step", where="step", mend="count from 0")
        headers = {} if step is None else {"X-Assay-Step": str(step)}
        tasks = [asyncio.ensure_future(self._one(one, collected, headers)) for one in asked]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        found = collected.result()
        if found.errors:
            first = next(iter(found.errors.values()))
            warn(f"{len(found.errors)} of {count} rewards are missing: {first}")
        return found

    async def _one(
        self, question: Question, collected: Collected, headers: Mapping[str, str]
    ) -> None:
        """Ask one request, and in its place whatever it takes to have an answer to each item."""
        left = [question]
        while left:
            now = left.pop()
            try:
                failed = collected.take(now, await self._ask(now, headers))
            except RewardError as error:
                others, item = after_refusal(now, error)
                left += others
                if item is not None:
                    failed = [now.failed(error, item)]
                elif others:
                    failed = []
                else:
                    failed = [now.failed(error, one) for one in range(len(now.items))]
                if fatal(error):
                    raise error from None
            for one in failed:
                if self.settings.on_error == "raise":
                    raise one
                assert one.index is not None
                collected.errors[one.index] = one

    async def _ask(self, question: Question, headers: Mapping[str, str]) -> Any:
        return await self._wire.post("/v1/reward", question.body(), headers)
