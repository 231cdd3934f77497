"""Templates give the exact text that they promise, and the begin token once."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from assay.data.records import Group, Message, Response, Source
from assay.data.rendering import Renderer
from assay.data.template_classes import register_template
from assay.data.templates import (
    forget_template,
    own_system_text,
    registered_templates,
    resolve_template,
)
from assay.errors import TemplateError

QWEN2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""The chat template of Qwen2-7B-Instruct, as its tokenizer_config.json holds it."""


def conversation(*turns: str, system: str | None = None) -> Group:
    """Turns of user and assistant in alternation; the last one is the response."""
    messages = [
        Message("assistant" if number % 2 else "user", text) for number, text in enumerate(turns)
    ]
    if system is not None:
        messages.insert(0, Message("system", system))
    return Group(
        id="1",
        source=Source("rows.jsonl", 1),
        prompt=tuple(messages[:-1]),
        responses=(Response((messages[-1],)),),
    )


def text_of(tokenizer: Any, choice: str, group: Group, **options: Any) -> str:
    renderer = Renderer(tokenizer, resolve_template(choice, tokenizer, **options))
    return renderer.render(group, 0).text


@pytest.fixture(scope="session")
def llama_like() -> Any:
    """A byte-fallback BPE tokenizer that puts `<s>` before every text by itself."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁"]
    backend = Tokenizer(
        models.BPE(
            vocab={word: number for number, word in enumerate(words)},
            merges=[],
            unk_token="<unk>",
            byte_fallback=True,
        )
    )
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    backend.add_special_tokens(
        [AddedToken(word, normalized=False) for word in ("<unk>", "<s>", "</s>")]
    )
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


@pytest.mark.parametrize(
    ("group", "text"),
    [
        pytest.param(
            conversation("Hi", "Yes"),
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
            "<|im_start|>user\nHi<|im_end|>\n"
            "<|im_start|>assistant\nYes<|im_end|>\n",
            id="default-system",
        ),
        pytest.param(
            conversation("Hi", "Yes", system="Be brief."),
            "<|im_start|>system\nBe brief.<|im_end|>\n"
            "<|im_start|>user\nHi<|im_end|>\n"
            "<|im_start|>assistant\nYes<|im_end|>\n",
            id="own-system",
        ),
        pytest.param(
            conversation("Hi", "Yes", " why? ", "\n因为\n"),
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
            "<|im_start|>user\nHi<|im_end|>\n"
            "<|im_start|>assistant\nYes<|im_end|>\n"
            "<|im_start|>user\n why? <|im_end|>\n"
            "<|im_start|>assistant\n\n因为\n<|im_end|>\n",
            id="multi-turn-spaces-kept",
        ),
    ],
)
def test_chatml_golden_text(tiny_tokenizer: Any, group: Group, text: str) -> None:
    assert text_of(tiny_tokenizer, "chatml", group) == text


@pytest.mark.parametrize("system", [None, "", "Be brief.\n"])
@pytest.mark.parametrize("turns", [("Hi", "Yes"), ("a", "b", "c", " d\n")])
def test_chatml_is_qwen2s_own_template(
    tiny_tokenizer: Any, tmp_path: Path, turns: tuple[str, ...], system: str | None
) -> None:
    path = tmp_path / "qwen2.jinja"
    path.write_text(QWEN2, encoding="utf-8")
    group = conversation(*turns, system=system)
    assert text_of(tiny_tokenizer, "chatml", group) == text_of(tiny_tokenizer, str(path), group)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        (
            "cvalues-zh",
            "根据以下问题，写一个合适的回答。\n\n### 问题：\n怎么办？\n\n### 回答：\n先想一想。",
        ),
        ("homework", "BEGINNING OF CONVERSATION: USER: 怎么办？ ASSISTANT:先想一想。"),
    ],
)
@pytest.mark.parametrize(
    ("end", "closing"), [("auto", "<|im_end|>"), ("eos", "<|im_end|>"), ("none", "")]
)
def test_one_turn_golden_text(
    tiny_tokenizer: Any, name: str, body: str, end: str, closing: str
) -> None:
    group = conversation("怎么办？", "先想一想。")
    assert text_of(tiny_tokenizer, name, group, end=end) == body + closing


@pytest.mark.parametrize(
    ("name", "prompt"),
    [
        ("chatml", "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
         "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n"),
        ("cvalues-zh", "根据以下问题，写一个合适的回答。\n\n### 问题：\nQ\n\n### 回答：\n"),
        ("homework", "BEGINNING OF CONVERSATION: USER: Q ASSISTANT:"),
    ],
)  # fmt: skip
def test_the_prompt_alone_ends_where_an_answer_begins(
    tiny_tokenizer: Any, name: str, prompt: str
) -> None:
    renderer = Renderer(tiny_tokenizer, resolve_template(name, tiny_tokenizer, end="eos"))
    assert renderer.prompt_text(conversation("Q", "A")) == prompt


@pytest.mark.parametrize("name", ["cvalues-zh", "homework"])
@pytest.mark.parametrize(
    "group", [conversation("a", "b", "c", "d"), conversation("a", "b", system="s")]
)
def test_a_one_turn_template_refuses_what_it_would_lose(
    tiny_tokenizer: Any, name: str, group: Group
) -> None:
    with pytest.raises(TemplateError, match=r"^rows\.jsonl:1: .*one user message and one answer"):
        text_of(tiny_tokenizer, name, group)


# T8: the begin token stands once, whether the tokenizer adds it or the template writes it.
@pytest.mark.parametrize("name", ["chatml", "cvalues-zh", "homework"])
def test_registered_templates_give_one_begin_token_where_the_tokenizer_would(
    llama_like: Any, tiny_tokenizer: Any, name: str
) -> None:
    assert llama_like("a")["input_ids"][0] == 1  # the tokenizer does add it by itself
    renderer = Renderer(llama_like, resolve_template(name, llama_like))
    rendered = renderer.render(conversation("a", "b"), 0)
    assert rendered.ids[0] == 1
    assert rendered.ids.count(1) == 1
    assert rendered.text.startswith("<s>")
    without = Renderer(tiny_tokenizer, resolve_template(name, tiny_tokenizer))
    assert not without.template.jinja.startswith("{{ bos_token }}")


# T8: the template's own count stands: one that writes none gets none, one that writes it gets one.
@pytest.mark.parametrize(("begin", "count"), [("", 0), ("{{ bos_token }}", 1)])
@pytest.mark.parametrize("where", ["own", "file"])
def test_own_and_file_templates_decide_on_the_begin_token(
    llama_like: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    begin: str,
    count: int,
    where: str,
) -> None:
    jinja = begin + "{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}"
    if where == "own":
        monkeypatch.setattr(llama_like, "chat_template", jinja)
        choice = "auto"
    else:
        (tmp_path / "t.jinja").write_text(jinja, encoding="utf-8")
        choice = str(tmp_path / "t.jinja")
    renderer = Renderer(llama_like, resolve_template(choice, llama_like))
    assert renderer.render(conversation("a", "b"), 0).ids.count(1) == count


def test_the_resolved_jinja_alone_gives_the_text_in_transformers(llama_like: Any) -> None:
    template = resolve_template("homework", llama_like)
    text = llama_like.apply_chat_template(
        [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
        chat_template=template.jinja,
        tokenize=False,
    )
    assert text == "<s>BEGINNING OF CONVERSATION: USER: q ASSISTANT:a</s>"


def test_auto_is_the_tokenizers_own_template(tiny_tokenizer: Any) -> None:
    text = text_of(tiny_tokenizer, "auto", conversation("q", "a"))
    assert text == "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n"


def test_auto_takes_the_default_of_several_own_templates(
    tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = {"tool_use": "T", "default": "{{ messages[-1].content }}"}
    monkeypatch.setattr(tiny_tokenizer, "chat_template", both)
    assert text_of(tiny_tokenizer, "auto", conversation("q", "a")) == "a"


@pytest.mark.parametrize("own", [None, "", {"tool_use": "T"}])
def test_auto_without_a_chat_template_names_the_choices(
    tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch, own: Any
) -> None:
    monkeypatch.setattr(tiny_tokenizer, "chat_template", own)
    with pytest.raises(TemplateError, match=r"no chat template; .*chatml.*\.jinja"):
        resolve_template("auto", tiny_tokenizer)


@pytest.mark.parametrize(
    ("file", "eos", "none"),
    [
        pytest.param("A: {{ messages[1].content }}", "A: a<|im_end|>", "A: a", id="plain"),
        # Jinja itself drops one newline at the end of a file, and only that one.
        pytest.param("A: {{ messages[1].content }}\n", "A: a<|im_end|>", "A: a", id="newline"),
        pytest.param(
            "A: {{ messages[1].content }} \n\n", "A: a \n<|im_end|>", "A: a \n", id="space-kept"
        ),
        pytest.param(
            "{% for m in messages %}\n- {{ m.content }}\n{% endfor %}\n",
            "- q\n- a\n<|im_end|>",
            "- q\n- a\n",
            id="block-at-the-end",
        ),
    ],
)
def test_a_file_is_read_as_it_stands_and_closed_on_demand(
    tiny_tokenizer: Any, tmp_path: Path, file: str, eos: str, none: str
) -> None:
    path = tmp_path / "my.jinja"
    path.write_text(file, encoding="utf-8")
    group = conversation("q", "a")
    assert text_of(tiny_tokenizer, str(path), group, end="eos") == eos
    path.write_text(file, encoding="utf-8-sig")  # As some editors save it.
    assert text_of(tiny_tokenizer, str(path), group, end="none") == none
    assert text_of(tiny_tokenizer, str(path), group) == none


def write_nothing(path: Path) -> None: ...


def write_other_bytes(path: Path) -> None:
    path.write_bytes(b"\xff\xfe{{")


def make_directory(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    ("prepare", "what"),
    [
        (write_nothing, "no such template file; check the path"),
        (write_other_bytes, "cannot be read"),
        (make_directory, "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    tiny_tokenizer: Any, tmp_path: Path, prepare: Callable[[Path], None], what: str
) -> None:
    path = tmp_path / "my.jinja"
    prepare(path)
    with pytest.raises(TemplateError, match=what) as caught:
        resolve_template(str(path), tiny_tokenizer)
    assert caught.value.where == str(path)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("chatm", "chatml"),
        ("ChatML", "chatml"),
        ("cvalues", "cvalues-zh"),
        ("home-work", "homework"),
        ("Auto", "auto"),
    ],
)
def test_an_unknown_name_names_the_nearest(tiny_tokenizer: Any, wrong: str, right: str) -> None:
    with pytest.raises(TemplateError, match=f"'{wrong}'; did you mean '{right}'\\?"):
        resolve_template(wrong, tiny_tokenizer)


def test_a_name_like_no_other_lists_all(tiny_tokenizer: Any) -> None:
    with pytest.raises(TemplateError) as caught:
        resolve_template("xyzxyz", tiny_tokenizer)
    assert str(caught.value) == (
        f"unknown template 'xyzxyz'; known: auto, {', '.join(registered_templates())}, "
        "or a file ending in .jinja"
    )


def test_closing_without_an_end_token_is_an_error_with_its_mend(
    tiny_tokenizer: Any,
) -> None:
    endless = copy.deepcopy(tiny_tokenizer)
    endless.eos_token = None
    with pytest.raises(TemplateError, match=r"has none; set model\.template_end: none$"):
        resolve_template("homework", endless)
    assert resolve_template("homework", endless, end="none").name == "homework"


def test_the_hash_is_of_the_jinja_text_and_tells_ends_apart(tiny_tokenizer: Any) -> None:
    closed = resolve_template("homework", tiny_tokenizer)
    open_ = resolve_template("homework", tiny_tokenizer, end="none")
    assert closed.hash == hashlib.sha256(closed.jinja.encode()).hexdigest()[:16]
    assert closed.hash != open_.hash


def test_a_registered_template_is_found_by_its_name(
    tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from assay.data import templates

    monkeypatch.setattr(templates, "_REGISTRY", dict(templates._REGISTRY))
    register_template("mine", "{{ messages[1].content }}", end="eos")
    assert "mine" in registered_templates()
    assert text_of(tiny_tokenizer, "mine", conversation("q", "a")) == "a<|im_end|>"


DATE = "{% set day = strftime_now('%d %b %Y') %}\n  {% if day %}\n[{{ day }}] {% endif %}\n"
"""Spaces and newlines stand where Jinja's whitespace rules would see a changed beginning."""


# T12: the date is fixed in the template's own text, so that other programs read it, too.
def test_a_template_that_asks_for_the_date_carries_it(
    tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_tokenizer, "chat_template", DATE)
    template = resolve_template("auto", tiny_tokenizer)
    messages = [{"role": "user", "content": "q"}]
    # transformers alone, as a server of the saved model runs it.
    text = tiny_tokenizer.apply_chat_template(
        messages, chat_template=template.jinja, tokenize=False
    )
    assert text == "[26 Jul 2024] "
    today = tiny_tokenizer.apply_chat_template(messages, tokenize=False)
    assert len(text) == len(today)


def test_a_saved_template_with_its_date_resolves_to_itself(
    tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_tokenizer, "chat_template", DATE)
    template = resolve_template("auto", tiny_tokenizer)
    monkeypatch.setattr(tiny_tokenizer, "chat_template", template.jinja)
    assert resolve_template("auto", tiny_tokenizer).hash == template.hash


@pytest.mark.parametrize(
    "start", ["", " ", "\n", "\n\n", "  {% if true %}x{% endif %}", "{# c #}\n"]
)
def test_the_carried_date_changes_nothing_before_the_template(
    tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch, start: str
) -> None:
    monkeypatch.setattr(tiny_tokenizer, "chat_template", start + "{{ strftime_now('%Y') }}")
    template = resolve_template("auto", tiny_tokenizer)
    texts = [
        tiny_tokenizer.apply_chat_template(
            [{"role": "user", "content": "q"}], chat_template=jinja, tokenize=False
        )
        for jinja in (template.jinja, start + "2024")
    ]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("code", [*"aAbBcdDeFfHIjmMpRSTuUwWxXyYzZ", "-d", "-m"])
def test_every_directive_of_the_fixed_date_is_pythons(
    tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    jinja = "<{{ strftime_now('%" + code + "') }}>"
    monkeypatch.setattr(tiny_tokenizer, "chat_template", jinja)
    expected = datetime(2024, 7, 26).strftime(f"<%{code}>")
    assert text_of(tiny_tokenizer, "auto", conversation("q", "a")) == expected


@pytest.mark.parametrize(
    ("jinja", "said"),
    [
        ("chatml", "You are a helpful assistant."),
        ("homework", None),  # It takes no system message.
        ("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}", None),
        (
            "{% if messages[0].role != 'system' %}system: Be good.\n{% endif %}"
            "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}",
            "Be good.",
        ),
        # Inside the question's turn, as Llama 2 has it: nothing is added without one.
        (
            "{% if messages[0].role == 'system' %}[<<{{ messages[0].content }}>>"
            "{{ messages[1].content }}]{% else %}[{{ messages[0].content }}]{% endif %}",
            None,
        ),
    ],
)
def test_a_system_text_that_nobody_wrote_is_found(
    tiny_tokenizer: Any, tmp_path: Path, jinja: str, said: str | None
) -> None:
    if "{" in jinja:
        (tmp_path / "t.jinja").write_text(jinja)
        jinja = str(tmp_path / "t.jinja")
    assert own_system_text(tiny_tokenizer, resolve_template(jinja, tiny_tokenizer)) == said


def test_a_forgotten_template_is_no_more(
    tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from assay.data import templates

    monkeypatch.setattr(templates, "_REGISTRY", dict(templates._REGISTRY))
    register_template("short", "{{ messages[0].content }}")
    forget_template("short")
    with pytest.raises(TemplateError, match="unknown template 'short'"):
        resolve_template("short", tiny_tokenizer)
