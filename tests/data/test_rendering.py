"""What the model reads: one way from messages to ids, whatever stands inside the messages."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.data.encoding import encode_groups
from assay.data.records import Comparison, Group, Message, Response, Source
from assay.data.rendering import (
    Renderer,
    load_tokenizer,
    shared_prefix,
    thoughts_of,
    without_thinking,
)
from assay.data.showing import show_row
from assay.data.sources import DataSource
from assay.data.special_tokens import SpecialTokenGuard
from assay.data.templates import ResolvedTemplate, resolve_template
from assay.errors import DataError, TemplateError

END = "<|im_end|>"
END_ID = 2

CLOSED = "{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}"
"""The content of each message and an end token: byte for byte what a message holds."""


def user(text: str) -> Message:
    return Message("user", text)


def assistant(text: str, **parts: Any) -> Message:
    return Message("assistant", text, **parts)


def group(prompt: str | tuple[Message, ...], *responses: str, **parts: Any) -> Group:
    return Group(
        id="1",
        source=Source("rows.jsonl", 1),
        prompt=(user(prompt),) if isinstance(prompt, str) else prompt,
        responses=tuple(Response((assistant(text),)) for text in responses),
        **parts,
    )


def renderer_of(tokenizer: Any, jinja: str, policy: Any = "text") -> Renderer:
    return Renderer(tokenizer, ResolvedTemplate("test", jinja), policy)


def plain_ids(tokenizer: Any, text: str) -> tuple[int, ...]:
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


# --- Tokenizers of every family, each with special tokens -----------------------------------------


CORPUS = ["the quick brown fox jumps over the lazy dog", "他说 她说 因为 所以", "a<s>b </s>"] * 4


def fast(backend: Any, bos: str, eos: str, unk: str) -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=bos, eos_token=eos, unk_token=unk
    )


def sentencepiece_bpe() -> Any:
    """Llama 2's kind; its merges lead into its special tokens, as conversions write them."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

    words = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    words += ["▁", "<", ">", "/", "s", "a", "b", "s>", "▁a", "</"]
    merges = [("s", ">"), ("<", "s>"), ("<", "/"), ("</", "s>"), ("▁", "a")]
    backend = Tokenizer(
        models.BPE(
            vocab={word: number for number, word in enumerate(words)},
            merges=merges,
            unk_token="<unk>",
            byte_fallback=True,
            fuse_unk=True,
        )
    )
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    backend.add_special_tokens([AddedToken(word, normalized=False) for word in words[:3]])
    return fast(backend, "<s>", "</s>", "<unk>")


def unigram() -> Any:
    """T5's and XLM-R's kind: the special tokens are words of the vocabulary, too."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    backend = Tokenizer(models.Unigram())
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    backend.decoder = decoders.Metaspace(prepend_scheme="first")
    trainer = trainers.UnigramTrainer(
        vocab_size=90, special_tokens=["<unk>", "<s>", "</s>"], unk_token="<unk>",
        show_progress=False,
    )  # fmt: skip
    backend.train_from_iterator(CORPUS, trainer)
    return fast(backend, "<s>", "</s>", "<unk>")


def wordpiece() -> Any:
    """BERT's kind, whose normalizer lowers letters and deletes private-use characters."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=120, special_tokens=["[UNK]", "[CLS]", "[SEP]"], show_progress=False
    )
    backend.train_from_iterator([*CORPUS, "[ cls sep ]"], trainer)
    return fast(backend, "[CLS]", "[SEP]", "[UNK]")


def with_normalizer() -> Any:
    """Byte-level BPE under a normalizer, its special tokens with every matching option."""
    from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, trainers

    backend = Tokenizer(models.BPE())
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(CORPUS, trainer)
    backend.add_special_tokens(
        [
            AddedToken("<s>", normalized=False),
            AddedToken("</s>", normalized=False, lstrip=True, rstrip=True),
            AddedToken("<unk>", normalized=True),
            AddedToken("<one>", normalized=False),
            AddedToken("<one>more", normalized=False),
        ]
    )
    backend.add_tokens([AddedToken("<think>", normalized=False), AddedToken("Tool", special=False)])
    return fast(backend, "<s>", "</s>", "<unk>")


FAMILIES: dict[str, Callable[[], Any]] = {
    "sentencepiece-bpe": sentencepiece_bpe,
    "unigram": unigram,
    "wordpiece": wordpiece,
    "normalizer": with_normalizer,
}


@pytest.fixture(scope="module")
def families(tiny_tokenizer: Any) -> dict[str, Any]:
    return {"byte-bpe": tiny_tokenizer} | {name: make() for name, make in FAMILIES.items()}


ALL_FAMILIES = pytest.mark.parametrize("family", ["byte-bpe", *FAMILIES])

PIECES = st.sampled_from(
    ["<", ">", "<s", "s>", "/", "[", "]", "cls", "<|im_", "end|>", " ", "  ", "\n", "▁", "Tool",
     "<think>", "<0x0A>", "Ａ", "e\u0301", "ß", "the quick", "因为", "<ONE>", "more", "\u200d"]
)  # fmt: skip
# Private-use characters (Co) are the guard's marks; a test of their own puts them into messages.
TEXT = st.text(st.characters(exclude_categories=["Cs", "Co"]), max_size=8)
WRITTEN = st.lists(PIECES | TEXT, max_size=6).map("".join)


# --- The twin ------------------------------------------------------------------------------------


@ALL_FAMILIES
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_the_twin_is_the_tokenizer_where_nothing_is_written_out(
    families: dict[str, Any], family: str, data: st.DataObject
) -> None:
    tokenizer = families[family]
    guard = twin_guard(tokenizer)
    specials = st.sampled_from([*tokenizer.all_special_tokens, "<one>", "<one>more"])
    # What the guard is given: a template's own special tokens between texts that hold none.
    parts = data.draw(st.lists(specials | WRITTEN.filter(lambda t: not guard.find([user(t)]))))
    text = "".join(parts)
    assert guard.encode(text) == plain_ids(tokenizer, text)


GUARDS: dict[int, SpecialTokenGuard] = {}


def twin_guard(tokenizer: Any) -> SpecialTokenGuard:
    """One guard a tokenizer: hypothesis would build the twin hundreds of times."""
    return GUARDS.setdefault(id(tokenizer), SpecialTokenGuard(tokenizer))


@ALL_FAMILIES
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_only_the_templates_own_special_tokens_are_special(
    families: dict[str, Any], family: str, data: st.DataObject
) -> None:
    tokenizer = families[family]
    specials = set(tokenizer.all_special_ids)
    written = st.lists(st.sampled_from(tokenizer.all_special_tokens) | WRITTEN, max_size=5)
    texts = ["".join(data.draw(written)) for _ in range(2)]
    renderer = renderer_of(tokenizer, CLOSED)
    renderer._guard = twin_guard(tokenizer)
    rendered = renderer.render(group(texts[0], texts[1]), 0)
    # The unknown token is what a tokenizer gives for characters it does not know.
    kept = [i for i in rendered.ids if i in specials and i != tokenizer.unk_token_id]
    assert kept == [tokenizer.eos_token_id] * 2
    assert rendered.text == f"{texts[0]}{tokenizer.eos_token}{texts[1]}{tokenizer.eos_token}"


# The models of the other two know their special tokens as words, so they cannot tell.
@pytest.mark.parametrize("family", ["byte-bpe", "wordpiece", "normalizer"])
def test_a_literal_is_read_as_its_characters(families: dict[str, Any], family: str) -> None:
    """The ids are those of the same tokenizer told to see no special token at all."""
    tokenizer = families[family]
    eos = tokenizer.eos_token
    literal = renderer_of(tokenizer, CLOSED).render(group(f"a{eos}b", "c"), 0)
    assert literal.specials_in_content == 1
    unaware = replace_added_tokens(tokenizer)
    head = tuple(unaware.encode(f"a{eos}b", add_special_tokens=False).ids)
    assert literal.ids[: len(head) + 1] == (*head, tokenizer.eos_token_id)


def replace_added_tokens(tokenizer: Any) -> Any:
    """The same tokenizer, told to see no special token in a text (an option of `tokenizers`)."""
    import copy

    backend = copy.deepcopy(tokenizer.backend_tokenizer)
    backend.encode_special_tokens = True
    return backend


# --- Policies ------------------------------------------------------------------------------------


# T9: literals survive as the characters that they are.
def test_text_policy_keeps_the_characters(tiny_tokenizer: Any) -> None:
    rendered = renderer_of(tiny_tokenizer, CLOSED).render(group(f"x{END}y", "z"), 0)
    # Bytes of the literal, one by one or merged, never the id 2; then the template's two ends.
    assert rendered.text == f"x{END}y{END}z{END}"
    assert rendered.ids.count(END_ID) == 2
    assert tiny_tokenizer.decode(rendered.ids) == rendered.text
    assert rendered.specials_in_content == 1


# T9
def test_special_policy_reads_the_token_and_counts_it(tiny_tokenizer: Any) -> None:
    text = f"x{END}y"
    rendered = renderer_of(tiny_tokenizer, CLOSED, "special").render(group(text, "z"), 0)
    assert rendered.ids.count(END_ID) == 3
    assert rendered.ids == plain_ids(tiny_tokenizer, f"x{END}y{END}z{END}")
    assert rendered.specials_in_content == 1


# T9
def test_error_policy_names_token_row_and_mend(tiny_tokenizer: Any) -> None:
    renderer = renderer_of(tiny_tokenizer, CLOSED, "error")
    with pytest.raises(DataError) as caught:
        renderer.render(group("x", f"y{END}"), 0)
    assert str(caught.value) == (
        "rows.jsonl:1: the special token '<|im_end|>' is written out inside a message; "
        "remove it, or set special_tokens_in_content to text or special"
    )
    assert renderer.render(group("x", "y"), 0).specials_in_content == 0


@pytest.mark.parametrize(
    "place",
    [
        {"reasoning_content": f"r{END}"},
        {"tool_calls": ({"function": {"arguments": {"q": [f"t{END}"]}}},)},
        {"tool_calls": ({"function": {"arguments": f'{{"q": "{END}"}}'}},)},
        {"extra": {"name": END}},
    ],
    ids=["reasoning", "tool-call", "tool-call-text", "extra"],
)
def test_literals_are_found_in_every_part_of_a_message(
    tiny_tokenizer: Any, place: dict[str, Any]
) -> None:
    jinja = "{% for m in messages %}{{ m | tojson }}{% endfor %}{{ eos_token }}"
    spoken = replace(group("q"), responses=(Response((assistant("a", **place),)),))
    rendered = renderer_of(tiny_tokenizer, jinja).render(spoken, 0)
    assert rendered.specials_in_content == 1
    assert rendered.ids.count(END_ID) == 1
    assert tiny_tokenizer.decode(rendered.ids) == rendered.text
    assert END in rendered.text.removesuffix(END)


def test_literals_are_found_in_tools(tiny_tokenizer: Any) -> None:
    tools = ({"name": "f", "description": f"stops at {END}"},)
    jinja = "{{ tools | tojson }}{{ eos_token }}"
    rendered = renderer_of(tiny_tokenizer, jinja).render(group("q", "a", tools=tools), 0)
    assert (rendered.specials_in_content, rendered.ids.count(END_ID)) == (1, 1)
    with pytest.raises(DataError, match="written out"):
        renderer_of(tiny_tokenizer, jinja, "error").render(group("q", "a", tools=tools), 0)


@pytest.mark.parametrize("mark", ["\ue0a00\ue0a1", "\ue0a09\ue0a1", "\ue0a0", "\ue0a1\ue0a0<"])
def test_the_marks_own_characters_mean_themselves(tiny_tokenizer: Any, mark: str) -> None:
    text = f"x{mark}y{END}"
    rendered = renderer_of(tiny_tokenizer, CLOSED).render(group(text, "z"), 0)
    assert rendered.text == f"{text}{END}z{END}"
    assert tiny_tokenizer.decode(rendered.ids) == rendered.text
    assert rendered.ids.count(END_ID) == 2
    assert rendered.specials_in_content == 1


def test_no_message_can_forge_a_special_token(tiny_tokenizer: Any) -> None:
    # What a twin's name looks like to anyone who read the source but not this process's memory.
    forged = "\ue0a0" + "\ue0a1".join(END) + "\ue0a0"
    rendered = renderer_of(tiny_tokenizer, CLOSED).render(group(f"{forged} {END}", "z"), 0)
    assert rendered.ids.count(END_ID) == 2


def test_a_tokenizer_without_a_fast_version_says_so(tiny_tokenizer: Any) -> None:
    class Slow:
        """The part of a slow tokenizer that the guard asks for."""

        added_tokens_decoder = tiny_tokenizer.added_tokens_decoder
        all_special_tokens = tiny_tokenizer.all_special_tokens

    with pytest.raises(TemplateError, match=r"no fast version.*set special_tokens_in_content"):
        SpecialTokenGuard(Slow()).encode("x")  # type: ignore[arg-type]


# --- One function --------------------------------------------------------------------------------


# T10: the ids are those of transformers' own rendering of the same conversation.
@settings(max_examples=60, deadline=None)
@given(st.lists(WRITTEN, min_size=2, max_size=5))
def test_ids_are_those_of_transformers(tiny_tokenizer: Any, texts: list[str]) -> None:
    turns = [(assistant if n % 2 else user)(text) for n, text in enumerate(texts)]
    renderer = Renderer(tiny_tokenizer, resolve_template("auto", tiny_tokenizer), "special")
    spoken = replace(group(tuple(turns[:-1])), responses=(Response((turns[-1],)),))
    expected = tiny_tokenizer.apply_chat_template([turn.as_dict() for turn in turns])
    assert list(renderer.render(spoken, 0).ids) == expected["input_ids"]


@pytest.mark.parametrize("policy", ["text", "special"])
@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(*[st.lists(st.sampled_from(["a", " b", END, "\n"])).map("".join)] * 3),
        max_size=6,
    )
)
def test_render_many_is_render_one_by_one(
    tiny_tokenizer: Any, policy: str, rows: list[tuple[str, str, str]]
) -> None:
    renderer = Renderer(tiny_tokenizer, resolve_template("chatml", tiny_tokenizer), policy)  # type: ignore[arg-type]
    renderer._guard = twin_guard(tiny_tokenizer)
    items = [(group(row[0], *row[1:]), index) for row in rows for index in (1, 0)]
    assert renderer.render_many(items) == [renderer.render(*item) for item in items]


def test_a_verbatim_text_is_read_as_it_stands(tiny_tokenizer: Any) -> None:
    renderer = Renderer(tiny_tokenizer, resolve_template("chatml", tiny_tokenizer))
    rendered = renderer.render_text(f"{END} x")
    assert rendered.ids == plain_ids(tiny_tokenizer, f"{END} x")
    assert rendered.text == f"{END} x"


def test_a_text_beyond_the_tokenizers_length_is_read_whole_and_silently(
    tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_tokenizer, "model_max_length", 8)
    # A warning would be an error here (pyproject), and a cut would lose the end.
    rendered = renderer_of(tiny_tokenizer, CLOSED).render(group("x" * 50, "y"), 0)
    assert len(rendered.ids) == 50 + 1 + 1 + 1  # no merge of x with x in the tiny vocabulary


# --- What reaches the template -------------------------------------------------------------------


LLAMA_DATE = (
    "{%- if not date_string is defined %}{%- if strftime_now is defined %}"
    '{%- set date_string = strftime_now("%d %b %Y") %}'
    "{%- else %}{%- set date_string = 'none' %}{%- endif %}{%- endif %}"
    "Today Date: {{ date_string }} {{ messages[-1].content }}"
)
"""How Llama 3.2's template asks for the date."""


# T12: rewards do not change overnight.
def test_a_template_that_asks_for_the_date_gives_the_same_ids_on_two_dates(
    tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers.utils.chat_template_utils as of_transformers

    monkeypatch.setattr(tiny_tokenizer, "chat_template", LLAMA_DATE)

    def on(day: int) -> tuple[str, tuple[int, ...], str]:
        class Clock(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> datetime:
                return datetime(2030, 1, day)

        monkeypatch.setattr(of_transformers, "datetime", Clock)
        theirs = tiny_tokenizer.apply_chat_template(
            [{"role": "user", "content": "q"}], chat_template=LLAMA_DATE, tokenize=False
        )
        ours = Renderer(tiny_tokenizer, resolve_template("auto", tiny_tokenizer))
        rendered = ours.render(group("q", "a"), 0)
        return theirs, rendered.ids, rendered.text

    first, second = on(1), on(2)
    assert first[0] != second[0]  # the clock did move
    assert first[1:] == second[1:]
    assert first[2] == "Today Date: 26 Jul 2024 a"


def test_a_row_may_set_the_date_itself(
    tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    dated = group("q", "a", template_kwargs={"date_string": "1 May 2020"})
    monkeypatch.setattr(tiny_tokenizer, "chat_template", LLAMA_DATE)
    renderer = Renderer(tiny_tokenizer, resolve_template("auto", tiny_tokenizer))
    assert renderer.render(dated, 0).text == "Today Date: 1 May 2020 a"


THINKING = (
    "{%- for m in messages -%}"
    "{%- set content = m.content -%}"
    "{%- if m.role == 'assistant' and not loop.last and '</think>' in content -%}"
    "{%- set content = content.split('</think>')[-1] | trim -%}"
    "{%- endif -%}"
    "{{ '<|im_start|>' + m.role + '\n' + content + '<|im_end|>\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n<think>\n' }}{%- endif -%}"
)


# T13: such a prompt is no prefix of the full text, so nothing may be sliced by its length.
def test_a_template_that_rewrites_history_is_rendered_whole(tiny_tokenizer: Any) -> None:
    turns = (user("q"), assistant("<think>long thoughts</think>\na"), user("r"))
    spoken = group(turns, "<think>more</think>b", "c")
    renderer = renderer_of(tiny_tokenizer, THINKING)
    thoughtful, brief = renderer.render_many([(spoken, 0), (spoken, 1)])
    history = (
        "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n"
        "<|im_start|>user\nr<|im_end|>\n<|im_start|>assistant\n"
    )
    assert thoughtful.text == f"{history}<think>more</think>b<|im_end|>\n"
    assert brief.text == f"{history}c<|im_end|>\n"
    assert thoughtful.ids == plain_ids(tiny_tokenizer, thoughtful.text)
    prompt = renderer.prompt_text(spoken)
    assert not brief.text.startswith(prompt)
    # What is shared is found in the ids, not in the prompt.
    assert shared_prefix([thoughtful.ids, brief.ids]) == len(plain_ids(tiny_tokenizer, history))


# T13: a template may read the answer before it writes the prompt.
def test_a_template_that_depends_on_the_answer_shares_what_is_equal(tiny_tokenizer: Any) -> None:
    jinja = "{{ messages[-1].content | length }}:{{ messages[0].content }}{{ messages[1].content }}"
    spoken = group("q", "a", "bb")
    one, two = renderer_of(tiny_tokenizer, jinja).render_many([(spoken, 0), (spoken, 1)])
    assert (one.text, two.text) == ("1:qa", "2:qbb")
    assert shared_prefix([one.ids, two.ids]) == 0


def test_tools_calls_reasoning_and_arguments_reach_the_template(tiny_tokenizer: Any) -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
    spoken = Group(
        id="1",
        source=Source("rows.jsonl", 1),
        prompt=(user("q"),),
        responses=(
            Response(
                (
                    assistant("", tool_calls=(call,), reasoning_content="why"),
                    Message("tool", "7", extra={"tool_call_id": "c1", "name": "f"}),
                    assistant("seven"),
                )
            ),
        ),
        tools=({"name": "f", "description": "是"},),
        template_kwargs={"enable_thinking": False, "level": "高"},
    )
    jinja = (
        "{{ tools | tojson }}|{{ enable_thinking }}|{{ level }}|"
        "{% for m in messages %}{{ m.role }},{{ m.content }},{{ m.tool_calls | default([]) | tojson"
        " }},{{ m.reasoning_content | default('-') }},{{ m.tool_call_id | default('-') }};"
        "{% endfor %}"
    )
    assert renderer_of(tiny_tokenizer, jinja).render(spoken, 0).text == (
        '[{"name": "f", "description": "是"}]|False|高|'
        "user,q,[],-,-;"
        'assistant,,[{"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}],why,-;'
        "tool,7,[],-,c1;"
        "assistant,seven,[],-,-;"
    )


def test_without_tools_a_template_sees_none(tiny_tokenizer: Any) -> None:
    jinja = "{{ 'none' if tools is none else 'some' }}"
    for tools in (None, ()):
        rendered = renderer_of(tiny_tokenizer, jinja).render(group("q", "a", tools=tools), 0)
        assert rendered.text == "none"


# --- Errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("jinja", "what"),
    [
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{{ messages[9].content }}", "no element 9"),
        ("{{ messages[0].content / 2 }}", "unsupported operand"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ range(10 ** 9) }}", "too big"),
        ("{{ 'a'.index('b') }}", "not found"),
        ("{{ messages[", "unexpected"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
        ("{% include 'x' %}", "no loader"),
    ],
)
def test_a_template_that_raises_names_template_and_row(
    tiny_tokenizer: Any, jinja: str, what: str
) -> None:
    with pytest.raises(TemplateError) as caught:
        renderer_of(tiny_tokenizer, jinja).render(group("q", "a"), 0)
    assert caught.value.where == "rows.jsonl:1"
    assert re.fullmatch(
        rf"template 'test' cannot render the conversation \(.*{what}.*\)", caught.value.what
    )


@pytest.mark.parametrize("kwarg", ["tokenize", "chat_template", "messages", "conversation"])
def test_a_row_cannot_replace_what_assay_passes(tiny_tokenizer: Any, kwarg: str) -> None:
    odd = group("q", "a", template_kwargs={kwarg: True})
    with pytest.raises(TemplateError, match=rf"^rows\.jsonl:1: .*'{kwarg}'"):
        renderer_of(tiny_tokenizer, CLOSED).render(odd, 0)


@pytest.mark.parametrize("text", ["", f"{END}"], ids=["plain", "masked"])
def test_a_conversation_without_tokens_is_an_error(tiny_tokenizer: Any, text: str) -> None:
    renderer = renderer_of(tiny_tokenizer, "{{ messages[1].content }}")
    with pytest.raises(TemplateError, match=r"^rows\.jsonl:1: .*makes no tokens"):
        renderer.render_many([(group(text, "a"), 0), (group(text, ""), 0)])


MERGED = replace(
    group("q", "good", f"bad{END}", "unused"),
    comparisons=(
        Comparison(0, 2, "a", row=Source("rows.jsonl", 4)),
        Comparison(1, 0, "b", row=Source("more.jsonl", 8)),
    ),
)
"""Rows merged by prompt: the second answer came from another file."""


def test_an_error_names_the_row_that_the_response_came_from(tiny_tokenizer: Any) -> None:
    with pytest.raises(DataError, match=r"^more\.jsonl:8: the special token"):
        renderer_of(tiny_tokenizer, CLOSED, "error").render(MERGED, 1)
    angry = "{% if 'bad' in messages[1].content %}{{ raise_exception('bad') }}{% endif %}x"
    renderer = renderer_of(tiny_tokenizer, angry)
    renderer.render_many([(MERGED, 0), (MERGED, 2)])
    with pytest.raises(TemplateError, match=r"^more\.jsonl:8: .*\(bad\)"):
        renderer.render_many([(MERGED, 0), (MERGED, 1)])


def test_load_tokenizer_reads_what_was_saved(tiny_tokenizer: Any, tmp_path: Path) -> None:
    tiny_tokenizer.save_pretrained(tmp_path)
    assert plain_ids(load_tokenizer(str(tmp_path)), f"a 因{END}") == plain_ids(
        tiny_tokenizer, f"a 因{END}"
    )


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"model": 1}'])
def test_a_directory_without_a_readable_tokenizer_is_named(
    tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content, encoding="utf-8")
        (tmp_path / "tokenizer_config.json").write_text(
            '{"tokenizer_class": "PreTrainedTokenizerFast"}', encoding="utf-8"
        )
    with pytest.raises(TemplateError, match="no readable tokenizer") as caught:
        load_tokenizer(str(tmp_path))
    assert caught.value.where == str(tmp_path)


# --- Shared prefixes and what `assay render` prints ----------------------------------------------


@given(st.lists(st.lists(st.integers(0, 2), max_size=6), min_size=1, max_size=5))
def test_shared_prefix_is_the_longest_one_of_all(sequences: list[list[int]]) -> None:
    length = shared_prefix(sequences)
    assert len({tuple(sequence[:length]) for sequence in sequences}) == 1
    longer = {tuple(sequence[: length + 1]) for sequence in sequences}
    assert len(longer) > 1 or min(map(len, sequences)) == length


def shown_ids(output: str) -> list[tuple[int, ...]]:
    """The ids of each response in what `show_row` printed, marks taken off."""
    lines = output.splitlines()
    found = [lines[index + 1] for index, line in enumerate(lines) if line == "--- ids ---"]
    return [tuple(map(int, re.findall(r"\d+", line))) for line in found]


def test_show_row_prints_what_the_model_reads(
    tiny_tokenizer: Any, write_rows: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"prompt": "p", "chosen": "x", "rejected": "y"},
        {"prompt": "p", "chosen": f"good{END}", "rejected": "poor"},
    ]
    renderer = Renderer(tiny_tokenizer, resolve_template("homework", tiny_tokenizer))
    show_row(renderer, DataSource(str(write_rows(rows))), 2)
    output = capsys.readouterr().out
    head = "BEGINNING OF CONVERSATION: USER: p ASSISTANT:"
    shared = plain_ids(tiny_tokenizer, head)
    good, poor = shown_ids(output)
    assert good == renderer.render(group("p", f"good{END}"), 0).ids
    assert poor == plain_ids(tiny_tokenizer, f"{head}poor{END}")
    assert f"rows.jsonl:2\ntemplate: homework (hash {renderer.template.hash})\n" in output
    assert f"shared prefix: {len(shared)} tokens, ending with ':'" in output
    assert f"--- response 0: {len(good)} tokens ---\n{head}good{END}{END}\n" in output
    assert f"<{' '.join(map(str, shared))}> " in output
    assert output.count(f" [{END_ID}]\n") == 2
    assert f"[scored token] at position {len(poor) - 1})\nlast token: 2 '<|im_end|>'" in output
    assert output.count("special tokens written out inside messages: 1, read as: text") == 1


def test_show_row_prints_each_token_once_when_one_answer_begins_the_other(
    tiny_tokenizer: Any, write_rows: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"prompt": "p", "responses": ["", "q"]}]
    template = resolve_template("homework", tiny_tokenizer, end="none")
    renderer = Renderer(tiny_tokenizer, template)
    show_row(renderer, DataSource(str(write_rows(rows))), 1)
    expected = renderer.render_many([(group("p", "", "q"), 0), (group("p", "", "q"), 1)])
    assert shown_ids(capsys.readouterr().out) == [text.ids for text in expected]


def test_show_row_prints_a_verbatim_text(
    tiny_tokenizer: Any, write_rows: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    renderer = Renderer(tiny_tokenizer, resolve_template("homework", tiny_tokenizer))
    show_row(renderer, DataSource(str(write_rows([{"text": f"hi{END}"}]))), 1)
    output = capsys.readouterr().out
    assert shown_ids(output) == [plain_ids(tiny_tokenizer, f"hi{END}")]
    assert "shared prefix:" not in output


def test_show_row_names_a_bad_row_and_a_missing_one(tiny_tokenizer: Any, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a"}\n{"text": \n', encoding="utf-8")
    renderer = Renderer(tiny_tokenizer, resolve_template("homework", tiny_tokenizer))
    with pytest.raises(DataError, match=r"rows\.jsonl:2: is not valid JSON"):
        show_row(renderer, DataSource(str(path)), 2)
    with pytest.raises(DataError, match="there is no row 3: 2 rows; choose a smaller --row"):
        show_row(renderer, DataSource(str(path)), 3)


def test_thinking_is_kept_or_stripped(tiny_tokenizer: Any) -> None:
    thought = Message("assistant", "<think>\nhm <b>\n</think>\n\nYes.", reasoning_content="because")
    asked = Message("user", "Say <think>this</think>.")
    group = Group("g", Source("f", 1), (asked,), (Response((thought,)),))
    jinja = (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}"
        "{% if m.reasoning_content %} ({{ m.reasoning_content }}){% endif %}; {% endfor %}"
    )
    template = ResolvedTemplate("t", jinja)
    kept = Renderer(tiny_tokenizer, template).render(group, 0).text
    stripped = Renderer(tiny_tokenizer, template, thinking="strip").render(group, 0).text
    question = "user: Say <think>this</think>.; assistant: "
    assert kept == question + "<think>\nhm <b>\n</think>\n\nYes. (because); "
    assert stripped == question + "Yes.; "


@pytest.mark.parametrize(
    ("content", "left"),
    [
        ("Yes.", "Yes."),
        ("<think>a</think>Yes.<think>\nb\n</think>\n No.", "Yes.No."),
        ("Hm, <b>.\n</think>\n\nYes.", "Yes."),  # The prompt has opened it.
        ("<think>a <think> b</think> c</think> d", "d"),
        ("</think></think>d", "d"),
        ("\n<think>Hm, and so on", ""),  # Cut off before it came to an answer.
        ("<think></think>", ""),
        ("A tag: <think>", "A tag: <think>"),
        ("<thinking>a</thinking>", "<thinking>a</thinking>"),
    ],
)
def test_what_is_left_without_thinking(content: str, left: str) -> None:
    thought = Message("assistant", content, (), "because", {"thinking": "a", "name": "b"})
    assert without_thinking(thought) == Message("assistant", left, extra={"name": "b"})
    asked = Message("user", content)
    assert without_thinking(asked) == asked


@given(
    contents=st.lists(
        st.text(alphabet="ab <|>{}%\n\t你\\'\"", max_size=12), min_size=1, max_size=4
    ),
    ask=st.booleans(),
)
@settings(deadline=None)
def test_plain_messages_give_what_apply_chat_template_gives(
    tiny_tokenizer: Any, contents: list[str], ask: bool
) -> None:
    roles = ["user", "assistant"] * 2
    messages = tuple(Message(role, content) for role, content in zip(roles, contents, strict=False))
    for name in ("auto", "chatml"):
        template = resolve_template(name, tiny_tokenizer)
        renderer = Renderer(tiny_tokenizer, template, "special")
        group = Group("g", Source("f", 1), messages, ())
        expected = tiny_tokenizer.apply_chat_template(
            [message.as_dict() for message in messages],
            chat_template=template.jinja,
            tokenize=False,
            add_generation_prompt=ask,
        )
        assert renderer._text(group, messages, group.source, add_generation_prompt=ask) == expected


# --- thoughts that a template leaves out ----------------------------------------------------------

WRITES = (
    "{% for m in messages %}{% if m.reasoning_content %}({{ m.reasoning_content | trim }}) "
    "{% endif %}{{ m.content }}|{% endfor %}"
)
STRIPS = "{% for m in messages %}{{ m.content.split('</think>')[-1] }}|{% endfor %}"


def test_what_a_message_thought() -> None:
    said = assistant("<think>\n one\n</think>\n\nyes", reasoning_content=" two ")
    assert thoughts_of(said) == ["two", "one"]
    assert thoughts_of(assistant("one</think>yes")) == ["one"]  # The prompt opened it.
    assert thoughts_of(assistant("<think>\n\n</think>yes")) == []
    assert thoughts_of(assistant("plain")) == []
    assert thoughts_of(user("<think>one</think>")) == []


@pytest.mark.parametrize(
    ("jinja", "response", "left_out"),
    [
        (CLOSED, assistant("yes", reasoning_content="one"), True),
        (WRITES, assistant("yes", reasoning_content="\none\n"), False),
        (CLOSED, assistant("<think>one</think>yes"), False),
        (STRIPS, assistant("<think>one</think>yes"), True),
        (STRIPS, assistant("yes"), False),
    ],
)
def test_thoughts_that_are_not_read_are_counted(
    tiny_tokenizer: Any, jinja: str, response: Message, left_out: bool
) -> None:
    other = Response((assistant("no"),))
    comparison = Comparison(0, 1, "a")
    read = replace(group("q"), responses=(Response((response,)), other), comparisons=(comparison,))
    renderer = renderer_of(tiny_tokenizer, jinja)
    data = encode_groups([read], renderer, max_length=64)
    assert data.unread_thoughts == int(left_out)
    # An earlier turn's thoughts are left out by most templates, on purpose.
    before = replace(read, prompt=(user("q"), response, user("go on")), responses=(other, other))
    assert not renderer.leaves_out_thoughts(other, renderer.render(before, 0).text)
    stripping = Renderer(tiny_tokenizer, ResolvedTemplate("test", jinja), thinking="strip")
    assert encode_groups([read], stripping, max_length=64).unread_thoughts == 0
