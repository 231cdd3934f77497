"""CValues-Comparison: one question, a better and a worse response, and the type of each."""

from __future__ import annotations

from assay.data.records import Comparison, Group
from assay.data.strict_json import JsonObject
from assay.data.writers.holding import refuses_answers, refuses_arguments, refuses_messages, text_of
from assay.data.writers.registry import Detail, LeftOut, answers, register_writer

_TYPES = ("pos_type", "neg_type")


def _refuses(group: Group, comparison: Comparison) -> LeftOut | None:
    refused = refuses_arguments(group) or _refuses_prompt(group)
    refused = refused or refuses_answers(group, comparison)
    if refused is not None:
        return refused
    better, worse = answers(group, comparison)
    # Readers strip these texts, so a difference in outer white space alone would be gone.
    if text_of(better) != text_of(worse) and text_of(better).strip() == text_of(worse).strip():
        return LeftOut.IDENTICAL
    return LeftOut.BLANK if not group.prompt[0].content.strip() else None


def _refuses_prompt(group: Group) -> LeftOut | None:
    if any(message.role in ("system", "developer") for message in group.prompt):
        return LeftOut.SYSTEM
    if len(group.prompt) > 1:
        return LeftOut.TURNS
    return refuses_messages(group.prompt, ("user",))


def _also_loses(group: Group, comparison: Comparison) -> list[Detail]:
    lost = [Detail.TAGS] if _kept_tags(comparison) != comparison.tags else []
    texts = [group.prompt[0].content, *map(text_of, answers(group, comparison))]
    return [*lost, Detail.SPACE] if any(text != text.strip() for text in texts) else lost


def _kept_tags(comparison: Comparison) -> dict[str, str]:
    tags = comparison.tags
    return {key: tags[key] for key in _TYPES if key in tags and tags[key] == tags[key].strip()}


@register_writer("cvalues", keeps=(Detail.TAGS,), refuses=_refuses, also_loses=_also_loses)
def write_cvalues(group: Group, comparison: Comparison) -> JsonObject:
    """One row; the tags `pos_type` and `neg_type` are the schema's own and are kept."""
    better, worse = answers(group, comparison)
    return {
        "prompt": group.prompt[0].content,
        "pos_resp": text_of(better),
        "neg_resp": text_of(worse),
        **_kept_tags(comparison),
    }
