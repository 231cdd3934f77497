"""Things worth saying once: notes and warnings for the person at the terminal."""

from __future__ import annotations

import logging
import sys

logger = logging.getLogger("assay")


def notice(text: str) -> None:
    """Say something that the user should know; nothing is wrong."""
    logger.info(text)


def warn(text: str) -> None:
    """Say something that the user should probably mend."""
    logger.warning(text)


def counted(number: int, one: str) -> str:
    """`1 row`, `2 rows`, `4,096 rows`."""
    return f"{number:,} {one}{'' if number == 1 else 's'}"


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        kind = "warning" if record.levelno >= logging.WARNING else "note"
        return f"{kind}: {' '.join(record.getMessage().split())}"


def show_on_stderr() -> None:
    """Print notes and warnings as plain lines; for the command line, once."""
    # Where DeepSpeed is installed, saving a model imports it, and it remarks on that on stdout.
    logging.getLogger("DeepSpeed").addFilter(_is_error)
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_Plain())
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
