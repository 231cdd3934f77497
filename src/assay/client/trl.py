"""Rewards for TRL's GRPO and RLOO trainers: `reward_funcs=reward_function(...)`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Literal, Unpack, overload

from assay.client.answers import Rewards
from assay.client.asynchronous import AsyncRewardClient
from assay.client.rollouts import rollout_rewards
from assay.client.settings import ClientSettings, Options, settings_of
from assay.client.synchronous import RewardClient

LogMetric = Callable[[str, float], object]


class RewardFunction:
    """What TRL calls with prompts and completions: one reward each, or None.

    Processes get copies of it: it holds settings, and opens connections where it is called.

    Args:
        settings: of the client.
        name: under which TRL logs it.
    """

    def __init__(self, settings: ClientSettings, name: str) -> None:
        self.__name__ = name
        self.client = RewardClient.of(settings)

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: object = None,
        *,
        trainer_state: Any = None,
        log_metric: LogMetric | None = None,
        **columns: object,
    ) -> list[float | None]:
        """Rewards of completions, in their order.

        Args:
            prompts: texts, or lists of messages.
            completions: of the same kind.
            completion_ids: not looked at: texts decide.
            trainer_state: whose `global_step` the server is told.
            log_metric: is told what is known besides rewards, under `NAME/...`.
            columns: of the data set, not looked at.

        Raises:
            DataError, RewardError: as `RewardClient.rewards`.
        """
        found = self.client.run(_asking(prompts, completions, trainer_state))
        _log(found, self.__name__, log_metric)
        return found.rewards


class AsyncRewardFunction(RewardFunction):
    """The same as a coroutine: several of these, and whatever else is awaited, run at once."""

    async def __call__(  # type: ignore[override]
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: object = None,
        *,
        trainer_state: Any = None,
        log_metric: LogMetric | None = None,
        **columns: object,
    ) -> list[float | None]:
        """Rewards of completions, as `RewardFunction` gives them."""
        future = self.client.start(_asking(prompts, completions, trainer_state))
        found = await asyncio.wrap_future(future)
        _log(found, self.__name__, log_metric)
        return found.rewards


@overload
def reward_function(
    base_url: str | None = None,
    *,
    name: str = "assay",
    asynchronous: Literal[False] = False,
    **options: Unpack[Options],
) -> RewardFunction: ...


@overload
def reward_function(
    base_url: str | None = None,
    *,
    name: str = "assay",
    asynchronous: Literal[True],
    **options: Unpack[Options],
) -> AsyncRewardFunction: ...


def reward_function(
    base_url: str | None = None,
    *,
    name: str = "assay",
    asynchronous: bool = False,
    **options: Unpack[Options],
) -> RewardFunction:
    """A reward function of a server, for `reward_funcs`.

    Args:
        base_url: of the server; by default `ASSAY_BASE_URL`.
        name: under which TRL logs it, as `rewards/NAME/mean`.
        asynchronous: for a coroutine function, of which TRL runs several at once.
        options: fields of `ClientSettings`. With `on_error="none"` an item that failed is None,
            which TRL leaves out of the reward; `input_template` is for prompts that are texts in
            the policy's template.

    Raises:
        ConfigError: settings that cannot be.
    """
    kind = AsyncRewardFunction if asynchronous else RewardFunction
    return kind(settings_of(base_url, options), name)


def _asking(
    prompts: Sequence[Any], completions: Sequence[Any], trainer_state: Any
) -> Callable[[AsyncRewardClient], Coroutine[Any, Any, Rewards]]:
    step = getattr(trainer_state, "global_step", None)
    return lambda client: rollout_rewards(client, prompts, completions, step=step)


def _log(found: Rewards, name: str, log_metric: LogMetric | None) -> None:
    if log_metric is None or not found.rewards:
        return
    metrics: dict[str, list[float]] = {
        "unscored": [reward is None for reward in found.rewards],
        "truncated": [flag for flag in found.truncated if flag is not None],
        "uncertainty": [one for one in found.uncertainty or () if one is not None],
    }
    for ratings in found.components or ():
        for component, rating in (ratings or {}).items():
            metrics.setdefault(component, []).append(rating)
    for metric, values in metrics.items():
        if values:
            log_metric(f"{name}/{metric}", sum(values) / len(values))
