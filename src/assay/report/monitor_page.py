"""A monitor's log as one page: for each run its warnings and its figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from assay.pages.document import table
from assay.pages.escaping import text
from assay.report.monitor_figures import figures_of
from assay.report.monitor_log import Run
from assay.report.monitor_warnings import THRESHOLDS, WINDOW, warnings_of
from assay.report.parts import count, heading, many, page, paragraph, section, share, signed
from assay.serve.monitor.log import MIXED

_DRAWN_RUNS = 20
"""Runs that have figures, the last ones; of all there is a line in the table."""


def monitor_page(runs: Sequence[Run], path: Path, *, title: str | None) -> str:
    """The page of a log.

    Args:
        runs: that it holds, in the order in which they began.
        path: of the log.
        title: instead of its name.
    """
    drawn = runs[-_DRAWN_RUNS:]
    keys = [f"run-{number}" for number in range(1, len(drawn) + 1)]
    body = _summary(runs, len(drawn)) + "".join(map(_run, drawn, keys)) + _thresholds()
    links = [(key, text(_name(run))) for key, run in zip(keys, drawn, strict=True)]
    links = [("summary", "Summary"), *links, ("thresholds", "Thresholds")]
    about = paragraph(f"{many(len(runs), 'run')} that assay serve has watched.")
    named = title or f"Monitor of {path.name}"
    return page(named, about, links, body, "The log holds no texts.")


def _name(run: Run) -> str:
    return f"{run.name} ({run.model})"


def _is_judged(run: Run) -> bool:
    return len(run.steps) >= WINDOW


def _summary(runs: Sequence[Run], drawn: int) -> str:
    rows = []
    for run in runs:
        if not run.steps:
            continue
        first, last = run.steps[0], run.steps[-1]
        rows.append(
            [
                run.name,
                run.model,
                count(len(warnings_of(run.steps))) if _is_judged(run) else signed(None),
                f"{count(first.number)} to {count(last.number)}",
                count(sum(step.responses for step in run.steps)),
                f"{signed(first.mean, 2)} to {signed(last.mean, 2)}",
                signed(last.correlation, 2),
                share(last.beyond),
                signed(last.distance, 2),
                share(last.duplicate_share),
            ]
        )
    columns = ["run", "model", "warnings", "steps", "answers", "mean reward", "with length"]
    columns += ["beyond", "distance", "duplicates"]
    caption = "With length, beyond the range, distance and duplicates are those of the last step"
    if not all(_is_judged(run) for run in runs if run.steps):
        caption += f"; no number of warnings (–) where there are fewer than {WINDOW} steps"
    told = table(columns, rows, caption, left=2) if rows else ""
    left = len(runs) - drawn
    more = paragraph(f"Figures of the last {drawn} runs; of {left} more the table alone.")
    return section("summary", "Summary", [told, more if left else ""])


def _run(run: Run, key: str) -> str:
    parts = [_warnings(run)]
    if run.steps:
        parts.append(heading("Step by step"))
        parts.append(figures_of(run.steps))
        parts.append(_notes(run))
    if run.untold is not None:
        step = run.untold
        parts.append(
            paragraph(
                f"{many(step.responses, 'answer')} named no step: mean reward "
                f"{signed(step.mean, 2)}. They are in no figure."
            )
        )
    return section(key, f"Run: {_name(run)}", parts)


def _warnings(run: Run) -> str:
    if not _is_judged(run):
        return paragraph(
            f"{many(len(run.steps), 'step')}: warnings take {WINDOW} or more.", "absent"
        )
    found = warnings_of(run.steps)
    if not found:
        return paragraph("No warning: no threshold of those below is passed.")
    items = "".join(f"<li>{text(words)}</li>" for words in found)
    return f'<ul class="stands-out">{items}</ul>'


def _notes(run: Run) -> str:
    parts = []
    reference = run.steps[-1].reference
    if reference is None:
        parts.append(
            paragraph(
                "The model had no reference: there is no range and no distance. How to get them: "
                "assay serve --reference-scores FILE, of what assay score or assay eval wrote; or "
                "assay score --write-reference, which keeps mean and spread with the model.",
                "absent",
            )
        )
    else:
        parts.append(
            paragraph(
                f"Reference: {count(reference.rewards)} rewards of {reference.source}, mean "
                f"{signed(reference.mean)}, standard deviation {signed(reference.std)}, range "
                f"{signed(reference.low)} to {signed(reference.high)}."
            )
        )
    again = [step for step in run.steps if step.lines > 1]
    if again:
        parts.append(
            paragraph(
                f"{many(len(again), 'step')} got answers after the next one had begun: their lines "
                "are put together, with quantiles from bins, and duplicates counted within a line."
            )
        )
    if any(step.unit == MIXED for step in run.steps):
        parts.append(
            paragraph("Where requests of several protocols meet in a step, it has no length.")
        )
    return "".join(parts)


def _thresholds() -> str:
    told = paragraph(
        f"Each number is judged by its mean over {WINDOW} steps in a row. A warning is a reason to "
        "read answers, not a proof."
    )
    made = table(["what", "warned of from"], THRESHOLDS, "Thresholds", left=2)
    return section("thresholds", "Thresholds", [told, made])
