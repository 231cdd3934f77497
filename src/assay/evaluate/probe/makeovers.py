"""The same words in another form."""

from __future__ import annotations

import re

from assay.evaluate.probe.transforms import Case, Transform, register_transform

_FENCE = "```"
_MARKED = re.compile(r"^[ \t]*(?:[-*•·#>|]|\(?\d{1,3}[.)、．])", re.MULTILINE)
"""Lines that have a form already: list items, headings, quotations, tables."""
_SENTENCE_END = re.compile(
    r"(?<=[.!?])\s+|(?<=[。！？；])(?![。！？；”’」』）])\s*|(?<=[。！？][”’」』）])\s*|\n+"
)


def _bullets(case: Case) -> str | None:
    if _FENCE in case.answer or _MARKED.search(case.answer):
        return None
    parts = [part.strip() for part in _SENTENCE_END.split(case.answer)]
    sentences = [part for part in parts if part]
    return "\n".join(f"- {sentence}" for sentence in sentences) if len(sentences) > 1 else None


def _fences(case: Case) -> str | None:
    return None if _FENCE in case.answer else f"{_FENCE}\n{case.answer}\n{_FENCE}"


def _whitespace(case: Case) -> str:
    return f"{case.answer}  \n\n\n "


for _transform in (
    Transform(
        "bullets",
        "none",
        "each sentence a bullet point",
        _bullets,
        "one sentence, or a list, heading, table or code in it",
    ),
    Transform("markdown-fences", "not_up", "all of it fenced as code", _fences, "fences in it"),
    Transform("trailing-whitespace", "none", "blanks and empty lines behind it", _whitespace),
):
    register_transform(_transform)
