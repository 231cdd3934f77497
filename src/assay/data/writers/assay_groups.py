"""Assay's own rows: a group with everything that is known of it."""

from __future__ import annotations

from assay.data.formats.assay_groups import VERSION, VERSION_FIELD
from assay.data.group_json import comparison_as_json, response_as_json
from assay.data.records import Comparison, Group
from assay.data.strict_json import JsonObject
from assay.data.writers.holding import as_dicts
from assay.data.writers.registry import register_group_writer


@register_group_writer("assay")
def write_group(group: Group) -> JsonObject:
    """The whole group; parts that it does not have are left out."""
    row: JsonObject = {
        VERSION_FIELD: VERSION,
        "id": group.id,
        "source": str(group.source),
        "prompt": as_dicts(group.prompt),
        "responses": [response_as_json(response) for response in group.responses],
        "comparisons": [_comparison(comparison) for comparison in group.comparisons],
    }
    further: JsonObject = {
        "tools": None if group.tools is None else list(group.tools),
        "chat_template_kwargs": group.template_kwargs or None,
        "rankings": [list(map(list, ranking)) for ranking in group.rankings] or None,
        "weight": None if group.weight == 1 else group.weight,
        "extra": group.extra or None,
    }
    return row | {key: value for key, value in further.items() if value is not None}


def _comparison(comparison: Comparison) -> JsonObject:
    row = comparison_as_json(comparison)
    if comparison.row is not None:
        row["row"] = str(comparison.row)
    return row
