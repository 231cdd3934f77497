"""What is asked and what is repeated: pure functions, values by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.client import ClientSettings, RewardError
from assay.client.answers import Collected
from assay.client.asking import Question, after_refusal, questions, questions_of_texts
from assay.client.retrying import LONGEST_ASKED, Patience, seconds_of
from assay.client.settings import settings_of
from assay.errors import ConfigError, DataError


def bodies(asked: list[Question]) -> list[Any]:
    return [json.loads(one.body()) for one in asked]


def test_one_prompt_with_its_responses() -> None:
    asked = questions("q", ["a", {"role": "assistant", "content": "b"}], {"model": "rm"}, 8)
    assert bodies(asked) == [
        {
            "model": "rm",
            "prompt": "q",
            "responses": ["a", {"role": "assistant", "content": "b"}],
        }
    ]
    assert asked[0].places == (0, 1)


def test_messages_are_one_prompt_and_lists_of_messages_several() -> None:
    turn = [{"role": "user", "content": "q"}]
    assert bodies(questions(turn, ["a", "b"], {}, 8)) == [
        {"messages": turn, "responses": ["a", "b"]}
    ]
    other = [{"role": "user", "content": "r"}]
    assert bodies(questions([turn, other], ["a", "b"], {}, 8)) == [
        {"messages": turn, "responses": ["a"]},
        {"messages": other, "responses": ["b"]},
    ]


def test_equal_prompts_are_asked_together_and_cut() -> None:
    asked = questions(["p", "q", "p", "p"], ["a", "b", "c", "d"], {}, 2)
    assert [(one.about["prompt"], one.items, one.places) for one in asked] == [
        ("p", ("a", "c"), (0, 2)),
        ("p", ("d",), (3,)),
        ("q", ("b",), (1,)),
    ]


class Column:
    """What is looked up by label, as a column of pandas whose rows were sorted or chosen."""

    def __init__(self, by_label: dict[int, str]) -> None:
        self._by_label = by_label

    def __len__(self) -> int:
        return len(self._by_label)

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_label.values())

    def __getitem__(self, label: int) -> str:
        return self._by_label[label]


def test_columns_are_taken_in_their_order_and_not_by_label() -> None:
    prompts: Any = Column({1: "p", 0: "q"})
    responses: Any = Column({1: "a", 0: "b"})
    asked = questions(prompts, responses, {}, 8)
    assert [(one.about["prompt"], one.items, one.places) for one in asked] == [
        ("p", ("a",), (0,)),
        ("q", ("b",), (1,)),
    ]
    assert questions_of_texts(responses, {}, 8)[0].items == ("a", "b")


def test_fields_that_tables_add_are_left_out() -> None:
    message = {"role": "user", "content": "q", "tool_calls": None}
    (asked,) = questions([message], ["a"], {}, 8)
    assert asked.about["messages"] == [{"role": "user", "content": "q"}]


@pytest.mark.parametrize(
    ("prompts", "responses", "said"),
    [
        (["p", "q"], ["a"], "1 responses for 2 prompts"),
        ("p", "a", "responses is one text, not a list"),
        ("p", {"role": "assistant", "content": "a"}, "responses is one message"),
        ("p", 3, "responses is of type int"),
        ("p", None, "responses is of type NoneType"),
        (3, ["a"], "prompts is of type int"),
        ({"role": "user", "content": "p"}, ["a", "b"], "prompts is one message"),
        ({"p", "q"}, ["a", "b"], "prompts is of type set"),
        (["p", 3], ["a", "b"], r"prompts\[1\]"),
        (["p"], [["a", "b"]], r"responses\[0\].*no message"),
        (["p"], [7], r"responses\[0\]"),
    ],
)
def test_what_does_not_fit_together(prompts: Any, responses: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        questions(prompts, responses, {}, 8)


def test_texts() -> None:
    asked = questions_of_texts(["a", "b", "c"], {"input_template": "qwen"}, 2)
    assert bodies(asked) == [
        {"input_template": "qwen", "texts": ["a", "b"]},
        {"input_template": "qwen", "texts": ["c"]},
    ]
    for none in ("a text", 3, None, ["a", 3]):
        with pytest.raises(DataError, match="no list of texts"):
            questions_of_texts(none, {}, 2)  # type: ignore[arg-type]


@pytest.mark.parametrize("item", [float("nan"), {1, 2}, "\ud800"], ids=["nan", "set", "surrogate"])
def test_what_is_no_json_is_said(item: Any) -> None:
    with pytest.raises(RewardError, match="JSON"):
        Question({}, "texts", (item,), (0,), "texts").body()


QUESTION = Question({}, "responses", ("a", "b", "c"), (4, 6, 9), "prompts")


def test_a_refused_item_is_left_out() -> None:
    error = RewardError("too long", status=422, param="responses[1]")
    (rest,), item = after_refusal(QUESTION, error)
    assert item == 1
    assert rest.items == ("a", "c")
    assert rest.places == (4, 9)
    assert str(QUESTION.failed(error, 1)) == "prompts[6]: too long"
    one = QUESTION.part(0, 1)
    assert after_refusal(one, RewardError("x", status=422, param="responses[0]")) == ([], 0)


@pytest.mark.parametrize(
    "error",
    [
        RewardError("large", status=413),
        RewardError("900 tokens are more than ... (max_request_tokens)", status=422),
    ],
    ids=["bytes", "tokens"],
)
def test_what_is_too_large_is_asked_in_halves(error: RewardError) -> None:
    halves, item = after_refusal(QUESTION, error)
    assert item is None
    assert [half.places for half in halves] == [(4,), (6, 9)]
    assert after_refusal(QUESTION.part(0, 1), error) == ([], None)


@pytest.mark.parametrize("param", [None, "messages", "texts[0]", "responses[7]"])
def test_other_refusals_are_of_the_whole_request(param: str | None) -> None:
    assert after_refusal(QUESTION, RewardError("no", status=422, param=param)) == ([], None)


@settings(deadline=None)
@given(st.lists(st.sampled_from("pqr"), max_size=30), st.integers(1, 5))
def test_every_item_is_asked_once_and_comes_back_in_its_place(
    prompts: list[str], size: int
) -> None:
    responses = [f"{place}" for place in range(len(prompts))]
    collected = Collected(len(prompts))
    for asked in reversed(questions(prompts, responses, {}, size)):
        assert len(asked.items) <= size
        rewards = [float(item) for item in asked.items]
        assert collected.take(asked, {"rewards": rewards}) == []
    assert collected.result().rewards == [float(place) for place in range(len(prompts))]


@pytest.mark.parametrize(
    "answer",
    [
        [],
        {},
        {"rewards": [1.0]},
        {"rewards": 1.0},
        {"rewards": [1.0, 2.0, 3.0], "tokens": [1]},
    ],
)
def test_an_answer_to_something_else_is_none(answer: Any) -> None:
    with pytest.raises(RewardError):
        Collected(10).take(QUESTION, answer)


@pytest.mark.parametrize("reward", [float("nan"), float("inf"), None, True, "1.0"], ids=repr)
def test_a_reward_that_is_no_number_fails_alone(reward: Any) -> None:
    collected = Collected(10)
    (failed,) = collected.take(QUESTION, {"rewards": [1.0, reward, 3.0]})
    assert failed.index == 6
    assert repr(reward) in str(failed)
    assert collected.result().rewards[4:] == [1.0, None, None, None, None, 3.0]


def test_everything_else_that_is_known_comes_along() -> None:
    collected = Collected(2)
    for place in (1, 0):
        collected.take(
            Question({}, "responses", ("a",), (place,), "prompts"),
            {
                "model": "rm",
                "rewards": [place + 0.5],
                "tokens": [10 + place],
                "truncated": [bool(place)],
                "uncertainty": [0.1 * place],
                "components": [{"helpfulness": place}],
                "foreign_special_tokens": [["<x>"]] if place else None,
                "warnings": ["mind"],
            },
        )
    found = collected.result()
    assert (found.rewards, found.tokens, found.truncated) == (
        [0.5, 1.5],
        [10, 11],
        [False, True],
    )
    assert found.uncertainty == [0.0, 0.1]
    assert found.components == [{"helpfulness": 0}, {"helpfulness": 1}]
    assert found.foreign_special_tokens == [None, ["<x>"]]
    assert found.warnings == ["mind"]
    assert found.model == "rm"
    assert found.complete() == [0.5, 1.5]


def busy(seconds: float | None = None) -> RewardError:
    return RewardError("busy", status=429, passing=True, retry_after=seconds)


def test_pauses_double_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assay.client.retrying.FIRST_WAIT", 0.5)
    longest = Patience(9, draw=lambda: 1.0)
    assert [longest.pause(busy()) for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    shortest = Patience(3, draw=lambda: 0.0)
    assert [shortest.pause(busy()) for _ in range(3)] == [0.25, 0.5, 1]


def test_a_server_is_never_asked_sooner_than_it_says() -> None:
    assert Patience(1, draw=lambda: 0.0).pause(busy(7)) == 7
    assert Patience(1, draw=lambda: 1.0).pause(busy(8)) == 10
    with pytest.raises(RewardError):
        Patience(1).pause(busy(LONGEST_ASKED + 1))


def test_patience_ends_and_says_how_often_it_was_asked() -> None:
    patience = Patience(2)
    patience.pause(busy())
    patience.pause(busy())
    with pytest.raises(RewardError, match=r"busy \(asked 3 times\)"):
        patience.pause(busy())
    with pytest.raises(RewardError, match=r"wrong$"):
        Patience(2).pause(RewardError("wrong", status=422))


def test_retry_after_as_seconds_and_as_a_date() -> None:
    assert seconds_of(" 12 ") == 12.0
    soon = datetime.now(UTC) + timedelta(seconds=60)
    assert seconds_of(format_datetime(soon, usegmt=True)) == pytest.approx(60, abs=5)
    past = datetime.now(UTC) - timedelta(seconds=60)
    assert seconds_of(format_datetime(past, usegmt=True)) == 0.0
    assert [seconds_of(text) for text in (None, "", "soon", "-3")] == [None] * 4


@pytest.mark.parametrize(
    "options",
    [
        {"base_url": "localhost:8000"},
        {"base_url": "http://"},
        {"base_url": "http://here:99999"},
        {"base_url": "http://[::1"},
        {"on_error": "zero"},
        {"run": " a"},
        {"run": "a\nb"},
        {"run": "x" * 129},
        {"retries": -1},
        {"concurrency": 0},
        {"responses_per_request": 0},
        {"timeout": 0},
        {"timeout": "60"},
        {"retries": "3"},
        {"concurrency": 1.5},
        {"run": 7},
        {"model": ["m"]},
        {"timeouts": 3},
    ],
    ids=str,
)
def test_settings_that_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        settings_of(options.pop("base_url", "http://localhost:1"), options)


def test_address_and_key_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="ASSAY_BASE_URL"):
        settings_of(None, {})
    monkeypatch.setenv("ASSAY_BASE_URL", "http://here:1/")
    monkeypatch.setenv("ASSAY_API_KEY", "secret")
    found = settings_of(None, {})
    assert (found.base_url, found.key, found.api_key) == ("http://here:1", "secret", None)
    assert "own" not in repr(ClientSettings("http://here:1", api_key="own"))


def test_a_key_that_no_header_can_hold_is_not_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_API_KEY", " secret\n")
    assert ClientSettings("http://here:1").key == "secret"
    for key in ("sec\nret", "sec\x00ret", "sec\udc80ret"):
        with pytest.raises(ConfigError, match="no header can hold") as error:
            _ = ClientSettings("http://here:1", api_key=key).key
        assert "ret" not in str(error.value)
