"""What the benchmarks' command lines have in common, and the rows that many of them read."""

from __future__ import annotations

import argparse
from pathlib import Path

SHARED = Path(__file__).parents[2] / "shared" / "data"
HH = SHARED / "hh_harmless.jsonl"


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """A parser whose help is a script's own words, as they stand there."""
    return argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def is_missing(data: Path) -> bool:
    """Whether there are no rows to measure with, which is said and is no error."""
    if not data.exists():
        print(f"skipped: no rows at {data}; name a file of preference rows with --data")
    return not data.exists()
