"""The charts of an evaluation: margins, rewards against each other and length, calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from assay.evaluate.calibration import calibration, reliability
from assay.evaluate.metrics import Floats
from assay.pages import charts
from assay.pages.document import table
from assay.pages.svg import line, path
from assay.report.found import EvaluatedSet
from assay.report.parts import count, figure, figures, heading, key, paragraph, share, signed, span

_DECILES = 10


def charts_of(one: EvaluatedSet) -> str:
    """Margins, calibration, chosen against rejected, reward against length."""
    drawn = [_margins(one), _reliability(one), _rewards(one), _lengths(one)]
    absent = ""
    if one.comparisons.longer_C is None:
        absent = paragraph(
            "Lengths are not known, so nothing is said about them: these scores were stored "
            "without token counts. How to get them: evaluate with a model instead of --scores.",
            "absent",
        )
    return heading("Rewards") + figures(drawn) + absent


def calibration_of(one: EvaluatedSet) -> Mapping[str, Any]:
    """As it stands in `results.json`; computed where it does not, as of benchmarks."""
    stored = one.results.get("calibration")
    return stored or calibration(one.comparisons.margin_C, one.comparisons.prompt_C)


def _margins(one: EvaluatedSet) -> str:
    margin_C = one.comparisons.margin_C
    edges = charts.edges_around_zero(margin_C)
    counts = charts.counted(margin_C, edges)
    low, middle, high = np.quantile(margin_C, [0.05, 0.5, 0.95]).tolist()
    ties = one.results["ties"]
    says = (
        f"Median {signed(middle)}; nine in ten from {signed(low)} to {signed(high)}. "
        f"{count(one.results['losses'])} of {count(len(margin_C))} below 0"
        + (f", {count(ties)} at 0." if ties else ".")
    )
    rows = [
        [f"{signed(float(a), 2)} to {signed(float(b), 2)}", count(number)]
        for a, b, number in zip(edges[:-1], edges[1:], counts, strict=True)
    ]
    title = "Margins"
    return figure(
        title,
        says,
        charts.signed_histogram(
            f"{title}. {says}", "margin: better minus worse answer", edges, counts
        ),
        keys=key("box rejected", "wrong") + key("box chosen", "right"),
        numbers=table(["margin", "comparisons"], rows, "Outer rows hold all beyond them, too"),
    )


def _reliability(one: EvaluatedSet) -> str:
    found = calibration_of(one)
    fitted: list[dict[str, Any]] = []
    if found["temperature"]:
        scaled_C = one.comparisons.margin_C / found["temperature"]
        fitted = reliability(scaled_C, one.comparisons.prompt_C)
    says = (
        f"ECE {share(found['ece'])} (about {share(found['ece_by_chance'])} by chance), Brier "
        f"{share(found['brier'])}. {_temperature(found)}"
    )
    keys = key("dot quiet", "as the model says, 95% interval") + key("dashes equal", "calibrated")
    keys += key("dot ring", "with the fitted temperature") if fitted else ""
    keys += key("box share", "comparisons")
    rows = [
        [
            f"{row['low']:.2f} to {row['high']:.2f}",
            share(row["confidence"]),
            share(row["right"]),
            span(row["right_ci95"]),
            count(row["num_comparisons"]),
        ]
        for row in found["bins"]
    ]
    columns = ["bin", "confidence", "right", "95% interval", "comparisons"]
    title = "Calibration"
    drawn = charts.reliability(f"{title}. {says}", _bins(found["bins"]), _bins(fitted))
    numbers = table(columns, rows, "Confidence, and how often it was right")
    return figure(title, says, drawn, keys=keys, numbers=numbers)


def _bins(rows: Sequence[Mapping[str, Any]]) -> list[charts.Bin]:
    return [
        charts.Bin(
            row["confidence"],
            row["right"],
            (row["right_ci95"][0], row["right_ci95"][1]),
            row["num_comparisons"],
        )
        for row in rows
    ]


def _temperature(found: Mapping[str, Any]) -> str:
    value = found["temperature"]
    if value is None:
        return f"No temperature: {found['temperature_note']}."
    ends = found["temperature_ci95"]
    between = f" ({span(ends, 2)})" if ends else ""
    after = (
        f"; with it ECE {share(found['ece_fitted'])}, Brier {share(found['brier_fitted'])}, on the "
        "same rows"
    )
    low, high = ends or (None, None)
    if low is not None and low > 1:
        told = ": margins claim too much"
    elif high is not None and high < 1:
        told = ": margins claim too little"
    else:
        told = ""
    return f"Fitted temperature {signed(value, 2)}{between}{told}{after}."


def _rewards(one: EvaluatedSet) -> str:
    chosen_C, rejected_C = one.comparisons.chosen_C, one.comparisons.rejected_C
    every = np.concatenate([chosen_C, rejected_C])
    low, high = _ends(every)
    x = charts.horizontal(low, high, "reward of the worse answer", snug=True)
    y = charts.vertical(low, high, "reward of the better answer", snug=True)
    diagonal = line(x(x.low), y(x.low), x(x.high), y(x.high), "equal")
    results = one.results
    says = (
        f"Above the line the model is right: {share(results['accuracy'])} "
        f"({span(results['accuracy_ci95'])}). Mean {signed(float(chosen_C.mean()), 2)} against "
        f"{signed(float(rejected_C.mean()), 2)}."
    )
    title = "Better against worse answer"
    drawn, shades = charts.cloud(f"{title}. {says}", x, y, (rejected_C, chosen_C), over=[diagonal])
    return figure(
        title, says, drawn, keys=_shade_keys(shades) + key("dashes equal", "equal rewards")
    )


def _ends(values: Floats) -> tuple[float, float]:
    """Where an axis ends: what few values are beyond stands at its edge."""
    low, high = np.quantile(values, [0.002, 0.998]).tolist()
    room = 0.03 * (high - low)
    return low - room, high + room


def _lengths(one: EvaluatedSet) -> str:
    tokens_A, reward_A = one.comparisons.tokens_A, one.comparisons.reward_A
    if one.comparisons.longer_C is None or not len(tokens_A):
        return ""
    x = charts.horizontal(*_ends(tokens_A), "tokens of prompt and answer", snug=True)
    y = charts.vertical(*_ends(reward_A), "reward", snug=True)
    medians = _medians(tokens_A, reward_A)
    over = [path([(x(at), y(value)) for at, value, _ in medians], "median")] if medians else []
    title = "Reward against length"
    says = _bias(one.comparisons.longer_C, one.comparisons.margin_C)
    drawn, shades = charts.cloud(f"{title}. {says}", x, y, (tokens_A, reward_A), over=over)
    keys = _shade_keys(shades, "answers")
    keys += key("dashes median", "median reward of tenths by length") if medians else ""
    rows = [[f"{at:.0f}", signed(value), count(number)] for at, value, number in medians]
    numbers = (
        table(["median tokens", "median reward", "answers"], rows, "Tenths by length")
        if rows
        else ""
    )
    return figure(title, says, drawn, keys=keys, numbers=numbers)


def _bias(longer_C: Floats, margin_C: Floats) -> str:
    """Whether longer answers win more often than the labels have it; within prompts."""
    decided_C = longer_C != 0
    if decided_C.sum() < 2:
        return "All compared answers are equally long."
    longer, margin = longer_C[decided_C], margin_C[decided_C]
    labels = float((longer > 0).mean())
    model = float(np.mean(np.where(longer > 0, margin, -margin) > 0))
    says = (
        f"Within a comparison the longer answer has the higher reward in {share(model)}; it is the "
        f"better one in {share(labels)}."
    )
    toward = np.concatenate([margin, -margin])
    more = np.concatenate([longer, -longer])
    if np.ptp(toward) > 0:
        rho = float(spearmanr(more, toward).statistic)
        says += f" Spearman of both differences {signed(rho, 2)}."
    return says


def _medians(tokens_A: Floats, reward_A: Floats) -> list[tuple[float, float, int]]:
    if len(tokens_A) < 5 * _DECILES:
        return []
    order = np.argsort(tokens_A, kind="stable")
    return [
        (float(np.median(tokens_A[part])), float(np.median(reward_A[part])), len(part))
        for part in np.array_split(order, _DECILES)
    ]


def _shade_keys(shades: Sequence[tuple[int, int]], of: str = "comparisons") -> str:
    if not shades:
        return ""
    named = [
        (f"box shade-{level}", str(low) if low == high else f"{low}–{high}")
        for level, (low, high) in enumerate(shades, start=1)
    ]
    named[-1] = named[-1][0], f"{named[-1][1]} {of} a cell"
    return "".join(key(kind, words) for kind, words in named)
