"""Scoring jobs in processes of their own, which may be killed: forked from one that is warm.

Run as a program it reads a job (a line of JSON) and answers with the process id of its fork; then
it reads an empty line, waits for the fork, and answers with how it has ended. A job may die by its
own hand, with SIGKILL, around the n-th renaming or removal of a file.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Death:
    """Of a process: `method` of a path, for the `count`-th time, before or after it is done."""

    method: str
    count: int
    after: bool = False


def die_at(death: Death) -> None:
    """Have this process die then."""
    method: Callable[..., Any] = getattr(Path, death.method)
    calls = 0

    def counted(self: Path, *args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == death.count and not death.after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = method(self, *args, **kwargs)
        if calls == death.count:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(Path, death.method, counted)


def run(job: dict[str, Any]) -> None:
    """Score a file as the command would, with small windows."""
    from assay.data.sources import DataSource
    from assay.model.loading import load_reward_model
    from assay.score.files import ScoreOptions, score_source
    from assay.score.rewarder import OneModel
    from assay.score.shards import Shard

    model = load_reward_model(job["model"])
    if job["death"] is not None:
        die_at(Death(**job["death"]))
    options = ScoreOptions(on_bad_row="skip", window=job["window"], shard=Shard.parse(job["shard"]))
    score_source(OneModel(model, "m"), DataSource(job["input"]), Path(job["output"]), options)


def serve() -> None:
    """Fork a process for each job, and say how it ends."""
    import transformers  # noqa: F401

    import assay.model.loading
    import assay.score.files  # noqa: F401

    while line := sys.stdin.readline():
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                run(json.loads(line))
                code = 0
            finally:
                sys.stderr.flush()
                os._exit(code)
        print(pid, flush=True)
        sys.stdin.readline()  # Until then the id stays its own, also when it has ended.
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


class Jobs:
    """The warm process, from the outside.

    Args:
        log: where it and its forks write what they say on stderr.
        model: the model of all jobs.
        rows: their input.
        window: rows of a window.
    """

    def __init__(self, log: Path, model: Path, rows: Path, window: int) -> None:
        self._job = {"model": str(model), "input": str(rows), "window": window}
        self.log = log
        with log.open("wb") as said:
            self._server = subprocess.Popen(
                [sys.executable, __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                env=os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
            )

    def run(
        self,
        output: Path,
        *,
        death: Death | None = None,
        kill_after: float | None = None,
        shard: str = "1/1",
    ) -> int:
        """How a job ends: 0, 1, or -9 where it was killed, by its own hand or after seconds."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        job = self._job | {"output": str(output), "death": None, "shard": shard}
        if death is not None:
            job["death"] = {"method": death.method, "count": death.count, "after": death.after}
        self._server.stdin.write(json.dumps(job) + "\n")
        self._server.stdin.flush()
        pid = int(self._server.stdout.readline())
        assert pid > 1
        if kill_after is not None:
            time.sleep(kill_after)
            os.kill(pid, signal.SIGKILL)
        self._server.stdin.write("\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())

    def close(self) -> None:
        """End the warm process."""
        with self._server:
            assert self._server.stdin is not None
            self._server.stdin.close()


if __name__ == "__main__":
    serve()
