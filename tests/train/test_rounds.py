"""Packs side by side: the same step as one after the other, and the same each time."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_step import build, distance, step
from tiny_runs import differences, recipe, rows, write_lines
from torch import Tensor, nn

from assay.config import LoraConfig, ModelConfig
from assay.data.encoding import EncodedGroup, encode_groups
from assay.data.loading import load_groups
from assay.data.sources import DataSource
from assay.errors import DivergenceError
from assay.model.lanes import LANES, lanes_of, side_by_side
from assay.model.loading import build_for_training
from assay.model.reward_model import RewardModel
from assay.train import rounds
from assay.train.loop import train
from assay.train.rounds import rounds_of, summed_apart
from assay.train.strategy.single import Single


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(LANES)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model(tiny_base: Path) -> RewardModel:
    return build(tiny_base)


@pytest.fixture(scope="module")
def groups(tmp_path_factory: pytest.TempPathFactory, model: RewardModel) -> list[EncodedGroup]:
    path = write_lines(tmp_path_factory.mktemp("rows") / "rows.jsonl", list(rows(16)))
    return encode_groups(
        load_groups([DataSource(str(path))]).groups, model.renderer, max_length=128
    ).groups


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "FEWEST_TOKENS", 16)


def shapes(model: RewardModel, groups: Sequence[EncodedGroup], max_tokens: int) -> list[int]:
    """How many packs each round of a step has."""
    strategy = Single(model, torch.optim.SGD(model.parameters()))
    return [len(packs) for packs in rounds_of(strategy, groups, max_tokens)]


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize("max_tokens", [100_000, 400], ids=["one round", "several"])
@pytest.mark.parametrize("engine", ["tree", "packed"])
def test_side_by_side_is_one_after_the_other(
    model: RewardModel,
    groups: list[EncodedGroup],
    max_tokens: int,
    engine: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model.use_engine(engine)  # type: ignore[arg-type]
    found = shapes(model, groups, max_tokens)
    assert LANES in found
    assert (len(found) > 2) == (max_tokens == 400)
    paired, gradient = step(model, groups, max_tokens=max_tokens)
    again, repeated = step(model, groups, max_tokens=max_tokens)
    assert torch.equal(gradient, repeated)
    assert paired.rewards == again.rewards
    monkeypatch.setattr(rounds, "lanes_of", lambda model: 1)
    assert set(shapes(model, groups, max_tokens)) == {1}
    single, reference = step(model, groups, max_tokens=max_tokens)
    assert distance(gradient, reference) < 1e-5  # float32
    assert paired.loss == pytest.approx(single.loss, rel=1e-5)
    assert sorted(paired.rewards) == pytest.approx(sorted(single.rewards), abs=1e-5)
    for name in ("num_comparisons", "num_sequences", "num_tokens", "wins"):
        assert getattr(paired, name) == getattr(single, name)
    assert paired.num_packs == sum(found)
    assert 0 < paired.pack_fill <= 1
    assert torch.get_num_threads() == LANES


@pytest.mark.usefixtures("_small")
def test_sums_of_many_rounds_do_not_depend_on_who_is_first(
    model: RewardModel, groups: list[EncodedGroup], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In each round the larger half is late, then the smaller one, and no bit changes."""
    model.use_engine("tree")
    monkeypatch.setattr(rounds, "MOST_OF_WHOLE", 1.5)
    assert shapes(model, groups, 250).count(LANES) >= 3
    forward, found, sizes = RewardModel.forward, [], set()

    def noting(self: RewardModel, batch: Any) -> Tensor:
        sizes.add(batch.num_tokens)
        return forward(self, batch)

    with monkeypatch.context() as changed:
        changed.setattr(RewardModel, "forward", noting)
        found.append(step(model, groups, max_tokens=250)[1])
    late = sorted(sizes)
    for some in (set(late[::2]), set(late[1::2])):

        def waiting(self: RewardModel, batch: Any, some: set[int] = some) -> Tensor:
            if batch.num_tokens in some:
                threading.Event().wait(0.1)
            return forward(self, batch)

        monkeypatch.setattr(RewardModel, "forward", waiting)
        found.append(step(model, groups, max_tokens=250)[1])
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.usefixtures("_small")
def test_a_run_side_by_side_is_resumed_to_the_bit(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = write_lines(tmp_path / "rows.jsonl", list(rows(12)))
    unbroken, resumed = tmp_path / "unbroken", tmp_path / "resumed"
    ran: list[int] = []

    def noting(calls: Sequence[Callable[[], Any]]) -> list[Any]:
        ran.append(len(calls))
        return side_by_side(calls)

    monkeypatch.setattr("assay.train.step.side_by_side", noting)
    monkeypatch.setattr(rounds, "MOST_OF_WHOLE", 1.5)
    train(recipe(tiny_base, lines, unbroken, global_batch_size=12, max_tokens_per_pack=400))
    assert ran.count(LANES) >= 4, "two steps of two rounds"
    shutil.copytree(unbroken, resumed)
    for made_after in ("model", "eval", "checkpoints/step-2"):
        shutil.rmtree(resumed / made_after, ignore_errors=True)
    changed = recipe(tiny_base, lines, resumed, global_batch_size=12, max_tokens_per_pack=400)
    assert train(changed, resume="auto").step == 2
    assert differences(resumed, unbroken) == []


@pytest.mark.usefixtures("_small")
def test_adapters_and_checkpointing_side_by_side(
    tiny_base: Path, groups: list[EncodedGroup], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build_for_training(
        ModelConfig(path=str(tiny_base)),
        LoraConfig(r=4, alpha=8, dropout=0.0, target_modules="all-linear"),
        seed=3,
        max_length=128,
        device="cpu",
    )
    model.use_engine("tree")
    model.train()
    model.classifier.activation_checkpointing_enable({"use_reentrant": False})
    assert LANES in shapes(model, groups, 400)
    paired = step(model, groups, max_tokens=400)[1]
    monkeypatch.setattr(rounds, "lanes_of", lambda model: 1)
    assert distance(paired, step(model, groups, max_tokens=400)[1]) < 1e-5


@pytest.mark.usefixtures("_small")
def test_a_beginning_that_halves_share_keeps_them_together(
    model: RewardModel, groups: list[EncodedGroup]
) -> None:
    model.use_engine("tree")
    begun = [
        replace(group, sequences=tuple((*range(3, 203), *ids) for ids in group.sequences))
        for group in groups
    ]
    assert shapes(model, groups, 100_000) == [LANES]
    assert shapes(model, begun, 100_000) == [1]


def test_a_small_pack_stays_whole(model: RewardModel, groups: list[EncodedGroup]) -> None:
    model.use_engine("tree")
    cost = sum(model.engine.cost(group.sequences) for group in groups[:8])
    assert cost < LANES * rounds.FEWEST_TOKENS
    assert shapes(model, groups[:8], 100_000) == [1]


@pytest.mark.usefixtures("_small")
def test_an_uneven_pack_stays_whole(model: RewardModel, groups: list[EncodedGroup]) -> None:
    model.use_engine("tree")
    group, most = groups[0], max(groups, key=lambda group: model.engine.cost(group.sequences))
    # The same with other tokens, so that nothing of it is shared.
    other = replace(group, sequences=tuple(tuple(i ^ 1 for i in ids) for ids in group.sequences))
    costs = [model.engine.cost(one.sequences) for one in (group, other, most)]
    assert costs[0] == costs[1] < 0.8 * costs[2]
    assert shapes(model, [group, most], 100_000) == [1]
    assert shapes(model, [group, other], 100_000) == [LANES]


@pytest.mark.usefixtures("_small")
def test_a_broken_batch_is_named_from_a_lane(
    model: RewardModel, groups: list[EncodedGroup], monkeypatch: pytest.MonkeyPatch
) -> None:
    model.use_engine("tree")
    head = model.head_weight
    assert head is not None
    monkeypatch.setattr(head, "data", head.data * torch.nan)
    assert shapes(model, groups, 100_000) == [LANES]
    with pytest.raises(DivergenceError, match=r"rows\.jsonl"):
        step(model, groups)


def test_who_runs_alone(model: RewardModel, monkeypatch: pytest.MonkeyPatch) -> None:
    model.use_engine("tree")
    assert lanes_of(model) == LANES
    torch.set_num_threads(1)
    assert lanes_of(model) == 1
    torch.set_num_threads(3)
    assert lanes_of(model) == 1, "two lanes would be of different speed, and of different bits"
    torch.set_num_threads(LANES)
    model.use_engine("padded")
    assert lanes_of(model) == 1
    model.use_engine("tree")
    with monkeypatch.context() as changed:
        changed.setattr(model, "compute_dtype", torch.bfloat16)
        assert lanes_of(model) == 1
    with monkeypatch.context() as changed:
        rope = {"rope_type": "dynamic", "factor": 2.0}
        changed.setattr(model.classifier.config, "rope_parameters", rope)
        assert lanes_of(model) == 1
    dropout = nn.Dropout(0.1)
    model.add_module("drops", dropout)
    try:
        assert lanes_of(model.train()) == 1
        assert lanes_of(model.eval()) == LANES
    finally:
        del model.drops


def test_lanes_have_their_share_of_the_threads() -> None:
    torch.set_num_threads(4)
    meet = threading.Barrier(LANES)

    def threads() -> tuple[str, int]:
        meet.wait(10)  # Both are at work.
        torch.ones(200_000).exp()
        return threading.current_thread().name, torch.get_num_threads()

    found = side_by_side([threads] * LANES)
    assert [count for _, count in found] == [2] * LANES
    assert len({name for name, _ in found}) == LANES
    assert torch.get_num_threads() == 4
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [4], "other threads are not told the lanes' number"


def test_the_first_failure_is_raised_when_all_have_ended() -> None:
    ended = []

    def fails() -> None:
        raise ValueError("first")

    def slow() -> None:
        threading.Event().wait(0.2)
        ended.append(True)

    with pytest.raises(ValueError, match="first"):
        side_by_side([fails, slow])
    assert ended == [True]
    assert side_by_side([lambda: 1, lambda: 2, lambda: 3]) == [1, 2, 3]


def test_gradients_summed_apart() -> None:
    layer, idle, fresh = nn.Linear(1, 1, bias=False), nn.Linear(1, 1), nn.Linear(1, 1, bias=False)
    model = nn.ModuleList([layer, idle, fresh])
    layer.weight.grad, idle.weight.grad = torch.tensor([[1.0]]), torch.tensor([[5.0]])
    with summed_apart(model):
        assert layer.weight.grad is None
        (3 * layer.weight + 7 * fresh.weight).sum().backward()
    assert layer.weight.grad.item() == 4
    assert idle.weight.grad.item() == 5
    assert fresh.weight.grad is not None
    assert fresh.weight.grad.item() == 7
