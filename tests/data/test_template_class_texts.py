"""How the texts of template classes are taken apart: beyond doubt, or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import assay
from assay.data.formats import registry
from assay.data.loading import load_groups
from assay.data.records import Group
from assay.data.rendering import Renderer
from assay.data.sources import DataSource
from assay.data.template_classes import _Pieces, register_template
from assay.data.templates import resolve_template
from assay.errors import DataError, TemplateError

pytestmark = pytest.mark.usefixtures("fresh_registries")


class Written(assay.Template):
    """Its rows hold the texts themselves."""

    def format_preference_sample(self, raw_sample: dict[str, Any]) -> dict[str, Any]:
        return {"better_text": raw_sample["better"], "worse_text": raw_sample["worse"]}


class Asked(Written):
    def format_prompt_only_sample(self, raw_sample: dict[str, Any]) -> dict[str, Any]:
        return {"text": raw_sample["prompt"]}


def register(base: type, **attributes: str) -> None:
    register_template("mine", end="none")(type("Mine", (base,), attributes))


TAGS = {
    "system_prompt": "S ",
    "user_prompt": "<u>{input}</u>",
    "assistant_prompt": "<a>{output}</a>",
    "separator": "--",
}


def read(folder: Path, **row: str) -> Group:
    path = folder / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    (group,) = load_groups([DataSource(str(path), format="mine")]).groups
    return group


def said(group: Group) -> list[str]:
    return [message.content for message in group.prompt]


def check_texts(group: Group, tokenizer: Any, *texts: str) -> None:
    """The stored template gives back, character by character, what the class has written."""
    renderer = Renderer(tokenizer, resolve_template("mine", tokenizer))
    items = [(group, number) for number in range(len(group.responses))]
    assert [rendered.text for rendered in renderer.render_many(items)] == list(texts)


def test_the_prompt_ends_with_what_both_texts_share(tmp_path: Path, tiny_tokenizer: Any) -> None:
    register(Written, **TAGS)
    dialogue = "S <u>q1</u><a>a1</a>--<u>q2</u>"
    texts = [f"{dialogue}<a>{answer}</a>" for answer in ("yes", "no")]
    group = read(tmp_path, better=texts[0], worse=texts[1])
    assert said(group) == ["q1", "a1", "q2"]
    check_texts(group, tiny_tokenizer, *texts)
    # Dialogues that part earlier have less in common.
    texts = [
        "S <u>q1</u><a>a1</a>--<u>q2</u><a>yes</a>",
        "S <u>q1</u><a>b1</a>--<u>q3</u><a>no</a>",
    ]
    group = read(tmp_path, better=texts[0], worse=texts[1])
    assert said(group) == ["q1"]
    check_texts(group, tiny_tokenizer, *texts)


def test_texts_that_share_no_prompt(tmp_path: Path) -> None:
    register(Written, **TAGS)
    with pytest.raises(DataError, match="does not say where the prompt of its texts ends"):
        read(tmp_path, better="S <u>q1</u><a>yes</a>", worse="S <u>q2</u><a>no</a>")


@pytest.mark.parametrize(
    ("inside", "turns"),
    [
        ("q1</u><a>a1</a>--<u>q2", ["q1", "a1", "q2"]),
        ("q1</u><a>a1</a>--<u>q2</u><a>a2</a>--<u>q3", ["q1", "a1", "q2", "a2", "q3"]),
        ("q1</u><a></a>--<u>", ["q1", "", ""]),
        # An answer within an answer, a question without one, an answer to the last question.
        ("q1</u><a>a1</u><a>b1</a>--<u>q2", None),
        ("q1</a>--<u>q2", None),
        ("q1</u><a>a1</a>--<u>q2</u><a>a2", None),
        ("no marks", None),
    ],
)
def test_turns_within_a_prompt(
    inside: str, turns: list[str] | None, tmp_path: Path, tiny_tokenizer: Any
) -> None:
    register(Asked, **TAGS)
    prompt = f"S <u>{inside}</u>"
    texts = [f"{prompt}<a>{answer}</a>" for answer in ("yes", "no")]
    group = read(tmp_path, prompt=prompt, better=texts[0], worse=texts[1])
    assert said(group) == ([inside] if turns is None else turns)
    check_texts(group, tiny_tokenizer, *texts)


@pytest.mark.parametrize(
    "pieces",
    [
        {},  # Nothing around the texts.
        {"user_prompt": "{input}\n", "assistant_prompt": "{output}\n", "separator": "\n"},
    ],
)
def test_marks_of_white_space_tell_nothing_apart(
    pieces: dict[str, str], tmp_path: Path, tiny_tokenizer: Any
) -> None:
    register(Asked, **pieces)
    question, end = "one line\nanother\n\nand a third", pieces and "\n"
    prompt = f"{question}{end or ''}"
    texts = [f"{prompt}{answer}{end or ''}" for answer in ("yes", "no")]
    group = read(tmp_path, prompt=prompt, better=texts[0], worse=texts[1])
    assert said(group) == [question]
    check_texts(group, tiny_tokenizer, *texts)


def test_pieces_that_overlap_in_a_text_are_not_two(tmp_path: Path) -> None:
    register(Asked, user_prompt="| {input} |", assistant_prompt="*{output}*")
    good = {"prompt": "| q |", "better": "| q |*yes*", "worse": "| q |*no*"}
    assert said(read(tmp_path, **good)) == ["q"]
    with pytest.raises(DataError, match="mine: the prompt's text is not made of"):
        read(tmp_path, **good | {"prompt": "| |"})
    with pytest.raises(DataError, match="mine: worse_text is not made of"):
        read(tmp_path, **good | {"worse": "| q |*"})
    with pytest.raises(DataError, match="mine: better_text is not made of"):
        read(tmp_path, **good | {"better": "| q |*yes"})
    with pytest.raises(DataError, match="mine: worse_text is not made of"):
        read(tmp_path, **good | {"worse": "| q | *no*"})


def test_a_shorter_ending_is_looked_for_where_a_longer_one_overlaps(tmp_path: Path) -> None:
    # The question is a mark that ends answers; the line before it belongs to the beginning.
    register(Asked, user_prompt="U:\n{input}\n", assistant_prompt="{output}!\n")
    group = read(tmp_path, prompt="U:\n!\n", better="U:\n!\nyes!\n", worse="U:\n!\nno!\n")
    assert said(group) == ["!"]


def test_what_a_method_takes_out_of_its_row_is_there_for_the_next(tmp_path: Path) -> None:
    class Greedy(Asked):
        def format_prompt_only_sample(self, raw_sample: dict[str, Any]) -> dict[str, Any]:
            return {"text": raw_sample.pop("prompt")}

        def check_equal(self, raw_sample: dict[str, Any]) -> bool:
            return bool(raw_sample.pop("better") == raw_sample.pop("worse"))

    register(Greedy, **TAGS)
    row = {"prompt": "S <u>q</u>", "better": "S <u>q</u><a>x</a>", "worse": "S <u>q</u><a>y</a>"}
    assert read(tmp_path, **row).extra == row


def test_a_taken_name_of_a_template_leaves_no_format(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match="already a template named 'chatml'"):
        register_template("chatml")(type("Mine", (Asked,), TAGS))
    assert "chatml" not in registry._REGISTRY


TEXT = st.text(alphabet="ab<u/>-| \n", max_size=8)
PIECE = st.text(alphabet="<u/>-| \n", max_size=4)


@given(
    pieces=st.tuples(PIECE, PIECE, PIECE, PIECE, PIECE, PIECE),
    turns=st.lists(TEXT, min_size=1, max_size=5).filter(lambda turns: len(turns) % 2),
    answers=st.lists(TEXT, min_size=2, max_size=2),
)
@settings(max_examples=200, deadline=None)
def test_a_text_is_given_back_or_refused(
    pieces: tuple[str, ...], turns: list[str], answers: list[str]
) -> None:
    made = _Pieces(*pieces)
    before_user, after_user, before_answer, after_answer = pieces[1:5]
    text = made.system
    for number, turn in enumerate(turns):
        asked = before_user + turn + after_user
        answered = before_answer + turn + after_answer + made.separator
        text += answered if number % 2 else asked
    try:
        prompt = made.prompt(text, "prompt")
        found = [
            made.answer(f"{text}{before_answer}{a}{after_answer}", prompt, "a") for a in answers
        ]
    except DataError:
        return
    for answer, read_back in zip(answers, found, strict=True):
        whole = f"{text}{before_answer}{answer}{after_answer}"
        assert made.text(prompt) + before_answer + read_back + after_answer == whole
