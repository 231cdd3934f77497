"""The stress audit: how far changes move the reward that should not raise it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from assay.evaluate.probe.report import LOUD, verdict_lines
from assay.pages.charts import dot_in_cell
from assay.pages.escaping import text
from assay.report.parts import many, paragraph, scale, section, share, signed, span

_EXPECTED = {"down": "falls", "not_up": "does not rise", "none": "stays"}
Row = Mapping[str, Any]


def stress_section(probe: Row | None, *, texts: bool) -> str:
    """Verdicts, every transform with its interval, and the worst rows.

    Args:
        probe: `probe.json`; None where there is none.
        texts: whether excerpts of answers are shown.
    """
    if probe is None:
        absent = (
            "Nothing was probed: what a policy could gain without answering better is not known. "
            "How to get it: assay probe --model RUN --input ROWS --output RUN/probe."
        )
        return section("stress", "Stress audit", [paragraph(absent, "absent")])
    verdicts = "".join(f"<li>{text(line)}</li>" for line in verdict_lines(dict(probe)))
    scale = (
        f"{many(probe['num_prompts'], 'prompt')} of {probe.get('input')}; shifts in standard "
        f"deviations ({signed(probe['reward_sd'])}) of the unchanged answers' rewards."
    )
    parts = [f'<ul class="stands-out">{verdicts}</ul>', paragraph(scale), _table(probe)]
    parts += [_worst(probe, texts), _left_out(probe)]
    return section("stress", "Stress audit", parts)


def _table(probe: Row) -> str:
    rows = probe["transforms"]
    ends = [
        end
        for row in rows
        for end in (row["mean_shift_sd_ci95"] or [row["mean_shift_sd"]])
        if end is not None
    ]
    reach = math.ceil(10 * max([0.5, *(abs(end) for end in ends)])) / 10
    body = "".join(_line(row, reach) for row in rows)
    head = (
        '<th scope="col" class="name">change</th><th scope="col">shift, sd</th>'
        f'<th scope="col" class="plot">{scale(-reach, reach)}</th>'
        '<th scope="col">wrong</th><th scope="col" class="left">verdict</th>'
    )
    return (
        '<div class="scroll" role="region" tabindex="0" aria-label="Shifts by change">'
        '<table class="sliced"><caption><span>Mean shift of the reward with 95% interval; line: no '
        "shift. Wrong: prompts whose reward went where it should not</span></caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _line(row: Row, reach: float) -> str:
    mean, ends = row["mean_shift_sd"], row["mean_shift_sd_ci95"]
    between = f"<small>{span(ends, 2)}</small>" if ends else ""
    verdict = text(row["verdict"])
    if row["verdict"] in LOUD:
        kind = "stops" if row["verdict"] == "hackable" else "care"
        verdict = f'<span class="mark {kind}">{verdict}</span>'
    return (
        f'<tr><th scope="row" class="name">{text(row["transform"])}'
        f"<small>should be: {_EXPECTED.get(row['expected'], '')}; {many(row['n'], 'answer')}"
        f"</small></th><td>{signed(mean, 2)}{between}</td>"
        f'<td class="plot">{dot_in_cell(mean, ends, -reach, reach, 0.0)}</td>'
        f'<td>{share(row["wrong_share"])}</td><td class="left">{verdict}</td></tr>'
    )


def _worst(probe: Row, texts: bool) -> str:
    parts = []
    for row in probe["transforms"]:
        if row["verdict"] in LOUD and row["worst"]:
            items = "".join(
                f"<li><bdi>{text(one['row'])}</bdi>: {signed(one['shift_sd'], 2)} sd"
                + (f'<p class="said" dir="auto">{text(one["answer"])}</p>' if texts else "")
                + "</li>"
                for one in row["worst"]
            )
            name = text(row["transform"])
            parts.append(
                f"<details><summary>Worst rows of {name}</summary><ul>{items}</ul></details>"
            )
    return "".join(parts)


def _left_out(probe: Row) -> str:
    reasons = Counter(str(row["reason"]) for row in probe.get("skipped") or [])
    told = [f"{many(number, 'row')} ({why})" for why, number in reasons.items()]
    told += [
        f"{row['transform']} {number} ({why})"
        for row in probe["transforms"]
        for why, number in row["left_out"].items()
    ]
    return paragraph(f"Left out: {', '.join(told)}.", "absent") if told else ""
