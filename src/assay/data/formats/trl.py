"""TRL's rows: `chosen` and `rejected`, one rated completion, and two kinds that are refused."""

from __future__ import annotations

from dataclasses import replace

from assay.data.cells import literal
from assay.data.formats.answers import ANSWERS, chosen_and_rejected
from assay.data.formats.beside import chosen_over_rejected, group_of_row
from assay.data.formats.building import Messages, answer
from assay.data.formats.fields import require, wrong_type
from assay.data.formats.hh import read_prompt
from assay.data.formats.messages import assistant, read_turns
from assay.data.formats.registry import FormatOptions, register_format
from assay.data.records import Group, Source
from assay.data.strict_json import JsonObject
from assay.errors import DataError


@register_format(
    "trl",
    fields="prompt, chosen, rejected as text or messages; or chosen, rejected as whole "
    "conversations; optional margin, tools, chat_template_kwargs",
    rank=200,
    detects=lambda row: "chosen" in row or "rejected" in row,
)
def read_trl(row: JsonObject, source: Source, options: FormatOptions) -> Group:
    """One row. With a prompt, `chosen` and `rejected` may repeat it.

    So do OpenRLHF, Skywork and Tulu 3 write theirs; their `source` is a tag.
    """
    parts = chosen_and_rejected(row, prompt_of(row))
    return chosen_over_rejected(row, source, parts, used=("prompt", *ANSWERS), tags=("source",))


def prompt_of(row: JsonObject) -> Messages | None:
    """`prompt` as text, also of turns, or as messages; None where it is missing or null.

    Raises:
        DataError: it is something else.
    """
    prompt = row.get("prompt")
    return None if prompt is None else read_prompt(prompt, "prompt")


@register_format(
    "trl_unpaired",
    fields="prompt, completion, label (true or false)",
    rank=116,
    detects=lambda row: "completion" in row and "label" in row,
    labels=("label",),
    rated=True,
)
def read_trl_unpaired(row: JsonObject, source: Source, options: FormatOptions) -> Group:
    """One row: a response rated 1 or 0. A completion without a label is not rated."""
    response = answer(read_turns(require(row, "completion"), "completion", assistant), "completion")
    label = literal(row.get("label"))
    if label is not None and label not in (0, 1):
        raise wrong_type("label", label, "true or false")
    return group_of_row(
        row,
        source,
        read_prompt(require(row, "prompt"), "prompt"),
        (replace(response, ratings={} if label is None else {"label": float(bool(label))}),),
        used=("prompt", "completion", "label"),
    )


@register_format(
    "trl_stepwise",
    fields="prompt, completions, labels: refused",
    rank=112,
    detects=lambda row: "completions" in row and "labels" in row,
)
def read_stepwise(row: JsonObject, source: Source, options: FormatOptions) -> Group:
    """Steps with a label each train a process reward model, not a model of whole responses."""
    raise DataError(
        "'completions' and 'labels' rate the steps of one response, and Assay compares whole ones",
        mend="write rows with chosen and rejected, or with completion and label",
    )


@register_format(
    "trl_tokenized",
    fields="chosen_ids, rejected_ids: refused",
    rank=190,
    detects=lambda row: "chosen_ids" in row and "chosen" not in row,
)
def read_tokenized(row: JsonObject, source: Source, options: FormatOptions) -> Group:
    """Token ids are of some tokenizer that the file does not name."""
    raise DataError(
        "'chosen_ids' and 'rejected_ids' are token ids, and Assay renders and tokenises by itself",
        mend="give the rows that they were made of, with chosen and rejected as text or messages",
    )
