"""How every text of the model's own template begins: one that begins otherwise is not in it."""

from __future__ import annotations

from collections.abc import Iterator

from assay.data.formats.building import row_group
from assay.data.records import Group, Message, Source
from assay.data.rendering import Renderer
from assay.data.strict_json import JsonObject
from assay.errors import AssayError

_SOURCE = Source("probe", 1)
# Characters without a meaning, which no template writes by itself.
_ONE, _OTHER = "\ue000", "\ue001"
_TOOL: JsonObject = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "Looks.",
        "parameters": {"type": "object", "properties": {}},
    },
}


def own_beginning(renderer: Renderer) -> str:
    """What all texts of a renderer's template begin with, whatever is said in them.

    Found by rendering prompts that have nothing in common; empty where their texts have nothing in
    common either, so that nothing can be told by it.
    """
    texts = list(_rendered(renderer))
    if len(texts) < 2:
        return ""
    # What the first and the last in order share, all between them share.
    first, last = min(texts), max(texts)
    pairs = zip(first, last, strict=False)
    return first[: next((at for at, (a, b) in enumerate(pairs) if a != b), len(first))]


def begins_as(text: str, beginning: str, mark: str | None) -> bool:
    """Whether a text has this beginning, begin tokens aside, which a tokenizer may add.

    Args:
        text: as it came.
        beginning: what `own_beginning` found.
        mark: the begin token, where there is one.
    """
    return _without(text, mark).startswith(_without(beginning, mark))


def _rendered(renderer: Renderer) -> Iterator[str]:
    for group in _probes():
        try:
            yield renderer.prompt_text(group)
        except AssayError:  # It takes no system message, or no tools.
            continue


def _probes() -> Iterator[Group]:
    for first in (_ONE, _OTHER):
        yield row_group(_SOURCE, (Message("user", first),), ())
    system = (Message("system", _ONE), Message("user", _OTHER))
    yield row_group(_SOURCE, system, ())
    yield row_group(_SOURCE, (Message("user", _ONE),), (), tools=(_TOOL,))


def _without(text: str, mark: str | None) -> str:
    while mark and text.startswith(mark):
        text = text[len(mark) :]
    return text
