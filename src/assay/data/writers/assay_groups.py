"""Assay's own rows: a group with everything that is known of it."""

from __future__ import annotations

from assay.data.formats.assay_groups import VERSION, VERSION_FIELD
from assay.data.group_json import group_as_json
from assay.data.records import Group
from assay.data.strict_json import JsonObject
from assay.data.writers.registry import register_group_writer


@register_group_writer("assay")
def write_group(group: Group) -> JsonObject:
    """The whole group; parts that it does not have are left out."""
    return {VERSION_FIELD: VERSION, **group_as_json(group)}
