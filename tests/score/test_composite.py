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
from assay.errors import AssayError, ConfigError, DataError, ModelError
from assay.model.rounding import shortest
from assay.score.composite import Combined, CompositeReward, combine
from assay.score.reward_file import RewardFile, read_reward_file
from assay.score.scorer import RowScores
from assay.score.several import (
    Several,
    check_heads,
    load_several,
    models_named,
    response_texts,
)


def reward(tmp_path: Path, text: str) -> CompositeReward:
    path = tmp_path / "reward.yaml"
    path.write_text(text, encoding="utf-8")
    return read_reward_file(path).spec


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
    quiet = {"empty": None, "endless": None}
    assert found == Combined(expected, values | quiet | components)
    assert list(found.components) == [*values, "length", "apology", "answer", *quiet]


def test_sums_have_the_digits_of_a_float32(tmp_path: Path) -> None:
    spec = reward(
        tmp_path,
        "models: [{name: a}, {name: b, weight: 0.1}]\nlength: {per_character: 0.1}\n"
        "rules: [{name: c, unless: {contains: x}, add: 0.7}]",
    )
    # As float64: 1.3 + 0.03 - 0.30000000000000004 + 0.7 = 1.73, and length -0.30000000000000004.
    found = combine(spec, {"a": 1.3, "b": 0.3}, "abc")
    assert found == Combined(1.73, {"a": 1.3, "b": 0.3, "length": -0.3, "c": 0.7})
    # As float64 1.3099077000000001.
    assert shortest(1.0516529 + 0.2582548) == 1.3099077
    assert shortest(1e300) == 1e300


def test_of_several_fixed_numbers_the_first_counts(tmp_path: Path) -> None:
    spec = reward(
        tmp_path,
        "models: [{name: m}]\nrules: [{name: a, when: {contains: x}, set: 1},"
        " {name: b, when: {contains: x}, set: 2}, {name: c, when: {contains: x}, add: 5}]",
    )
    assert combine(spec, {"m": 7.0}, "x") == Combined(1.0, {"m": 7.0, "a": 1.0, "b": 2.0, "c": 5.0})
    nowhere = {"m": 7.0, "a": None, "b": None, "c": 0.0}
    assert combine(spec, {"m": 7.0}, "y") == Combined(7.0, nowhere)


WRONG: dict[str, tuple[str, Sequence[str]]] = {
    "no models": ("length: {per_character: 1}", ["r.yaml: 'models' is missing", "add it"]),
    "an empty list": ("models: []", ["r.yaml:1: 'models' is empty; name one or more"]),
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
    "a name twice": (
        "models:\n  - name: a\nrules:\n  - add: 1\n    name: a\n    when: {contains: x}",
        ["r.yaml:5: two parts are called 'a'; give each a name of its own"],
    ),
    "the name of the length": (
        "models: [{name: length}]\nlength: {per_character: 1}",
        ["r.yaml:2: two parts are called 'length'"],
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


def read(tmp_path: Path, text: str) -> RewardFile:
    reward(tmp_path, text)
    return read_reward_file(tmp_path / "reward.yaml")


def test_each_model_is_named_once(tmp_path: Path) -> None:
    file = read(
        tmp_path,
        "models:\n- {name: a, model: x}\n- {name: b}\n- {name: c, model: x, head: h}\n"
        "- {name: d, model: m}",
    )
    named = models_named(file, "m")
    assert {name: [part.name for part in parts] for name, parts in named.items()} == {
        "x": ["a", "c"],
        "m": ["b", "d"],
    }
    with pytest.raises(ConfigError, match=r"reward\.yaml:3: the part 'b' names no model"):
        models_named(file, None)


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
    file = read(tmp_path, "models:\n  - name: a\n    head: thrice")
    model: Any = Fixed().model
    with pytest.raises(
        ConfigError, match=r"reward\.yaml:3: the model of 'a' has no head 'thrice'; known: twice"
    ):
        check_heads(file, file.spec.models, model)


def test_a_model_that_cannot_be_opened_is_told_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rewards" / "reward.yaml"
    (path.parent / "runs" / "mine").mkdir(parents=True)
    path.write_text("models:\n  - name: a\n    model: runs/mine\n  - {name: b}")
    monkeypatch.chdir(tmp_path)

    def refuse(name: str) -> Any:
        raise ModelError("no such model directory", where=name, mend="check the path")

    def said() -> str:
        with pytest.raises(ModelError) as refused:
            load_several(Path("rewards/reward.yaml"), "given", refuse)
        return str(refused.value)

    beside = "rewards/reward.yaml:3: the model 'runs/mine' of 'a': no such model directory; "
    assert said() == beside + (
        "paths are relative to where the command runs, not to the file: write rewards/runs/mine"
    )
    (path.parent / "runs" / "mine").rmdir()
    assert said() == beside + "check the path"
    path.write_text("models: [{name: b}]")
    assert said() == "given: no such model directory; check the path"


def test_rules_look_at_what_the_assistant_says() -> None:
    turns = (
        Message("assistant", "look"),
        Message("tool", "sorry"),
        Message("assistant", "found"),
    )
    conversation = row_group(Source("f", 1), (user("q"),), (Response(turns),))
    assert response_texts(conversation) == ["look\nfound"]
    assert response_texts(VerbatimText("all of it", Source("f", 1))) == ["all of it"]
