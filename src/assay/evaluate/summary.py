"""The few lines of an evaluation's details that stand on the screen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_LEAST = 20
"""Comparisons of a slice that may be called the worst."""

Row = Mapping[str, Any]


def summary_lines(results: Row) -> list[str]:
    """Near ties, calibration, the worst slice, the strongest shortcut, and what ratings say.

    A line stands only where there is something to say.
    """
    lines = []
    if results.get("num_near_ties"):
        lines.append(
            f"near ties: {results['num_near_ties']} margins below 1e-5, which another order of "
            "rows may decide anew"
        )
    if "calibration" in results:
        lines += [_calibration(results["calibration"]), *_worst(results), *_shortcut(results)]
    lines += _ratings(results)
    if "uncertainty" in results and results["uncertainty"]["auroc"] is not None:
        found = results["uncertainty"]
        lines.append(
            f"uncertainty: finds errors with AUROC {found['auroc']:.3f} "
            f"(-|margin|: {found['auroc_of_margin']:.3f})"
        )
    return lines


def slices_of(results: Row) -> Iterator[tuple[str, Row]]:
    """Every part of the comparisons that has an accuracy, with its name."""
    for tag, row in results.get("by_tag", {}).items():
        yield f"tag {tag}", row
    for language, row in results.get("by_language", {}).items():
        yield f"language {language}", row
    for what, rows in results.get("by_length", {}).items():
        for row in rows:
            yield f"{what} of {row['low']:g} to {row['high']:g} tokens", row


def _calibration(row: Row) -> str:
    text = (
        f"calibration: ECE {row['ece']:.3f} (about {row['ece_by_chance']:.3f} by chance), "
        f"Brier {row['brier']:.3f}"
    )
    if row["temperature"] is None:
        return f"{text}; no temperature: {row['temperature_note']}"
    text += f", temperature {row['temperature']:.3g}"
    if row["temperature_ci95"] is not None:
        low, high = row["temperature_ci95"]
        text += f" [{low:.3g}, {'no bound' if high is None else f'{high:.3g}'}]"
    return text


def _worst(results: Row) -> list[str]:
    """The slice whose interval ends lowest, if all of it lies below the accuracy of all."""
    parts = [
        (name, row)
        for name, row in slices_of(results)
        if row["num_comparisons"] >= _LEAST and row["accuracy_ci95"] is not None
    ]
    if not parts:
        return []
    name, row = min(parts, key=lambda part: float(part[1]["accuracy_ci95"][1]))
    if row["accuracy_ci95"][1] >= results["accuracy"]:
        return []
    return [f"worst slice: {name}: {_accuracy(row)}"]


def _shortcut(results: Row) -> list[str]:
    """The shortcut that reaches most, and the model where it misleads."""
    if not results["shortcuts"]:
        return []
    row = next(iter(results["shortcuts"].values()))
    low, high = row["accuracy_ci95"]
    text = f"strongest shortcut: {row['direction']}, {row['accuracy']:.4f} [{low:.3f}, {high:.3f}]"
    wrong = row["model"]["wrong"]
    if wrong["accuracy"] is None:
        return [f"{text}, nowhere wrong"]
    return [f"{text}; the model where it is wrong: {_accuracy(wrong)}"]


def _ratings(results: Row) -> list[str]:
    """Of the rating that the label names, else of the first."""
    names = list(results.get("rank_agreement", {}))
    if not names:
        return []
    name = results["label"] if results.get("label") in names else names[0]
    row = results["rank_agreement"][name]
    others = f"; {len(names) - 1} other ratings in results.json" if len(names) > 1 else ""
    lines = []
    if row["kendall"] is not None:
        ends = row["kendall_ci95"]
        between = "" if ends is None else f" [{ends[0]:.3f}, {ends[1]:.3f}]"
        lines.append(
            f"agreement with {name} within prompts: Kendall {row['kendall']:.3f}{between}, "
            f"Spearman {row['spearman']:.3f} ({row['num_groups']} prompts{others})"
        )
    last = results["best_of_n"][name]["curve"][-1]
    return [
        *lines,
        f"best of {last['k']} by {name}: {last['model']:.3f}, random {last['random']:.3f}, "
        f"oracle {last['oracle']:.3f} ({last['num_prompts']} prompts)",
    ]


def _accuracy(row: Row) -> str:
    low, high = row["accuracy_ci95"]
    return f"{row['accuracy']:.4f} [{low:.3f}, {high:.3f}] ({row['num_comparisons']} comparisons)"
