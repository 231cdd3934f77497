"""Template classes of preference toolkits: read raw rows, render, score, all the same text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import assay
from assay.data import templates
from assay.data.formats import registry
from assay.data.loading import load_groups
from assay.data.plugins import load_plugins
from assay.data.records import Group, Message
from assay.data.rendering import Renderer
from assay.data.scorable import SourceReader
from assay.data.sources import DataSource
from assay.data.template_classes import EQUAL, is_template_class, register_template
from assay.data.templates import resolve_template
from assay.errors import ConfigError, DataError, TemplateError

SHARED = Path(__file__).parents[3] / "shared" / "data" / "pku_saferlhf_sample.json"

# As users of a preference toolkit write it; only the import line is another.
HOMEWORK = """
from typing import Any

from assay import Template, register_template


@register_template('HOMEWORK')
class HOMEWORK(Template):
    system_prompt: str = 'BEGINNING OF CONVERSATION: '
    user_prompt: str = 'USER: {input} '
    assistant_prompt: str = 'ASSISTANT:{output}'
    split_token: str = 'ASSISTANT:'
    separator: str = ''

    def format_supervised_sample(self, raw_sample: dict[str, Any]) -> dict[str, Any]:
        prompt = f'{self.system_prompt}{self.user_prompt.format(input=raw_sample["prompt"])}'
        text = prompt + self.assistant_prompt.format(output=raw_sample['response_0'])
        return {'text': text, 'prompt': prompt + self.assistant_prompt.format(output='')}

    def format_preference_sample(self, raw_sample: dict[str, Any]) -> dict[str, Any]:
        better_id = int(raw_sample['better_response_id'])
        prompt = f'{self.system_prompt}{self.user_prompt.format(input=raw_sample["prompt"])}'
        return {
            'better_text': prompt
            + self.assistant_prompt.format(output=raw_sample[f'response_{better_id}']),
            'worse_text': prompt
            + self.assistant_prompt.format(output=raw_sample[f'response_{1 - better_id}']),
        }

    def format_prompt_only_sample(self, raw_sample: dict[str, Any]) -> dict[str, Any]:
        prompt = f'{self.system_prompt}{self.user_prompt.format(input=raw_sample["prompt"])}'
        return {'text': prompt + self.assistant_prompt.format(output='')}

    def check_equal(self, raw_sample: dict[str, Any]) -> bool:
        return raw_sample['response_0'] == raw_sample['response_1']
"""


pytestmark = pytest.mark.usefixtures("fresh_registries")


@pytest.fixture
def homework(tmp_path: Path, fresh_registries: None) -> None:
    path = tmp_path / "homework.py"
    path.write_text(HOMEWORK)
    load_plugins([str(path)])


def rows(path: Path, *lines: str) -> str:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def row(prompt: str, first: str, second: str, better: int = 1) -> str:
    return json.dumps(
        {
            "prompt": prompt,
            "response_0": first,
            "response_1": second,
            "better_response_id": better,
            "safer_response_id": 0,
        }
    )


def texts(renderer: Renderer, group: Group) -> list[str]:
    items = [(group, index) for index in range(len(group.responses))]
    return [rendered.text for rendered in renderer.render_many(items)]


@pytest.mark.usefixtures("homework")
def test_a_class_is_format_and_template_in_one(tmp_path: Path, tiny_tokenizer: Any) -> None:
    assert is_template_class("HOMEWORK")
    assert not is_template_class("homework")
    path = rows(
        tmp_path / "rows.jsonl",
        row("How?", " Like this.", "No.", better=1),
        row("Why?", "Same", "Same"),
        row("How?", "Never.", "No.", better=0),
    )
    data = load_groups([DataSource(path, format="HOMEWORK")])
    assert [(str(s.source), s.reason) for s in data.skipped] == [(f"{path}:2", EQUAL)]
    (group,) = data.groups  # One prompt, three answers.
    assert group.prompt == (Message("user", "How?"),)
    better = [(c.winner_loser or (9, 9)) for c in group.comparisons]
    said = [r.messages[0].content for r in group.responses]
    assert [(said[a], said[b]) for a, b in better] == [("No.", " Like this."), ("Never.", "No.")]
    renderer = Renderer(tiny_tokenizer, resolve_template("HOMEWORK", tiny_tokenizer))
    end = tiny_tokenizer.eos_token
    assert texts(renderer, group)[0] == f"BEGINNING OF CONVERSATION: USER: How? ASSISTANT:No.{end}"
    assert renderer.prompt_text(group) == "BEGINNING OF CONVERSATION: USER: How? ASSISTANT:"


@pytest.mark.usefixtures("homework")
@pytest.mark.skipif(not SHARED.exists(), reason="the shared data is not here")
def test_published_rows_give_the_texts_of_the_class(tiny_tokenizer: Any) -> None:
    data = load_groups([DataSource(str(SHARED), format="HOMEWORK")], group_by="row")
    plain = load_groups([DataSource(str(SHARED))], group_by="row")
    assert len(data.groups) + len(data.skipped) == data.num_rows == 32
    ours = Renderer(tiny_tokenizer, resolve_template("HOMEWORK", tiny_tokenizer))
    builtin = Renderer(tiny_tokenizer, resolve_template("homework", tiny_tokenizer))
    lines = {group.source: group for group in plain.groups}
    assert data.groups
    for group in data.groups:
        other = lines[group.source]
        (winner, loser) = other.comparisons[0].winner_loser or (0, 0)
        expected = texts(builtin, other)
        assert texts(ours, group) == [expected[winner], expected[loser]]
        raw = group.extra
        worse = raw[f"response_{1 - raw['better_response_id']}"]
        written = f"BEGINNING OF CONVERSATION: USER: {raw['prompt']} ASSISTANT:{worse}"
        assert texts(ours, group)[1] == written + tiny_tokenizer.eos_token


@pytest.mark.usefixtures("homework")
def test_a_stored_template_scores_messages_as_the_class_would(tiny_tokenizer: Any) -> None:
    # What a server gets: no row and no class, just messages and the saved Jinja text.
    jinja = resolve_template("HOMEWORK", tiny_tokenizer).jinja
    text = tiny_tokenizer.apply_chat_template(
        [{"role": "user", "content": "How?"}, {"role": "assistant", "content": "So."}],
        chat_template=jinja,
        tokenize=False,
    )
    assert text == f"BEGINNING OF CONVERSATION: USER: How? ASSISTANT:So.{tiny_tokenizer.eos_token}"
    with pytest.raises(Exception, match="user and assistant in turn"):
        tiny_tokenizer.apply_chat_template(
            [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}],
            chat_template=jinja,
            tokenize=False,
        )


class Chat(assay.Template):
    system_prompt = 'S "quoted" {{ braces }}\\n\n'
    user_prompt = "<u>{input}</u>"
    assistant_prompt = "<a>{output}</a>"
    separator = "\n--\n"

    def format_preference_sample(self, raw_sample: dict[str, Any]) -> dict[str, Any]:
        return {"better_text": raw_sample["one"], "worse_text": raw_sample["two"]}


def test_turns_of_a_dialogue_are_told_apart(tmp_path: Path, tiny_tokenizer: Any) -> None:
    register_template("chat", end="none")(Chat)
    head = 'S "quoted" {{ braces }}\\n\n<u>q1</u><a>a1</a>\n--\n<u>q2</u>'
    # Without a method for the prompt alone, the texts' common beginning up to an answer tells.
    first = f"{Chat.system_prompt}<u>q1</u><a>x</a>"
    path = rows(tmp_path / "r.jsonl", json.dumps({"one": first, "two": first.replace("x", "{y}")}))
    (group,) = load_groups([DataSource(path, format="chat")]).groups
    renderer = Renderer(tiny_tokenizer, resolve_template("chat", tiny_tokenizer))
    assert texts(renderer, group) == [first, first.replace("x", "{y}")]

    class Whole(Chat):
        def format_prompt_only_sample(self, raw_sample: dict[str, Any]) -> dict[str, Any]:
            return {"text": raw_sample["prompt"]}

    register_template("whole", end="none")(Whole)
    line = {"prompt": head + "<a></a>", "one": head + "<a>x</a>", "two": head + "<a></a>"}
    path = rows(tmp_path / "w.jsonl", json.dumps(line))
    (group,) = load_groups([DataSource(path, format="whole")]).groups
    assert [(m.role, m.content) for m in group.prompt] == [
        ("user", "q1"),
        ("assistant", "a1"),
        ("user", "q2"),
    ]
    renderer = Renderer(tiny_tokenizer, resolve_template("whole", tiny_tokenizer))
    assert texts(renderer, group) == [line["one"], line["two"]]


def test_marks_inside_a_question_stay_in_it(tmp_path: Path, tiny_tokenizer: Any) -> None:
    class Marked(Chat):
        def format_prompt_only_sample(self, raw_sample: dict[str, Any]) -> dict[str, Any]:
            return {"text": raw_sample["prompt"]}

    register_template("marked", end="none")(Marked)
    head = f"{Chat.system_prompt}<u>is </a>\n--\n<u> a mark?</u>"
    line = {"prompt": head, "one": head + "<a>x</a>", "two": head + "<a>y</a>"}
    path = rows(tmp_path / "m.jsonl", json.dumps(line))
    (group,) = load_groups([DataSource(path, format="marked")]).groups
    assert group.prompt == (Message("user", "is </a>\n--\n<u> a mark?"),)
    renderer = Renderer(tiny_tokenizer, resolve_template("marked", tiny_tokenizer))
    assert texts(renderer, group) == [line["one"], line["two"]]


def test_check_equal_is_asked_before_the_texts_are_made(tmp_path: Path) -> None:
    class Undecided(Chat):
        def format_preference_sample(self, raw_sample: dict[str, Any]) -> dict[str, Any]:
            better, worse = raw_sample["order"]
            head = f"{self.system_prompt}<u>q</u>"
            return {
                "better_text": head + self.assistant_prompt.format(output=better),
                "worse_text": head + self.assistant_prompt.format(output=worse),
            }

        def check_equal(self, raw_sample: dict[str, Any]) -> bool:
            return raw_sample["order"] is None or raw_sample.get("tie", False)

    register_template("undecided", end="none")(Undecided)
    lines = ({"order": "ab"}, {"order": None}, {"order": "cd", "tie": True}, {"order": "e"})
    path = rows(tmp_path / "rows.jsonl", *map(json.dumps, lines))
    source = DataSource(path, format="undecided")
    data = load_groups([source], on_bad_row="skip")
    assert [skipped.source.line for skipped in data.skipped] == [2, 3]
    assert data.counts() == {EQUAL: 2, "bad row": 1}
    assert data.bad_rows[0].source.line == 4
    # Whoever only scores still has the answers of a tie, and no preference.
    found = [row[2] for row in SourceReader(source) if isinstance(row, tuple)]
    groups = [group for group in found if isinstance(group, Group)]
    assert [len(group.responses) for group in groups] == [2, 0, 2]
    assert [len(group.comparisons) for group in groups] == [1, 0, 0]


def reads(path: str, name: str) -> str:
    with pytest.raises(DataError) as caught:
        load_groups([DataSource(path, format=name)])
    return str(caught.value)


def test_what_the_class_gets_wrong_names_row_and_mend(tmp_path: Path) -> None:
    class Wrong(Chat):
        def format_preference_sample(self, raw_sample: dict[str, Any]) -> Any:
            return raw_sample["give"]

    register_template("wrong")(Wrong)
    path = rows(tmp_path / "a.jsonl", '{"other": 1}')
    assert f"{path}:1: wrong.format_preference_sample fails on it (KeyError: 'give')" in reads(
        path, "wrong"
    )
    path = rows(tmp_path / "b.jsonl", '{"give": {"better_text": 1}}')
    assert "gives no text 'better_text'; let it return {'better_text', 'worse_text': text}" in (
        reads(path, "wrong")
    )
    path = rows(tmp_path / "c.jsonl", '{"give": {"better_text": "x", "worse_text": "y"}}')
    assert "does not say where the prompt of its texts ends" in reads(path, "wrong")


def test_a_text_that_the_attributes_do_not_make_is_refused(tmp_path: Path) -> None:
    class Other(Chat):
        def format_prompt_only_sample(self, raw_sample: dict[str, Any]) -> dict[str, Any]:
            return {"text": "Q: " + raw_sample["q"]}

    register_template("other")(Other)
    path = rows(tmp_path / "a.jsonl", '{"q": "x", "one": "Q: x A: y", "two": "Q: x A: z"}')
    said = reads(path, "other")
    assert "could not be scored as it was trained" in said
    assert "let the methods and the attributes of the class agree" in said


def test_a_class_that_only_scores(tmp_path: Path) -> None:
    class Scores(assay.Template):
        user_prompt = "Q {input} "
        assistant_prompt = "A {output}"

        def format_supervised_sample(self, raw_sample: dict[str, Any]) -> dict[str, Any]:
            return {"text": f"Q {raw_sample['q']} A {raw_sample['a']}", "prompt": "Q x A "}

    register_template("scores")(Scores)
    path = rows(tmp_path / "a.jsonl", '{"q": "x", "a": "y"}')
    ((_, _, group),) = SourceReader(DataSource(path, format="scores"))
    assert isinstance(group, Group)
    assert group.responses[0].messages == (Message("assistant", "y"),)
    assert "without comparisons" in reads(path, "scores")


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"user_prompt": "no place"}, "user_prompt of the template class c does not hold {input}"),
        ({"user_prompt": "{input} {input}"}, "does not hold {input} once"),
        ({"assistant_prompt": "{output} {more}"}, "does not hold {output} once"),
        ({"assistant_prompt": "{output"}, "does not hold {output} once"),
        ({"system_prompt": None}, "has no text as its system_prompt"),
    ],
)
def test_attributes_that_make_no_template(attributes: dict[str, Any], said: str) -> None:
    with pytest.raises(TemplateError) as caught:
        register_template("c")(type("c", (assay.Template,), attributes))
    assert said in str(caught.value)
    assert "c" not in templates._REGISTRY


def test_names_are_taken_once() -> None:
    with pytest.raises(TemplateError, match="already a template named 'chatml'"):
        register_template("chatml")(type("c", (assay.Template,), {}))
    with pytest.raises(ConfigError, match="already a format named 'trl'"):
        register_template("trl")(type("c", (assay.Template,), {}))
    assert "trl" not in templates._REGISTRY


def test_a_class_that_writes_the_begin_token_has_it_once(tiny_tokenizer: Any) -> None:
    tiny_tokenizer = with_begin_token(tiny_tokenizer)
    begin = tiny_tokenizer.bos_token
    for name, system in (("with", f"{begin}S "), ("without", "S ")):
        register_template(name)(type("c", (assay.Template,), {"system_prompt": system}))
        renderer = Renderer(tiny_tokenizer, resolve_template(name, tiny_tokenizer))
        group = Group("g", assay.Source("f", 1), (Message("user", "q"),), ())
        assert renderer.prompt_text(group) == f"{begin}S q"


def with_begin_token(tokenizer: Any) -> Any:
    """A tokenizer that begins every text with its begin token, as Llama's does."""
    import copy

    from tokenizers.processors import TemplateProcessing

    changed = copy.deepcopy(tokenizer)
    changed.add_special_tokens({"bos_token": "<s>"})
    changed.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", changed.bos_token_id)]
    )
    assert changed("")["input_ids"] == [changed.bos_token_id]
    return changed


def test_a_plug_in_that_fails_half_way_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "half.py"
    path.write_text(HOMEWORK + "\nraise ValueError('half way')\n")
    with pytest.raises(ConfigError, match="half way"):
        load_plugins([str(path)])
    assert "HOMEWORK" not in templates._REGISTRY
    assert "HOMEWORK" not in registry._REGISTRY
    assert not is_template_class("HOMEWORK")
    path.write_text(HOMEWORK)
    load_plugins([str(path)])
    assert "HOMEWORK" in templates._REGISTRY
