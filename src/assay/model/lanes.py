"""Passes with gradients side by side on a CPU, each with its share of the cores.

Operators of a small model are short: at the end of each its threads wait for the slowest, and for
Python before the next. Two passes that have half of the cores each wait for nobody. Without
gradients nothing is gained. What a pass computes depends on nothing beside it.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import nn

from assay.model.engine import ENGINES

if TYPE_CHECKING:
    from assay.model.reward_model import RewardModel

T = TypeVar("T")

LANES = 2
"""Passes at the same time: more would take memory, and leave the cores too little each."""
FEWEST_TOKENS = 512
"""Of a pass: below it matrix products lose more than the lanes gain."""
MOST_OF_WHOLE = 1.08
"""What the lanes may cost, all of them as much as the dearest, for one pass over the whole."""
_CHANGING = frozenset({"dynamic", "longrope"})
"""Rotary embeddings that a pass may exchange in the model while another one reads them."""


def lanes_of(model: RewardModel) -> int:
    """How many passes of a model may run at the same time: 1 where one could disturb another.

    They could by random numbers (dropout of adapters), by what layers keep between calls (8 bits,
    changing rotary frequencies, code that is not known), and by torch's store of weights that
    autocast has rounded.
    """
    if model.device.type != "cpu":
        return 1
    if model.engine not in (ENGINES["tree"], ENGINES["packed"]) or model.precision != "full":
        return 1
    rotary = {rope.get("rope_type") for rope in model.ropes}
    if model.compute_dtype is not None or rotary & _CHANGING:
        return 1
    return 1 if any(map(_drops, model.modules())) else lanes_here()


def lanes_here() -> int:
    """How many passes of any model may: 1 where torch's threads cannot be shared out evenly."""
    return 1 if torch.get_num_threads() % LANES else LANES


def steady_threads() -> None:
    """Set torch's threads to the number that they have.

    To set them changes more than their number (MKL then chooses none by itself), and lanes do it
    some time after a run begins or goes on: its bits must not tell when.
    """
    torch.set_num_threads(torch.get_num_threads())


def side_by_side(calls: Sequence[Callable[[], T]]) -> list[T]:
    """What the calls return, in their order; a lane takes the next one when it is free.

    The first exception in their order is raised when all have ended.
    """
    lanes = _lanes(torch.get_num_threads())
    begun = [lanes.submit(call) for call in calls]
    wait(begun)
    return [one.result() for one in begun]


@functools.cache
def _lanes(threads: int) -> ThreadPoolExecutor:
    """Threads that share so many of torch's."""
    ready = threading.Barrier(LANES + 1)

    def settle() -> None:
        torch.get_num_threads()  # Here, or in its first operator, a thread takes the common number.
        torch.set_num_threads(threads // LANES)
        ready.wait()

    lanes = ThreadPoolExecutor(LANES, "lane", settle)
    for _ in range(LANES):  # A thread starts with its first work.
        lanes.submit(int)
    ready.wait()
    torch.set_num_threads(threads)  # It is the common number, too.
    return lanes


if hasattr(os, "register_at_fork"):  # A forked process has no threads but its own.
    os.register_at_fork(after_in_child=_lanes.cache_clear)


def _drops(module: nn.Module) -> bool:
    return isinstance(module, nn.Dropout) and module.training and module.p > 0
