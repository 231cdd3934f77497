"""What the speed benchmarks share: medians with spread, bars, the commit, and one table of all.

    .venv/bin/python benchmarks/tables.py

reads benchmarks/results/*speed*.json and writes benchmarks/results/speed.md, a row for each peer of
each benchmark. A result holds `pairs_per_second` by side; for each peer `ratio_vs_PEER` (Assay's
speed in multiples of the peer's, the median over rounds), `..._min`, `..._max`; and `bars`.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from result_file import RESULTS

PEERS = {
    "trl": "TRL",
    "transformers": "transformers' pipeline",
    "transformers_sorted": "the same, texts sorted by length",
    "vllm": "vLLM with prefix cache, as installed",
    "vllm_tuned": "the same, tuned for the machine",
}
HEADER = (
    "benchmark",
    "peer",
    "its pairs/s",
    "Assay's pairs/s",
    "times as fast",
    "bar",
    "memory, share of the peer's",
    "bar",
)


def main() -> int:
    write_table(RESULTS)
    return 0


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


def write_table(directory: Path) -> None:
    """Render all speed results of a directory into its speed.md."""
    results = {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(directory.glob("*speed*.json"))
    }
    lines = [line(HEADER), line(["---"] * len(HEADER))]
    lines += [line(cells) for name, result in results.items() for cells in rows_of(name, result)]
    lines += ["", *(f"- {about(name, result)}" for name, result in results.items())]
    table = directory / "speed.md"
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"written: {table}")


def rows_of(name: str, result: dict[str, Any]) -> Iterator[list[str]]:
    """One row for each peer that was measured: medians, in brackets smallest to largest."""
    speeds, bars = result["pairs_per_second"], result["bars"]
    for peer, called in PEERS.items():
        faster, memory = f"ratio_vs_{peer}", f"memory_ratio_vs_{peer}"
        if faster in result:
            yield [
                name.replace("_", " "),
                called,
                spread_cell(speeds[peer]),
                spread_cell(speeds["assay"]),
                ratio_cell(result, faster),
                bar_cell(bars, faster),
                ratio_cell(result, memory),
                bar_cell(bars, memory),
            ]


def spread_cell(found: dict[str, float]) -> str:
    return f"{found['median']:.2f} ({found['min']:.2f} to {found['max']:.2f})"


def ratio_cell(result: dict[str, Any], name: str) -> str:
    if name not in result:
        return ""
    ends = {"min": result[f"{name}_min"], "max": result[f"{name}_max"]}
    return spread_cell({"median": result[name], **ends})


def bar_cell(bars: dict[str, dict[str, Any]], name: str) -> str:
    if name not in bars:
        return ""
    return f"{bars[name]['bar']:.3g}, {'met' if bars[name]['met'] else 'missed'}"


def about(name: str, result: dict[str, Any]) -> str:
    """Where the figures of a result come from."""
    machine = result["machine"]
    return (
        f"{name.replace('_', ' ')}: {result['about']}; {machine['cpu']}, {machine['cores']} cores, "
        f"commit {result['commit'][:12]}"
    )


def line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
