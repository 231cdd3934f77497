"""OpenRLHF with `apply_chat_template` and no prompt key: two whole conversations."""

from __future__ import annotations

from assay.data.records import Comparison, Group
from assay.data.strict_json import JsonObject
from assay.data.writers.holding import (
    as_dicts,
    conversation,
    loses_seam,
    margin_of,
    refuses_arguments,
)
from assay.data.writers.registry import Detail, LeftOut, answers, register_writer


def _refuses(group: Group, comparison: Comparison) -> LeftOut | None:
    return refuses_arguments(group)


@register_writer("openrlhf", keeps=(Detail.MARGIN,), refuses=_refuses, also_loses=loses_seam)
def write_openrlhf(group: Group, comparison: Comparison) -> JsonObject:
    """One row; the trainer renders each conversation with the tokenizer's chat template."""
    better, worse = answers(group, comparison)
    return {
        "chosen": as_dicts(conversation(group, better)),
        "rejected": as_dicts(conversation(group, worse)),
        **margin_of(comparison),
    }
