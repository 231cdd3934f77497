"""The processes of a run: who they are, and what they tell each other beside tensors.

What they say goes through a gloo group of its own, on the CPU, that waits for as long as it takes:
one process may prepare data for hours. A process that ends is noticed by its closed connection, by
the launcher, and in the notes of `ending.py`.
"""

from __future__ import annotations

import importlib
import itertools
import logging
import os
import pickle
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor
from torch import distributed as dist
from torch._C._distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from assay.errors import ConfigError, first_line
from assay.notices import logger
from assay.train.strategy.ending import ending_together

T = TypeVar("T")

_PATIENCE = timedelta(days=30)
_finished: deque[dist.Work] = deque(maxlen=16)
"""The latest exchanges, kept until the interpreter ends.

Who drops the last reference frees the tensors, for which it takes the interpreter's lock. Were it
gloo's own thread, and the interpreter ended meanwhile, the process would abort: "terminate called
without an active exception".
"""
_runs = itertools.count()
"""Numbers them, alike in all processes: what one left in the store is not for the next."""
_BACKENDS = {"cpu": "gloo", "cuda": "nccl", "npu": "hccl", "xpu": "xccl"}


@dataclass(frozen=True, slots=True)
class Place:
    """What a launcher told this process: its rank among all, and on its machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @classmethod
    def of_this_process(cls) -> Place:
        """Read RANK, WORLD_SIZE and LOCAL_RANK, as torchrun and accelerate set them.

        Raises:
            ConfigError: some are there and others are not, or they contradict each other.
        """
        size = _number("WORLD_SIZE", 1)
        if size == 1:
            if _number("OMPI_COMM_WORLD_SIZE", 1) > 1:
                raise ConfigError(
                    "started by mpirun, so that each process would train alone",
                    where="WORLD_SIZE",
                    mend="start it with torchrun --nproc-per-node N -m assay train",
                )
            return cls()
        needed = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
        missing = [name for name in needed if not os.environ.get(name)]
        if missing:
            raise ConfigError(
                f"WORLD_SIZE is {size} and {', '.join(missing)} not set",
                where="environment",
                mend="start it with torchrun --nproc-per-node N -m assay train, or unset "
                "WORLD_SIZE",
            )
        place = cls(_number("RANK", 0), size, _number("LOCAL_RANK", 0))
        if not 0 <= place.local_rank <= place.rank < size:
            raise ConfigError(
                f"RANK {place.rank}, LOCAL_RANK {place.local_rank} and WORLD_SIZE {size} "
                "contradict each other",
                where="environment",
                mend="start it with torchrun",
            )
        return place


class Team:
    """All processes of a run, as one of them sees them. Of one process it costs nothing."""

    def __init__(self, place: Place) -> None:
        self.rank, self.size, self.local_rank = place.rank, place.size, place.local_rank
        self._talk = None
        if self.size > 1:
            self._talk = dist.new_group(backend="gloo", timeout=_PATIENCE)

    @property
    def is_first(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.rank == 0

    def gather(self, value: T) -> list[T]:
        """Everybody's value, by rank, for everybody."""
        if self.size == 1:
            return [value]
        text = pickle.dumps(value)
        lengths = [int(length) for length in self._all_of(torch.tensor([len(text)]))]
        own = torch.zeros(max(lengths), dtype=torch.uint8)
        own[: len(text)] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        texts = self._all_of(own)
        values = [
            pickle.loads(told[:length].clone().numpy().data)
            for told, length in zip(texts, lengths, strict=True)
        ]
        for tensor in (own, *texts):  # The exchange is kept, what was told is not.
            tensor.untyped_storage().resize_(0)
        return values

    def largest(self, value: int) -> int:
        """The largest of everybody's values."""
        if self.size == 1:
            return value
        tensor = torch.tensor(value, dtype=torch.int64)
        _finish(dist.all_reduce(tensor, op=dist.ReduceOp.MAX, group=self._talk, async_op=True))
        return int(tensor)

    def wait(self) -> None:
        """Go on when everybody is here."""
        if self.size > 1:
            dist.barrier(group=self._talk)

    def in_turn(self, action: Callable[[], T]) -> T:
        """Do it on the first process, then once on each other machine, then everywhere else.

        So that what the first writes into a cache the others find there, be it shared or not.
        """
        own = 0 if self.rank == 0 else 1 if self.local_rank == 0 else 2
        found: list[T] = []
        for turn in range(3 if self.size > 1 else 1):
            if turn == own:
                found.append(action())
            self.wait()
        return found[0]

    def same(self, value: object, what: str, mend: str) -> None:
        """Check that everybody has the same.

        Raises:
            ConfigError: names two processes that do not.
        """
        values = self.gather(value)
        odd = next((rank for rank, other in enumerate(values) if other != values[0]), None)
        if odd is not None:
            raise ConfigError(f"{what} differs between process 0 and process {odd}", mend=mend)

    def _all_of(self, own: Tensor) -> list[Tensor]:
        found = [torch.empty_like(own) for _ in range(self.size)]
        _finish(dist.all_gather(found, own, group=self._talk, async_op=True))
        return found


@contextmanager
def team(device: str) -> Iterator[Team]:
    """Join the processes that the launcher started; alone where there is one.

    Of several processes the first alone gives notices, and an error on one of them ends all: it
    is raised there, the others leave without a word.

    Args:
        device: the recipe's `train.device`.

    Raises:
        ConfigError: the environment is not what a launcher makes of it, or this process is in a
            group already.
        ResourceError: another process died.
        SystemExit: another process failed first, and says why.
    """
    place, kind = Place.of_this_process(), _device_kind(device)
    if kind == "npu":
        _import_torch_npu()
    if place.size == 1:
        yield Team(place)
        return
    if dist.is_initialized():
        raise ConfigError(
            "this process is in a process group already, of another program or a run that failed",
            mend="train in new processes",
        )
    store, rank, size = _meeting(os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"])
    run = next(_runs)
    if kind != "cpu" and place.local_rank < torch.get_device_module(kind).device_count():
        torch.get_device_module(kind).set_device(place.local_rank)
    dist.init_process_group(
        _BACKENDS.get(kind, "gloo"),
        store=PrefixStore(f"run/{run}", store),
        rank=rank,
        world_size=size,
    )
    level = logger.level
    with ending_together(PrefixStore(f"notes/{run}", store), rank, size):
        joined = Team(place)
        if (dist.get_rank(), dist.get_world_size()) != (place.rank, place.size):
            raise ConfigError(
                f"process {place.rank} of {place.size} joined a group as {dist.get_rank()} of "
                f"{dist.get_world_size()}",
                where="WORLD_SIZE",
                mend="start all processes with one launcher",
            )
        if not joined.is_first:
            logger.setLevel(logging.CRITICAL)
        try:
            yield joined
            joined.wait()
        finally:
            logger.setLevel(level)
    _finished.clear()
    dist.destroy_process_group()


@cache
def _meeting(address: str, port: str) -> tuple[Store, int, int]:
    """The store where the processes meet, this one's rank, and how many there are.

    Kept, for the first process may serve it, and another run of theirs meets there again.
    """
    try:
        store, rank, size = next(rendezvous("env://"))
    except dist.DistError as error:
        raise ConfigError(
            f"the processes cannot meet at {address}:{port} ({first_line(error)})",
            where="MASTER_ADDR, MASTER_PORT",
            mend="name a free port of the first process's machine",
        ) from None
    return store, rank, size


def _finish(work: dist.Work | None) -> None:
    assert work is not None  # None is for a process outside the group.
    _finished.append(work)
    work.wait()


def device_of(name: str, place: Team) -> str:
    """The device of this process: each takes that of its number on its machine.

    Raises:
        ConfigError: there is none of that number, or the recipe names one for all.
    """
    if place.size == 1:
        return name
    kind = _device_kind(name)
    if kind == "cpu":
        return "cpu"
    if ":" in name:
        raise ConfigError(
            f"{name} is one device, and there are {place.size} processes",
            where="train.device",
            mend=f"write {kind}: each process takes its own",
        )
    count = torch.get_device_module(kind).device_count()
    if place.local_rank >= count:
        raise ConfigError(
            f"process {place.local_rank} of this machine finds {count} devices of kind {kind}",
            where="train.device",
            mend=f"start {count} processes on each machine (--nproc-per-node), or "
            "--train.device cpu",
        )
    return f"{kind}:{place.local_rank}"


def _device_kind(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name.split(":")[0]


def _import_torch_npu() -> None:
    try:
        importlib.import_module("torch_npu")  # It makes torch know the device.
    except ImportError as error:
        raise ConfigError(
            f"torch_npu cannot be imported ({error})",
            where="train.device",
            mend="install the torch_npu that belongs to this torch",
        ) from None


def _number(name: str, default: int) -> int:
    text = os.environ.get(name) or str(default)
    if not text.isdecimal():
        raise ConfigError(f"'{text}' is no number", where=name, mend="unset it, or use torchrun")
    return int(text)
