"""What `assay eval --benchmark` prints and writes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from assay.consoles import console
from assay.data.loading import SkippedRow
from assay.evaluate.benchmarks.benchmark import Benchmark, ModelNote, ScoredItem, benchmarks
from assay.evaluate.benchmarks.measuring import comparison_rows, flat_numbers
from assay.evaluate.benchmarks.stored import InputRead, lines_of

_ABOUT_ROWS = ("name", "title", "headline", "partial", "strict", "by_subset", "by_section")


def write_results(
    benchmark: Benchmark,
    scored: Sequence[ScoredItem],
    skipped: Sequence[SkippedRow],
    metrics: dict[str, Any],
    about: dict[str, Any],
    directory: Path,
    model: ModelNote,
) -> tuple[dict[str, Any], set[str]]:
    """Write everything below a directory, together or not at all.

    `results.json`, `comparisons.jsonl`, `items.jsonl` (what `--scores` reads), and the authors'
    result files below `results/`.

    Returns:
        what stands in `results.json`, and the files written, as paths below the directory.

    Raises:
        OutputError: no space, no permission.
    """
    from assay.evaluate.evaluator import Evaluation, write_evaluation

    read = None
    if about["input"] is not None:
        read = InputRead(about["input"], about["input_sha256"], about["split"])
    is_partial = metrics["benchmark"]["partial"]
    authors = {} if benchmark.write_results is None else benchmark.write_results(scored, model)
    more: dict[str, Iterable[str]] = {
        "items.jsonl": lines_of(benchmark, scored, skipped, read=read, is_partial=is_partial),
        **{f"results/{name}": (text,) for name, text in authors.items()},
    }
    rows = [row for each in scored for row in comparison_rows(each)]
    evaluation = Evaluation(metrics, [], rows, list(skipped))
    results = write_evaluation(evaluation, directory, about, more)
    return results, {"results.json", "comparisons.jsonl", *more}


def print_benchmarks() -> None:
    """What `--benchmark` takes, and the rows of each."""
    table = Table(show_header=True, header_style="bold")
    for column in ("--benchmark", "", "rows"):
        table.add_column(column)
    for known in benchmarks():
        table.add_row(known.name, known.title, known.reads)
    console(120).print(table)


def print_benchmark(results: dict[str, Any]) -> None:
    """Subsets and sections with score and strict accuracy, then the benchmark's other numbers."""
    found = results["benchmark"]
    out = console(120)
    out.print(_subsets(found))
    shown = {key: value for key, value in found.items() if key not in _ABOUT_ROWS}
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
        table = Table(show_header=True, header_style="bold")
        table.add_column(found["title"])
        table.add_column("", justify="right")
        has_intervals = any(f"{name}_ci95" in found for name in numbers)
        if has_intervals:
            table.add_column("95% interval", justify="right")
        for name, value in numbers.items():
            ends = found.get(f"{name}_ci95")
            last = [_between(*ends) if ends else ""] if has_intervals else []
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
    reasons = ", ".join(f"{count} {reason}" for reason, count in skipped["reasons"].items())
    out.print(
        f"rows: {results['rows']} = {found['strict']['num_items']} scored + {skipped['count']} "
        f"skipped{f' ({reasons})' if reasons else ''} + {results['bad_rows']} bad",
        highlight=False,
    )


def _subsets(found: dict[str, Any]) -> Table:
    table = Table(show_header=True, header_style="bold")
    table.add_column("subset")
    for column in ("items", "score", "strict", "95% interval"):
        table.add_column(column, justify="right")
    subsets, sections = [*found["by_subset"].items()], [*found["by_section"].items()]
    for number, (name, row) in enumerate([*subsets, *sections], start=1):
        table.add_row(
            Text(name),  # Subsets are data: square brackets in them are no markup.
            str(row["num_items"]),
            _shown(row["official"]),
            _shown(row["accuracy"]),
            _between(*row["accuracy_ci95"]),
            end_section=number == len(subsets),
        )
    return table


def _languages(found: dict[str, Any]) -> Table:
    """A language's sections and score; what lies deeper stands in `results.json`."""
    table = Table(show_header=True, header_style="bold")
    table.add_column("language")
    sections = [*next(iter(found.values()))["sections"]]
    for column in (*sections, "score"):
        table.add_column(column, justify="right")
    for language, row in found.items():
        values = [*(row["sections"][name] for name in sections), row["final"]]
        table.add_row(Text(language), *map(_shown, values))
    return table


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _between(low: float, high: float) -> str:
    return f"{low:.3f} to {high:.3f}"
