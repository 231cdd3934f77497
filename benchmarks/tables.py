"""What benchmarks share: medians with spread, ratios, bars, the commit, lines of a table."""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, smallest and largest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ratio(name: str, values: Sequence[float]) -> dict[str, float]:
    """A ratio's median under its own name, smallest and largest beside it."""
    return {name: statistics.median(values), f"{name}_min": min(values), f"{name}_max": max(values)}


def bar(measured: float, asked: float, *, at_most: bool = False) -> dict[str, Any]:
    """What was asked for, and whether it was met."""
    return {
        "bar": asked,
        "at_most": at_most,
        "measured": measured,
        "met": measured <= asked if at_most else measured >= asked,
    }


def print_bars(bars: dict[str, dict[str, Any]]) -> None:
    """A line a bar; a missed one says so."""
    for name, found in bars.items():
        sign = "<=" if found["at_most"] else ">="
        verdict = "met" if found["met"] else "MISSED"
        print(f"{name}: {found['measured']:.3f}, bar {sign} {found['bar']:.3f}: {verdict}")


def commit() -> str:
    """The commit that is checked out; what was not committed is not seen."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def line(cells: Sequence[str]) -> str:
    """One row of a Markdown table."""
    return f"| {' | '.join(cells)} |"
