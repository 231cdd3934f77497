"""The learning rate of every step, by hand; the last step's too."""

from __future__ import annotations

import math

import pytest
import torch

from assay.config import TrainConfig
from assay.train.optimizer import build_schedule

PEAK = 1e-3


def rates(kind: str, steps: int, warmup: float) -> list[float]:
    """What each step trains at."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    settings = {"learning_rate": PEAK, "lr_scheduler_type": kind, "warmup_ratio": warmup}
    schedule = build_schedule(optimizer, TrainConfig.model_validate(settings), steps)
    found = []
    for _ in range(steps):
        found.append(float(schedule.get_last_lr()[0]))
        assert optimizer.param_groups[0]["lr"] == found[-1]
        optimizer.step()
        schedule.step()
    return found


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # 10 steps, ceil(0.2 * 10) = 2 of warm-up: 0 and 1/2 of the peak. Then 8 steps: linear has
        # 8/8, 7/8, ... 1/8; the step that would be at 0 is the one after the last.
        ("linear", [0, 0.5, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]),
        # (1 + cos(pi k / 8)) / 2 for k = 0 ... 7; the last is 0.0380602.
        ("cosine", [0, 0.5, 1, 0.9619398, 0.8535534, 0.6913417, 0.5, 0.3086583, 0.1464466,
                    0.0380602]),
        # No warm-up, whatever warmup_ratio says; and with one.
        ("constant", [1] * 10),
        ("constant_with_warmup", [0, 0.5, *[1] * 8]),
    ],
)  # fmt: skip
def test_each_rate_by_hand(kind: str, expected: list[float]) -> None:
    assert rates(kind, 10, 0.2) == pytest.approx([PEAK * x for x in expected], abs=5e-11)


@pytest.mark.parametrize("steps", [1, 2, 7, 100])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5, 0.99])
def test_the_last_step_trains(steps: int, warmup: float) -> None:
    # A warm-up of all steps, or a decay to 0 before the last, would waste it.
    warm = min(math.ceil(warmup * steps), steps - 1)
    left = steps - warm
    last = {
        "linear": 1 / left,
        "cosine": (1 + math.cos(math.pi * (left - 1) / left)) / 2,
        "constant": 1.0,
        "constant_with_warmup": 1.0,
    }
    for kind, share in last.items():
        assert rates(kind, steps, warmup)[-1] == pytest.approx(PEAK * share, rel=1e-9)
