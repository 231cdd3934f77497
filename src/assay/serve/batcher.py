"""One queue and one thread a model: requests that wait together are computed together."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from assay.data.rendering import TokenIds
from assay.model.membership import score_with_members
from assay.model.prompt_keys import PromptKeys
from assay.model.vllm.either import ScoringModel, pass_budget, passes_for, remembers_prompts
from assay.serve.jobs import Job
from assay.serve.limits import Limits
from assay.serve.metrics import ModelMeter
from assay.serve.refusals import Refusal
from assay.serve.rounds import PASSES_A_ROUND, distinct_sequences, next_round

LINGER, LINGER_SHARE = 0.005, 0.1
"""Seconds that an idle model waits for requests that are being read at that moment, or the share of
the time that computing those will take which have been read, if that is more: requests of a group
come together, and share their prompt if they are computed together. A request that comes alone
waits for nothing."""


class Batcher:
    """Owns a model: nothing else computes with it while the batcher is open.

    Args:
        model: the model.
        limits: how much may wait.
        meter: is told what is computed.
    """

    def __init__(self, model: ScoringModel, limits: Limits, meter: ModelMeter) -> None:
        self._model = model
        self._limits = limits
        self._meter = meter
        self._budget = pass_budget(model)
        remembers = limits.prompt_cache_bytes and remembers_prompts(model)
        self._prompts = PromptKeys(limits.prompt_cache_bytes) if remembers else None
        self._condition = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._held_tokens = 0
        self._arriving = 0
        self._closing = False
        self._thread: threading.Thread | None = None
        self._rate = 0.0
        """Sequence tokens a second, of late."""

    @property
    def alive(self) -> bool:
        """Whether requests will be computed."""
        return not self._closing and (self._thread is None or self._thread.is_alive())

    @contextmanager
    def arriving(self) -> Iterator[None]:
        """While a request is being read.

        Raises:
            Refusal: the server is closing (503).
        """
        with self._condition:
            self._check_open()
            self._arriving += 1
        try:
            yield
        finally:
            with self._condition:
                self._arriving -= 1
                self._condition.notify_all()

    def submit(self, job: Job) -> None:
        """Put a request into the queue.

        Raises:
            Refusal: too much waits already (429), or the server is closing (503).
        """
        tokens = job.num_tokens
        with self._condition:
            self._check_open()
            if self._held_tokens + tokens > self._limits.max_queue_tokens:
                raise self._busy()
            self._held_tokens += tokens
            self._waiting.append(job)
            self._condition.notify_all()
            self._meter.waiting(len(self._waiting), self._held_tokens)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, name=f"rewards of {self._meter.model}", daemon=True
                )
                self._thread.start()

    def cancel(self, job: Job) -> None:
        """Take back a request that nobody waits for; what is computed already is lost.

        Called where its future lives.
        """
        job.cancelled = True
        job.future.cancel()
        with self._condition:
            if job in self._waiting:
                self._waiting.remove(job)
                self._released(job)

    def close(self) -> None:
        """Compute what waits, then stop the thread."""
        with self._condition:
            self._closing = True
            self._condition.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _check_open(self) -> None:
        if self._closing:
            raise Refusal(503, "the server is shutting down", mend="ask another one")

    def _busy(self) -> Refusal:
        """When to come again, from what waits and how fast it went of late."""
        seconds = self._held_tokens / self._rate if self._rate else 1.0
        return Refusal(
            429,
            f"{self._held_tokens} tokens wait already, and the limit is "
            f"{self._limits.max_queue_tokens} (max_queue_tokens)",
            mend="come again after the seconds of Retry-After",
            headers={"Retry-After": str(round(min(max(seconds, 1.0), 60.0)))},
        )

    def _released(self, job: Job) -> Job:
        """A request whose tokens are no longer here.

        Before its answer is sent, so that who has the answer finds room for the next request.
        """
        with self._condition:
            if job.held:
                job.held = False
                self._held_tokens -= job.num_tokens
                self._meter.waiting(len(self._waiting), self._held_tokens)
        return job

    def _work(self) -> None:
        while self._round():
            pass

    def _round(self) -> bool:
        """Wait for requests and compute some; False when all is done and the batcher closes."""
        jobs = self._take()
        try:
            self._compute(jobs)
        except Exception as error:  # The next requests may fare better.
            for job in jobs:
                self._released(job).fail(error)
        finally:
            for job in jobs:
                self._released(job)
        return bool(jobs)

    def _take(self) -> list[Job]:
        """The requests of the next round; none when all is done and the batcher closes."""
        with self._condition:
            while not (self._waiting or self._closing):
                self._condition.wait_for(lambda: self._waiting or self._closing)
                # All who waited may go away meanwhile: then it begins anew.
                self._condition.wait_for(lambda: not self._arriving, timeout=self._linger())
            jobs = next_round(self._waiting, PASSES_A_ROUND * self._budget)
            for job in jobs:
                self._waiting.remove(job)
            self._meter.waiting(len(self._waiting), self._held_tokens)
            return jobs

    def _linger(self) -> float:
        tokens = sum(job.num_tokens for job in self._waiting)
        return max(LINGER, LINGER_SHARE * tokens / self._rate) if self._rate else LINGER

    def _compute(self, jobs: Sequence[Job]) -> None:
        if not jobs:
            return
        started, before = time.monotonic(), self._model.computed.tokens
        self._meter.round(len(jobs), [started - job.arrived for job in jobs])
        waiting, families = distinct_sequences(jobs)
        distinct = list(waiting)
        tokens = 0
        for chosen in passes_for(self._model, distinct, families, self._budget, self._prompts):
            wanted = [
                i for i in chosen if any(not job.cancelled for job, _ in waiting[distinct[i]])
            ]
            if wanted:
                some = {distinct[i]: waiting[distinct[i]] for i in wanted}
                tokens += sum(len(ids) * len(places) for ids, places in some.items())
                self._pass(some, [families[i] for i in wanted])
        if tokens:  # Else all were given up.
            self._meter.tokens(tokens, self._model.computed.tokens - before)
            rate = tokens / max(time.monotonic() - started, 1e-6)
            self._rate = 0.8 * self._rate + 0.2 * rate if self._rate else rate

    def _pass(
        self, waiting: dict[TokenIds, list[tuple[Job, int]]], families: Sequence[int]
    ) -> None:
        """Compute sequences in one pass, and answer the requests that need nothing more."""
        before = self._model.computed.tokens
        sequences = list(waiting)
        try:
            scores = score_with_members(
                self._model, sequences, families=families, prompts=self._prompts
            )
        except Exception as error:
            self._one_by_one(waiting, error)
            return
        self._meter.passed((self._model.computed.tokens - before) / self._budget)
        self._meter.rewards(scores.rewards)
        if self._prompts is not None:
            known = self._prompts
            self._meter.prompts(known.hits, known.tokens_saved, known.num_bytes)
        for index, ids in enumerate(sequences):
            for job, place in waiting[ids]:
                if job.put(place, scores, index):
                    self._released(job).finish()

    def _one_by_one(self, waiting: dict[TokenIds, list[tuple[Job, int]]], error: Exception) -> None:
        """After a pass that failed: whose sequence was it? The others have done nothing wrong."""
        for ids, places in waiting.items():
            if len(waiting) == 1:
                for job, _ in places:
                    self._released(job).fail(error)
                return
            if any(not job.cancelled for job, _ in places):
                self._pass({ids: places}, [0])
