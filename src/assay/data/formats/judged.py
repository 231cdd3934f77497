"""Test sets of judges: LLMBar, PandaLM, Auto-J and JudgeBench. Two responses and a verdict."""

from __future__ import annotations

from collections import Counter

from assay.data.cells import literal
from assay.data.formats.beside import text_pair
from assay.data.formats.fields import as_text, choice, text
from assay.data.formats.messages import user
from assay.data.formats.registry import FormatOptions, register_format
from assay.data.records import Comparison, Group, Outcome, Source
from assay.data.strict_json import JsonObject
from assay.errors import DataError

_ANNOTATORS = ("annotator1", "annotator2", "annotator3")
_ANNOTATED: dict[int | str, Outcome] = {0: "tie", 1: "a", 2: "b"}
_LLMBAR: dict[int | str, Outcome] = {1: "a", 2: "b"}
_AUTO_J: dict[int | str, Outcome] = {0: "a", 1: "b", 2: "tie"}
_JUDGE_BENCH: dict[int | str, Outcome] = {"A>B": "a", "B>A": "b", "A=B": "tie"}


@register_format(
    "pandalm",
    fields="instruction, input, response1, response2, annotator1, annotator2, annotator3",
    rank=42,
    detects=lambda row: "response1" in row and any(name in row for name in _ANNOTATORS),
    two_way=True,
)
def read_pandalm(row: JsonObject, source: Source, options: FormatOptions) -> Group:
    """One row; what most annotators say holds, and where they are split it is a tie."""
    asked = (text(row, "instruction"), as_text(row.get("input") or "", "input"))
    prompt = (user("\n".join(part for part in asked if part)),)
    named = [name for name in _ANNOTATORS if literal(row.get(name)) is not None]
    if not named:
        raise DataError("no annotator says anything", mend="fill in annotator1")
    return text_pair(
        row,
        source,
        prompt,
        ("response1", "response2"),
        Comparison(0, 1, _majority([choice(row, name, _ANNOTATED) for name in named])),
        used=("instruction", "input"),
    )


def _majority(outcomes: list[Outcome]) -> Outcome:
    (first, count), *others = Counter(outcomes).most_common()
    return "tie" if others and others[0][1] == count else first


@register_format(
    "auto_j",
    fields="prompt, response 1, response 2, label (0 or 1 is the better one, 2 a tie)",
    rank=44,
    detects=lambda row: "response 1" in row,
    two_way=True,
)
def read_auto_j(row: JsonObject, source: Source, options: FormatOptions) -> Group:
    """One row."""
    return text_pair(
        row,
        source,
        (user(text(row, "prompt")),),
        ("response 1", "response 2"),
        Comparison(0, 1, choice(row, "label", _AUTO_J)),
        used=("prompt", "label"),
        tags=("scenario",),
    )


@register_format(
    "judge_bench",
    fields="question, response_A, response_B, label (A>B, B>A)",
    rank=46,
    detects=lambda row: "response_A" in row,
    two_way=True,
)
def read_judge_bench(row: JsonObject, source: Source, options: FormatOptions) -> Group:
    """One row."""
    return text_pair(
        row,
        source,
        (user(text(row, "question")),),
        ("response_A", "response_B"),
        Comparison(0, 1, choice(row, "label", _JUDGE_BENCH)),
        used=("question", "label"),
        tags=("source",),
    )


@register_format(
    "llmbar",
    fields="input, output_1, output_2, label (1 or 2)",
    rank=48,
    detects=lambda row: "output_1" in row,
    two_way=True,
)
def read_llmbar(row: JsonObject, source: Source, options: FormatOptions) -> Group:
    """One row."""
    return text_pair(
        row,
        source,
        (user(text(row, "input")),),
        ("output_1", "output_2"),
        Comparison(0, 1, choice(row, "label", _LLMBAR)),
        used=("input", "label"),
    )
