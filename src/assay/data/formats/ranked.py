"""Several answers with a rank each: Nectar (1 is the best) and NeMo-RL (0 is the best)."""

from __future__ import annotations

from dataclasses import replace

from assay.data.formats.beside import group_of_row
from assay.data.formats.building import Messages, answer, by_rank, text_answer
from assay.data.formats.fields import as_objects, number, optional_number, require, tags_of, text
from assay.data.formats.hh import read_prompt
from assay.data.formats.messages import assistant, read_turns, user
from assay.data.formats.registry import FormatOptions, register_format
from assay.data.records import Group, Response, Source
from assay.data.strict_json import JsonObject
from assay.errors import DataError


def _detects(row: JsonObject, field: str) -> bool:
    items = row.get(field)
    return isinstance(items, list) and any(
        isinstance(item, dict) and "rank" in item for item in items
    )


@register_format(
    "nectar",
    fields="prompt, answers (each with answer and rank, 1 the best)",
    rank=50,
    detects=lambda row: _detects(row, "answers"),
)
def read_nectar(row: JsonObject, source: Source, options: FormatOptions) -> Group:
    """One row: a ranking of its answers, and all comparisons of it."""
    answers = _several(row, "answers")
    responses = tuple(
        replace(
            text_answer(item, "answer", within=field),
            tags=tags_of(item, "model"),
        )
        for field, item in answers.items()
    )
    prompt = read_prompt(text(row, "prompt"), "prompt")
    return _ranked(row, source, prompt, responses, answers, ("prompt", "answers"))


@register_format(
    "nemo_rl",
    fields="context, completions (each with completion and rank, 0 the best)",
    rank=100,
    detects=lambda row: _detects(row, "completions"),
)
def read_nemo_rl(row: JsonObject, source: Source, options: FormatOptions) -> Group:
    """One row: a ranking of its completions, and all comparisons of it."""
    completions = _several(row, "completions")
    prompt = read_turns(require(row, "context"), "context", user)
    responses = tuple(_completion(item, field) for field, item in completions.items())
    return _ranked(row, source, prompt, responses, completions, ("context", "completions"))


def _completion(item: JsonObject, field: str) -> Response:
    name = f"{field}.completion"
    response = answer(read_turns(require(item, "completion", within=field), name, assistant), name)
    reward = optional_number(item, "reward", within=field)
    return replace(response, ratings={} if reward is None else {"reward": reward})


def _several(row: JsonObject, field: str) -> dict[str, JsonObject]:
    """The answers of a row, by how messages call them."""
    items = as_objects(require(row, field), field)
    if len(items) < 2:
        raise DataError(f"'{field}' holds fewer than two answers", mend="write two or more")
    return {f"{field}[{index}]": item for index, item in enumerate(items)}


def _ranked(
    row: JsonObject,
    source: Source,
    prompt: Messages,
    responses: tuple[Response, ...],
    items: dict[str, JsonObject],
    used: tuple[str, ...],
) -> Group:
    ranks = [number(item, "rank", within=field) for field, item in items.items()]
    ranking, comparisons = by_rank(ranks)
    return group_of_row(
        row,
        source,
        prompt,
        responses,
        *comparisons,
        used=used,
        rankings=(ranking,),
    )
