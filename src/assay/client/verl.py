"""Rewards for verl: functions for `reward.custom_reward_function`, named by `path` and `name`.

verl gives such a function the words of the response, without special tokens, and not the prompt;
that has to stand in `extra_info` of each row, as a text or as messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from assay.client.answers import Rewards
from assay.client.rollouts import rollout_rewards
from assay.client.settings import Options, settings_of
from assay.client.synchronous import RewardClient, shared_client
from assay.errors import ConfigError, DataError

PROMPT_KEY = "prompt"
"""Where `extra_info` holds the prompt, unless `reward_kwargs.prompt_key` says otherwise."""


def compute_score(
    data_source: object,
    solution_str: str,
    ground_truth: object = None,
    extra_info: Mapping[str, Any] | None = None,
    *,
    prompt_key: str = PROMPT_KEY,
    base_url: str | None = None,
    reward_router_address: object = None,
    reward_model_tokenizer: object = None,
    **options: Unpack[Options],
) -> dict[str, float]:
    """The reward of one response, as verl's reward managers ask for it.

    Args:
        data_source: not looked at, as `ground_truth` and what verl says of its own servers.
        solution_str: the response.
        ground_truth: not looked at.
        extra_info: holds the prompt.
        prompt_key: under which name.
        base_url: of the server; by default `ASSAY_BASE_URL`.
        reward_router_address: not looked at.
        reward_model_tokenizer: not looked at.
        options: fields of `ClientSettings`, from `reward_kwargs`.

    Returns:
        `score`, the raw reward, and where the model has them `uncertainty` and the ratings of its
        components: verl logs them.

    Raises:
        DataError: there is no prompt.
        RewardError: there is no reward.
    """
    client = _client(base_url, options)
    prompt = _prompt(extra_info, prompt_key, "extra_info")
    return _scores(client.run(lambda one: rollout_rewards(one, [prompt], [solution_str])))[0]


async def compute_score_async(
    data_source: object,
    solution_str: str,
    ground_truth: object = None,
    extra_info: Mapping[str, Any] | None = None,
    *,
    prompt_key: str = PROMPT_KEY,
    base_url: str | None = None,
    reward_router_address: object = None,
    reward_model_tokenizer: object = None,
    **options: Unpack[Options],
) -> dict[str, float]:
    """The same as a coroutine: verl then asks for many responses at once."""
    client = _client(base_url, options)
    prompt = _prompt(extra_info, prompt_key, "extra_info")
    future = client.start(lambda one: rollout_rewards(one, [prompt], [solution_str]))
    return _scores(await asyncio.wrap_future(future))[0]


def compute_score_batch(
    data_sources: object,
    solution_strs: Sequence[str],
    ground_truths: object = None,
    extra_infos: Sequence[Mapping[str, Any]] | None = None,
    *,
    prompt_key: str = PROMPT_KEY,
    base_url: str | None = None,
    reward_router_address: object = None,
    reward_model_tokenizer: object = None,
    **options: Unpack[Options],
) -> list[dict[str, float]]:
    """Rewards of many responses, as verl's batch manager asks for them."""
    client = _client(base_url, options)
    infos: Sequence[Any] = [None] * len(solution_strs) if extra_infos is None else extra_infos
    prompts = [
        _prompt(info, prompt_key, f"extra_infos[{place}]") for place, info in enumerate(infos)
    ]
    return _scores(client.run(lambda one: rollout_rewards(one, prompts, list(solution_strs))))


def _client(base_url: str | None, options: Any) -> RewardClient:
    settings = settings_of(base_url, options)
    if settings.on_error == "none":
        raise ConfigError(
            "verl makes numbers of all rewards, and None is none",
            where="on_error",
            mend="leave it out: a failure then ends the run",
        )
    return shared_client(settings)


def _prompt(extra_info: Mapping[str, Any] | None, key: str, where: str) -> Any:
    """The prompt of a row; tables make arrays of its messages."""
    if extra_info is None or extra_info.get(key) is None:
        raise DataError(
            f"holds no '{key}', and a reward needs the prompt",
            where=where,
            mend="write it there when the rows are prepared, or name where it is as prompt_key",
        )
    value = extra_info[key]
    return value.tolist() if hasattr(value, "tolist") else value


def _scores(found: Rewards) -> list[dict[str, float]]:
    scores: list[dict[str, float]] = []
    for place, reward in enumerate(found.complete()):
        told = {} if found.components is None else found.components[place] or {}
        if found.uncertainty is not None:
            told = told | {"uncertainty": found.uncertainty[place] or 0.0}
        scores.append(told | {"score": reward})  # Also where a component has this name.
    return scores
