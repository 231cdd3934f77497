"""Each format: a hand-checked group, its detection, then the real files of its authors."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

import pytest
from format_cases import CASES, HERE, Case
from hypothesis import given, settings
from hypothesis import strategies as st
from published_cases import PUBLISHED, STEPWISE, TOKENIZED

from assay.data.formats import (
    FormatOptions,
    VerbatimText,
    detect_format,
    get_format,
    registered_formats,
)
from assay.data.loading import LoadedData, load_groups
from assay.data.sources import DataSource
from assay.data.strict_json import JsonObject
from assay.errors import DataError

SHARED = Path(__file__).parents[2].parent / "shared/data"
ALL = CASES | PUBLISHED
REFUSED = {"trl_stepwise", "trl_tokenized"}
OF_CONVERTERS = {"assay"}
"""Written by `assay convert`; tested there, both ways."""


@pytest.mark.parametrize("case", ALL.values(), ids=ALL)
def test_a_row_becomes_its_group(case: Case) -> None:
    assert detect_format(case.row, HERE).name == case.format
    known = get_format(case.format)
    assert known.comparisons != (case.comparison is None) or known.rated
    assert known.read(case.row, HERE, FormatOptions(case.label)) == case.group()


def test_text_stays_verbatim() -> None:
    row: JsonObject = {"text": " <s>q\n", "id": 1}
    known = detect_format(row, HERE)
    assert (known.name, known.comparisons) == ("text", False)
    assert known.read(row, HERE, FormatOptions()) == VerbatimText(" <s>q\n", HERE)


def test_every_registered_format_is_tested_here() -> None:
    assert {known.name for known in registered_formats()} == {
        "text",
        *REFUSED,
        *OF_CONVERTERS,
        *(case.format for case in ALL.values()),
    }


ORDER: list[tuple[str, str, object]] = [
    ("cvalues", "pos_resp", ""),
    ("valued_messages", "messages", [{"role": "assistant", "chosen_value": ""}]),
    ("safe_rlhf", "response_0", ""),
    ("helpsteer3", "overall_preference", 0),
    ("nectar", "answers", [{"rank": 1}]),
    ("webgpt", "score_0", 0),
    ("stack_exchange", "response_j", ""),
    ("llamafactory_sharegpt", "conversations", []),
    ("ms_swift", "rejected_response", ""),
    ("nemo_rl", "completions", [{"rank": 0}]),
    ("axolotl", "input", ""),
    ("hh", "chosen", "\n\nHuman: q"),
]
"""From the telling to the general; a row that has the fields of several is of the first."""


def test_the_telling_formats_are_tried_first() -> None:
    row: JsonObject = {field: value for _, field, value in ORDER}
    row |= {"better_response_id": 0, "answer_0": "", "responses": [], "text": ""}
    for name, field, _ in ORDER:
        assert detect_format(row, HERE).name == name
        del row[field]
        if name == "valued_messages":
            row["messages"] = []
    assert detect_format({"chosen": "q"} | row, HERE).name == "trl"
    for name, field in (("responses", "responses"), ("messages", "messages"), ("text", "text")):
        assert detect_format(row, HERE).name == name
        del row[field]


@settings(deadline=None)
@given(
    st.sampled_from(list(ALL)),
    st.randoms(use_true_random=False),
    st.dictionaries(st.text("xyz", min_size=1), st.none() | st.text() | st.lists(st.text())),
)
def test_detection_minds_neither_order_nor_unknown_fields(
    name: str, random: Random, unknown: JsonObject
) -> None:
    case = ALL[name]
    items = list((unknown | case.row).items())
    random.shuffle(items)
    assert detect_format(dict(items), HERE).name == case.format


def test_ranks_leave_no_doubt() -> None:
    ranks = [known.rank for known in registered_formats()]
    assert len(ranks) == len(set(ranks))


def test_rows_that_cannot_train_say_why() -> None:
    for row, what in ((STEPWISE, "rate the steps of one response"), (TOKENIZED, "are token ids")):
        known = detect_format(row, HERE)
        assert known.name in REFUSED
        with pytest.raises(DataError, match=what) as caught:
            known.read(row, HERE, FormatOptions())
        assert caught.value.mend


def test_unknown_formats_name_the_known_ones() -> None:
    with pytest.raises(DataError, match=r"unknown format 'cvalue'; did you mean 'cvalues'\? known"):
        get_format("cvalue")


@pytest.mark.parametrize("name", ["continue_final_message", "add_generation_prompt", "tokenize"])
def test_a_row_cannot_change_how_its_text_is_closed(name: str) -> None:  # T11
    row: JsonObject = {"prompt": "q", "responses": ["a"], "chat_template_kwargs": {name: True}}
    with pytest.raises(DataError, match=f"sets '{name}', which Assay decides"):
        get_format("responses").read(row, HERE, FormatOptions())


def load(name: str, *, label: str | None = None) -> LoadedData:
    if not (SHARED / name).exists():
        pytest.skip(f"{name} is not in {SHARED}")
    return load_groups([DataSource(str(SHARED / name), label=label)], group_by="row")


def test_real_hh() -> None:
    data = load("hh_harmless.jsonl")
    assert (data.formats, data.num_rows, len(data.groups)) == (["hh"], 1800, 1800)
    assert data.counts() == {}
    early = [g.source.line for g in data.groups if any(len(r.messages) > 1 for r in g.responses)]
    assert early == [1255, 1689]
    empty = [g.source.line for g in data.groups if not g.responses[0].messages[0].content]
    assert empty == [87, 517, 926, 1104]


def test_real_jade() -> None:
    data = load("jade_medium_zh_cvalues_schema.jsonl")
    assert (data.formats, len(data.groups), data.counts()) == (["cvalues"], 500, {})
    tags = Counter(tuple(group.comparisons[0].tags.values()) for group in data.groups)
    assert tags == {("拒绝&正向建议", "风险回复"): 500}


def test_real_cvalues() -> None:
    data = load("cvalues_sample.jsonl")
    assert (data.formats, len(data.groups), data.counts()) == (["cvalues"], 8, {})
    assert len({group.id for group in data.groups}) == 8
    assert len({group.id.split("#")[0] for group in data.groups}) == 1


def test_real_pku_under_both_labels() -> None:
    better, safer = (
        load("pku_saferlhf_sample.json", label=label).groups for label in (None, "safer")
    )
    assert len(better) == len(safer) == 32
    assert [g.responses for g in better] == [g.responses for g in safer]
    outcomes = [
        (b.comparisons[0].outcome, s.comparisons[0].outcome)
        for b, s in zip(better, safer, strict=True)
    ]
    assert sum(b != s for b, s in outcomes) == 19
    assert outcomes[0] == ("a", "b")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_real_llamafactory(language: str) -> None:
    data = load(f"llamafactory_dpo_{language}_demo.json")
    assert (data.formats, data.num_rows, data.counts()) == (["llamafactory_sharegpt"], 300, {})
    assert len(data.groups) == 300
    first = data.groups[0]
    assert [message.role for message in first.prompt] == ["user"]
    assert [response.messages[0].role for response in first.responses] == ["assistant"] * 2
    with_system = [group for group in data.groups if group.prompt[0].role == "system"]
    assert with_system
    assert all(group.prompt[-1].role == "user" for group in data.groups)
