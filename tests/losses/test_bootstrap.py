"""Bootstrap samples: pure functions of seed, member and comparison, with Poisson's numbers."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from encoded import encoded

from assay.config import LossConfig
from assay.data.records import Comparison, Source
from assay.losses import Pairs, bradley_terry, objective_of
from assay.losses.bootstrap import bootstrap_count, comparison_id


def test_numbers_are_those_of_poisson() -> None:
    drawn = Counter(bootstrap_count(0, 0, f"comparison {n}") for n in range(20_000))
    for count in range(4):
        # P(count) = e^-1 / count!; five standard deviations of its share among 20,000.
        expected = math.exp(-1) / math.factorial(count)
        wide = 5 * math.sqrt(expected * (1 - expected) / 20_000)
        assert drawn[count] / 20_000 == pytest.approx(expected, abs=wide)
    assert max(drawn) < 10


def test_numbers_never_change() -> None:
    """Of a run that is resumed next year with another version: written down here."""
    assert [bootstrap_count(42, 0, f"q rows.jsonl:{n} 0 1") for n in range(12)] == NUMBERS


NUMBERS = [0, 0, 0, 1, 1, 0, 1, 0, 2, 3, 0, 0]


def test_members_and_seeds_draw_apart() -> None:
    names = [f"comparison {n}" for n in range(200)]
    draws = {
        (seed, member): tuple(bootstrap_count(seed, member, name) for name in names)
        for seed in range(3)
        for member in range(3)
    }
    assert len(set(draws.values())) == 9


def test_a_comparison_is_told_by_prompt_file_line_and_sides() -> None:
    def name(file: str = "a/rows.jsonl", line: int = 3, sides: tuple[int, int] = (0, 1)) -> str:
        comparison = Comparison(*sides, "a", row=Source(file, line))
        return comparison_id(encoded([[1], [2], [3]], [comparison]), comparison)

    assert name() == name(file="elsewhere/rows.jsonl")
    assert len({name(), name(file="a/other.jsonl"), name(line=4), name(sides=(0, 2))}) == 4
    other_prompt = encoded([[1], [2]], line=9)
    assert name() != comparison_id(other_prompt, Comparison(0, 1, "a", row=Source("rows.jsonl", 3)))


def groups_of(count: int) -> list[object]:
    return [
        encoded(
            [[1], [2], [3]],
            [Comparison(0, 1, "a"), Comparison(1, 2, "tie", weight=0.5), Comparison(0, 2, "b")],
            line=line,
        )
        for line in range(1, count + 1)
    ]


def test_an_ensemble_s_loss_is_the_mean_over_members_of_their_samples() -> None:
    groups = groups_of(3)
    config = LossConfig(ensemble=3)
    generator = torch.Generator().manual_seed(0)
    reward_RM = torch.randn(9, 3, generator=generator, dtype=torch.float64)
    expected = 0.0
    for member in range(3):
        items = []
        for number, group in enumerate(groups):
            for comparison in group.comparisons:  # type: ignore[attr-defined]
                drawn = bootstrap_count(7, member, comparison_id(group, comparison))  # type: ignore[arg-type]
                items.append((3 * number, comparison, comparison.weight * drawn))
        expected += bradley_terry(reward_RM[:, member], Pairs.of(items)).item() / 3
    found = objective_of(config, 7).loss_of(groups).sum_of(reward_RM)  # type: ignore[arg-type]
    assert found.item() == pytest.approx(expected, abs=1e-12)


def test_samples_do_not_depend_on_the_batch() -> None:
    groups = groups_of(4)
    objective = objective_of(LossConfig(ensemble=5), 1)
    reward_RM = torch.randn(12, 5, generator=torch.Generator().manual_seed(0)).double()
    whole = objective.loss_of(groups).sum_of(reward_RM).item()  # type: ignore[arg-type]
    parts = sum(
        objective.loss_of([group]).sum_of(reward_RM[3 * n : 3 * n + 3]).item()  # type: ignore[list-item]
        for n, group in enumerate(groups)
    )
    turned = (
        objective.loss_of(groups[::-1])
        .sum_of(  # type: ignore[arg-type]
            reward_RM.view(4, 3, 5).flip(0).reshape(12, 5)
        )
        .item()
    )
    assert parts == pytest.approx(whole, abs=1e-12)
    assert turned == pytest.approx(whole, abs=1e-12)


def test_the_spread_of_gaps_is_logged() -> None:
    # Gaps of one comparison by two members: 1 and 3: sample standard deviation sqrt(2).
    group = encoded([[1], [2]], [Comparison(0, 1, "a")])
    reward_RM = torch.tensor([[1.0, 3.0], [0.0, 0.0]])
    parts = objective_of(LossConfig(ensemble=2), 0).parts(reward_RM, [group])
    total, units = parts["gap_std"]
    assert (total, units) == (pytest.approx(math.sqrt(2)), 1.0)


def test_members_count_alike() -> None:
    members = objective_of(LossConfig(ensemble=3), 0).prepare([])
    assert members is not None
    assert [tuple(member) for member in members] == [
        ("member-0", 1.0, 0.0),
        ("member-1", 1.0, 0.0),
        ("member-2", 1.0, 0.0),
    ]
    assert objective_of(LossConfig(), 0).prepare([]) is None
