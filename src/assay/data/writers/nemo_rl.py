"""NeMo-RL: the context and two ranked completions; its trainers take neither more nor ties."""

from __future__ import annotations

from assay.data.records import Comparison, Group
from assay.data.strict_json import JsonObject
from assay.data.writers.holding import (
    as_dicts,
    refuses_answers,
    refuses_arguments,
    refuses_messages,
)
from assay.data.writers.registry import LeftOut, answers, register_writer

_ROLES = ("system", "user", "assistant")


def _refuses(group: Group, comparison: Comparison) -> LeftOut | None:
    return (
        refuses_arguments(group)
        or refuses_messages(group.prompt, _ROLES)
        or refuses_answers(group, comparison)
    )


@register_writer(
    "nemo_rl",
    refuses=_refuses,
)
def write_nemo_rl(group: Group, comparison: Comparison) -> JsonObject:
    """One row with two completions."""
    return {
        "context": as_dicts(group.prompt),
        "completions": [
            {"rank": rank, "completion": as_dicts(response.messages)}
            for rank, response in enumerate(answers(group, comparison))
        ],
    }
