"""The windows of a job on Ray Data: a read task streams them, a pool of actors scores them.

One read task reads the rows on the machine where the command runs, window by window and no further
ahead than Ray's buffers; each window is a block. Actors hold a model each. Ray gives a killed
worker's windows to another one; the results come in order, and since a window is scored by itself,
who scored it cannot be seen. The driver writes them, as it writes those of the ordinary engine.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import ray
from ray.data import ActorPoolStrategy, DataContext
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask
from ray.exceptions import RayError

from assay.errors import AssayError, ResourceError, first_line
from assay.notices import warn
from assay.score.engines.ray_cluster import Places
from assay.score.engines.ray_worker import Answer, Orders, Tally, Worker, block_of, identity_of
from assay.score.engines.work import Work
from assay.score.rewarder import Rewarder
from assay.score.settings import differences
from assay.score.window import ScoredWindow

if TYPE_CHECKING:
    import pyarrow as pa


class OnRay:
    """Workers of the cluster that this process is connected to.

    Args:
        reading: reads as the workers do, in this process.
        orders: what each worker opens.
        places: how many there are, and where each computes.
        interrupts: as `remembered_interrupts` gives them.
    """

    def __init__(
        self,
        reading: Rewarder,
        orders: Orders,
        places: Places,
        interrupts: Sequence[int] = (),
    ) -> None:
        self._reading = reading
        self._orders = orders
        self._places = places
        self._interrupts = interrupts

    @cached_property
    def identity(self) -> dict[str, Any]:
        """As a worker says it where its device is not the one here."""
        if not self._places.gpus:
            return self._reading.identity()
        needed = {"num_gpus": self._places.gpus, "num_cpus": self._orders.threads}
        with _ray_errors():
            asked = ray.remote(**needed)(identity_of).remote(self._orders)
            found: dict[str, Any] | AssayError = ray.get(asked)
        if isinstance(found, AssayError):
            raise found
        return found

    @property
    def circumstances(self) -> dict[str, Any]:
        """The threads of a worker."""
        return {"threads": self._orders.threads}

    def windows(self, work: Work) -> Generator[ScoredWindow, None, None]:
        """Each window of the work, in order."""
        with _settings(), _ray_errors():
            first: Mapping[str, Any] | None = None
            for row in self._answers(work).iter_rows():
                if self._interrupts:
                    raise KeyboardInterrupt
                answer: Answer = pickle.loads(row["window"])
                if answer.mistake is not None:
                    raise answer.mistake
                if answer.scored is None:
                    raise RuntimeError(f"a Ray worker failed:\n{answer.failure}")
                first = first or answer.circumstances
                others = differences(first, answer.circumstances)
                if others:
                    warn(
                        f"window {answer.scored.number} was scored under other circumstances than "
                        f"the first ({'; '.join(others)}): the last bits of rewards may differ"
                    )
                yield answer.scored

    def _answers(self, work: Work) -> Any:
        tally = ray.remote(num_cpus=0, max_restarts=-1)(Tally).remote()
        windows = ray.data.read_datasource(
            _Windows(work, self._orders), override_num_blocks=1, num_cpus=0
        )
        return windows.map_batches(
            Worker,
            fn_constructor_args=(self._orders, work, self.identity, tally),
            batch_size=1,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(size=self._places.workers, max_tasks_in_flight_per_actor=2),
            num_cpus=self._orders.threads,
            num_gpus=self._places.gpus or None,
        )


class _Windows(Datasource):  # type: ignore[misc]
    """One read task, on the machine of the driver: other machines may not have the rows."""

    def __init__(self, work: Work, orders: Orders) -> None:
        super().__init__()
        self._work = work
        self._orders = orders

    def get_name(self) -> str:
        """What Ray calls the task."""
        return "Windows"

    def estimate_inmemory_data_size(self) -> int | None:
        """Nobody knows before they are read."""
        return None

    @property
    def supports_distributed_reads(self) -> bool:
        """Read where the driver is."""
        return False

    def get_read_tasks(self, parallelism: int, *given: Any, **named: Any) -> list[ReadTask]:
        """One, whatever is asked for: rows come one after the other."""
        import pyarrow as pa

        work, orders = self._work, self._orders

        def read() -> Iterator[pa.Table]:
            orders.settle()
            for window in work.unread():
                yield block_of(window)

        unknown = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
        return [ReadTask(read, unknown, schema=pa.schema([("window", pa.large_binary())]))]


@contextmanager
def _settings() -> Iterator[None]:
    """How Ray Data deals: in order, a block a window, and without a word."""
    logging.getLogger("ray.data").setLevel(logging.CRITICAL + 1)  # Errors are raised as well.
    context = DataContext.get_current()
    wanted = (
        (context, "enable_progress_bars", False),
        (context, "print_on_execution_start", False),
        # Bytes: blocks are not put together until they have so many.
        (context, "target_max_block_size", 1),
        (context.execution_options, "preserve_order", True),
    )
    before = [(of, name, getattr(of, name)) for of, name, _ in wanted]
    for of, name, value in wanted:
        setattr(of, name, value)
    try:
        yield
    finally:
        for of, name, value in before:
            setattr(of, name, value)


@contextmanager
def _ray_errors() -> Iterator[None]:
    """What Ray raises, as a mistake that can be mended.

    Raises:
        ResourceError: workers were killed over and over, or the cluster went away.
    """
    try:
        yield
    except RayError as error:
        raise ResourceError(
            f"Ray gave up ({first_line(error)[:300]})",
            mend="most likely a worker had too little memory: run the same command again with "
            "fewer --ray-workers; what is done is not done again",
        ) from None
