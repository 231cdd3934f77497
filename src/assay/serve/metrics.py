"""What the server tells of itself, for Prometheus."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

if TYPE_CHECKING:
    from assay.serve.monitor.tally import Tally

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_REWARDS = (-32, -16, -8, -4, -2, -1, 0, 1, 2, 4, 8, 16, 32)
_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_OF_STEPS = {
    "step": "its number",
    "reward_mean": "mean reward",
    "reward_std": "standard deviation of rewards",
    "length_mean": "mean length of answers",
    "length_correlation": "correlation of reward and length",
    "beyond_reference_share": "share of rewards beyond the range of the reference",
    "reference_distance": "standard deviations of the reference from its mean to the mean reward",
    "duplicate_share": "share of answers that equal an earlier one",
}
_REQUESTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """All metrics of one server, in a registry of its own. Any thread may write."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        of_route, of_model = ("route",), ("model",)
        counter = partial(Counter, registry=self.registry)
        gauge = partial(Gauge, registry=self.registry)
        histogram = partial(Histogram, registry=self.registry)
        self.requests = counter(
            "assay_requests", "Requests by route and status.", ("route", "status")
        )
        self.seconds = histogram(
            "assay_request_seconds",
            "From the first byte of a request to the last of its answer.",
            of_route,
            buckets=_SECONDS,
        )
        self.in_flight = gauge("assay_requests_in_flight", "Requests without an answer.")
        self.waiting = gauge("assay_queue_requests", "Requests that wait.", of_model)
        self.held = gauge("assay_queue_tokens", "Tokens that wait or are computed.", of_model)
        self.queue_seconds = histogram(
            "assay_queue_seconds", "Before computing began.", of_model, buckets=_SECONDS
        )
        self.round_requests = histogram(
            "assay_round_requests",
            "Requests that were computed together.",
            of_model,
            buckets=_REQUESTS,
        )
        self.sequence_tokens = counter(
            "assay_sequence_tokens",
            "Tokens of all sequences, prompts counted with each response.",
            of_model,
        )
        self.tree_tokens = counter(
            "assay_tree_tokens", "Tokens that went through the model.", of_model
        )
        self.share_saved = gauge(
            "assay_share_saved",
            "Share of all sequence tokens that sharing saved since the start.",
            of_model,
        )
        self.prompt_hits = counter(
            "assay_prompt_cache_hits", "Sequences that began with a remembered prompt.", of_model
        )
        self.prompt_tokens = counter(
            "assay_prompt_cache_saved_tokens",
            "Tokens that were remembered and not computed again.",
            of_model,
        )
        self.prompt_bytes = gauge(
            "assay_prompt_cache_bytes", "What remembered prompts take.", of_model
        )
        self.fill = histogram(
            "assay_pass_fill", "Tokens of a pass over its budget.", of_model, buckets=_SHARES
        )
        self.reward = histogram(
            "assay_reward", "Raw rewards, equal texts of a round once.", of_model,
            buckets=_REWARDS,
        )  # fmt: skip
        self.truncated = counter("assay_truncated", "Sequences without their beginning.", of_model)
        self.foreign = counter(
            "assay_foreign", "Sequences with special tokens of other models.", of_model
        )
        self.untemplated = counter(
            "assay_untemplated",
            "Whole texts that do not begin as the model's own template does.",
            of_model,
        )
        of_run = ("model", "run")
        self.run_reward = histogram(
            "assay_run_reward", "Raw rewards of a run.", of_run, buckets=_REWARDS
        )
        self.run_steps = {
            name: gauge(f"assay_run_{name}", f"Of the last step that is over: {told}.", of_run)
            for name, told in _OF_STEPS.items()
        }

    def text(self) -> bytes:
        """All of it as Prometheus reads it."""
        return generate_latest(self.registry)


class ModelMeter:
    """The metrics of one model, which its thread writes.

    Args:
        metrics: of the server.
        model: its name.
    """

    def __init__(self, metrics: Metrics, model: str) -> None:
        self.model = model
        self._waiting = metrics.waiting.labels(model)
        self._held = metrics.held.labels(model)
        self._queue_seconds = metrics.queue_seconds.labels(model)
        self._round_requests = metrics.round_requests.labels(model)
        self._sequence_tokens = metrics.sequence_tokens.labels(model)
        self._tree_tokens = metrics.tree_tokens.labels(model)
        self._share_saved = metrics.share_saved.labels(model)
        self._prompt_hits = metrics.prompt_hits.labels(model)
        self._prompt_tokens = metrics.prompt_tokens.labels(model)
        self._prompt_bytes = metrics.prompt_bytes.labels(model)
        self._fill = metrics.fill.labels(model)
        self._reward = metrics.reward.labels(model)
        self._truncated = metrics.truncated.labels(model)
        self._foreign = metrics.foreign.labels(model)
        self._untemplated = metrics.untemplated.labels(model)
        self._sequences_so_far = self._computed_so_far = 0
        self._hits_so_far = self._saved_so_far = 0

    def waiting(self, requests: int, tokens: int) -> None:
        """What is in the queue."""
        self._waiting.set(requests)
        self._held.set(tokens)

    def round(self, requests: int, waited: Sequence[float]) -> None:
        """A round begins."""
        self._round_requests.observe(requests)
        for seconds in waited:
            self._queue_seconds.observe(seconds)

    def passed(self, fill: float) -> None:
        """A pass is done."""
        self._fill.observe(fill)

    def tokens(self, of_sequences: int, computed: int) -> None:
        """A round is done."""
        self._sequence_tokens.inc(of_sequences)
        self._tree_tokens.inc(computed)
        self._sequences_so_far += of_sequences
        self._computed_so_far += computed
        if self._sequences_so_far:
            self._share_saved.set(1 - self._computed_so_far / self._sequences_so_far)

    def prompts(self, hits: int, saved_tokens: int, num_bytes: int) -> None:
        """What remembering prompts has come to so far, and takes now."""
        self._prompt_hits.inc(hits - self._hits_so_far)
        self._prompt_tokens.inc(saved_tokens - self._saved_so_far)
        self._prompt_bytes.set(num_bytes)
        self._hits_so_far, self._saved_so_far = hits, saved_tokens

    def rewards(self, rewards: Sequence[float]) -> None:
        """Rewards of a pass."""
        for reward in rewards:
            self._reward.observe(reward)

    def read(self, truncated: int, foreign: int, untemplated: int) -> None:
        """Sequences of a request were read."""
        self._truncated.inc(truncated)
        self._foreign.inc(foreign)
        self._untemplated.inc(untemplated)


class RunMeter:
    """The metrics of a run, which the monitor writes; steps are values here and never labels.

    Args:
        metrics: of the server.
        model: its name.
        run: its name.
    """

    def __init__(self, metrics: Metrics, model: str, run: str) -> None:
        self._labels = model, run
        self._reward = metrics.run_reward
        self._steps = metrics.run_steps
        self._of_run = self._reward.labels(*self._labels)

    def rewards(self, rewards: Sequence[float]) -> None:
        """Rewards of a request."""
        for reward in rewards:
            self._of_run.observe(reward)

    def step(self, tally: Tally) -> None:
        """A step is over."""
        pairs = tally.pairs
        known = {
            "step": tally.step,
            "reward_mean": pairs.mean_x,
            "reward_std": pairs.std_x,
            "length_mean": pairs.mean_y if tally.has_lengths else None,
            "length_correlation": tally.correlation,
            "beyond_reference_share": tally.beyond,
            "reference_distance": tally.distance,
            "duplicate_share": tally.repeated / tally.responses,
        }
        for name, value in known.items():
            if value is None:
                self._remove(self._steps[name])
            else:
                self._steps[name].labels(*self._labels).set(value)

    def forget(self) -> None:
        """The run is none of the recent ones any more."""
        self._remove(self._reward)
        for metric in self._steps.values():
            self._remove(metric)

    def _remove(self, metric: Gauge | Histogram) -> None:
        with suppress(KeyError):
            metric.remove(*self._labels)
