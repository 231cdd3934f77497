"""Small charts as inline SVG; colours and type come from the page's style sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from assay.data.audit.lengths import Histogram
from assay.data.audit.shortcuts import Shortcut
from assay.data.audit.thresholds import SHORTCUT_CARE
from assay.pages.svg import label, line, svg

Counts = Mapping[str, int] | Mapping[int, int]
"""How often each value occurs."""

_WIDTH = 640


def histogram(bins: Histogram, unit: str) -> str:
    """Lengths of chosen and rejected answers, two bars a bin."""
    height, left, bottom, top = 220, 46, 40, 12
    highest = max(*bins.chosen, *bins.rejected, 1)
    plot, slot = height - bottom - top, (_WIDTH - left - 8) / len(bins.chosen)
    parts = []
    for share in (0.0, 0.5, 1.0):
        y = top + plot * (1 - share)
        parts.append(line(left, y, _WIDTH - 8, y, "grid"))
        parts.append(label(left - 6, y + 4, f"{round(highest * share)}", "end"))
    for number, pair in enumerate(zip(bins.chosen, bins.rejected, strict=True)):
        last = number == len(bins.chosen) - 1
        low, high = bins.edges[number], bins.edges[number + 1] - 1
        span = f"{low} and more" if last else f"{low} to {high}"
        for place, (count, kind) in enumerate(zip(pair, ("chosen", "rejected"), strict=True)):
            size = plot * count / highest
            x = left + slot * (number + 0.06 + 0.44 * place)
            parts.append(
                f'<rect class="{kind}" x="{x:.1f}" y="{top + plot - size:.1f}" '
                f'width="{slot * 0.42:.1f}" height="{size:.1f}">'
                f"<title>{span} {unit}: {count} {kind}</title></rect>"
            )
    for number in range(0, len(bins.chosen), 5):
        x = left + slot * number
        parts.append(label(x, height - bottom + 16, f"{bins.edges[number]}", "middle"))
    parts.append(label(left + (_WIDTH - left) / 2, height - 6, f"{unit} of an answer", "middle"))
    return svg(_WIDTH, height, f"lengths of answers in {bins.file}", parts)


def intervals(rules: Sequence[Shortcut]) -> str:
    """Accuracies of rules with their intervals, from 0.4 to 1."""
    left, row, top = 240, 26, 22
    height = top + row * len(rules) + 8

    def x(value: float) -> float:
        return left + (max(value, 0.4) - 0.4) / 0.6 * (_WIDTH - left - 60)

    parts = []
    for mark, kind in ((0.5, "half"), (SHORTCUT_CARE, "limit"), (0.75, "grid"), (1.0, "grid")):
        parts.append(line(x(mark), top - 4, x(mark), height - 4, kind))
        parts.append(label(x(mark), top - 8, f"{mark:g}", "middle"))
    for number, rule in enumerate(rules):
        y = top + row * (number + 0.5)
        loud = "loud" if rule.accuracy >= SHORTCUT_CARE and rule.low > 0.5 else "quiet"
        parts.append(label(left - 12, y + 4, rule.direction, "end"))
        parts.append(line(x(rule.low), y, x(rule.high), y, loud))
        parts.append(
            f'<circle class="{loud}" cx="{x(rule.accuracy):.1f}" cy="{y:.1f}" r="5">'
            f"<title>{rule.accuracy:.3f} ({rule.low:.3f} to {rule.high:.3f})</title></circle>"
        )
        parts.append(label(_WIDTH - 46, y + 4, f"{rule.accuracy:.3f}", "start"))
    return svg(_WIDTH, height, "accuracy of rules that read no meaning", parts)


def bars(counts: Counts, title: str) -> str:
    """Counts as horizontal bars with their shares."""
    left, row = 120, 22
    total = sum(counts.values()) or 1
    highest = max(counts.values(), default=1) or 1
    parts = []
    for number, (name, count) in enumerate(counts.items()):
        y = row * number
        size = (_WIDTH - left - 130) * count / highest
        parts.append(label(left - 10, y + 15, str(name), "end"))
        parts.append(
            f'<rect class="bar" x="{left}" y="{y + 4}" width="{max(size, 1):.1f}" '
            f'height="{row - 8}"/>'
        )
        parts.append(label(left + size + 8, y + 15, f"{count} ({count / total:.1%})", "start"))
    return svg(_WIDTH, row * max(len(counts), 1) + 4, title, parts)
