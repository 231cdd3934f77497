"""How wide tables are printed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def console(columns: int) -> Console:
    """As wide as the terminal or `COLUMNS`; into a file or a pipe, so many columns."""
    from rich.console import Console

    known = Console()
    if known.is_terminal or os.environ.get("COLUMNS", "").isdigit():
        return known
    return Console(width=columns)
