"""Evaluation during training, shared by the processes."""

from __future__ import annotations

from collections.abc import Sequence

from assay.data.encoding import EncodedData
from assay.evaluate.evaluator import score_window, windows_of
from assay.train.strategy.protocol import Strategy


def rewards_of_windows(
    strategy: Strategy, data: EncodedData, max_tokens: int
) -> Sequence[Sequence[float]]:
    """Rewards of the sequences of each window, everywhere; each process computes its windows.

    A window is scored by one process as if it were alone, so that rewards do not depend on how
    many there are.
    """
    team = strategy.team
    parts = {
        number: score_window(strategy.model, window, max_tokens)
        for number, window in enumerate(windows_of(data))
        if number % team.size == team.rank
    }
    strategy.finish(gradients=False)
    return strategy.gather(parts)
