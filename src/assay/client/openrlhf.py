"""Rewards for OpenRLHF: a file with `reward_func` for `--reward.remote_url FILE`.

The file has one line, `from assay.client.openrlhf import reward_func`, or makes its own function
with `reward_function`. OpenRLHF's queries are whole texts in the policy's template.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Unpack

from assay.client.rollouts import checked_template
from assay.client.settings import Options, settings_of
from assay.client.synchronous import shared_client
from assay.errors import AssayError, ConfigError
from assay.notices import warn

INPUT_TEMPLATE = "ASSAY_INPUT_TEMPLATE"
MODEL = "ASSAY_MODEL"
RUN = "ASSAY_RUN"
"""Environment variables of `reward_func`, besides the client's own."""

RewardFunc = Callable[..., dict[str, Any]]


def reward_function(base_url: str | None = None, **options: Unpack[Options]) -> RewardFunc:
    """A `reward_func` of a server.

    Args:
        base_url: of the server; by default `ASSAY_BASE_URL`, read when it is called.
        options: fields of `ClientSettings`; `input_template` names the policy's template.

    Raises:
        ConfigError: `on_error` is not `raise`: OpenRLHF makes numbers of all rewards.
    """
    if options.get("on_error", "raise") != "raise":
        raise ConfigError(
            "OpenRLHF makes numbers of all rewards, and None is none",
            where="on_error",
            mend="leave it out",
        )

    def reward_func(
        queries: Sequence[str],
        prompts: Sequence[str | None] | None = None,
        labels: object = None,
        **more: object,
    ) -> dict[str, Any]:
        return _reward_func(base_url, options, queries, prompts)

    return reward_func


def reward_func(
    queries: Sequence[str],
    prompts: Sequence[str | None] | None = None,
    labels: object = None,
    **more: object,
) -> dict[str, Any]:
    """Rewards of queries, with settings from the environment.

    `ASSAY_BASE_URL` is needed; `ASSAY_INPUT_TEMPLATE` names the policy's template, by default the
    server's; `ASSAY_API_KEY`, `ASSAY_MODEL` and `ASSAY_RUN` are as the client's options.

    Args:
        queries: texts, prompt and response in the policy's template.
        prompts: their prompts.
        labels: not looked at.
        more: not looked at.

    Returns:
        `rewards` and `scores`, raw, and `extra_logs`: tensors with a number for each query.

    Raises:
        ConfigError, DataError: what is asked cannot be.
        RewardError: there is no reward.
    """
    options: Options = {
        "input_template": os.environ.get(INPUT_TEMPLATE) or None,
        "model": os.environ.get(MODEL) or None,
        "run": os.environ.get(RUN) or None,
    }
    return _reward_func(None, options, queries, prompts)


def _reward_func(
    base_url: str | None,
    options: Options,
    queries: Sequence[str],
    prompts: Sequence[str | None] | None,
) -> dict[str, Any]:
    import torch  # OpenRLHF has it, and wants tensors.

    client = shared_client(settings_of(base_url, options))
    known = list(prompts) if prompts is not None else [None] * len(queries)
    try:
        found = checked_template(client.rewards_of_texts(list(queries)), known, raising=True)
    except AssayError as error:
        warn(f"no reward: {error}")  # OpenRLHF catches what is raised, and says it to its log.
        raise
    rewards = torch.tensor(found.complete(), dtype=torch.float32)
    logs = {"reward_tokens": torch.tensor(found.tokens, dtype=torch.float32)}
    if found.uncertainty is not None:
        logs["reward_uncertainty"] = torch.tensor(found.uncertainty, dtype=torch.float32)
    return {"rewards": rewards, "scores": rewards, "extra_logs": logs}
