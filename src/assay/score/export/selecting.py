"""Which answers of a prompt are written: pure functions of their rewards."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from assay.errors import ConfigError
from assay.model.rounding import shortest
from assay.score.export.candidates import Candidates

Select = Literal["best-worst", "label", "random"]

TOO_FEW = "fewer than two distinct answers"
NO_LABEL = "no label between two answers"
EQUAL = "equal rewards"
SMALL = "margin below --min-margin"

NOT_AMONG = "not among the first --n"
LOW = "reward below --min-reward"
NOT_BEST = "not among the best"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers of a prompt, as places in it; the margin is the difference of their rewards."""

    prompt: Candidates
    chosen: int
    rejected: int

    @property
    def margin(self) -> float:
        """Reward of the chosen answer less that of the rejected one; below 0 a label disagrees."""
        return shortest(self.prompt.rewards[self.chosen] - self.prompt.rewards[self.rejected])


def select_pairs(
    prompts: Iterable[Candidates],
    select: Select,
    *,
    min_margin: float | None = None,
    seed: int = 0,
) -> tuple[list[Pair], Counter[str]]:
    """Pairs of prompts, and how many were left out, by reason.

    Args:
        prompts: with their answers.
        select: `best-worst` takes the answers of highest and lowest reward, the first of equal
            ones; `label` the comparisons that the rows hold, whatever the rewards say; `random`
            two answers at random, the better by reward chosen.
        min_margin: leave out pairs with a smaller margin. With `label`, 0 leaves out those that
            the rewards contradict.
        seed: of `random`.

    Raises:
        ConfigError: the smallest margin is no number.
    """
    if min_margin is not None and math.isnan(min_margin):
        raise ConfigError("nan is no margin", where="--min-margin", mend="give a number")
    draw = random.Random(seed)
    choose: dict[Select, Callable[[Candidates], list[Pair]]] = {
        "best-worst": _best_worst,
        "label": _labelled,
        "random": lambda prompt: _drawn(prompt, draw),
    }
    pairs: list[Pair] = []
    left_out: Counter[str] = Counter()
    for prompt in prompts:
        if len(prompt.responses) < 2:
            left_out[TOO_FEW] += 1
            continue
        found = choose[select](prompt)
        left_out[NO_LABEL] += not found
        for pair in found:
            if pair.margin == 0 and select != "label":
                left_out[EQUAL] += 1
            elif min_margin is not None and pair.margin < min_margin:
                left_out[SMALL] += 1
            else:
                pairs.append(pair)
    return pairs, +left_out


def best_answers(
    prompt: Candidates, count: int, *, among: int | None = None, min_reward: float | None = None
) -> tuple[list[int], Counter[str]]:
    """Places of the answers of highest reward, the best first, the first of equal ones; and how
    many answers were left out, by reason.

    Args:
        prompt: with its answers.
        count: how many at most.
        among: look only at so many, the first ones.
        min_reward: leave out lower ones.
    """
    rewards = prompt.rewards[:among]
    order = sorted(range(len(rewards)), key=lambda at: -rewards[at])
    enough = [at for at in order if min_reward is None or rewards[at] >= min_reward]
    left_out = Counter(
        {
            NOT_AMONG: len(prompt.rewards) - len(rewards),
            LOW: len(rewards) - len(enough),
            NOT_BEST: max(len(enough) - count, 0),
        }
    )
    return enough[:count], +left_out


def _best_worst(prompt: Candidates) -> list[Pair]:
    rewards = prompt.rewards
    return [Pair(prompt, rewards.index(max(rewards)), rewards.index(min(rewards)))]


def _labelled(prompt: Candidates) -> list[Pair]:
    return [Pair(prompt, *label) for label in dict.fromkeys(prompt.labels)]


def _drawn(prompt: Candidates, draw: random.Random) -> list[Pair]:
    a, b = draw.sample(range(len(prompt.rewards)), 2)
    return [Pair(prompt, a, b) if prompt.rewards[a] >= prompt.rewards[b] else Pair(prompt, b, a)]
