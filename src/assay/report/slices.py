"""Accuracy by part: categories, languages, lengths, and where rules that read no meaning fail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from assay.pages.document import table
from assay.report.found import EvaluatedSet
from assay.report.parts import Sliced, count, heading, many, paragraph, share, signed, span

MOST = 40
"""Parts that a table shows; the rest is counted."""


def slices_of(one: EvaluatedSet) -> str:
    """Tables of parts, each with its interval on one scale, and the shortcuts."""
    results = one.results
    of_benchmark = "benchmark" in results or "by_tag" not in results
    tables = [
        # Of a benchmark the categories are its subsets, which stand above.
        _parts(results, "by category", "category", {} if of_benchmark else results["by_tag"]),
        _parts(results, "by language or script", "language", results.get("by_language") or {}),
        *(
            _parts(results, f"by length of the {what}", "tokens", _by_length(rows))
            for what, rows in (results.get("by_length") or {}).items()
        ),
    ]
    body = "".join(tables)
    if "by_length" not in results:
        body += paragraph(
            "These results hold no lengths, languages and shortcuts. How to get them: assay eval "
            "on the same rows, without --benchmark.",
            "absent",
        )
    return heading("Accuracy by part") + body + _shortcuts(results)


def _parts(
    results: Mapping[str, Any], caption: str, name: str, parts: Mapping[str, Mapping[str, Any]]
) -> str:
    if not parts:
        return ""
    largest = sorted(parts.items(), key=lambda part: -part[1]["num_comparisons"])
    shown = {key for key, _ in largest[:MOST]}
    made = Sliced(f"Accuracy {caption}", name, results["accuracy"], "all comparisons")
    for key, row in parts.items():
        if key in shown:
            made.add(
                key,
                many(row["num_comparisons"], "comparison"),
                row["accuracy"],
                row.get("accuracy_ci95"),
                [signed(row.get("mean_margin"), 2)],
            )
    left = len(parts) - len(shown)
    note = f"{many(left, 'smaller part')} not shown; all stand in results.json."
    return made.html(["mean margin"]) + (paragraph(note, "absent") if left else "")


def _by_length(rows: Any) -> dict[str, Mapping[str, Any]]:
    return {f"{row['low']:g} to {row['high']:g}": row for row in rows}


def _shortcuts(results: Mapping[str, Any]) -> str:
    """Each rule, and the model where the rule is wrong."""
    found = results.get("shortcuts")
    if not found:
        return ""
    rows = []
    for row in found.values():
        right, wrong = row["model"]["right"], row["model"]["wrong"]
        rows.append(
            [
                row["direction"],
                share(row["accuracy"]),
                span(row["accuracy_ci95"]),
                share(right["accuracy"]),
                share(wrong["accuracy"]),
                span(wrong["accuracy_ci95"]),
                count(wrong["num_comparisons"]),
            ]
        )
    columns = ["rule", "rule is right", "95% interval", "model where it is right"]
    columns += ["model where it is wrong", "95% interval", "comparisons there"]
    says = (
        "A model that has learned a shortcut falls far below its accuracy where the shortcut is "
        "wrong."
    )
    return (
        heading("Rules that read no meaning")
        + paragraph(says)
        + table(columns, rows, "Rules, and the model where they are right and wrong")
    )
