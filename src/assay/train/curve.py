"""Whether more data would help: what a doubling of the data has added to the accuracy so far.

Shapes: R runs, C comparisons, P prompts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.errors import CheckpointError
from assay.evaluate.metrics import student

Floats = NDArray[np.float64]


def gain_of_doubling(sizes: Sequence[int], comparisons: Sequence[Path]) -> dict[str, Any]:
    """The slope of accuracy over log2 of the data, with its interval, and what it says.

    The runs were evaluated on the same comparisons, so that the slope is a mean over comparisons,
    each with a slope of its own; its error is clustered by prompt, as that of an accuracy is. It
    tells how sure the evaluation is, not how much another seed would change.

    Args:
        sizes: groups that each run was trained on.
        comparisons: the `comparisons.jsonl` of each.

    Returns:
        `slope` (accuracy per doubling), `ci95`, and `verdict`, a sentence.

    Raises:
        CheckpointError: the runs were not evaluated on the same comparisons.
    """
    size_R = np.log2(np.array(sizes, dtype=np.float64))
    rows = [_read(path) for path in comparisons]
    first = [(row["row"], row["group"]) for row in rows[0]]
    for each, path in zip(rows, comparisons, strict=True):
        if [(row["row"], row["group"]) for row in each] != first:
            raise CheckpointError(
                f"holds other comparisons than {comparisons[0]}",
                where=path,
                mend="train all parts anew: --overwrite",
            )
    win_RC = np.array([[row["result"] == "win" for row in each] for each in rows], dtype=np.float64)
    prompts, cluster_C = np.unique([group for _, group in first], return_inverse=True)
    if np.ptp(size_R) == 0 or len(prompts) == 1:
        why = "all parts are of one size" if len(prompts) > 1 else "one prompt is no evaluation"
        return {"slope": None, "ci95": None, "verdict": why}
    slope, interval = slope_of(size_R, win_RC, cluster_C, len(prompts))
    return {"slope": slope, "ci95": list(interval), "verdict": verdict(slope, interval)}


def slope_of(
    size_R: Floats, win_RC: Floats, cluster_C: NDArray[np.intp], num_prompts: int
) -> tuple[float, tuple[float, float]]:
    """Least-squares slope of the mean of each run over its size, and its 95% interval.

    Args:
        size_R: where each run stands on the axis; not all the same.
        win_RC: 1 where a run is right.
        cluster_C: the prompt of each comparison.
        num_prompts: how many there are, at least 2.
    """
    offset_R = size_R - size_R.mean()
    slope_C = (offset_R / (offset_R**2).sum()) @ win_RC
    slope = float(slope_C.mean())
    residual_P = np.bincount(cluster_C, weights=slope_C - slope, minlength=num_prompts)
    factor = num_prompts / (num_prompts - 1)
    error = math.sqrt(float((residual_P**2).sum()) * factor) / len(slope_C)
    half = student(num_prompts - 1) * error
    return slope, (slope - half, slope + half)


def verdict(slope: float, interval: tuple[float, float]) -> str:
    """What the slope says, in a sentence."""
    low, high = interval
    number = (
        f"a doubling of the data added {100 * slope:+.1f} points of accuracy "
        f"[{100 * low:+.1f}, {100 * high:+.1f}]"
    )
    if low > 0:
        return f"{number}: more data would still help"
    if high < 0:
        return f"{number}: more of this data does not help, look at what it teaches"
    return f"{number}: whether more data would help cannot be told from this evaluation set"


def _read(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:  # Texts may hold what `splitlines` cuts at.
        return [json.loads(line) for line in lines]
