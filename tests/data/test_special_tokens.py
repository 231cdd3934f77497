"""Special tokens written out in what a template is given besides messages."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assay.config import SpecialTokens
from assay.data.audit import audit
from assay.data.records import Group, Message, Response, Source
from assay.data.rendering import Renderer
from assay.data.sources import DataSource
from assay.data.templates import resolve_template
from assay.errors import DataError

END = "<|im_end|>"
TEMPLATE = (
    "{% if tools %}{{ tools | tojson }}{% endif %}"
    "{% if given is defined %}{{ given | tojson }}{% endif %}"
    "{% for message in messages %}{{ message.content }}{% endfor %}"
)

PLACES: dict[str, dict[str, Any]] = {
    "value of a tool": {"tools": ({"type": "function", "function": {"name": END}},)},
    "key of a tool": {"tools": ({"function": {"name": "f", "properties": {END: {"a": 1}}}},)},
    "value of an argument": {"template_kwargs": {"given": f"until {END}."}},
    "key of an argument": {"template_kwargs": {"given": {"deep": [{END: 1}]}}},
}


@pytest.fixture
def read(tiny_tokenizer: Any, tmp_path: Path) -> Callable[..., Renderer]:
    path = tmp_path / "all.jinja"
    path.write_text(TEMPLATE)

    def make(policy: SpecialTokens) -> Renderer:
        return Renderer(tiny_tokenizer, resolve_template(str(path), tiny_tokenizer), policy)

    return make


def group_of(place: str) -> Group:
    answer = Response((Message("assistant", "a"),))
    return Group("id", Source("f", 1), (Message("user", "q"),), (answer,), **PLACES[place])


@pytest.mark.parametrize("place", PLACES)
def test_they_are_plain_text_and_counted(
    place: str, read: Callable[[SpecialTokens], Renderer], tiny_tokenizer: Any
) -> None:
    end = tiny_tokenizer.convert_tokens_to_ids(END)
    as_text, special = (read(how).render(group_of(place), 0) for how in ("text", "special"))
    assert as_text.text == special.text
    assert END in as_text.text
    assert (special.ids.count(end), as_text.ids.count(end)) == (1, 0)
    assert tiny_tokenizer.decode(as_text.ids) == as_text.text
    assert as_text.specials_in_content == special.specials_in_content == 1
    with pytest.raises(DataError, match="is written out"):
        read("error").render(group_of(place), 0)


@pytest.mark.parametrize("place", PLACES)
def test_the_audit_counts_them(place: str, tiny_tokenizer: Any, tmp_path: Path) -> None:
    names = {"tools": "tools", "template_kwargs": "chat_template_kwargs"}
    more = {names[key]: value for key, value in PLACES[place].items()}
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": "q", "chosen": "a", "rejected": "b"} | more))
    report = audit([DataSource(str(path))], tokenizer=tiny_tokenizer, model="tiny").report
    assert report.special_tokens is not None
    assert report.special_tokens.tokens == {END: 1}
