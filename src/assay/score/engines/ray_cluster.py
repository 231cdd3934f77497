"""The Ray cluster that a job runs on: one that is there, or one on this machine for its time."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from types import FrameType
from typing import Any

import torch

from assay.errors import ConfigError, ResourceError, first_line
from assay.machine import available_cores
from assay.notices import counted, notice, warn


@dataclass(frozen=True, slots=True)
class RayOptions:
    """Where and with what a job runs.

    Attributes:
        address: of a cluster that this machine belongs to (`auto`: the one started here); None
            starts one here and ends it with the job.
        workers: each with a model; None takes as many as the cluster has room for.
        threads: of a worker's forward pass; None takes as many as this process would.
        device: `auto` takes GPUs, one a worker, if the cluster has any.
    """

    address: str | None = None
    workers: int | None = None
    threads: int | None = None
    device: str = "auto"


@dataclass(frozen=True, slots=True)
class Places:
    """What a cluster has for the workers of a job; `device` is what each opens its model on."""

    workers: int
    threads: int
    device: str

    @property
    def gpus(self) -> int:
        """Of each worker."""
        return int(self.device != "cpu")


def check_installed() -> None:
    """See that there is Ray, before anything else is done.

    Raises:
        ConfigError: there is none.
    """
    if find_spec("ray") is None:
        raise ConfigError("`--engine ray` needs ray", mend="run: pip install 'assay[ray]'")


@contextmanager
def connected(options: RayOptions) -> Iterator[Places]:
    """A connection to the cluster, and what there is in it.

    Raises:
        ConfigError: the device cannot be had.
        ResourceError: no cluster answers, or none can be started.
    """
    check_installed()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray

    threads = options.threads or torch.get_num_threads()
    mine = not ray.is_initialized()
    try:
        if mine:
            _connect(options, threads)
        places = places_for(options, threads, ray.cluster_resources())
        where = options.address or "this machine"
        workers = f"{counted(places.workers, 'worker')} of {counted(threads, 'thread')}"
        notice(f"Ray on {where}: {workers}, {places.device}")
        yield places
    finally:
        if mine:
            ray.shutdown()


@contextmanager
def remembered_interrupts() -> Iterator[list[int]]:
    """Signals of Ctrl-C, which also do what they did: code that Python calls by itself, as Ray has
    some, swallows the exception where it strikes there."""
    seen: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield seen
        return

    def remember(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        before(number, frame)

    signal.signal(signal.SIGINT, remember)
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, before)


def places_for(options: RayOptions, threads: int, resources: Mapping[str, float]) -> Places:
    """How many workers a cluster of these resources has room for, and where they compute.

    Raises:
        ConfigError: the device is no kind of device, or the cluster has none of it.
    """
    gpus, cores = int(resources.get("GPU", 0)), int(resources.get("CPU", 0))
    device = options.device
    if device == "auto":
        device = "cuda" if gpus else "cpu"
    if device not in ("cpu", "cuda"):
        raise ConfigError(
            f"Ray gives each worker a GPU of its own, not '{device}'",
            where="--device",
            mend="take cpu, cuda or auto",
        )
    if device == "cuda" and not gpus:
        raise ConfigError("the Ray cluster has no GPU", where="--device", mend="take cpu, or auto")
    room = cores // threads if device == "cpu" else min(gpus, max(cores // threads, 1))
    workers = options.workers or max(room, 1)
    if workers > room:
        warn(
            f"the Ray cluster has room for {counted(room, 'worker')} of "
            f"{counted(threads, 'thread')} now: {workers} begin when it has grown"
        )
    return Places(workers, threads, device)


def _connect(options: RayOptions, threads: int) -> None:
    if options.address is not None:
        _begin(options.address, "a Ray cluster does not answer", _SEE, address=options.address)
        return
    workers = options.workers or max(available_cores() // threads, 1)
    local = {"num_cpus": workers * threads, "include_dashboard": False}
    _begin("this machine", "a Ray cluster cannot be started", _FREE, address="local", **local)


@contextmanager
def _stderr_shut() -> Iterator[None]:
    """Nothing is written to the system's stderr: Ray's native code remarks there, at its start, on
    the variable that tells it to be silent. What goes wrong it raises."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)


_SEE = "see `ray status` there, or leave --ray-address out"
_FREE = "free memory or processors, or leave --engine ray out"
_STARTS = 3
"""Ray gives its processes 30 seconds to start, which a busy machine may be short of."""


def _begin(where: str, what: str, mend: str, **how: Any) -> None:
    import ray

    for left in reversed(range(_STARTS)):
        try:
            with _stderr_shut():
                ray.init(log_to_driver=False, logging_level=logging.CRITICAL, **how)
        except Exception as error:  # Ray raises what it likes, plain exceptions too.
            ray.shutdown()
            if not left:
                text = f"{what} ({first_line(error)[:300]})"
                raise ResourceError(text, where=where, mend=mend) from None
        else:
            return
