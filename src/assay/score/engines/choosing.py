"""From a command's `--engine` to what scores the windows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from assay.data.plugins import loaded_files
from assay.score.engines.ray_cluster import RayOptions, connected, remembered_interrupts
from assay.score.engines.work import Elsewhere
from assay.score.opening import RewarderChoice
from assay.score.rewarder import Rewarder


@contextmanager
def opened_here(
    choice: RewarderChoice, ray: RayOptions | None = None
) -> Iterator[tuple[Rewarder, Elsewhere | None]]:
    """What gives the rewards, and where its windows are scored if that is not in this process.

    Args:
        choice: the model or the reward file.
        ray: score on Ray; the model here then only reads, and stays on the CPU.

    Raises:
        ConfigError: there is no Ray here, or not what it needs.
        AssayError: as `RewarderChoice.open`.
    """
    if ray is None:
        yield choice.open(), None
        return
    ray = replace(ray, device=choice.device)
    with connected(ray) as places, remembered_interrupts() as interrupts:
        from assay.score.engines.ray_data import OnRay
        from assay.score.engines.ray_worker import Orders

        reading = replace(choice, device="cpu").open()
        theirs = replace(choice, device=places.device)
        orders = Orders(theirs, loaded_files(), str(Path.cwd()), places.threads)
        yield reading, OnRay(reading, orders, places, interrupts)
