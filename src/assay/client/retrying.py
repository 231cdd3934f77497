"""How long to wait before a request is repeated, and when not to repeat it."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from assay.client.failures import RewardError

RETRIED = frozenset({429, 502, 503, 504})
"""Answers that say nothing about the request: busy, restarting, or a proxy without its server."""

FIRST_WAIT = 0.5
LONGEST_WAIT = 30.0
"""Seconds of the first pause and of the longest; each is twice the one before."""

LONGEST_ASKED = 300.0
"""A server that asks for a longer pause is taken as away."""


class Patience:
    """Of one request: counts the repetitions.

    Args:
        retries: how many there may be.
        draw: numbers between 0 and 1.
    """

    def __init__(self, retries: int, draw: Callable[[], float] = random.random) -> None:
        self._retries = retries
        self._draw = draw
        self._used = 0

    def pause(self, failure: RewardError) -> float:
        """Seconds until the next attempt: longer each time, and spread, so that clients that
        failed together do not come again together. Never shorter than the server asks.

        Raises:
            RewardError: the failure, where asking again cannot help or has not helped.
        """
        asked = failure.retry_after or 0.0
        if not failure.passing or asked > LONGEST_ASKED:
            raise failure
        if self._used >= self._retries:
            times = f"{self._used + 1} times" if self._used else "once"
            failure.what = f"{failure.what} (asked {times})"
            raise failure
        own = min(LONGEST_WAIT, FIRST_WAIT * 2.0**self._used) * (0.5 + self._draw() / 2)
        self._used += 1
        return max(own, asked * (1 + self._draw() / 4))


def seconds_of(header: str | None) -> float | None:
    """What `Retry-After` asks for: seconds, or a date; None where it is neither."""
    text = (header or "").strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max((until - datetime.now(UTC)).total_seconds(), 0.0)
