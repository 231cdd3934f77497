"""A win rate as it would be if both answers to every prompt were equally long."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from assay.evaluate.metrics import Floats, student

RIDGE = 1.0
"""Half of it times the squared slope is taken off the log-likelihood, so that it stays finite."""

_STEPS = 100


@dataclass(frozen=True, slots=True)
class LengthControlled:
    """The win rate at equal lengths.

    `slope` is of tanh(difference / its standard deviation), in log odds: above 0 the longer answer
    wins more often. `value` is None where no regression can be made, and `note` says why.
    """

    value: float | None = None
    interval: tuple[float, float] | None = None
    slope: float | None = None
    note: str | None = None


def length_controlled(win_P: Floats, longer_P: Floats) -> LengthControlled:
    """Logistic regression of the outcome on the difference of lengths, read off at 0.

    log odds(win) = a + b tanh(d / s), where d is the difference of lengths and s its standard
    deviation around 0; the value is sigmoid(a), its interval the sandwich error of a with
    Student's t. AlpacaEval 2 fits, besides, how hard each prompt is, over many models; here two
    policies are compared alone, and there is no such term.

    Args:
        win_P: of each prompt, the share of wins, from 0 to 1.
        longer_P: of each prompt, the length of the first policy's answer minus the other's.
    """
    spread = math.sqrt(float((longer_P**2).mean()))
    if spread == 0:
        return LengthControlled(note="all answers to a prompt are equally long")
    if np.all(win_P == 1) or np.all(win_P == 0):
        return LengthControlled(note="one policy wins on every prompt")
    if np.all(win_P == 0.5):
        return LengthControlled(note="every prompt is a tie")
    if len(win_P) < 3:
        return LengthControlled(note="too few prompts")
    design_P2 = np.stack([np.ones_like(win_P), np.tanh(longer_P / spread)], axis=1)
    penalty_2 = np.array([0.0, RIDGE])
    weight_2 = np.zeros(2)
    for _ in range(_STEPS):
        share_P = expit(design_P2 @ weight_2)
        gradient_2 = design_P2.T @ (win_P - share_P) - penalty_2 * weight_2
        step_2 = np.linalg.solve(_curvature(design_P2, share_P, penalty_2), gradient_2)
        weight_2 = weight_2 + np.clip(step_2, -2, 2)
        if np.abs(step_2).max() < 1e-13:
            break
    share_P = expit(design_P2 @ weight_2)
    inverse_22 = np.linalg.inv(_curvature(design_P2, share_P, penalty_2))
    score_P2 = design_P2 * (win_P - share_P)[:, None]
    count = len(win_P)
    variance_22 = inverse_22 @ (score_P2.T @ score_P2) @ inverse_22 * count / (count - 1)
    half = student(count - 1) * math.sqrt(float(variance_22[0, 0]))
    level, slope = (float(value) for value in weight_2)
    ends = float(expit(level - half)), float(expit(level + half))
    return LengthControlled(float(expit(level)), ends, slope)


def _curvature(design_P2: Floats, share_P: Floats, penalty_2: Floats) -> Floats:
    weighted_P2 = design_P2 * (share_P * (1 - share_P))[:, None]
    curvature: Floats = design_P2.T @ weighted_P2 + np.diag(penalty_2)
    return curvature
