"""Which run and which of its steps a request belongs to, as its client says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from assay.client.settings import LONGEST_RUN
from assay.serve.refusals import Refusal

RUN_HEADER, STEP_HEADER = "X-Assay-Run", "X-Assay-Step"
UNNAMED = "default"
"""The run of requests that name a step and no run."""
_MOST_DIGITS = 15
"""Of a step: JSON readers hold such numbers exactly."""


@dataclass(frozen=True, slots=True)
class Tag:
    """A run of reinforcement learning by its name, and one of its steps; None where unsaid."""

    run: str
    step: int | None = None


def tag_of(
    headers: Mapping[str, str], run: str | None = None, step: int | None = None
) -> Tag | None:
    """The tag of a request, or None where it has none.

    Args:
        headers: of the request.
        run: as its body says; it goes before the header.
        step: the same.

    Raises:
        Refusal: a tag that cannot be (422).
    """
    run_field, step_field = "run", "step"
    if run is None and RUN_HEADER in headers:
        run, run_field = _decoded(headers[RUN_HEADER]), RUN_HEADER
    if step is None and STEP_HEADER in headers:
        step, step_field = _whole(headers[STEP_HEADER]), STEP_HEADER
    if step is not None and not 0 <= step < 10**_MOST_DIGITS:
        raise Refusal(422, "is no step", param=step_field, mend="send a number from 0 on")
    if run is None:
        return None if step is None else Tag(UNNAMED, step)
    if not 0 < len(run) <= LONGEST_RUN or not run.isprintable() or run.isspace():
        raise Refusal(
            422,
            "is no name of a run",
            param=run_field,
            mend=f"send 1 to {LONGEST_RUN} characters that can be printed",
        )
    return Tag(run, step)


def _decoded(header: str) -> str:
    """Headers arrive as Latin-1; what is UTF-8 in truth is read as such."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return header


def _whole(header: str) -> int:
    digits = header.strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS):
        raise Refusal(422, "is no whole number", param=STEP_HEADER, mend="send a number from 0 on")
    return int(digits)
