"""What ratings say of the rewards: best of n, rank agreement; and what an ensemble adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from assay.pages.charts import Curve, curves, horizontal, vertical
from assay.pages.document import table
from assay.report.found import EvaluatedSet
from assay.report.parts import (
    Sliced,
    count,
    figure,
    figures,
    heading,
    key,
    many,
    paragraph,
    signed,
    span,
)

_MOST = 6
"""Ratings that are drawn."""


def ratings_of(one: EvaluatedSet) -> str:
    """Best-of-n curves and rank agreement, and uncertainty where an ensemble was evaluated."""
    drawn: Mapping[str, Mapping[str, Any]] = one.results.get("best_of_n") or {}
    agreement: Mapping[str, Mapping[str, Any]] = one.results.get("rank_agreement") or {}
    parts = []
    if drawn:
        shown = list(drawn.items())[:_MOST]
        parts += [heading("Best of n"), figures(_best_of(name, row) for name, row in shown)]
        if len(drawn) > _MOST:
            left = many(len(drawn) - _MOST, "further rating")
            parts.append(paragraph(f"{left} in results.json.", "absent"))
    if agreement:
        rows = [
            [
                name,
                signed(row["kendall"]),
                span(row["kendall_ci95"]),
                signed(row["spearman"]),
                span(row["spearman_ci95"]),
                count(row["num_groups"]),
                count(row["num_constant"]),
            ]
            for name, row in agreement.items()
        ]
        columns = ["rating", "Kendall", "95% interval", "Spearman", "95% interval"]
        columns += ["prompts", "left out: all equal"]
        parts.append(table(columns, rows, "Rewards against ratings, within prompts"))
    return "".join(parts) + _uncertainty(one.results.get("uncertainty"))


def _best_of(name: str, row: Mapping[str, Any]) -> str:
    points: Sequence[Mapping[str, Any]] = row["curve"]
    at = [float(point["k"]) for point in points]
    ends = [
        None if point["model_ci95"] is None else (point["model_ci95"][0], point["model_ci95"][1])
        for point in points
    ]
    drawn = [
        Curve("oracle", "c3", at, [point["oracle"] for point in points]),
        Curve("random", "c6", at, [point["random"] for point in points]),
        Curve("model", "c1", at, [point["model"] for point in points], ends, dots=True),
    ]
    values = [value for curve in drawn for value in curve.y]
    values += [end for pair in ends if pair is not None for end in pair]
    last = points[-1]
    better = "" if row.get("higher_is_better", True) else "Less is better. "
    says = (
        f"{better}Best of {last['k']}: {signed(last['model'])} {_bracket(last['model_ci95'])}, "
        f"random {signed(last['random'])}, oracle {signed(last['oracle'])}, of "
        f"{many(last['num_prompts'], 'prompt')}. Each k counts the prompts with so many answers."
    )
    title = f"Rating {name} of the answer with the highest reward"
    x = horizontal(
        at[0], max(at[-1], at[0] + 1), "k: answers to choose from", snug=True, whole=True
    )
    chart = curves(f"{title}. {says}", x, vertical(min(values), max(values), name), drawn)
    columns = ["k", "model", "95% interval", "random", "oracle", "prompts"]
    rows = [
        [
            str(point["k"]),
            signed(point["model"]),
            span(point["model_ci95"]),
            signed(point["random"]),
            signed(point["oracle"]),
            count(point["num_prompts"]),
        ]
        for point in points
    ]
    keys = (
        key("dots c1", "model, 95% interval") + key("line c6", "random") + key("line c3", "oracle")
    )
    return figure(title, says, chart, keys=keys, numbers=table(columns, rows, title, left=0))


def _bracket(ends: Sequence[float] | None) -> str:
    return "" if ends is None else f"({span(ends)})"


def _uncertainty(found: Mapping[str, Any] | None) -> str:
    if not found:
        return ""
    says = (
        "The standard deviation of a margin over the members of the ensemble. AUROC, the chance "
        f"that an error is less sure than a win: {signed(found['auroc'])}; of the margin alone "
        f"{signed(found['auroc_of_margin'])}."
    )
    made = Sliced("Accuracy by uncertainty, the surest first", "uncertainty", None, "")
    for row in found["bins"]:
        made.add(
            f"{row['low']:.3g} to {row['high']:.3g}",
            many(row["num_comparisons"], "comparison"),
            row["accuracy"],
            row["accuracy_ci95"],
        )
    return heading("Uncertainty") + paragraph(says) + made.html()
