"""What a run draws random numbers from: taken, put back, left as it was; a seed a process."""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager

import torch
from torch import Tensor

RandomState = dict[str, str]
"""The state of each generator by its name, hexadecimal."""
_OWN = ("cuda", "npu", "xpu")
"""Devices that draw by themselves."""


def random_state(device: torch.device) -> RandomState:
    """Of this process and the device that it computes on, which need not be the first, as text."""
    state = {"cpu": _text(torch.get_rng_state())}
    if device.type in _OWN:
        state[device.type] = _text(torch.get_device_module(device).get_rng_state(device))
    return state


def restore_random(state: RandomState, device: torch.device) -> None:
    """Draw again what was drawn after `random_state`."""
    torch.set_rng_state(_bytes(state["cpu"]))
    if device.type in _OWN and device.type in state:
        torch.get_device_module(device).set_rng_state(_bytes(state[device.type]), device)


def drawn_aside(device: torch.device) -> AbstractContextManager[None]:
    """What is drawn within, as for dropout of adapters, does not move the run's numbers."""
    if device.type not in _OWN:
        return torch.random.fork_rng([])
    return torch.random.fork_rng([device], device_type=device.type)


def process_seed(seed: int, rank: int) -> int:
    """The seed itself on the first process; on others one that no other run's processes have."""
    if rank == 0:
        return seed
    return int.from_bytes(hashlib.blake2b(f"{seed} {rank}".encode(), digest_size=7).digest())


def _text(state: Tensor) -> str:
    return state.numpy().tobytes().hex()


def _bytes(text: str) -> Tensor:
    return torch.tensor(list(bytes.fromhex(text)), dtype=torch.uint8)
