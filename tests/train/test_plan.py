"""The plan: every group once an epoch, in an order that seed and epoch alone decide."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.train.plan import Plan, part_of_steps

GROUPS = st.integers(1, 60)
BATCHES = st.integers(1, 20)
SEEDS = st.integers(0, 2**32)


def epoch(plan: Plan, number: int) -> list[int]:
    steps = range(number * plan.steps_per_epoch, (number + 1) * plan.steps_per_epoch)
    return [group for step in steps for group in plan.groups_of(step)]


@given(GROUPS, BATCHES, SEEDS, st.integers(0, 5))
def test_each_epoch_holds_every_group_once(groups: int, batch: int, seed: int, number: int) -> None:
    # T46: nothing is skipped where the batch does not divide the groups.
    plan = Plan.of(groups, batch, seed, 6, None)
    assert sorted(epoch(plan, number)) == list(range(groups))


@given(GROUPS, BATCHES, SEEDS, st.integers(1, 4))
def test_only_the_last_batch_of_an_epoch_is_smaller(
    groups: int, batch: int, seed: int, epochs: int
) -> None:
    # T46
    plan = Plan.of(groups, batch, seed, epochs, None)
    sizes = [len(plan.groups_of(step)) for step in range(plan.num_steps)]
    one_epoch = [batch] * (groups // batch) + ([groups % batch] if groups % batch else [])
    assert sizes == one_epoch * epochs


def test_steps_by_hand() -> None:
    # 10 groups in batches of 4: 4 + 4 + 2, so 3 steps an epoch; 2 epochs are 6 steps.
    plan = Plan.of(10, 4, 0, 2, None)
    assert (plan.steps_per_epoch, plan.num_steps, plan.num_epochs) == (3, 6, 2)
    assert [plan.epoch_of(step) for step in range(6)] == [0, 0, 0, 1, 1, 1]
    # Half an epoch of 3 steps is 1.5 steps: the second is not left out.
    assert Plan.of(10, 4, 0, 0.5, None).num_steps == 2
    # 2.5 epochs: 7.5 steps, in 3 begun epochs.
    begun = Plan.of(10, 4, 0, 2.5, None)
    assert (begun.num_steps, begun.num_epochs) == (8, 3)
    # max_steps alone decides, also beyond and below the epochs; a batch above the data is one step.
    assert Plan.of(10, 4, 0, 2, 1).num_steps == 1
    assert Plan.of(10, 4, 0, 1, 7).num_epochs == 3
    assert Plan.of(3, 8, 0, 1, None).num_steps == 1


@given(st.integers(8, 60), BATCHES, SEEDS, st.integers(0, 5))
def test_batch_size_and_length_of_the_run_do_not_touch_the_order(
    groups: int, batch: int, seed: int, number: int
) -> None:
    # T47, T49: order is a function of seed and epoch (and of how many groups there are).
    one = epoch(Plan.of(groups, batch, seed, 6, None), number)
    assert one == epoch(Plan.of(groups, 3, seed, 6, 1), number)
    assert one == epoch(Plan.of(groups, groups, seed, 99, None), number)


@given(SEEDS, st.integers(0, 50))
def test_epochs_and_seeds_have_orders_of_their_own(seed: int, number: int) -> None:
    # T48: a sampler whose epoch is never set repeats one order. Two equal orders of 40 by chance:
    # 1 in 40!, which is below 1e-47.
    plan = Plan.of(40, 7, seed, 99, None)
    assert epoch(plan, number) != epoch(plan, number + 1)
    assert epoch(plan, number) != epoch(Plan.of(40, 7, seed + 1, 99, None), number)


def test_a_step_is_known_without_the_steps_before_it() -> None:
    # T47: resuming in the midst of an epoch must not start its order again.
    plan = Plan.of(10, 4, 5, 2, None)
    walked = [plan.groups_of(step) for step in range(6)]
    assert [Plan.of(10, 4, 5, 2, None).groups_of(step) for step in (5, 4, 3)] == walked[:2:-1]


def test_the_order_is_the_same_on_every_machine() -> None:
    # Written down once: a change of the generator would change every run that is resumed.
    assert epoch(Plan.of(10, 4, 42, 2, None), 0) == [5, 6, 0, 7, 3, 2, 4, 9, 1, 8]
    assert epoch(Plan.of(10, 4, 42, 2, None), 1) == [0, 8, 7, 4, 3, 1, 2, 9, 6, 5]


@pytest.mark.parametrize(
    ("part", "steps", "expected"),
    [(1.1, 10, 11), (0.07, 100, 7), (0.1, 30, 3), (1.5, 5, 8), (0.0, 9, 0), (2.0, 7, 14)],
)
def test_parts_of_steps_are_those_of_the_written_number(
    part: float, steps: int, expected: int
) -> None:
    # 1.1 * 10 and 0.07 * 100 are a little above 11 and 7 in binary.
    assert part_of_steps(part, steps) == expected
