"""The report as one HTML page that needs nothing else: no scripts, no fonts, no network."""

from __future__ import annotations

import re
from collections.abc import Sequence

from assay.evaluate.probe.report import verdict_lines
from assay.evaluate.summary import summary_lines
from assay.pages.document import table
from assay.pages.escaping import text
from assay.report.benchmark import benchmark_of
from assay.report.evaluation import calibration_of, charts_of
from assay.report.found import EvaluatedSet, Found
from assay.report.mistakes import rows_of
from assay.report.origin import data_section, log_section, machine_section, recipe_section
from assay.report.parts import count, heading, many, page, paragraph, section, share, signed, span
from assay.report.ratings import ratings_of
from assay.report.slices import slices_of
from assay.report.stress import stress_section
from assay.report.training import training_section

_SECTION = re.compile(r'<section id="([\w-]+)"[^>]*><h2[^>]*>(.*?)</h2>')


def report_page(found: Found, *, title: str | None = None, texts: bool = True) -> str:
    """The page; every text of the data is escaped.

    Args:
        found: what lies in the directory.
        title: instead of its name.
        texts: whether texts of rows are shown.
    """
    named = title or f"Report of {found.directory.absolute().name}"
    sections = [
        _summary(found),
        training_section(found.log) if found.log is not None else "",
        *(_evaluation(number, one, texts) for number, one in enumerate(found.sets, start=1)),
        stress_section(found.probe, texts=texts),
        data_section(found),
        recipe_section(found),
        machine_section(found),
        log_section(found),
    ]
    body = "".join(sections)
    note = "Intervals are 95% intervals, clustered by prompt."
    return page(named, _about(found), _SECTION.findall(body), body, note)


def _about(found: Found) -> str:
    """What it is, and how far it is."""
    if found.log is None:
        kind = (
            "A benchmark" if any("benchmark" in s.results for s in found.sets) else "An evaluation"
        )
        model = next((s.results.get("model") for s in found.sets if s.results.get("model")), None)
        return paragraph(f"{kind}{f' of {model}' if model else ''}.")
    last, of = max(found.log.steps, default=0), found.log.num_steps
    steps = f"step {count(last)}" + (f" of {count(of)}" if of else "")
    base = (found.recipe.get("model") or {}).get("path")
    trained = f"A training run from {base}" if base else "A training run"
    if found.is_finished:
        early = " (it stopped before the last)" if of and last < of else ""
        return paragraph(f"{trained}, finished after {steps}{early}.")
    return paragraph(f"{trained}, not finished: {steps} when this page was made.")


def _summary(found: Found) -> str:
    parts = [_table(found.sets), _stands_out(found)]
    if not found.sets:
        why = (
            "model/ is not evaluated yet: that is the last thing a run does. How to get it: let it "
            "end, or go on with assay train RUN --resume auto."
            if not found.is_finished
            else "Nothing was evaluated. How to get it: assay eval --model RUN --input ROWS "
            "--output RUN/eval/NAME."
        )
        parts.append(paragraph(why, "absent"))
    parts += [
        paragraph(f"The evaluation of {name} is not written yet.", "absent")
        for name in found.unfinished
    ]
    return section("summary", "Summary", parts)


def _table(sets: Sequence[EvaluatedSet]) -> str:
    if not sets:
        return ""
    rows = []
    for one in sets:
        results, calibrated = one.results, calibration_of(one)
        rows.append(
            [
                one.name,
                share(results["accuracy"]),
                span(results["accuracy_ci95"]),
                count(results["num_comparisons"]),
                count(results["num_prompts"]),
                share(results.get("length_baseline")),
                share(results.get("loss")),
                share(calibrated["ece"]),
                signed(calibrated["temperature"], 2),
            ]
        )
    columns = ["evaluation", "accuracy", "95% interval", "comparisons", "prompts"]
    columns += ["the longer wins", "log loss", "ECE", "temperature"]
    return table(columns, rows, "Accuracy counts strict wins: a tie is not a win")


def _stands_out(found: Found) -> str:
    """What the commands print below their tables, for each evaluation."""
    several = len(found.sets) > 1
    lines = [
        f"{one.name}: {line}" if several else line
        for one in found.sets
        for line in summary_lines(one.results)
    ]
    if found.probe is not None:
        lines += verdict_lines(dict(found.probe))
    items = "".join(f'<li dir="auto">{text(line[:1].upper() + line[1:])}</li>' for line in lines)
    return f'<ul class="stands-out">{items}</ul>' if items else ""


def _evaluation(number: int, one: EvaluatedSet, texts: bool) -> str:
    results = one.results
    says = (
        f"{count(results['wins'])} right, {count(results['losses'])} wrong, "
        f"{many(results['ties'], 'tie')}, of {many(results['num_prompts'], 'prompt')}."
    )
    parts = [
        paragraph(says),
        benchmark_of(one),
        charts_of(one),
        slices_of(one),
        ratings_of(one),
        _without_ratings(one),
        rows_of(one, texts=texts),
    ]
    return section(f"evaluation-{number}", f"Evaluation: {one.name}", parts)


def _without_ratings(one: EvaluatedSet) -> str:
    if one.results.get("best_of_n"):
        return ""
    return heading("Best of n") + paragraph(
        "These results hold no ratings. How to get them: assay eval on rows with two rated answers "
        "or more to a prompt (UltraFeedback, HelpSteer, ...).",
        "absent",
    )
