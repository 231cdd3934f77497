"""Benchmarks of reward models: RewardBench 1 and 2, RM-Bench, RMB."""

from __future__ import annotations

from dataclasses import replace

from assay.data.formats.answers import ANSWERS, chosen_and_rejected
from assay.data.formats.beside import group_of_row
from assay.data.formats.building import Messages, answer, text_answer
from assay.data.formats.fields import as_objects, as_text, remaining, require, tags_of, wrong_type
from assay.data.formats.messages import assistant, read_message, read_turns, user
from assay.data.formats.registry import FormatOptions, register_format
from assay.data.records import Comparison, Group, Response, Source
from assay.data.strict_json import JsonObject
from assay.errors import DataError

_MODELS = ("chosen_model", "rejected_model")


def _lists_of_texts(row: JsonObject) -> bool:
    values = [row.get(field) for field in ANSWERS]
    return all(
        isinstance(value, list) and bool(value) and isinstance(value[0], str) for value in values
    )


@register_format(
    "rmb_pairs",
    fields="pair_uid, conversation_input, chosen (with answer), reject (with answer)",
    rank=120,
    detects=lambda row: "pair_uid" in row and "conversation_input" in row,
)
def read_rmb_pairs(row: JsonObject, source: Source, options: FormatOptions) -> Group:
    """One row."""
    responses = tuple(_rmb(require(row, field), field) for field in ("chosen", "reject"))
    return group_of_row(
        row,
        source,
        _conversation(row),
        responses,
        Comparison(0, 1, "a"),
        used=("conversation_input", "chosen", "reject"),
        tags=("category_path",),
    )


@register_format(
    "rmb_bon",
    fields="bon_uid, conversation_input, bon_best (with answer), loser_list (each with answer)",
    rank=122,
    detects=lambda row: "bon_uid" in row and "conversation_input" in row,
)
def read_rmb_bon(row: JsonObject, source: Source, options: FormatOptions) -> Group:
    """One row; the best answer beats each of the others, which are not compared."""
    losers = as_objects(require(row, "loser_list"), "loser_list")
    if not losers:
        raise DataError("'loser_list' is empty", mend="leave out rows without losers")
    return group_of_row(
        row,
        source,
        _conversation(row),
        (
            _rmb(require(row, "bon_best"), "bon_best"),
            *(_rmb(loser, f"loser_list[{index}]") for index, loser in enumerate(losers)),
        ),
        *(Comparison(0, place, "a") for place in range(1, len(losers) + 1)),
        used=("conversation_input", "bon_best", "loser_list"),
        tags=("category_path",),
    )


def _conversation(row: JsonObject) -> Messages:
    """Turns as messages; the language that each names is no part of the text."""
    turns = as_objects(require(row, "conversation_input"), "conversation_input")
    return tuple(
        read_message(remaining(turn, ("language",)), f"conversation_input[{index}]")
        for index, turn in enumerate(turns)
    )


def _rmb(value: object, field: str) -> Response:
    if not isinstance(value, dict):
        raise wrong_type(field, value, "an object with 'answer'")
    model = tags_of(value, "llm_name")
    return replace(
        text_answer(value, "answer", within=field),
        tags={"model": model["llm_name"]} if model else {},
    )


@register_format(
    "rewardbench2",
    fields="prompt, chosen (several texts), rejected (several texts), num_correct",
    rank=160,
    detects=lambda row: "num_correct" in row and _lists_of_texts(row),
)
def read_rewardbench2(row: JsonObject, source: Source, options: FormatOptions) -> Group:
    """One row; every chosen answer beats every rejected one."""
    return _chosen_against_rejected(row, source, tags=("subset",))


@register_format(
    "rm_bench",
    fields="prompt, chosen (texts by style), rejected (texts by style)",
    rank=162,
    detects=_lists_of_texts,
)
def read_rm_bench(row: JsonObject, source: Source, options: FormatOptions) -> Group:
    """One row: three chosen against three rejected answers, tagged by the places of their styles.

    Place 0 is concise, 1 detailed in plain text, 2 detailed in markdown.
    """
    return _chosen_against_rejected(row, source, by_style=True)


def _chosen_against_rejected(
    row: JsonObject, source: Source, *, tags: tuple[str, ...] = (), by_style: bool = False
) -> Group:
    chosen, rejected = (_texts(row, field) for field in ANSWERS)
    comparisons = [
        Comparison(
            better,
            len(chosen) + worse,
            "a",
            tags={"chosen_style": str(better), "rejected_style": str(worse)} if by_style else {},
        )
        for better in range(len(chosen))
        for worse in range(len(rejected))
    ]
    return group_of_row(
        row,
        source,
        read_turns(require(row, "prompt"), "prompt", user),
        (*chosen, *rejected),
        *comparisons,
        used=("prompt", *ANSWERS),
        tags=tags,
    )


def _texts(row: JsonObject, field: str) -> list[Response]:
    value = require(row, field)
    if not isinstance(value, list) or not value:
        raise wrong_type(field, value, "a list of texts, at least one")
    responses = []
    for index, content in enumerate(value):
        place = f"{field}[{index}]"
        responses.append(answer((assistant(as_text(content, place)),), place))
    return responses


@register_format(
    "rewardbench",
    fields="prompt or question, chosen, rejected, subset, optional chosen_model, rejected_model",
    rank=164,
    detects=lambda row: "chosen" in row and ("subset" in row or "question" in row),
)
def read_rewardbench(row: JsonObject, source: Source, options: FormatOptions) -> Group:
    """One row, the subset a tag; without a prompt, chosen and rejected are whole conversations.

    Many pairs in the wild are a question with a `system` beside it.
    """
    asked = "question" if "question" in row and "prompt" not in row else "prompt"
    given = row.get(asked)
    prompt, *responses = chosen_and_rejected(
        row, None if given is None else read_turns(given, asked, user)
    )
    models = tags_of(row, *_MODELS)
    return group_of_row(
        row,
        source,
        prompt,
        tuple(
            replace(response, tags={"model": models[name]} if name in models else {})
            for response, name in zip(responses, _MODELS, strict=True)
        ),
        Comparison(0, 1, "a"),
        used=(asked, *ANSWERS, *models),
        tags=("subset",),
    )
