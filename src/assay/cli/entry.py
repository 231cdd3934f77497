"""The way in and the way out: each mistake of a user is a line on stderr, and exit code 2."""

from __future__ import annotations

import io
import os
import re
import sys
from typing import NoReturn

import typer
from typer.exceptions import TyperException

import assay.cli.commands  # noqa: F401  (registers them)
from assay.cli.app import app
from assay.cli.flag_names import by_flags
from assay.errors import AssayError
from assay.notices import show_on_stderr
from assay.process import settle

_PYDANTICS = re.compile(r"\A(Invalid value[^:]*: )(?:Value error, |Input )")
"""How what pydantic says of a flag's value begins, after typer's own words."""


def main() -> NoReturn:
    """Run the command line; each mistake of a user is a line on stderr, and exit code 2."""
    show_on_stderr()
    settle()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # A terminal without Chinese shows codes.
    try:
        code = app(standalone_mode=False, prog_name="assay")
        sys.stdout.flush()
        sys.exit(code)
    except AssayError as error:
        _fail(error.exit_code, *by_flags(str(error), sys.argv[1:]).splitlines())
    except TyperException as error:
        command = getattr(getattr(error, "ctx", None), "command_path", "assay")
        said = _PYDANTICS.sub(r"\1", error.format_message()).rstrip(".")
        _fail(2, f"{said}; see {command} --help")
    except (KeyboardInterrupt, typer.Abort):
        _fail(130, "interrupted")
    except BrokenPipeError:
        _give_up_stdout()
        sys.exit(141)
    except OSError as error:
        # What the system refuses where no command foresaw it is still the user's to mend.
        place = error.filename or "stdout or a file that was being written"
        what = f"the operating system refuses: {error.strerror or error}"
        mend = "check the path, its permissions and the free space"
        _fail(2, f"{place}: {what}; {mend}")


def _fail(code: int, *mistakes: str) -> NoReturn:
    try:
        sys.stdout.flush()
    except OSError:
        _give_up_stdout()
    for mistake in mistakes:
        print(f"error: {' '.join(mistake.split())}", file=sys.stderr)
    sys.exit(code)


def _give_up_stdout() -> None:
    """Nobody reads it, or it is full: Python must not try again when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
