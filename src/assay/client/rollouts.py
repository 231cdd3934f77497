"""What a trainer of policies holds, a prompt and a completion each, as the server is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from assay.client.answers import Rewards
from assay.client.asynchronous import AsyncRewardClient
from assay.client.failures import RewardError
from assay.errors import ConfigError
from assay.notices import warn

_warned: set[str] = set()


async def rollout_rewards(
    client: AsyncRewardClient,
    prompts: Sequence[Any],
    completions: Sequence[Any],
    *,
    step: int | None = None,
) -> Rewards:
    """Rewards of completions.

    Messages are sent as messages. Texts are the user's and the assistant's words; where the client
    has an input template they are the two halves of a text in that template.

    Raises:
        ConfigError: the client has an input template, and prompts are messages.
        DataError, RewardError: as `AsyncRewardClient.rewards`.
    """
    if client.settings.input_template is None:
        found = await client.rewards(prompts, completions, step=step)
    else:
        if not all(isinstance(one, str) for one in [*prompts, *completions]):
            raise ConfigError(
                "is for texts, and these are messages, which need none",
                where="input_template",
                mend="leave it out",
            )
        pairs = zip(prompts, completions, strict=True)
        texts = [prompt + completion for prompt, completion in pairs]
        found = await client.rewards_of_texts(texts, step=step)
    return checked_template(found, prompts, raising=client.settings.on_error == "raise")


def checked_template(found: Rewards, prompts: Sequence[Any], *, raising: bool) -> Rewards:
    """Rewards of texts whose template is the reward model's, as far as their prompts tell.

    A prompt, as a text, with special tokens of another model is a policy's template that the
    server was not told of. Such rewards look like any others and are worthless. In a completion
    a policy may have made them up: that is said once.

    Raises:
        RewardError: there is such a prompt, and `raising`; otherwise its reward is None.
    """
    errors = dict(found.errors)
    rewards = list(found.rewards)
    for index, tokens in enumerate(found.foreign_special_tokens or ()):
        prompt = prompts[index]
        marks = [one for one in tokens or () if isinstance(prompt, str) and one in prompt]
        if not marks:
            continue
        errors[index] = RewardError(
            f"holds {marks[0]}, a special token that the reward model does not know",
            where=f"prompts[{index}]",
            mend="say which template the texts are in (input_template), or send messages",
            index=index,
        )
        if raising:
            raise errors[index]
        rewards[index] = None
    for text in found.warnings:
        if text not in _warned:
            _warned.add(text)
            warn(f"the server says: {text}")
    return replace(found, rewards=rewards, errors=dict(sorted(errors.items())))
