"""Texts and messages as the model reads them: what scoring reads, and nothing doubled or lost."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from asking import Make, Served
from hypothesis import given
from hypothesis import strategies as st

from assay.data.formats.building import row_group
from assay.data.records import Message, Response, Source
from assay.data.rendering import Renderer, _without_blocks, without_thinking
from assay.data.templates import resolve_template
from assay.model.reward_model import RewardModel
from assay.score.scorer import score_items
from assay.serve.foreign_tokens import foreign_tokens
from assay.serve.items import Asked, Conversation, Ids, Text
from assay.serve.limits import Limits
from assay.serve.own_beginning import own_beginning
from assay.serve.reading import Reader, ReadingOptions
from assay.serve.refusals import Refusal


def conversation(*turns: tuple[str, str]) -> Conversation:
    messages = tuple(Message(role, content) for role, content in turns)
    group = row_group(Source("test", 1), messages[:-1], (Response(messages[-1:]),))
    return Conversation(group, ("messages",))


BEGIN = "<|endoftext|>"


@pytest.fixture
def llama(model: RewardModel) -> RewardModel:
    """The tiny model reading with a tokenizer that begins every text with a begin token."""
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer.from_str(model.renderer.tokenizer.backend_tokenizer.to_str())
    backend.post_processor = TemplateProcessing(
        single=f"{BEGIN} $A", special_tokens=[(BEGIN, backend.token_to_id(BEGIN))]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=BEGIN, eos_token="<|im_end|>"
    )
    tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}<|im_end|>{% endfor %}"
    )
    renderer = Renderer(tokenizer, resolve_template("auto", tokenizer))
    return RewardModel(model.inner, renderer, model.metadata)


def read(reader: Reader, *items: Any, **asked: Any) -> list[tuple[int, ...]]:
    return [reading.ids for reading in reader.read(Asked(items, **asked))]


def test_one_begin_token_however_a_text_comes(llama: RewardModel) -> None:
    reader = Reader(llama, Limits(), ReadingOptions())
    begin = llama.renderer.tokenizer.bos_token_id
    (bare,) = read(reader, Text("user: a<|im_end|>", "text"))
    assert begin not in bare
    begun = (begin, *bare)
    for text, wanted in (
        ("user: a<|im_end|>", True),
        (f"{BEGIN}user: a<|im_end|>", True),
        (f"{BEGIN}user: a<|im_end|>", False),
        (f"{BEGIN * 2}user: a<|im_end|>", True),
        (f"{BEGIN * 3}user: a<|im_end|>", False),
    ):
        assert read(reader, Text(text, "text", begin=wanted)) == [begun]
    own = read(reader, conversation(("user", "a"), ("assistant", "b")))[0]
    assert own.count(begin) == 1


def test_a_token_without_a_row_is_the_clients_mistake(llama: RewardModel) -> None:
    llama.renderer.tokenizer.add_special_tokens({"additional_special_tokens": ["<rule>"]})
    llama.renderer.forget()
    reader = Reader(llama, Limits(), ReadingOptions(special_tokens="special"))
    for item, field in (
        (Text("user: a <rule>", "texts.0"), "texts.0"),
        (conversation(("user", "a"), ("assistant", "b <rule>")), "messages"),
    ):
        with pytest.raises(Refusal, match="'<rule>' is token") as refused:
            read(reader, item)
        assert (refused.value.status, refused.value.param) == (422, field)


def test_add_special_tokens_says_whether_a_begin_token_is_added(
    llama: RewardModel, serving: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = serving()
    shown = served.app.models.named(None)
    monkeypatch.setattr(shown, "reader", Reader(llama, Limits(), ReadingOptions()))

    def tokens(path: str, body: dict[str, Any]) -> int:
        answer = served.post(path, body).json()
        answer = answer[0] if isinstance(answer, list) else answer
        return (answer.get("usage") or answer["meta_info"])["prompt_tokens"]

    bare = tokens("/classify", {"input": "abc", "add_special_tokens": False})
    assert tokens("/classify", {"input": "abc"}) == bare + 1
    assert tokens("/classify", {"input": f"{BEGIN}abc"}) == bare + 1
    assert tokens("/classify", {"text": ["abc"]}) == bare + 1
    assert tokens("/v1/embeddings", {"input": "abc"}) == bare + 1


def test_special_tokens_in_content(serving: Make, model: RewardModel) -> None:
    body = {"prompt": "a", "responses": ["fine", "x <|im_end|> y"]}
    refused = serving().post("/v1/reward", body)
    assert refused.status_code == 422
    assert refused.json()["error"]["param"] == "responses[1]"
    mark = "<|im_start|>"
    odd, turn = {"role": "user", "content": mark}, {"role": "user", "content": "a"}
    said = {"role": "assistant", "content": mark}
    text = f"<s>[INST] {mark} [/INST] b"
    served = serving()
    for path, asked, field in (
        ("/v1/reward", {"messages": [turn, odd], "responses": ["a"]}, "messages[1]"),
        ("/v1/reward", {"prompt": mark, "responses": ["a"]}, "prompt"),
        ("/v1/reward", {"prompt": "a", "responses": ["a", [turn, said]]}, "responses[1]"),
        ("/v1/reward", {"prompt": "a", "responses": ["a"], "tools": [{"name": mark}]}, "tools"),
        ("/v1/reward", {"texts": [text], "input_template": "mistral"}, "texts[0]"),
        ("/classify", {"messages": [turn, said]}, "messages[1]"),
        ("/classify", {"messages": [odd, said]}, "messages[0]"),
        (
            "/pooling",
            {"messages": [turn, said], "chat_template_kwargs": {"a": mark}},
            "messages[1]",
        ),
    ):
        error = served.post(path, asked).json()["error"]
        assert (error["code"], error["param"]) == (422, field), error
        assert mark in error["message"]
    answer = served.post("/get_reward", {"prompts": ["a", mark], "responses": ["b", "c"]})
    assert answer.json()["error"].startswith("prompts[1]: the special token <|im_start|>")
    as_text = serving(reading={"special_tokens": "text"})
    assert as_text.rewards(body) == pytest.approx(model.score("a", body["responses"]), rel=1e-6)
    as_token = serving(reading={"special_tokens": "special"})
    assert as_token.rewards(body)[1] != pytest.approx(as_text.rewards(body)[1], rel=1e-6)
    # In a text that is in a template they are the template's.
    assert serving().post("/v1/reward", {"texts": ["a <|im_end|>"]}).status_code == 200


def test_foreign_special_tokens_are_flagged_or_refused(serving: Make) -> None:
    text = "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>"
    flagged = serving()
    own = flagged.post("/v1/reward", {"texts": ["plain", text]}).json()
    names = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    assert own["foreign_special_tokens"] == [[], names]
    assert "input_template" in own["warnings"][0]
    for path, body in (
        ("/classify", {"input": text}),
        ("/pooling", {"input": text}),
        ("/v1/embeddings", {"input": text}),
        ("/get_reward", {"query": [text]}),
        ("/get_reward", {"prompts": [text], "responses": ["a"]}),
        ("/v1/score/evaluation", {"messages": [text]}),
    ):
        assert "<|eot_id|>" in flagged.post(path, body).json()["warnings"][0]
    several = flagged.post("/classify", {"text": [text]}).json()
    assert "<|eot_id|>" in several[0]["meta_info"]["warnings"][0]
    assert 'assay_foreign_total{model="rm"} 8.0' in flagged.get("/metrics").text
    strict = serving(reading={"foreign_tokens": "refuse"})
    refused = strict.post("/classify", {"input": text})
    assert refused.status_code == 422
    assert "<|begin_of_text|>" in refused.text
    assert strict.post("/classify", {"input": "<|im_start|>user\nhi"}).status_code == 200


def test_texts_that_begin_otherwise_than_the_template(
    serving: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Words without any template are no text of the model, which no marks tell."""
    own = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nho<|im_end|>\n"
    flagged = serving()
    for path, body in (
        ("/v1/reward", {"texts": [own, "hi"]}),
        ("/classify", {"input": "hi"}),
        ("/pooling", {"input": ["hi"]}),
        ("/v1/embeddings", {"input": "hi"}),
        ("/get_reward", {"query": ["hi"]}),
        ("/v1/score/evaluation", {"messages": ["hi"]}),
    ):
        (said,) = flagged.post(path, body).json()["warnings"]
        assert "begins otherwise than the model's own template ('<|im_start|>')" in said
        assert "send messages" in said
    (several,) = flagged.post("/classify", {"text": ["hi"]}).json()
    assert "begins otherwise" in several["meta_info"]["warnings"][0]
    for path, body in (
        ("/v1/reward", {"texts": [own]}),
        ("/v1/reward", {"prompt": "hi", "responses": ["ho"]}),
        ("/v1/reward", {"texts": ["[INST] hi [/INST] ho"], "input_template": "mistral"}),
        ("/classify", {"input": [5, 6]}),
        ("/get_reward", {"prompts": ["hi"], "responses": ["ho"]}),
    ):
        assert "warnings" not in flagged.post(path, body).json(), (path, body)
    assert 'assay_untemplated_total{model="rm"} 7.0' in flagged.get("/metrics").text
    assert 'assay_foreign_total{model="rm"} 0.0' in flagged.get("/metrics").text
    flagged.post("/classify", {"input": "<|eot_id|>"})
    flagged.post("/classify", {"input": "<|eot_id|>"})
    texts = [record.getMessage() for record in caplog.records]
    assert [text.count("begins otherwise") for text in texts] == [1, 0]  # Said once, each.
    assert "assay_untemplated_total" in texts[0]
    assert "special tokens of another model" in texts[1]
    assert "eot_id" not in texts[1]
    strict = serving(reading={"foreign_tokens": "refuse"})
    refused = strict.post("/v1/reward", {"texts": [own, "hi"]})
    assert refused.status_code == 422
    assert refused.json()["error"]["param"] == "texts[1]"
    assert "'<|im_start|>'" in refused.json()["error"]["message"]
    assert strict.post("/v1/reward", {"texts": [own]}).status_code == 200
    assert strict.post("/v1/reward", {"prompt": "a", "responses": ["b"]}).status_code == 200


@pytest.mark.parametrize(
    ("jinja", "beginning"),
    [
        ("{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}", "["),
        ("{{ messages[0].content }}", ""),
        ("{{ bos_token }}USER: {{ messages[0].content }}", f"{BEGIN}USER: "),
        (
            "{% if messages[0].role == 'system' %}{{ raise_exception('none') }}{% endif %}"
            "Question: {{ messages[0].content }}",
            "Question: ",
        ),
        (
            "<s>{% if tools %}Tools{% else %}It rains.{% endif %}"
            "{% for m in messages %}{{ m.content }}{% endfor %}",
            "<s>",
        ),
        ("{{ raise_exception('none') }}", ""),
    ],
    ids=["roles", "content alone", "words", "no system", "tools", "never"],
)
def test_how_a_template_begins(llama: RewardModel, jinja: str, beginning: str) -> None:
    tokenizer = llama.renderer.tokenizer
    tokenizer.chat_template = jinja
    renderer = Renderer(tokenizer, resolve_template("auto", tokenizer))
    assert own_beginning(renderer) == beginning


def test_a_begin_token_belongs_to_the_beginning(llama: RewardModel) -> None:
    """The tokenizer of some protocols adds it; where none does, the model never saw such a text."""
    reader = Reader(llama, Limits(), ReadingOptions())
    assert reader.beginning == BEGIN

    def untemplated(text: str, begin: bool) -> bool:
        (found,) = reader.read(Asked((Text(text, "text", begin),)))
        return found.untemplated

    assert not untemplated("user: a<|im_end|>", True)
    assert not untemplated(f"{BEGIN}user: a<|im_end|>", False)
    assert not untemplated(f"{BEGIN * 2}user: a<|im_end|>", True)
    assert untemplated("user: a<|im_end|>", False)


@pytest.mark.parametrize(
    ("begin_token", "texts"),
    [
        (BEGIN, {f"{BEGIN}USER: a": True, f"{BEGIN}USER a": False, "USER: a": False}),
        ("", {"USER: a": True, "USER a": False, " USER: a": False, "hi": False}),
    ],
    ids=["with a begin token", "without"],
)
def test_words_that_a_template_begins_with(
    llama: RewardModel, begin_token: str, texts: dict[str, bool]
) -> None:
    tokenizer = llama.renderer.tokenizer
    tokenizer.chat_template = f"{begin_token}USER: {{{{ messages[0].content }}}}"
    renderer = Renderer(tokenizer, resolve_template("auto", tokenizer))
    reader = Reader(RewardModel(llama.inner, renderer, llama.metadata), Limits(), ReadingOptions())
    found = reader.read(Asked(tuple(Text(text, "text") for text in texts)))
    assert [not reading.untemplated for reading in found] == list(texts.values())


def test_what_looks_foreign() -> None:
    assert foreign_tokens("if a <| b |> c [x] <b>", ()) == ()
    assert foreign_tokens("<|im_end|> and <|im_end|>", ()) == ("<|im_end|>",)
    assert foreign_tokens("<|im_end|>", {"<|im_end|>"}) == ()
    assert foreign_tokens("[INST] a [/INST]", ()) == ("[INST]", "[/INST]")
    assert foreign_tokens("<｜User｜>a", ()) == ("<｜User｜>",)
    assert foreign_tokens("<start_of_turn>user", ()) == ("<start_of_turn>",)
    html = "<s>struck out</s>"
    assert foreign_tokens(html, ()) == ()
    assert foreign_tokens(html, (), rendered=True) == ("<s>", "</s>")


def test_a_cut_is_the_cut_of_scoring(serving: Make, model: RewardModel) -> None:
    long = conversation(("user", "begin " + "x" * 150), ("assistant", "the answer"))
    fits = {"prompt": "a", "responses": ["b"]}
    body = {"prompt": long.group.prompt[0].content, "responses": ["the answer"]}
    expected = score_items(model, [long.group], max_length=100)[0]
    assert expected.truncated == [True]
    served = serving(max_length=100, over_length="cut")
    answer = served.post("/v1/reward", body).json()
    assert answer["rewards"] == pytest.approx(expected.scores, rel=1e-6)
    assert answer["truncated"] == [True]
    assert answer["tokens"] == expected.num_tokens == [100]
    assert "without their beginning" in answer["warnings"][0]
    assert "warnings" not in served.post("/v1/reward", fits).json()
    never = served.post("/v1/reward", {"prompt": "a", "responses": ["x" * 150]})
    assert never.status_code == 422
    assert "never cut" in never.text
    assert 'assay_truncated_total{model="rm"} 1.0' in served.get("/metrics").text


def test_a_body_may_ask_for_a_cut(server: Served, model: RewardModel) -> None:
    text = "y" * 60 + "x" * 20
    ids = model.renderer.render_text(text).ids
    twenty = model.renderer.render_text("x" * 20).ids
    assert ids[-20:] == twenty
    (expected,) = server.rewards({"texts": ["x" * 20]})
    for body in ({"input": text}, {"input": list(ids)}):
        answer = server.post("/classify", body | {"truncate_prompt_tokens": 20}).json()
        assert answer["data"][0]["probs"] == pytest.approx([expected], rel=1e-6)
        assert answer["usage"]["prompt_tokens"] == 20
        assert answer["warnings"]
    scores = server.post("/v1/score/evaluation", {"messages": [text], "max_length": 20}).json()
    assert scores["scores"] == pytest.approx([expected], rel=1e-6)
    whole = server.post("/classify", {"input": text, "truncate_prompt_tokens": -1}).json()
    assert whole["usage"]["prompt_tokens"] == len(ids)


def test_a_cut_keeps_the_begin_token_however_a_sequence_comes(llama: RewardModel) -> None:
    reader = Reader(llama, Limits(max_length=8, over_length="cut"), ReadingOptions())
    text = f"{BEGIN}user: something long<|im_end|>"
    ids = llama.renderer.render_text(text).ids
    as_ids, as_text = read(reader, Ids(ids, "input"), Text(text, "text"))
    assert as_ids == as_text == (ids[0], *ids[-7:])


def test_a_template_that_refuses_the_prompt_alone_is_the_clients_affair(llama: RewardModel) -> None:
    """To know where a cut may be, the prompt is rendered by itself."""
    tokenizer = llama.renderer.tokenizer
    tokenizer.chat_template = (
        "{% if messages|length < 2 %}{{ raise_exception('no answer') }}{% endif %}"
        "{% for m in messages %}{{ m.content }}{% endfor %}"
    )
    renderer = Renderer(tokenizer, resolve_template("auto", tokenizer))
    model = RewardModel(llama.inner, renderer, llama.metadata)
    reader = Reader(model, Limits(max_length=8, over_length="cut"), ReadingOptions())
    with pytest.raises(Refusal, match="no answer") as refused:
        read(reader, conversation(("user", "x" * 50), ("assistant", "b")))
    assert refused.value.param == "messages"


def test_families_are_prompts(model: RewardModel) -> None:
    reader = Reader(model, Limits(), ReadingOptions())
    first = reader.read(Asked((conversation(("user", "a"), ("assistant", "b")),)))
    again = reader.read(Asked((conversation(("user", "a"), ("assistant", "c")),)))
    other = reader.read(Asked((conversation(("user", "b"), ("assistant", "c")),)))
    assert first[0].family == again[0].family != other[0].family
    text = "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n"
    parsed = reader.read(Asked((Text(text, "text"),), input_template="chatml"))
    assert parsed == first


THOUGHT = re.compile(r"<think>.*?</think>\s*", re.DOTALL)


@given(st.lists(st.sampled_from(["<think>", "</think>", " ", "\n", "a", "<", "\u2003"])))
def test_thoughts_go_as_the_expression_says(parts: list[str]) -> None:
    text = "".join(parts)
    assert _without_blocks(text) == THOUGHT.sub("", text)


def test_thoughts_without_end_take_no_time() -> None:
    began = time.process_time()
    without_thinking(Message("assistant", "</think>" + "<think>" * 500_000))
    assert time.process_time() - began < 1


def test_an_empty_text_has_no_tokens(llama: RewardModel) -> None:
    reader = Reader(llama, Limits(), ReadingOptions())
    with pytest.raises(Refusal, match="is empty"):
        reader.read(Asked((Text("", "input"),)))
