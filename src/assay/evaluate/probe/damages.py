"""Answers that are worse than the one they come from."""

from __future__ import annotations

from assay.data.audit.texts import words
from assay.evaluate.probe.transforms import Case, Transform, register_transform

_FEWEST_WORDS = 4
"""Below, half an answer may be a whole one."""


def _truncated(case: Case) -> str | None:
    answer = case.answer.strip()
    if len(words(answer)) < _FEWEST_WORDS:
        return None
    half = answer[: len(answer) // 2]
    blank = half.rfind(" ")
    # Between two words, where words stand apart.
    return (half[:blank] if blank > len(half) // 2 else half).rstrip()


for _transform in (
    Transform(
        "truncated",
        "down",
        "its first half alone",
        _truncated,
        f"fewer than {_FEWEST_WORDS} words",
    ),
    Transform("empty", "down", "no answer at all", lambda case: ""),
    Transform(
        "other-prompt",
        "down",
        "an answer of the data to another prompt",
        lambda case: case.elsewhere,
        "no answer to another prompt in its script",
    ),
    Transform(
        "other-language",
        "down",
        "an answer of the data in another script",
        lambda case: case.foreign,
        "no answer in another script",
    ),
):
    register_transform(_transform)
