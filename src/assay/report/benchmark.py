"""A public benchmark: its authors' numbers, and strict accuracy beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from assay.evaluate.benchmarks.measuring import ABOUT_ROWS, flat_numbers
from assay.pages.document import table
from assay.report.found import EvaluatedSet
from assay.report.parts import Sliced, heading, many, paragraph, share, span


def benchmark_of(one: EvaluatedSet) -> str:
    """Headline, sections, subsets, other numbers and notes; nothing where it is no benchmark."""
    found: Mapping[str, Any] | None = one.results.get("benchmark")
    if not found:
        return ""
    headline, strict = found["headline"], found["strict"]
    says = (
        f"{headline['name']}: {_number(headline['value'])}. Strict accuracy, where no wrong answer "
        f"reaches a right one: {share(strict['accuracy'])} ({span(strict['accuracy_ci95'])}, "
        f"{many(strict['num_items'], 'item')})."
    )
    others = flat_numbers({k: v for k, v in found.items() if k not in ABOUT_ROWS})
    rows = [[name, _number(value)] for name, value in others.items()]
    notes = "".join(paragraph(f"Note: {note}.", "absent") for note in found["notes"])
    return (
        heading(f"Benchmark: {found['title']}")
        + paragraph(says)
        + notes
        + _parts(found, "by_section", "section")
        + _parts(found, "by_subset", "subset")
        + (table(["other numbers of the authors", ""], rows, "") if rows else "")
    )


def _parts(found: Mapping[str, Any], name: str, what: str) -> str:
    strict = found["strict"]["accuracy"]
    made = Sliced(f"Strict accuracy by {what}", what, strict, "all items")
    for part, row in (found.get(name) or {}).items():
        cells = [_number(row["official"])]
        of = many(row["num_items"], "item")
        made.add(part, of, row["accuracy"], row["accuracy_ci95"], cells)
    return made.html(["authors' score"])


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
