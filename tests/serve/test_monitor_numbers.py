"""What the monitor counts: by hand, against numpy, and in two parts as in one."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import DataError, ModelError
from assay.score.transform import REFERENCE_FILE, Reference
from assay.serve.monitor import tally
from assay.serve.monitor.answers import Answer
from assay.serve.monitor.baseline import Baseline, baseline_of
from assay.serve.monitor.bins import MOST_BINS, Bins
from assay.serve.monitor.moments import Moments

PAIRS = st.lists(st.tuples(st.floats(-50, 50, width=32), st.integers(0, 5000)), max_size=60)


def moments_of(pairs: list[tuple[float, float]]) -> Moments:
    found = Moments()
    for x, y in pairs:
        found.add(x, y)
    return found


def answers(*lengths: int) -> list[Answer]:
    return [Answer(length, length, "characters of the answer") for length in lengths]


def test_moments_by_hand() -> None:
    found = moments_of([(1, 10), (2, 30), (6, 20)])
    assert (found.count, found.mean_x, found.mean_y) == (3, 3, 20)
    # x - 3: -2 -1 3, y - 20: -10 10 0; squares 14 and 200, products 20 - 10 + 0.
    assert (found.square_x, found.square_y, found.product) == pytest.approx((14, 200, 10))
    assert found.std_x == pytest.approx(7**0.5)
    assert found.correlation == pytest.approx(10 / (14 * 200) ** 0.5)
    assert moments_of([(1, 2)]).std_x is None
    assert moments_of([(1, 2), (1, 3)]).correlation is None
    assert Moments().merge(Moments()) == Moments()


@given(PAIRS, PAIRS)
def test_moments_are_numpys_in_one_part_and_in_two(
    first: list[tuple[float, float]], second: list[tuple[float, float]]
) -> None:
    whole = moments_of(first + second)
    for found in (whole, moments_of(first).merge(moments_of(second))):
        assert found.count == len(first) + len(second)
        if found.count < 2:
            continue
        x, y = np.array(first + second, dtype=np.float64).T
        assert found.mean_x == pytest.approx(x.mean(), abs=1e-9)
        assert found.std_y == pytest.approx(y.std(ddof=1), abs=1e-6)
        assert found.product == pytest.approx(((x - x.mean()) * (y - y.mean())).sum(), abs=1e-5)
        if x.std() > 1e-3 and y.std() > 1e-3:
            assert found.correlation == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-7)


def test_moments_do_not_cancel_far_from_zero() -> None:
    x = 1e9 + np.array([0.0, 1.0, 2.0, 3.0])
    found = moments_of(list(zip(x.tolist(), [1.0, 2.0, 3.0, 5.0], strict=True)))
    assert found.correlation == pytest.approx(np.corrcoef([0, 1, 2, 3], [1, 2, 3, 5])[0, 1])


def test_moments_that_were_written_down() -> None:
    whole = moments_of([(1, 10), (2, 30), (6, 20), (0, 0)])
    assert whole.std_x is not None
    known = Moments.known(
        4, (whole.mean_x, whole.std_x), (whole.mean_y, whole.std_y), whole.correlation
    )
    assert known.product == pytest.approx(whole.product)
    assert known.merge(Moments()).correlation == pytest.approx(whole.correlation)


def test_bins_by_hand() -> None:
    found = Bins.of([-0.3, 0.0, 0.2, 1.1], std=1.0)
    assert found.width == 0.25
    assert found.counts == {-2: 1, 0: 2, 4: 1}
    assert found.as_json() == {"width": 0.25, "counts": [[-2, 1], [0, 2], [4, 1]]}
    assert Bins.of([3.0, 3.0], std=0.0).counts == {3: 2}
    wider = found.merge(Bins(1.0, {-1: 1, 5: 1}))
    assert (wider.width, dict(wider.counts)) == (1.0, {-1: 2, 0: 2, 1: 1, 5: 1})
    even = Bins(1.0, {0: 2, 2: 2})
    assert [even.quantile(share) for share in (0.25, 0.5, 0.75, 1)] == [0.5, 1.0, 2.5, 3.0]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200), st.floats(1e-3, 10))
def test_bins_hold_every_reward_and_are_few(rewards: list[float], std: float) -> None:
    found = Bins.of(rewards, std)
    assert found.total == len(rewards)
    assert len(found.counts) <= MOST_BINS
    assert math.log2(found.width).is_integer()
    low, high = found.quantile(0), found.quantile(1)
    assert low <= min(rewards) + found.width
    assert high >= max(rewards) - found.width


def test_a_line_by_hand() -> None:
    known = Baseline(mean=1.0, std=0.5, low=0.0, high=2.0, rewards=9, source="x.jsonl")
    found = tally.Tally("rm", "ppo", 7, known)
    found.add([-1.0, 3.0], answers(10, 40), truncated=1)
    found.add([1.0, 1.0], answers(10, 20), truncated=0)
    line = found.line()
    assert line.pop("ended") >= line.pop("began")
    assert line.pop("reward_std") == pytest.approx((8 / 3) ** 0.5)
    assert line.pop("length_std") == pytest.approx(200**0.5)
    # rewards - 1: -2 2 0 0; lengths - 20: -10 20 -10 0; products 20 + 40.
    assert line.pop("correlation") == pytest.approx(60 / (8 * 600) ** 0.5)
    assert line == {
        "run": "ppo",
        "step": 7,
        "model": "rm",
        "requests": 2,
        "responses": 4,
        "reward_mean": 1.0,
        "reward_min": -1.0,
        "reward_max": 3.0,
        "reward_quantiles": [-0.7, 0.5, 1.0, 1.5, 2.7],
        "histogram": {"width": 0.25, "counts": [[-4, 1], [4, 2], [12, 1]]},
        "sampled": None,
        "length_unit": "characters of the answer",
        "length_mean": 20.0,
        "duplicates": 1,
        "truncated": 1,
        "below": 1,
        "above": 1,
        "distance": 0.0,
        "reference": {
            "mean": 1.0,
            "std": 0.5,
            "low": 0.0,
            "high": 2.0,
            "rewards": 9,
            "source": "x.jsonl",
        },
    }


def test_what_is_not_known_is_null() -> None:
    found = tally.Tally("rm", "ppo", None, None)
    found.add([2.0], [Answer(1, 3, "tokens of the text")], truncated=0)
    assert found.line()["correlation"] is None
    found.add([1.0], answers(9), truncated=0)
    line = found.line()
    for name in ("step", "length_mean", "length_std", "correlation", "distance", "reference"):
        assert line[name] is None, name
    assert line["length_unit"] == "several"


def test_a_step_of_any_size_keeps_so_much_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "MOST_KEPT", 500)
    found = tally.Tally("rm", "ppo", 1, None)
    for begin in range(0, 5000, 50):
        rewards = [float(number) for number in range(begin, begin + 50)]
        found.add(rewards, answers(*range(begin, begin + 50)), truncated=0)
    line = found.line()
    assert (line["responses"], line["sampled"]) == (5000, 500)
    assert line["reward_mean"] == 2499.5
    assert sum(count for _, count in line["histogram"]["counts"]) == 500
    assert line["reward_quantiles"][2] == pytest.approx(2500, abs=350)  # Five standard errors.


def test_a_baseline_of_files(tmp_path: Path) -> None:
    scored = tmp_path / "scored.jsonl"
    lines = [{"assay": {"scores": [float(k), float(k) + 0.5]}} for k in range(100)]
    scored.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    found = Baseline.of_file(scored)
    values = np.arange(200) / 2
    assert (found.mean, found.rewards, found.source) == (values.mean(), 200, "scored.jsonl")
    assert found.std == pytest.approx(values.std(ddof=1))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(values, [0.005, 0.995])))
    assert found.distance(found.mean - 2 * found.std) == pytest.approx(-2)
    other = tmp_path / "comparisons.jsonl"
    other.write_text('{"chosen_reward": 3, "rejected_reward": [1.0]}\n', encoding="utf-8")
    assert Baseline.of_file(tmp_path) == Baseline.of_rewards([3.0, 1.0], "comparisons.jsonl")
    other.write_text('{"messages": [{"chosen_score": 3, "rejected_score": 1}]}\n', encoding="utf-8")
    assert Baseline.of_file(other).mean == 2.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "0 rewards without any spread"),
        ('{"assay": {"scores": [1, 1]}}\n', "2 rewards without any spread"),
        ('{"assay": {"scores": [1, NaN]}}\n', "x.jsonl:1: 'scores[1]' is nan"),
        ('{"chosen_reward": 1}\n', "x.jsonl:1: holds no rewards"),
        ('{"a": \n', "x.jsonl:1: is no JSON"),
        ("[]\n", "x.jsonl:1: holds no rewards"),
        ('{"messages": []}\n', "x.jsonl:1: holds no rewards"),
    ],
)
def test_files_without_rewards(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as error:
        Baseline.of_file(path)
    assert said in str(error.value)
    with pytest.raises(DataError, match="cannot be read"):
        Baseline.of_file(tmp_path / "nothing")


def test_a_models_own_reference(tmp_path: Path) -> None:
    assert baseline_of(tmp_path) is None
    Reference(1.0, 2.0, 50).write(tmp_path)
    found = baseline_of(tmp_path)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((1 - 5.15166, 1 + 5.15166), abs=1e-4)
    (tmp_path / REFERENCE_FILE).write_text("{}", encoding="utf-8")
    with pytest.raises(ModelError, match="not a readable reference"):
        baseline_of(tmp_path)
