"""The command line: parse, call, print. Heavy imports happen inside the command that needs them."""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line; Ctrl-C ends it in one line also while its commands are imported."""
    try:
        from assay.cli.entry import main as run

        run()
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        sys.exit(130)
