"""A worker of a Ray cluster: with a model of its own it does what the ordinary engine does."""

from __future__ import annotations

import os
import pickle
import socket
import traceback
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from assay.data.plugins import load_plugins
from assay.data.rows import UnreadRow
from assay.errors import AssayError, ConfigError, ResourceError
from assay.score.engines.work import Work
from assay.score.opening import RewarderChoice
from assay.score.rewarder import Rewarder
from assay.score.settings import circumstances, differences
from assay.score.window import ScoredWindow, read_window, score_window

if TYPE_CHECKING:
    import pyarrow as pa


TRIES = 3
"""Workers that may be killed at a window before it is thought to be what kills them."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What a worker is told at its start.

    Attributes:
        choice: the model.
        plugins: Python files with formats and templates.
        directory: what relative paths are relative to, where the machine has it.
        threads: of a forward pass.
    """

    choice: RewarderChoice
    plugins: Sequence[str]
    directory: str
    threads: int

    def opened(self) -> Rewarder:
        """The model, in a process that keeps to these orders from now on.

        Raises:
            AssayError: it cannot be opened here.
        """
        self.settle()
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        torch.set_num_threads(self.threads)
        return self.choice.open()

    def settle(self) -> None:
        """Have the process read files as the command does."""
        with suppress(OSError):
            os.chdir(self.directory)
        load_plugins(self.plugins)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker says of a window: the result, the user's mistake, or the program's.

    `failure` is a traceback. Ray gets to see none of this: it would write it into its logs.
    """

    scored: ScoredWindow | None
    circumstances: dict[str, Any]
    mistake: AssayError | None = None
    failure: str | None = None


class Tally:
    """How often each window was begun. Ray itself gives a killed worker's window out for ever."""

    def __init__(self) -> None:
        self._begun: Counter[int] = Counter()

    def begin(self, number: int) -> int:
        """Count a window; how often it was begun, this time included."""
        self._begun[number] += 1
        return self._begun[number]


class Worker:
    """Scores windows. Ray Data makes it in a process of its own, and anew where that was killed.

    Args:
        orders: what to open.
        work: what the windows are part of.
        identity: of the model that the others have.
        tally: a handle of the job's `Tally`.
    """

    def __init__(
        self, orders: Orders, work: Work, identity: dict[str, Any], tally: Any = None
    ) -> None:
        self._work = work
        self._tally = tally
        self._reader = work.reader()
        self._rewarder: Rewarder | None = None
        self._refusal: AssayError | None = None
        self._failure: str | None = None
        try:
            self._rewarder = orders.opened()
            _check_same(self._rewarder.identity(), identity)
        except AssayError as error:  # Raised here, it would be logged.
            self._refusal = error
        except Exception:
            self._failure = traceback.format_exc()

    def __call__(self, block: pa.Table) -> pa.Table:
        """The answer to the one window of a block; both are pickled."""
        number, rows = pickle.loads(block["window"][0].as_py())
        return block_of(self._answer(number, rows))

    def _answer(self, number: int, rows: Sequence[UnreadRow]) -> Answer:
        now = circumstances()
        try:
            if self._refusal is not None:
                raise self._refusal
            if self._rewarder is None:
                return Answer(None, now, failure=self._failure)
            self._check_begun(number)
            window = read_window(self._reader, number, rows)
            scored = score_window(self._rewarder, window, self._work.layout, self._work.max_length)
        except AssayError as error:
            return Answer(None, now, mistake=error)
        except Exception:
            return Answer(None, now, failure=traceback.format_exc())
        return Answer(scored, now)

    def _check_begun(self, number: int) -> None:
        if self._tally is None:
            return
        import ray

        if ray.get(self._tally.begin.remote(number)) > TRIES:
            raise ResourceError(
                f"window {number} was begun by {TRIES} Ray workers, and each was killed, most "
                "likely for want of memory",
                mend="run the same command again with fewer --ray-workers or more memory; what is "
                "done is not done again",
            )


def identity_of(orders: Orders) -> dict[str, Any] | AssayError:
    """What a worker that has these orders would be."""
    try:
        return orders.opened().identity()
    except AssayError as error:
        return error


def block_of(what: object) -> pa.Table:
    """One thing as a block of Ray Data, which has one row."""
    import pyarrow as pa

    return pa.table({"window": pa.array([pickle.dumps(what)], pa.large_binary())})


def _check_same(here: dict[str, Any], there: dict[str, Any]) -> None:
    found = differences(there, here)
    if found:
        raise ConfigError(
            f"the Ray worker on {socket.gethostname()} has another model ({'; '.join(found)})",
            where="--model",
            mend="give all machines the same files under the same name",
        )
