"""Composite rewards: sums by hand, and reward files that are wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from assay.data.formats import VerbatimText
from assay.data.formats.building import row_group
from assay.data.formats.messages import assistant, user
from assay.data.records import Group, Message, Response, Source
from assay.errors import AssayError, ConfigError, DataError
from assay.score.composite import Combined, CompositeReward, combine
from assay.score.reward_file import read_reward_file
from assay.score.scorer import RowScores
from assay.score.several import Several, models_named, response_texts


def reward(tmp_path: Path, text: str) -> CompositeReward:
    path = tmp_path / "reward.yaml"
    path.write_text(text, encoding="utf-8")
    return read_reward_file(path)


FULL = """
models:
  - {name: quality, model: runs/quality, weight: 2}
  - {name: safety, model: runs/attributes, head: harmless, weight: 0.5}
length: {per_character: 0.25, free: 4, at_most: 3}
rules:
  - {name: apology, when: {contains: sorry}, add: -1}
  - {name: answer, unless: {regex: "[0-9]+$"}, add: -0.5}
  - {name: empty, when: {shorter_than: 1}, set: -10}
  - {name: endless, when: {longer_than: 30}, set: -20}
"""


@pytest.mark.parametrize(
    ("text", "expected", "components"),
    [
        # 2 * 1.5 + 0.5 * -1 = 2.5; six characters are two too many; all rules keep quiet.
        ("is: 42", 2.0, {"length": -0.5, "apology": 0.0, "answer": 0.0}),
        # Nine too many would cost 2.25.
        ("so sorry, 7.x", -1.25, {"length": -2.25, "apology": -1.0, "answer": -0.5}),
        # Twenty too many would cost 5, and no more than 3 is taken.
        ("x" * 23 + "1", -0.5, {"length": -3.0, "apology": 0.0, "answer": 0.0}),
        ("", -10.0, {"length": 0.0, "apology": 0.0, "answer": -0.5, "empty": -10.0}),
        ("1" * 31, -20.0, {"length": -3.0, "apology": 0.0, "answer": 0.0, "endless": -20.0}),
    ],
)
def test_sums(tmp_path: Path, text: str, expected: float, components: dict[str, float]) -> None:
    values = {"quality": 1.5, "safety": -1.0}
    found = combine(reward(tmp_path, FULL), values, text)
    assert found == Combined(expected, values | components)


def test_of_several_fixed_numbers_the_first_counts(tmp_path: Path) -> None:
    spec = reward(
        tmp_path,
        "models: [{name: m}]\nrules: [{name: a, when: {contains: x}, set: 1},"
        " {name: b, when: {contains: x}, set: 2}, {name: c, when: {contains: x}, add: 5}]",
    )
    assert combine(spec, {"m": 7.0}, "x") == Combined(1.0, {"m": 7.0, "a": 1.0, "b": 2.0, "c": 5.0})
    assert combine(spec, {"m": 7.0}, "y") == Combined(7.0, {"m": 7.0, "c": 0.0})


WRONG: dict[str, tuple[str, Sequence[str]]] = {
    "no models": ("length: {per_character: 1}", ["r.yaml: 'models' is missing", "add it"]),
    "an empty list": ("models: []", ["r.yaml:1: models: ", "at least 1"]),
    "a list": ("- a", ["r.yaml: holds no reward"]),
    "nothing": ("", ["r.yaml: holds no reward"]),
    "a wrong key": (
        "models:\n  - name: a\n    wieght: 2",
        ["r.yaml:3: unknown key 'models.0.wieght'", "did you mean 'weight'?"],
    ),
    "a wrong section": ("models: [{name: a}]\nrule: []", ["r.yaml:2:", "did you mean 'rules'?"]),
    "a wrong condition": (
        "models: [{name: a}]\nrules:\n  - name: b\n    add: 1\n    when: {contain: x}",
        ["r.yaml:5: unknown key 'rules.0.when.contain'", "did you mean 'contains'?"],
    ),
    "a word for a number": ("models:\n  - name: a\n    weight: much", ["r.yaml:3:", "'much'"]),
    "true for a number": ("models:\n  - name: a\n    weight: true", ["r.yaml:3:", "true or false"]),
    "no finite number": ("models: [{name: a, weight: .inf}]", ["r.yaml:1:", "finite"]),
    "a key twice": ("models:\n  - name: a\n    name: b", ["r.yaml:3:", "given twice", "line 2"]),
    "a name twice": ("models: [{name: a}, {name: a}]", ["two parts are called 'a'"]),
    "the name of the length": (
        "models: [{name: length}]\nlength: {per_character: 1}",
        ["two parts are called 'length'"],
    ),
    "no regular expression": (
        "models: [{name: a}]\nrules:\n  - {name: b, add: 1, when: {regex: '('}}",
        ["r.yaml:3:", "'(' is no regular expression"],
    ),
    "two conditions": (
        "models: [{name: a}]\nrules: [{name: b, add: 1, when: {contains: x, longer_than: 2}}]",
        ["r.yaml:2:", "give one of contains, regex"],
    ),
    "when and unless": (
        "models: [{name: a}]\n"
        "rules: [{name: b, add: 1, when: {contains: x}, unless: {contains: y}}]",
        ["r.yaml:2:", "give one of when, unless"],
    ),
    "neither add nor set": (
        "models: [{name: a}]\nrules: [{name: b, when: {contains: x}}]",
        ["give one of add, set"],
    ),
    "a reward for length": (
        "models: [{name: a}]\nlength: {per_character: -1}",
        ["r.yaml:2: length.per_character", "greater than 0"],
    ),
    "broken YAML": ("models: [", ["r.yaml:1: not valid YAML", "this line"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_with_its_line(name: str, tmp_path: Path) -> None:
    text, says = WRONG[name]
    path = tmp_path / "r.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        read_reward_file(path)
    for words in says:
        assert words in str(refused.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such reward file"):
        read_reward_file(tmp_path / "r.yaml")


def test_each_model_is_named_once(tmp_path: Path) -> None:
    spec = reward(
        tmp_path,
        "models: [{name: a, model: x}, {name: b}, {name: c, model: x, head: h},"
        " {name: d, model: m}]",
    )
    assert models_named(spec, "m") == ["x", "m"]
    with pytest.raises(ConfigError, match="the part 'b' names no model"):
        models_named(spec, None)


class Fixed:
    """Stands in the place of a model: the length of each response, and twice that as a head."""

    def __init__(self, refuses: str | None = None) -> None:
        self.refuses = refuses
        self.model: Any = type("M", (), {})()
        self.model.heads = type("H", (), {"names": ["twice"], "is_ensemble": False})()

    def score(
        self, items: Sequence[Any], max_length: int | None, progress: Callable[[float], object]
    ) -> list[RowScores | AssayError]:
        progress(0.5)
        progress(1.0)
        return [self._one(item) for item in items]

    def refusals(self, items: Sequence[Any], max_length: int | None) -> list[AssayError | None]:
        return [one if isinstance(one := self._one(item), AssayError) else None for item in items]

    def _one(self, item: Any) -> RowScores | AssayError:
        sizes = [len(text) for text in response_texts(item)]
        if self.refuses in response_texts(item):
            return DataError("refused")
        return RowScores(
            scores=[float(size) for size in sizes],
            num_tokens=sizes,
            truncated=[False for _ in sizes],
            components=[{"twice": 2.0 * size} for size in sizes],
        )


def group(*texts: str) -> Group:
    answers = tuple(Response((assistant(text),)) for text in texts)
    return row_group(Source("f", 1), (user("q"),), answers)


def test_models_and_heads_are_combined(tmp_path: Path) -> None:
    spec = reward(
        tmp_path,
        "models: [{name: a, model: x}, {name: b, model: x, head: twice, weight: 10},"
        " {name: c, model: y, weight: -1}]",
    )
    models: dict[str, Any] = {"x": Fixed(), "y": Fixed("no")}
    shares: list[float] = []
    by = Several(spec, "r.yaml", models, None)
    items = [group("abc", "a"), group("x", "no")]
    first, second = by.score(items, None, shares.append)
    assert isinstance(first, RowScores)
    assert first.scores == [60.0, 20.0]
    assert first.components == [{"a": 3.0, "b": 6.0, "c": 3.0}, {"a": 1.0, "b": 2.0, "c": 1.0}]
    assert first.num_tokens == [6, 2]
    assert isinstance(second, DataError)
    assert [refusal is None for refusal in by.refusals(items, None)] == [True, False]
    assert shares == [0.25, 0.5, 0.75, 1.0]


def test_a_head_that_is_not_there(tmp_path: Path) -> None:
    spec = reward(tmp_path, "models: [{name: a, head: thrice}]")
    models: dict[str, Any] = {"x": Fixed()}
    with pytest.raises(ConfigError, match="has no head 'thrice'; known: twice"):
        Several(spec, "r.yaml", models, "x")


def test_rules_look_at_what_the_assistant_says() -> None:
    turns = (
        Message("assistant", "look"),
        Message("tool", "sorry"),
        Message("assistant", "found"),
    )
    conversation = row_group(Source("f", 1), (user("q"),), (Response(turns),))
    assert response_texts(conversation) == ["look\nfound"]
    assert response_texts(VerbatimText("all of it", Source("f", 1))) == ["all of it"]
