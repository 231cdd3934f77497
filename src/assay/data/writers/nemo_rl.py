"""NeMo-RL: the context and two ranked completions; its trainers take neither more nor ties."""

from __future__ import annotations

from assay.data.records import Comparison, Group
from assay.data.strict_json import JsonObject
from assay.data.writers.holding import as_dicts, refuses_pair
from assay.data.writers.registry import LeftOut, answers, register_writer


def _refuses(group: Group, comparison: Comparison) -> LeftOut | None:
    return refuses_pair(group, comparison, ("system", "user", "assistant"))


@register_writer("nemo_rl", refuses=_refuses)
def write_nemo_rl(group: Group, comparison: Comparison) -> JsonObject:
    """One row with two completions."""
    return {
        "context": as_dicts(group.prompt),
        "completions": [
            {"rank": rank, "completion": as_dicts(response.messages)}
            for rank, response in enumerate(answers(group, comparison))
        ],
    }
