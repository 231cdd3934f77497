"""What `assay eval --benchmark` prints."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

from assay.consoles import between, console, headed
from assay.evaluate.benchmarks.benchmark import benchmarks
from assay.evaluate.benchmarks.measuring import ABOUT_ROWS, flat_numbers
from assay.evaluate.outputs import reasons_told


def print_benchmarks() -> None:
    """What `--benchmark` takes, and the rows of each."""
    table = headed(["--benchmark", "", "rows"])
    for known in benchmarks():
        table.add_row(known.name, known.title, known.reads)
    console(120).print(table)


def print_benchmark(results: dict[str, Any]) -> None:
    """Subsets and sections with score and strict accuracy, then the benchmark's other numbers."""
    found = results["benchmark"]
    out = console(120)
    out.print(_subsets(found))
    shown = {key: value for key, value in found.items() if key not in ABOUT_ROWS}
    if found["headline"]["value"] is not None:
        shown.pop("over_present_subsets", None)  # Nothing is missing that matters.
    if found["by_section"]:
        shown.pop("sections", None)  # They stand in the first table.
    scores = {name: part["official"] for name, part in found["by_subset"].items()}
    for name in ("categories", "by_types"):
        if scores.items() <= shown.get(name, {}).items():
            shown.pop(name)  # So do these, if under another name.
    if "by_language" in shown:
        out.print(_languages(shown.pop("by_language")))
    numbers = flat_numbers(shown)
    if numbers:
        has_intervals = any(f"{name}_ci95" in found for name in numbers)
        table = headed([found["title"]], ["", *["95% interval"] * has_intervals])
        for name, value in numbers.items():
            ends = found.get(f"{name}_ci95")
            last = [between(ends) if ends else ""] if has_intervals else []
            table.add_row(Text(name), _shown(value), *last)
        out.print(table)
    for note in found["notes"]:
        out.print(Text(f"note: {note}"), highlight=False)
    low, high = found["strict"]["accuracy_ci95"]
    headline = found["headline"]
    out.print(
        Text(
            f"{headline['name']}: {_shown(headline['value'])}; strict accuracy "
            f"{found['strict']['accuracy']:.4f}, 95% interval [{low:.3f}, {high:.3f}] "
            f"({found['strict']['num_items']} items)"
        )
    )
    skipped = results["skipped"]
    reasons = reasons_told(skipped["reasons"])
    out.print(
        f"rows: {results['rows']} = {found['strict']['num_items']} scored + {skipped['count']} "
        f"skipped{f' ({reasons})' if reasons else ''} + {results['bad_rows']} bad",
        highlight=False,
    )


def _subsets(found: dict[str, Any]) -> Table:
    table = headed(["subset"], ["items", "score", "strict", "95% interval"])
    subsets, sections = [*found["by_subset"].items()], [*found["by_section"].items()]
    for number, (name, row) in enumerate([*subsets, *sections], start=1):
        table.add_row(
            Text(name),  # Subsets are data: square brackets in them are no markup.
            str(row["num_items"]),
            _shown(row["official"]),
            _shown(row["accuracy"]),
            between(row["accuracy_ci95"]),
            end_section=number == len(subsets),
        )
    return table


def _languages(found: dict[str, Any]) -> Table:
    """A language's sections and score; what lies deeper stands in `results.json`."""
    sections = [*next(iter(found.values()))["sections"]]
    table = headed(["language"], [*sections, "score"])
    for language, row in found.items():
        values = [*(row["sections"][name] for name in sections), row["final"]]
        table.add_row(Text(language), *map(_shown, values))
    return table


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
