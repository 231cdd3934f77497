"""Mixing and holding back, by hand-computed sizes and as properties."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.config import SourceConfig
from assay.data.mixing import is_held_out, mixed
from assay.errors import ConfigError


def share(path: str, **part: float) -> SourceConfig:
    return SourceConfig.model_validate({"path": path} | part)


def taken(sizes: list[int], *shares: SourceConfig, seed: int = 0) -> list[int]:
    return [len(indices) for indices in mixed(sizes, shares, seed)]


def test_without_a_share_all_is_taken_in_order() -> None:
    assert mixed([3, 2], [share("a"), share("b")], 7) == [[0, 1, 2], [0, 1]]


def test_counts_and_proportions() -> None:
    shares = share("a", count=4), share("b", proportion=0.25), share("c")
    assert taken([10, 10, 3], *shares) == [4, 2, 3]  # 2.5 is rounded to the even number.
    assert taken([10, 3, 3], *shares) == [4, 1, 3]  # A small proportion takes one at least.


def test_weights_make_the_largest_mixture_without_repeats() -> None:
    # 1 : 3 of 100 and 60: b is used up by 60, a gives 20.
    assert taken([100, 60], share("a", weight=1), share("b", weight=3)) == [20, 60]
    assert taken([100, 60], share("a", weight=2), share("b", weight=6)) == [20, 60]
    assert taken([5, 60], share("a", weight=1), share("b", weight=3)) == [5, 15]
    # 0.06 of a group is one: a source that is named is not left out in silence.
    assert taken([100, 6], share("a", weight=1), share("b", weight=100)) == [1, 6]


def test_a_mixture_of_a_source_without_groups_is_an_error() -> None:
    with pytest.raises(ConfigError, match="b has no group, so that a mixture by weights"):
        mixed([5, 0], [share("a", weight=1), share("b", weight=1)], 0)
    assert mixed([2, 0], [share("a"), share("b", proportion=0.5)], 0) == [[0, 1], []]


def test_a_count_above_the_source_is_an_error() -> None:
    with pytest.raises(ConfigError, match="b has 3 groups, fewer than count: 4; lower count to 3"):
        mixed([5, 3], [share("a"), share("b", count=4)], 0)


def test_a_draw_is_of_its_seed_and_place() -> None:
    one = mixed([50, 50], [share("a", count=9), share("b", count=9)], 1)
    assert one == mixed([50, 50], [share("x", count=9), share("y", count=9)], 1)
    assert one[0] != one[1]
    assert one != mixed([50, 50], [share("a", count=9), share("b", count=9)], 2)
    # What stands beside does not change it.
    assert one[0] == mixed([50, 9], [share("a", count=9), share("b")], 1)[0]


@given(
    sizes=st.lists(st.integers(1, 200), min_size=1, max_size=4),
    weights=st.lists(st.floats(0.01, 50), min_size=4, max_size=4),
    seed=st.integers(0, 5),
)
def test_mixtures_hold_each_group_once_in_proportion(
    sizes: list[int], weights: list[float], seed: int
) -> None:
    weights = weights[: len(sizes)]
    found = mixed(sizes, [share("s", weight=weight) for weight in weights], seed)
    scale = min(size / weight for size, weight in zip(sizes, weights, strict=True))
    for indices, size, weight in zip(found, sizes, weights, strict=True):
        assert indices == sorted(set(indices))
        assert all(0 <= index < size for index in indices)
        assert abs(len(indices) - scale * weight) <= 1
    assert any(len(indices) == size for indices, size in zip(found, sizes, strict=True))


def test_about_the_fraction_is_held_out_and_seeds_differ() -> None:
    prompts = [hashlib.blake2b(str(n).encode(), digest_size=16).digest() for n in range(4000)]
    first, second = ([is_held_out(p, seed, 0.1) for p in prompts] for seed in (1, 2))
    # Five standard deviations of a binomial count: sqrt(4000 * 0.1 * 0.9) is 19.
    assert abs(sum(first) - 400) < 95
    assert abs(sum(a and b for a, b in zip(first, second, strict=True)) - 40) < 32
    # A larger fraction keeps what a smaller one held out.
    assert all(is_held_out(p, 1, 0.2) for p, out in zip(prompts, first, strict=True) if out)
    assert not any(is_held_out(p, 1, 0.0) for p in prompts)
    assert all(is_held_out(p, 1, 1.0) for p in prompts)
