"""Rows: from the bytes of a source to rows with their places."""

from __future__ import annotations

from assay.data.rows.json_lines import read_line
from assay.data.rows.reading import read_rows, unread_rows
from assay.data.rows.row import BadRow, Line, Row, UnreadRow, bad_row

__all__ = [
    "BadRow",
    "Line",
    "Row",
    "UnreadRow",
    "bad_row",
    "read_line",
    "read_rows",
    "unread_rows",
]
