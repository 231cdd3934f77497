"""What the sections of a report are put together from: headings, figures, numbers in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from assay.pages.charts import dot_in_cell
from assay.pages.document import document
from assay.pages.escaping import text
from assay.report.style import REPORT_STYLE

GENERATOR = "assay report"


def page(title: str, about: str, links: Iterable[tuple[str, str]], body: str, note: str) -> str:
    """A whole page.

    Args:
        title: plain text.
        about: what stands below it, HTML.
        links: of its contents, the key of a section and what it is called, HTML.
        body: the sections.
        note: what is said of all of it at its end.
    """
    listed = "".join(f'<li><a href="#{key}"><bdi>{name}</bdi></a></li>' for key, name in links)
    whole = (
        '<a class="skip" href="#content">Skip to the content</a>\n'
        f'<header><h1 dir="auto">{text(title)}</h1>{about}</header>\n'
        f'<nav aria-label="Contents"><ul>{listed}</ul></nav>\n'
        f'<main id="content" tabindex="-1">\n{body}</main>\n'
        f"<footer><p>Made by assay report. {text(note)}</p></footer>"
    )
    return document(title, whole, style=REPORT_STYLE, generator=GENERATOR)


def section(key: str, title: str, parts: Iterable[str]) -> str:
    """A part of the page that its contents name; nothing where its parts are empty."""
    body = "".join(parts)
    if not body:
        return ""
    return (
        f'<section id="{key}" aria-labelledby="{key}-title">'
        f'<h2 id="{key}-title" dir="auto">{text(title)}</h2>{body}</section>\n'
    )


def heading(title: str) -> str:
    """The heading of a part of a section."""
    return f"<h3>{text(title)}</h3>"


def paragraph(words: str, kind: str = "") -> str:
    """Some plain text."""
    marked = f' class="{kind}"' if kind else ""
    return f"<p{marked}>{text(words)}</p>"


def figure(title: str, says: str, drawn: str, *, keys: str = "", numbers: str = "") -> str:
    """A chart under its title, with what it says, its legend, and the numbers behind it.

    Args:
        title: plain text.
        says: what is to be seen in it.
        drawn: the SVG.
        keys: its legend, HTML.
        numbers: a table, HTML.
    """
    behind = (
        f'<details><summary>Numbers<span class="unseen"> of: {text(title)}</span></summary>'
        f"{numbers}</details>"
        if numbers
        else ""
    )
    legend = f'<p class="keys">{keys}</p>' if keys else ""
    return (
        f"<figure><figcaption><b>{text(title)}</b> {text(says)}</figcaption>{legend}{drawn}{behind}"
        "</figure>\n"
    )


def figures(drawn: Iterable[str]) -> str:
    """Charts side by side, as far as the screen allows."""
    body = "".join(drawn)
    return f'<div class="charts">{body}</div>' if body else ""


def key(kind: str, words: str) -> str:
    """An entry of a legend: a swatch of the class `kind`, and what it stands for."""
    swatch = f'<svg class="swatch" aria-hidden="true">{_SWATCHES.get(kind.split()[0], "")}</svg>'
    drawn = swatch.replace("KIND", text(kind.partition(" ")[2]))
    return f'<span class="entry">{drawn}<bdi>{text(words)}</bdi></span> '


_SWATCHES = {
    "line": '<line class="curve KIND" x1="0" x2="22" y1="7" y2="7"/>',
    "dots": '<line class="curve KIND" x1="0" x2="22" y1="7" y2="7"/>'
    '<circle class="dot KIND" cx="11" cy="7" r="3.5"/>',
    "box": '<rect class="KIND" x="5" y="1" width="12" height="12"/>',
    "dot": '<circle class="KIND" cx="11" cy="7" r="4.5"/>',
    "dashes": '<line class="KIND" x1="0" x2="22" y1="7" y2="7"/>',
}


_Row = tuple[str, str, float | None, Sequence[float] | None, list[str]]


class Sliced:
    """A table of accuracies by part, each with a dot on one scale for all."""

    def __init__(self, caption: str, name: str, mark: float | None, mark_name: str) -> None:
        self._caption = caption
        self._name = name
        self._mark = mark
        self._mark_name = mark_name
        self._rows: list[_Row] = []

    def add(
        self,
        name: str,
        of: str,
        value: float | None,
        ends: Sequence[float] | None,
        cells: Sequence[object] = (),
    ) -> None:
        """A part: its name, of how many, its accuracy, interval, and further cells."""
        self._rows.append((name, of, value, ends, [str(cell) for cell in cells]))

    def html(self, columns: Sequence[str] = ()) -> str:
        """The table; nothing without rows.

        Args:
            columns: names of the further cells.
        """
        if not self._rows:
            return ""
        lows = [min([*(ends or ()), value or 0.0]) for _, _, value, ends, _ in self._rows]
        low = math.floor(10 * min([*lows, 0.5 if self._mark is None else self._mark, 0.5])) / 10
        line = f"; line: {self._mark_name}" if self._mark is not None else ""
        further = "".join(f'<th scope="col">{text(name)}</th>' for name in columns)
        head = (
            f'<th scope="col" class="name">{text(self._name)}</th><th scope="col">accuracy</th>'
            f'<th scope="col" class="plot">{scale(low, 1)}</th>{further}'
        )
        body = "".join(self._row(row, low) for row in self._rows)
        return (
            f'<table class="sliced"><caption>{text(self._caption + line)}</caption>'
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        )

    def _row(self, row: _Row, low: float) -> str:
        name, of, value, ends, cells = row
        between = f"<small>{span(ends)}</small>" if ends is not None else ""
        further = "".join(f"<td>{text(cell)}</td>" for cell in cells)
        of = f"<small>{text(of)}</small>" if of else ""
        return (
            f'<tr><th scope="row" class="name" dir="auto">{text(name)}{of}</th>'
            f"<td>{share(value)}{between}</td>"
            f'<td class="plot">{dot_in_cell(value, ends, low, 1.0, self._mark)}</td>{further}</tr>'
        )


def scale(low: float, high: float) -> str:
    """The head of a column of dots: its ends, which are read out together."""
    ends = [f"{end:g}".replace("-", "−") for end in (low, high)]
    return (
        f'<span class="ends" aria-hidden="true"><span>{ends[0]}</span><span>{ends[1]}</span></span>'
        f'<span class="unseen">chart from {ends[0]} to {ends[1]}</span>'
    )


def share(value: float | None) -> str:
    """A share between 0 and 1."""
    return "–" if value is None else f"{value:.3f}"


def span(ends: Sequence[float | None] | None, digits: int = 3) -> str:
    """An interval; an end that is missing has no bound."""
    if ends is None:
        return "–"
    low, high = ("no bound" if end is None else signed(end, digits) for end in ends)
    return f"{low} to {high}"


def signed(value: float | None, digits: int = 3) -> str:
    """A number with so many decimals and a minus sign, no plus."""
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def count(value: object) -> str:
    """A whole number with its thousands apart."""
    return f"{value:,}" if isinstance(value, int) else "–" if value is None else str(value)


def many(number: int, one: str) -> str:
    """`1 prompt`, `2 prompts`."""
    return f"{count(number)} {one}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """A time in the two largest units that matter."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.3g} s"
