"""Exports of scored rows: which answers are chosen, by hand, and the row of each trainer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assay.data.sources import DataSource
from assay.errors import ConfigError, DataError, OutputError
from assay.score.export.candidates import Candidates, read_candidates
from assay.score.export.command import PairOptions, export_answers, export_pairs, pair_summary
from assay.score.export.selecting import (
    LOW,
    NOT_AMONG,
    NOT_BEST,
    Pair,
    Select,
    best_answers,
    select_pairs,
)
from assay.score.export.targets import TARGETS

Write = Callable[..., DataSource]


def row(prompt: str, answers: dict[str, float]) -> dict[str, Any]:
    return {
        "prompt": prompt,
        "responses": [*answers],
        "assay": {"scores": [*answers.values()], "model": "m"},
    }


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def made(*rows: dict[str, Any]) -> DataSource:
        path = tmp_path / "scored.jsonl"
        path.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
        return DataSource(str(path))

    return made


def chosen(source: DataSource, select: Select, **options: Any) -> list[tuple[str, str, float]]:
    pairs, _ = select_pairs(read_candidates(source), select, **options)
    return [(text(pair, pair.chosen), text(pair, pair.rejected), pair.margin) for pair in pairs]


def text(pair: Pair, at: int) -> str:
    return pair.prompt.responses[at].messages[0].content


def test_best_against_worst(write: Write) -> None:
    source = write(
        row("q", {"a": 0.5, "b": 2.0, "c": -1.0}),
        row("one", {"a": 1.0}),
        row("equal", {"a": 1.0, "b": 1.0}),
        row("same text", {"a": 1.0, "b": 3.0}),
    )
    assert chosen(source, "best-worst") == [("b", "c", 3.0), ("b", "a", 2.0)]
    assert chosen(source, "best-worst", min_margin=2.5) == [("b", "c", 3.0)]
    with pytest.raises(ConfigError, match="nan is no margin"):  # No margin is below it.
        chosen(source, "best-worst", min_margin=float("nan"))
    _, left_out = select_pairs(read_candidates(source), "best-worst", min_margin=2.5)
    assert left_out == {
        "fewer than two distinct answers": 1,
        "equal rewards": 1,
        "margin below --min-margin": 1,
    }


def test_rows_of_one_prompt_are_put_together(write: Write) -> None:
    source = write(
        row("q", {"a": 0.5}), row("r", {"x": 1.0, "y": 0.0}), row("q", {"b": 2.0, "a": 0.5})
    )
    assert [(c.group.prompt[0].content, c.rewards) for c in read_candidates(source)] == [
        ("q", [0.5, 2.0]),
        ("r", [1.0, 0.0]),
    ]
    assert chosen(source, "best-worst") == [("b", "a", 1.5), ("x", "y", 1.0)]


def labelled(prompt: str, better: str, worse: str, scores: list[float]) -> dict[str, Any]:
    return {"prompt": prompt, "chosen": better, "rejected": worse, "assay": {"scores": scores}}


def test_labels_stand_whatever_the_rewards_say(write: Write) -> None:
    source = write(
        labelled("q", "good", "bad", [2.0, 0.5]),
        labelled("r", "good", "bad", [-1.0, 3.0]),
        labelled("q", "good", "bad", [2.0, 0.5]),  # Said twice, written once.
        labelled("same", "a", "a", [1.0, 1.0]),
    )
    assert chosen(source, "label") == [("good", "bad", 1.5), ("good", "bad", -4.0)]
    assert chosen(source, "label", min_margin=0) == [("good", "bad", 1.5)]


def test_random_pairs_follow_the_seed_and_the_rewards(write: Write) -> None:
    source = write(*(row(f"q{n}", {"a": 1.0, "b": 2.0, "c": 3.0}) for n in range(30)))
    found = chosen(source, "random", seed=4)
    assert found == chosen(source, "random", seed=4)
    assert found != chosen(source, "random", seed=5)
    assert {(better, worse) for better, worse, _ in found} == {("b", "a"), ("c", "a"), ("c", "b")}


def test_best_answers() -> None:
    prompt = Candidates(group=None, rewards=[1.0, 3.0, 2.0, 3.0])  # type: ignore[arg-type]
    assert best_answers(prompt, 1) == ([1], {NOT_BEST: 3})
    assert best_answers(prompt, 3) == ([1, 3, 2], {NOT_BEST: 1})
    assert best_answers(prompt, 9, min_reward=2.0) == ([1, 3, 2], {LOW: 1})
    assert best_answers(prompt, 1, among=2) == ([1], {NOT_AMONG: 2, NOT_BEST: 1})
    assert best_answers(prompt, 1, min_reward=9.0) == ([], {LOW: 4})


def test_the_summary_tells_the_length_bias(write: Write) -> None:
    source = write(row("q", {"long one": 2.0, "x": 1.0}), row("r", {"abc": 0.0, "y": 4.0}))
    pairs, _ = select_pairs(read_candidates(source), "best-worst")
    assert pair_summary(pairs) == [
        "mean margin: 2.5",
        "length bias: chosen is longer in 50.0%, by +2.5 characters on average",
    ]


QUESTION = {"role": "user", "content": "q"}
GOOD, BAD = {"role": "assistant", "content": "b"}, {"role": "assistant", "content": "a"}
EXPECTED: dict[str, dict[str, Any]] = {
    "trl": {"prompt": [QUESTION], "chosen": [GOOD], "rejected": [BAD], "margin": 1.5},
    "llamafactory": {
        "conversations": [{"from": "human", "value": "q"}],
        "chosen": {"from": "gpt", "value": "b"},
        "rejected": {"from": "gpt", "value": "a"},
    },
    "openrlhf": {"chosen": [QUESTION, GOOD], "rejected": [QUESTION, BAD], "margin": 1.5},
    "ms-swift": {"messages": [QUESTION, GOOD], "rejected_response": "a", "margin": 1.5},
    "handbook": {
        "chosen": [QUESTION, GOOD],
        "rejected": [QUESTION, BAD],
        "score_chosen": 2.0,
        "score_rejected": 0.5,
    },
}


def test_every_target_has_a_row_here() -> None:
    assert set(EXPECTED) == set(TARGETS)


@pytest.mark.parametrize("target", EXPECTED)
def test_the_row_of_each_trainer(
    target: str, write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new" / "pairs.jsonl"
    source = write(row("q", {"a": 0.5, "b": 2.0}), row("r", {"a": 1.0}))
    export_pairs(source, output, PairOptions(target))
    assert [json.loads(line) for line in output.read_text().splitlines()] == [EXPECTED[target]]
    assert capsys.readouterr().out.splitlines() == [
        f"2 prompts, 1 pair: {output}",
        "mean margin: 1.5",
        "length bias: chosen is longer in 0.0%, by +0.0 characters on average",
        "left out: fewer than two distinct answers: 1",
    ]
    assert (output.parent / "dataset_info.json").exists() == (target == "llamafactory")
    with pytest.raises(OutputError, match="is there already"):
        export_pairs(source, output, PairOptions(target))


def test_what_a_trainer_cannot_hold_is_left_out_and_counted(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = row("q", {"a": 0.5, "b": 2.0}) | {"tools": [{"type": "function", "function": {}}]}
    output = tmp_path / "pairs.json"
    export_pairs(write(odd, row("r", {"a": 1.0, "b": 0.0})), output, PairOptions("openrlhf"))
    assert len(json.loads(output.read_text())) == 1
    assert "left out: tools: 1" in capsys.readouterr().out


def test_answers_to_imitate(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(row("q", {"a": 0.5, "b": 2.0, "c": 3.5}), row("r", {"x": -1.0, "y": -2.0}))
    output = tmp_path / "sft.jsonl"

    def found(**options: Any) -> list[tuple[str, str, float]]:
        export_answers(source, output, overwrite=True, **options)
        rows = [json.loads(line) for line in output.read_text().splitlines()]
        return [(*(turn["content"] for turn in one["messages"]), one["reward"]) for one in rows]

    assert found() == [("q", "c", 3.5), ("r", "x", -1.0)]
    assert found(among=2) == [("q", "b", 2.0), ("r", "x", -1.0)]
    assert found(count=2, min_reward=1.0) == [("q", "c", 3.5), ("q", "b", 2.0)]
    assert capsys.readouterr().out.splitlines()[-4:] == [
        f"2 prompts, 2 answers: {output}",
        "mean reward: 2.75 of those written, 0.6 of all",
        "left out: reward below --min-reward: 3",
        "without an answer: 1 prompt",
    ]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no scores": ({"prompt": "q", "responses": ["a", "b"]}, "no rewards under assay.scores"),
    "scores in words": (row("q", {"a": "1"}), "'scores[0]' is text"),  # type: ignore[dict-item]
    "too few scores": (
        {"prompt": "q", "responses": ["a", "b"], "assay": {"scores": [1.0]}},
        "'scores' holds 1 scores, not 2",
    ),
    "truths for scores": (row("q", {"a": True, "b": False}), "'scores[0]' is true"),
    "a number that no float holds": (row("q", {"a": 10**400, "b": 1.0}), "not a finite number"),
    "a verbatim text": ({"text": "q a", "assay": {"scores": [1.0]}}, "verbatim text"),
    "nothing to pair": (row("q", {"a": 1.0}), "nothing is left to write (fewer than two"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_rows_that_are_refused(name: str, write: Write, tmp_path: Path) -> None:
    bad, says = REFUSED[name]
    output = tmp_path / "pairs.jsonl"
    with pytest.raises(DataError) as refused:
        export_pairs(write(bad), output, PairOptions("trl"))
    assert says in str(refused.value)
    assert "scored.jsonl" in str(refused.value)
    assert not output.exists()


def test_targets_and_files_that_are_refused(write: Write, tmp_path: Path) -> None:
    source = write(row("q", {"a": 0.5, "b": 2.0}))
    with pytest.raises(ConfigError, match="did you mean 'trl'"):
        export_pairs(source, tmp_path / "o.jsonl", PairOptions("tlr"))
    with pytest.raises(ConfigError, match=r"'\.csv' files are not written"):
        export_pairs(source, tmp_path / "o.csv", PairOptions("trl"))
    with pytest.raises(ConfigError, match=r"'\.csv' files are not written"):
        export_answers(source, tmp_path / "o.csv")


def test_margins_have_the_digits_of_a_float32(write: Write, tmp_path: Path) -> None:
    scores = {"a": 1.5616529, "b": 0.2517452}  # As float64 1.3099077000000001.
    output = tmp_path / "pairs.jsonl"
    export_pairs(write(row("q", scores)), output, PairOptions("trl"))
    assert json.loads(output.read_text())["margin"] == 1.3099077


MENDS: dict[str, tuple[PairOptions, str]] = {
    "a margin": (PairOptions("trl", min_margin=9.0), "lower --min-margin"),
    "equal rewards": (PairOptions("trl"), "choose --select label, or score with another model"),
    "no label": (PairOptions("trl", select="label"), "choose another --select"),
}


@pytest.mark.parametrize("name", MENDS)
def test_where_nothing_is_left_the_mend_names_the_option(
    name: str, write: Write, tmp_path: Path
) -> None:
    options, mend = MENDS[name]
    source = write(row("q", {"a": 1.0, "b": 1.0 if name == "equal rewards" else 2.0}))
    with pytest.raises(DataError) as refused:
        export_pairs(source, tmp_path / "o.jsonl", options)
    assert str(refused.value).endswith(f"; {mend}")
    with pytest.raises(DataError, match=r"; lower --min-reward$"):
        export_answers(source, tmp_path / "o.jsonl", min_reward=9.0)


def test_an_input_is_never_overwritten(write: Write, tmp_path: Path) -> None:
    source = write(row("q", {"a": 0.5, "b": 2.0}))
    link = tmp_path / "link.jsonl"
    link.symlink_to("scored.jsonl")
    before = Path(source.path).read_bytes()
    for output in (Path(source.path), link, tmp_path / ".." / tmp_path.name / "scored.jsonl"):
        with pytest.raises(OutputError, match="is the input"):
            export_pairs(source, output, PairOptions("trl", overwrite=True))
        with pytest.raises(OutputError, match="is the input"):
            export_answers(source, output, overwrite=True)
    assert Path(source.path).read_bytes() == before
