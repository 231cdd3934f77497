"""A page as a whole, and its tables."""

from __future__ import annotations

from collections.abc import Iterable

from assay.pages.escaping import text
from assay.pages.style import STYLE


def document(title: str, body: str, *, style: str = "", generator: str | None = None) -> str:
    """A page that fetches nothing.

    Args:
        title: plain text.
        body: HTML.
        style: rules that come after those that all pages share.
        generator: what made it, for programs.
    """
    made = f'<meta name="generator" content="{text(generator)}">\n' if generator else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'{made}<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n"
        f"{body}\n</body>\n</html>\n"
    )


def table(
    columns: Iterable[str],
    rows: Iterable[Iterable[object]],
    caption: str = "",
    *,
    left: int = 1,
) -> str:
    """A table of plain texts; the first column names the rows.

    Where it is wider than the screen it scrolls within itself, with the keyboard, too.

    Args:
        columns: their names.
        rows: as many cells each.
        caption: what it is a table of.
        left: so many columns are text, aligned at their beginning; the others are numbers.
    """
    head = "".join(
        f'<th scope="col"{_left(place, left)}>{text(name)}</th>'
        for place, name in enumerate(columns)
    )
    body = "".join(f"<tr>{_row(row, left)}</tr>" for row in rows)
    told = f"<caption><span>{text(caption)}</span></caption>" if caption else ""
    made = f"<table>{told}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    name = text(caption or "table")
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{name}">{made}</div>'


def _row(cells: Iterable[object], left: int) -> str:
    return "".join(
        f'<th scope="row" dir="auto"{_left(place, left)}>{text(cell)}</th>'
        if place == 0
        else f"<td{_left(place, left)}>{text(cell)}</td>"
        for place, cell in enumerate(cells)
    )


def _left(place: int, left: int) -> str:
    return ' class="left"' if place < left else ""
