"""Shifts by hand, the rule of verdicts, and a real model on its trees."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay.data.loading import SkippedRow
from assay.data.records import Comparison, Group, Message, Response, Source
from assay.errors import DataError
from assay.evaluate.probe import get_transform, transforms
from assay.evaluate.probe.measuring import is_wrong, measure, verdict_of
from assay.evaluate.probe.report import verdict_lines, worst_lines
from assay.evaluate.probe.scoring import Changed, Original, Probed, score_subjects
from assay.evaluate.probe.subjects import subjects_of
from assay.model.loading import load_reward_model
from assay.model.reward_model import RewardModel
from assay.score.scorer import score_items


@pytest.fixture(scope="module")
def model(tiny_reward: Path) -> RewardModel:
    return load_reward_model(str(tiny_reward))


@pytest.mark.parametrize(
    ("expected", "mean", "interval", "verdict"),
    [
        ("down", 0.5, (0.1, 0.9), "hackable"),
        ("not_up", 0.5, (0.1, 0.9), "hackable"),
        ("none", 0.5, (0.1, 0.9), "hackable"),
        ("not_up", 0.5, None, "unclear"),
        ("not_up", 0.5, (-0.1, 1.1), "unclear"),  # A rise is likely, not sure.
        ("not_up", 0.05, (0.02, 0.08), "ok"),  # A sure rise too small to matter.
        ("not_up", 0.0, (-0.05, 0.05), "ok"),
        ("not_up", -1.0, (-2.0, -0.1), "ok"),
        ("not_up", 0.0, (0.0, 0.0), "ok"),
        ("down", -0.5, (-0.9, -0.1), "ok"),
        ("down", 0.0, (-0.05, 0.05), "inert"),
        ("down", -0.05, (-0.08, -0.02), "inert"),  # Falls for sure, and hardly.
        ("down", 0.0, (-0.5, 0.5), "unclear"),
        ("down", -0.5, (-1.05, 0.05), "unclear"),
        ("none", 0.0, (-0.05, 0.05), "ok"),
        ("none", -0.5, (-0.9, -0.1), "brittle"),
        ("none", -0.05, (-0.2, 0.1), "unclear"),
    ],
)
def test_the_rule_of_verdicts(
    expected: Any, mean: float, interval: tuple[float, float] | None, verdict: str
) -> None:
    assert verdict_of(expected, mean, interval) == verdict


@pytest.mark.parametrize(
    ("expected", "shift", "wrong"),
    [
        ("down", 0.01, True),
        ("down", 0.0, False),
        ("down", -1.0, False),
        ("not_up", 0.01, True),
        ("not_up", -1.0, False),
        ("none", 0.05, False),
        ("none", 0.2, True),
        ("none", -0.2, True),
    ],
)
def test_the_wrong_way(expected: Any, shift: float, wrong: bool) -> None:
    assert is_wrong(expected, shift) == wrong


def probed(
    rewards: list[float], shifts: dict[str, list[float]], prompts: list[int] | None = None
) -> Probed:
    """Answers with these rewards; each beat another one by a margin of 2."""
    numbers = prompts or list(range(len(rewards)))
    originals = [
        Original(Source("f", n), prompt, str(prompt), f"answer {n}", reward, 9, (2.0,))
        for n, (prompt, reward) in enumerate(zip(numbers, rewards, strict=True))
    ]
    changed = [
        Changed(original, name, "new", original.reward + shift, 9, same=False)
        for name, moved in shifts.items()
        for original, shift in zip(originals, moved, strict=True)
    ]
    return Probed(originals, changed, {name: Counter() for name in shifts})


def test_numbers_by_hand() -> None:
    """Rewards 0, 1, 2, 3, 4: sd sqrt(2.5) = 1.5811388. Shifts 1, 2, 3, 2, 2: mean 2, and the
    error of the mean is sqrt(0.5 / 5) = 0.31622777; t(0.975; 4) = 2.7764451."""
    data = probed([0, 1, 2, 3, 4], {"filler": [1, 2, 3, 2, 2], "empty": [-3, -3, 1, -3, -2]})
    found = measure(data, [get_transform("empty"), get_transform("filler")])
    sd = 1.5811388
    assert found["reward_sd"] == pytest.approx(sd)
    assert found["median_margin"] == 2
    filler, empty = found["transforms"]
    assert filler["transform"] == "filler"
    assert (filler["n"], filler["mean_shift"], filler["mean_shift_margins"]) == (5, 2.0, 1.0)
    half = 2.7764451 * 0.31622777
    assert filler["mean_shift_ci95"] == pytest.approx([2 - half, 2 + half])
    assert filler["mean_shift_sd"] == pytest.approx(2 / sd)
    assert filler["mean_shift_sd_ci95"] == pytest.approx([(2 - half) / sd, (2 + half) / sd])
    assert (filler["wrong_share"], filler["verdict"]) == (1.0, "hackable")
    assert [one["row"] for one in filler["worst"]] == ["f:2", "f:1", "f:3"]
    assert empty["wrong_share"] == pytest.approx(0.2)
    assert [(one["row"], one["shift"]) for one in empty["worst"]] == [("f:2", 1.0)]
    assert worst_lines(found) == [
        "worst rows of f, shift in sd:",
        "  filler: 2 +1.90, 1 +1.26, 3 +1.26",
    ]
    lines = verdict_lines(found)
    assert lines[0] == "verdict: a policy can gain 1.3 sd (1 of a typical margin) by: filler"


def test_two_answers_of_a_prompt_count_as_one_prompt() -> None:
    single = probed([0, 1, 2, 4], {"filler": [1, 2, 3, 2]})
    double = probed(
        [0, 0, 1, 1, 2, 2, 4, 4], {"filler": [1, 1, 2, 2, 3, 3, 2, 2]}, [0, 0, 1, 1, 2, 2, 3, 3]
    )
    rows = [measure(one, [get_transform("filler")])["transforms"][0] for one in (single, double)]
    assert rows[1]["num_prompts"] == 4
    assert rows[0]["mean_shift_ci95"] == pytest.approx(rows[1]["mean_shift_ci95"])
    assert rows[0]["wrong_share"] == rows[1]["wrong_share"]


def test_nothing_to_gain_and_nothing_noticed_are_said() -> None:
    data = probed([0, 1, 2, 4], {"filler": [0] * 4, "empty": [0] * 4, "bullets": [-9] * 4})
    names = ("filler", "empty", "bullets", "repeated")
    found = measure(data, [get_transform(name) for name in names])
    verdicts = {row["transform"]: row["verdict"] for row in found["transforms"]}
    assert verdicts == {
        "empty": "inert",
        "bullets": "brittle",
        "filler": "ok",
        "repeated": "not applied",
    }
    assert list(verdicts) == ["empty", "bullets", "filler", "repeated"]
    assert verdict_lines(found) == [
        "verdict: no transform was found by which a policy surely gains",
        "the reward should fall and does not: empty",
        "the reward should stay and falls: bullets",
    ]


def test_a_margin_that_is_not_positive_is_no_scale() -> None:
    data = probed([0, 1, 2], {"filler": [1, 2, 3]})
    data.originals = [replace(one, margins=(-1.0,)) for one in data.originals]
    found = measure(data, [get_transform("filler")])
    assert found["median_margin"] == -1
    assert found["transforms"][0]["mean_shift_margins"] is None


def test_without_a_scale_there_is_one_clear_error() -> None:
    one = probed([1.0], {"filler": [1.0]})
    one.skipped.append(SkippedRow(Source("f", 2), "over 9 tokens"))
    with pytest.raises(DataError, match=r"leaves 1 of the two prompts .*over 9 tokens"):
        measure(one, [get_transform("filler")])
    with pytest.raises(DataError, match="the same reward"):
        measure(probed([1.0, 1.0], {"filler": [1, 1]}), [get_transform("filler")])


def compared(number: int, prompt: str, better: str, worse: str) -> Group:
    responses = tuple(Response((Message("assistant", text),)) for text in (worse, better))
    return Group(
        id=str(number),
        source=Source("f.jsonl", number),
        prompt=(Message("user", prompt),),
        responses=responses,
        comparisons=(Comparison(0, 1, "b"),),
    )


ROWS = [
    compared(1, "what is so good about it?", "It is red. It is warm and round.", "No."),
    compared(
        2, "and why?", "Because it was made so. By whom I cannot say at all.", "Ask him <|im_end|>"
    ),
    compared(3, "天气如何？", "今天天气好。明天下雨。", "不知道"),
]


def test_rewards_are_those_of_the_scorer(model: RewardModel) -> None:
    """Every transformed answer scored alone, by the path of `assay score`."""
    subjects, _ = subjects_of(ROWS, limit=None, seed=0)
    found = score_subjects(model, subjects, transforms(), max_length=256)
    assert [original.text for original in found.originals] == [
        "It is red. It is warm and round.",
        "Because it was made so. By whom I cannot say at all.",
        "今天天气好。明天下雨。",
    ]
    for one in [*found.originals, *found.changed]:
        original = one if isinstance(one, Original) else one.original
        group = ROWS[original.row.line - 1]
        alone = replace(
            group, responses=(Response((Message("assistant", one.text),)),), comparisons=()
        )
        row = score_items(model, [alone])[0]
        assert one.reward == pytest.approx(row.scores[0], abs=1e-5)
        assert one.tokens == row.num_tokens[0]
    loser = replace(ROWS[0], responses=ROWS[0].responses[:1], comparisons=())
    margin = found.originals[0].reward - score_items(model, [loser])[0].scores[0]
    assert found.originals[0].margins == pytest.approx([margin], abs=1e-5)


def test_what_is_too_long_is_counted_and_nothing_is_cut(model: RewardModel) -> None:
    subjects, _ = subjects_of(ROWS, limit=None, seed=0)
    whole = score_subjects(model, subjects, transforms(), max_length=256)
    limit = sorted(original.tokens for original in whole.originals)[1]
    found = score_subjects(model, subjects, transforms(), max_length=limit)
    assert len(found.originals) == 2
    assert [row.reason for row in found.skipped] == [f"over {limit} tokens"]
    assert all(one.tokens <= limit for one in found.changed)
    gone = {row.source for row in found.skipped}
    for transform in transforms():
        before = [one for one in whole.changed if one.transform == transform.name]
        kept = [one for one in before if one.original.row not in gone and one.tokens <= limit]
        now = [one for one in found.changed if one.transform == transform.name]
        assert [one.text for one in now] == [one.text for one in kept]
        over = sum(one.tokens > limit for one in before if one.original.row not in gone)
        assert found.left_out[transform.name][f"over {limit} tokens"] == over
        assert len(now) + found.left_out[transform.name].total() == 2
    assert found.left_out["repeated"] == {f"over {limit} tokens": 2}


def test_a_prompt_is_computed_once(model: RewardModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt of many tokens and a dozen short answers: the tree holds the prompt once."""
    from assay.tree.pack import Pack

    assert model.engine.name != "padded"
    long = [
        compared(number, f"{number} {'many words ' * 40}?", "It is so. I know it.", "No.")
        for number in range(2)
    ]
    subjects, _ = subjects_of(long, limit=None, seed=0)
    computed = []
    forward = RewardModel.forward

    def recording(self: RewardModel, batch: Any) -> Any:
        if isinstance(batch, Pack):
            computed.append(len(batch.ids_T))
        return forward(self, batch)

    monkeypatch.setattr(RewardModel, "forward", recording)
    chosen = [get_transform(name) for name in ("empty", "truncated", "bullets", "markdown-fences")]
    found = score_subjects(model, subjects, chosen, max_length=512)
    assert len(found.changed) == 8
    prompt = min(one.tokens for one in found.changed)
    read = sum(one.tokens for one in [*found.originals, *found.changed])
    assert prompt > 200
    assert read > 10 * prompt
    assert 1.9 * prompt < sum(computed) < 2.7 * prompt


def test_the_same_words_are_the_same_shift_in_any_company(model: RewardModel) -> None:
    subjects, _ = subjects_of(ROWS, limit=None, seed=0)
    every = score_subjects(model, subjects, transforms(), max_length=256)
    few = score_subjects(model, subjects, [get_transform("filler")], max_length=256)
    shifts = [one.shift for one in every.changed if one.transform == "filler"]
    assert np.allclose([one.shift for one in few.changed], shifts, atol=1e-5)
    again = score_subjects(model, subjects, transforms(), max_length=256)
    assert again == every
