"""Two processes train the model that one trains: DDP, FSDP2, DeepSpeed, each on gloo on the CPU.

Over 40 steps in float64 where the engine has it (DeepSpeed updates in float32: there the first
gradient counts, see `test_invariance` for why). Every test that names an engine sees first that it
is the one which computes, and that there are two processes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_ranks import BATCH, GROUPS, SIZE, STEPS, Job, Pair, Trained, train_recipe, train_twin
from tiny_runs import log_of, recipe, rows, write_lines
from torch import Tensor

from assay.config import Recipe

pytestmark = pytest.mark.slow

SAME, SAME_IN_FLOAT32 = 1e-6, 1e-5
ENGINES = ["ddp", "fsdp2", "deepspeed-zero2", "deepspeed-zero3"]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    processes = Pair(tmp_path_factory.mktemp("ranks"))
    yield processes
    processes.close()


@pytest.fixture(scope="module")
def alone(pair: Pair) -> Trained:
    [trained] = pair.run(train_twin, Job("single", max_tokens=1024), size=1)
    assert trained.engine["world"] == 1
    assert trained.engine["engine"] == "NoneType"
    return trained


def check_engine(trained: list[Trained], strategy: str) -> None:
    assert [one.engine["world"] for one in trained] == [SIZE, SIZE]
    for one in trained:
        assert one.engine["dtensors"] == (strategy == "fsdp2")
        if strategy == "ddp":
            assert one.engine["engine"] == "DistributedDataParallel"
        if strategy.startswith("deepspeed"):
            assert one.engine["engine"] == "DeepSpeedEngine"
            assert one.engine["stage"] == int(strategy[-1])
        if strategy in ("fsdp2", "deepspeed-zero3"):  # Padding of shards allowed for.
            assert one.engine["held"] < 0.6 * one.engine["all"]
        else:
            assert one.engine["held"] == one.engine["all"]


def distance(found: Tensor | None, expected: Tensor | None) -> float:
    assert found is not None
    assert expected is not None
    return float((found.double() - expected.double()).norm() / expected.double().norm())


JOBS = [
    Job(strategy, max_tokens, checkpointing=again)
    for strategy in ("ddp", "fsdp2")
    for max_tokens, again in ((512, False), (2048, True), (8192, False))
]


@pytest.mark.parametrize(
    "job", JOBS, ids=lambda j: f"{j.strategy} {j.max_tokens}{' again' if j.checkpointing else ''}"
)
def test_forty_steps_make_one_update(pair: Pair, alone: Trained, job: Job) -> None:
    found = pair.run(train_twin, job)
    check_engine(found, job.strategy)
    first, second = found
    assert second.update is None
    assert distance(first.update, alone.update) <= SAME
    for each in found:
        assert distance(each.losses, alone.losses) <= SAME
        assert float((each.losses - alone.losses).abs().max()) <= SAME
        assert distance(each.norms, alone.norms) <= 10 * SAME
    assert len(first.losses) == STEPS
    if job.max_tokens == 512:
        assert max(first.packs) >= 2  # Both processes have one, in many steps.
    if job.max_tokens == 8192:
        assert set(first.packs) == {1}  # The second process has none.


def test_training_moves_the_model(alone: Trained) -> None:
    # Else equal updates would prove nothing.
    assert alone.update is not None
    assert float(alone.update.norm()) > 0.1
    assert float(alone.losses[-5:].mean()) < 0.8 * float(alone.losses[:5].mean())


def test_the_last_partial_batch_is_kept(alone: Trained) -> None:
    sizes = {2: [], 1: []}  # type: dict[int, list[int]]
    for step, sequences in enumerate(alone.sequences):
        sizes[1 if step % 3 == 2 else 2].append(sequences)
    assert GROUPS % BATCH == BATCH // 2
    assert max(sizes[1]) < min(sizes[2])


def first_gradient(trained: Trained) -> Tensor:
    """AdamW's first moments after one step are the gradient times a constant."""
    moments = trained.moments
    names = sorted(name for name in moments if name.startswith("exp_avg/"))
    assert len(names) > 20
    return torch.cat([moments[name].flatten() for name in names])


@pytest.fixture(scope="module")
def exact(pair: Pair) -> Trained:
    [trained] = pair.run(train_twin, Job("single", 400, steps=1, batch=8), size=1)
    return trained


GRADIENTS = {
    "packs of 400": {"max_tokens": 400},
    "groups larger than a pack": {"max_tokens": 100},
    "one pack": {"max_tokens": 8192},
    "recomputed": {"max_tokens": 400, "checkpointing": True},
    "padded, several passes a pack": {"max_tokens": 300, "engine": "padded"},
    "dealt 1 and 3": {"max_tokens": 400, "deal": ((0,), (1, 2, 3, 4, 5))},
    "dealt 0 and 4": {"max_tokens": 400, "deal": ((), (0, 1, 2, 3, 4, 5))},
}


@pytest.mark.parametrize("how", GRADIENTS)
@pytest.mark.parametrize("strategy", ENGINES)
def test_in_float32_the_first_gradient_is_the_same(
    pair: Pair, exact: Trained, strategy: str, how: str
) -> None:
    job = Job(strategy, steps=1, batch=8, dtype=torch.float32, **GRADIENTS[how])  # type: ignore[arg-type]
    found = pair.run(train_twin, job)
    check_engine(found, strategy)
    first = found[0]
    assert distance(first_gradient(first), first_gradient(exact)) <= SAME_IN_FLOAT32
    for each in found:
        assert distance(each.losses, exact.losses) <= SAME_IN_FLOAT32
        assert distance(each.norms, exact.norms) <= SAME_IN_FLOAT32
    if how.startswith("dealt"):
        assert first.packs[0] >= 4
    rewards = torch.tensor(first.rewards[0])
    if job.max_tokens == 400 and job.engine == "tree":  # In the order of the packs.
        assert distance(rewards, torch.tensor(exact.rewards[0])) <= SAME_IN_FLOAT32


@pytest.mark.parametrize("strategy", ENGINES)
def test_in_float32_a_few_steps_stay_together(pair: Pair, strategy: str) -> None:
    [one] = pair.run(train_twin, Job("single", 512, steps=4, dtype=torch.float32), size=1)
    found = pair.run(train_twin, Job(strategy, 512, steps=4, dtype=torch.float32))
    check_engine(found, strategy)
    assert distance(found[0].losses, one.losses) <= SAME_IN_FLOAT32
    assert distance(found[0].update, one.update) <= 1e-3


@pytest.mark.parametrize("strategy", ENGINES)
def test_an_ensemble_of_heads_learns_the_same(pair: Pair, strategy: str) -> None:
    job = Job("single", 400, steps=1, batch=8, dtype=torch.float32, ensemble=3)
    [one] = pair.run(train_twin, job, size=1)
    found = pair.run(train_twin, replace(job, strategy=strategy))
    check_engine(found, strategy)
    assert one.moments["exp_avg/heads.weight_MD"].shape[0] == 3
    assert distance(first_gradient(found[0]), first_gradient(one)) <= SAME_IN_FLOAT32
    assert distance(found[0].losses, one.losses) <= SAME_IN_FLOAT32


@pytest.mark.parametrize("strategy", ENGINES)
def test_members_on_a_frozen_backbone_learn_the_same(pair: Pair, strategy: str) -> None:
    job = Job("single", 400, 1, torch.float32, batch=8, ensemble=3, frozen=True)
    [one] = pair.run(train_twin, job, size=1)
    found = pair.run(train_twin, replace(job, strategy=strategy))
    check_engine(found, strategy)
    name = "exp_avg/heads.weight_MD"
    assert {key for key in one.moments if "exp_avg/" in key} == {name}
    assert distance(found[0].moments[name], one.moments[name]) <= SAME_IN_FLOAT32
    assert distance(found[0].losses, one.losses) <= SAME_IN_FLOAT32


@pytest.mark.parametrize("deal", [None, ((), (0, 1, 2, 3, 4, 5))])
def test_weights_that_short_passes_do_not_use_learn_the_same(
    pair: Pair, deal: tuple[tuple[int, ...], ...] | None
) -> None:
    job = Job("single", 400, 2, torch.float32, batch=8, sparse=True)
    [one] = pair.run(train_twin, job, size=1)
    found = pair.run(train_twin, replace(job, strategy="ddp", deal=deal))
    check_engine(found, "ddp")
    [name] = [key for key in one.moments if key.startswith("exp_avg/") and "scale_D" in key]
    assert float(one.moments[name].norm()) > 0
    assert distance(found[0].moments[name], one.moments[name]) <= SAME_IN_FLOAT32
    assert distance(first_gradient(found[0]), first_gradient(one)) <= SAME_IN_FLOAT32


# Whole runs.


@pytest.fixture(scope="module")
def unbroken(
    pair: Pair, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Recipe, Path]:
    """A run of one process: 6 steps, the last of each epoch smaller, a checkpoint of each."""
    folder = tmp_path_factory.mktemp("runs")
    data = write_lines(folder / "train.jsonl", list(rows(11)))
    evals = [str(write_lines(folder / "eval.jsonl", list(rows(4, prefix="other "))))]
    checked = recipe(
        tiny_base, data, folder / "one", evals=evals, eval_steps=2, global_batch_size=4
    )
    assert pair.run(train_recipe, checked, None, size=1) == [6]
    return checked, folder


def cut_after(step: int, run: Path, place: Path) -> None:
    shutil.copytree(run, place)
    for later in range(step + 1, 7):
        shutil.rmtree(place / f"checkpoints/step-{later}")
    for name in ("model", "eval"):
        shutil.rmtree(place / name)


def check_alike(run: Path, other: Path) -> None:
    """The same model, moments and log, up to the order of sums in float32."""
    for name in ("model/model.safetensors", "checkpoints/step-6/optimizer.safetensors"):
        found, expected = load_file(run / name), load_file(other / name)
        assert found.keys() == expected.keys()
        for key, tensor in expected.items():
            assert torch.allclose(found[key], tensor, rtol=1e-3, atol=1e-5), key
    logs = [log_of(one) for one in (run, other)]
    assert [entry["kind"] for entry in logs[0]] == [entry["kind"] for entry in logs[1]]
    for entry, expected in zip(*logs, strict=True):
        assert entry.keys() == expected.keys()
        for key in ("step", "epoch", "num_comparisons", "num_tokens", "num_packs", "num_sequences"):
            assert entry.get(key) == expected.get(key)
        for key in ("loss", "grad_norm", "rewards", "reward_mean", "accuracy", "mean_margin"):
            if key in expected:
                assert entry[key] == pytest.approx(expected[key], rel=1e-4, abs=1e-5)
    trained = [path.name for path in run.iterdir()]
    assert not [name for name in trained if name.startswith(".")]
    assert sorted(trained) == sorted(path.name for path in other.iterdir())


@pytest.mark.parametrize("strategy", ENGINES)
def test_a_run_goes_on_with_other_numbers_of_processes(
    pair: Pair, unbroken: tuple[Recipe, Path], strategy: str, tmp_path: Path
) -> None:
    # 1 process, then 2, then 1 again.
    checked, folder = unbroken
    two, one = tmp_path / "two", tmp_path / "one"
    cut_after(2, folder / "one", two)
    train_section = checked.train.model_copy(update={"strategy": strategy})
    changed = checked.model_copy(update={"output_dir": str(two), "train": train_section})
    assert pair.run(train_recipe, changed, "auto") == [6, 6]
    check_alike(two, folder / "one")
    described = json.loads((two / "run.json").read_text(encoding="utf-8"))
    assert (described["strategy"], described["num_processes"]) == (strategy, SIZE)
    cut_after(4, two, one)
    again = checked.model_copy(update={"output_dir": str(one)})
    assert pair.run(train_recipe, again, "auto", size=1) == [6]
    check_alike(one, folder / "one")
