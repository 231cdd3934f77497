"""A run that was stopped, or killed at the worst moment, ends as if it had never been broken.

Float32 on a CPU with one thread count: weights, moments and the log are compared bit for bit.
"""

from __future__ import annotations

import fcntl
import logging
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from tiny_runs import Fault, Processes, differences, log_of, recipe, recipe_file, rows, write_lines
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from assay.config import ModelConfig, Recipe
from assay.errors import CheckpointError
from assay.model.loading import build_for_training
from assay.model.reward_model import RewardModel
from assay.model.rewards import rewards_of_sequences
from assay.train.checkpoint import Progress, load_progress, load_weights, save_checkpoint
from assay.train.loop import _recompute_activations, train
from assay.train.optimizer import build_optimizer, build_schedule
from assay.train.random_state import process_seed, random_state, restore_random
from assay.train.stopping import StopRequest
from assay.train.strategy.single import Single

# `lora.dropout` draws from the random state at every step, also while checkpointing recomputes.
LORA = {"r": 4, "alpha": 8, "dropout": 0.1, "target_modules": "all-linear"}
KINDS: dict[str, dict[str, object]] = {
    "full": {},
    "lora": {"lora": LORA},
    "lora, recomputed": {"lora": LORA, "gradient_checkpointing": True},
}
STEPS = 6
"""5 prompts in batches of 2, so 3 steps an epoch, the last of them smaller; 2 epochs."""


@dataclass(frozen=True)
class Unbroken:
    """A finished run and its recipe."""

    run: Path
    recipe: Recipe


MakeRecipe = Callable[..., Recipe]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> MakeRecipe:
    """A recipe over the same files for any output directory."""
    folder = tmp_path_factory.mktemp("data")
    train_rows = write_lines(folder / "train.jsonl", list(rows(5)))
    evals = [
        str(write_lines(folder / f"{name}.jsonl", list(rows(2, prefix=f"{name} "))))
        for name in ("one", "two")
    ]

    def build(output: Path, **changes: object) -> Recipe:
        return recipe(tiny_base, train_rows, output, evals=evals, eval_steps=2, **changes)

    return build


@pytest.fixture(scope="module", params=KINDS)
def unbroken(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, make: MakeRecipe
) -> Unbroken:
    """Each kind of run, once, with a checkpoint of every step."""
    output = tmp_path_factory.mktemp("unbroken") / "run"
    checked = make(output, **KINDS[request.param])
    assert train(checked).step == STEPS
    return Unbroken(output, checked)


def broken_after(step: int, unbroken: Unbroken, place: Path) -> Recipe:
    """A copy of the run as a kill after the checkpoint of `step` would leave it at worst.

    The log goes on beyond the checkpoint, its last line torn.
    """
    run = place / "run"
    shutil.copytree(unbroken.run, run)
    for name in ("model", "adapter", "eval"):
        shutil.rmtree(run / name, ignore_errors=True)
    for later in range(step + 1, STEPS + 1):
        shutil.rmtree(run / "checkpoints" / f"step-{later}")
    log = run / "train_log.jsonl"
    log.write_bytes(log.read_bytes()[:-40])
    return unbroken.recipe.model_copy(update={"output_dir": str(run)})


@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_resuming_after_any_step_is_the_unbroken_run(
    unbroken: Unbroken, step: int, tmp_path: Path
) -> None:
    # T46, T47: in the midst of both epochs and between them, with dropout on.
    checked = broken_after(step, unbroken, tmp_path)
    torch.manual_seed(step)
    torch.rand(7)
    assert train(checked, resume="auto").step == STEPS
    assert differences(Path(checked.output_dir), unbroken.run) == []


def test_dropout_is_on(tmp_path: Path, make: MakeRecipe) -> None:
    # Without this the tests above would prove nothing about the random state.
    for name, dropout in (("on", 0.1), ("off", 0.0)):
        train(make(tmp_path / name, lora=LORA | {"dropout": dropout}))
    found = differences(tmp_path / "on", tmp_path / "off")
    assert any("step-6/adapter/adapter_model.safetensors" in difference for difference in found)


def test_recomputing_activations_changes_no_bit(tmp_path: Path, make: MakeRecipe) -> None:
    # Dropout too is drawn again as it was.
    for name, on in (("on", True), ("off", False)):
        train(make(tmp_path / name, lora=LORA, gradient_checkpointing=on))
    assert differences(tmp_path / "on", tmp_path / "off") == []


def test_recomputing_activations_runs_each_layer_twice(tiny_base: Path) -> None:
    model = build_for_training(
        ModelConfig(path=str(tiny_base)), None, seed=1, max_length=64, device="cpu"
    )
    calls = []
    for layer in model.classifier.model.layers:
        # Hooks of the layer itself stand outside of what is recomputed.
        layer.mlp.register_forward_pre_hook(lambda part, args: calls.append(part))
    for times in (1, 2):
        calls.clear()
        model.train()
        rewards_of_sequences(model, [(5, 6, 7)], max_tokens=8).sum().backward()  # type: ignore[no-untyped-call]
        assert len(calls) == times * len(model.classifier.model.layers)
        _recompute_activations(model)


def test_a_finished_run_that_is_resumed_stays_as_it_is(unbroken: Unbroken, tmp_path: Path) -> None:
    shutil.copytree(unbroken.run, tmp_path / "run")
    checked = unbroken.recipe.model_copy(update={"output_dir": str(tmp_path / "run")})
    train(checked, resume="auto")
    assert differences(tmp_path / "run", unbroken.run) == []


# Damaged checkpoints.


def cut(checkpoint: Path) -> None:
    file = checkpoint / "optimizer.safetensors"
    os.truncate(file, file.stat().st_size // 2)


def flip_a_bit(checkpoint: Path) -> None:
    file = checkpoint / "optimizer.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def lose_the_weights(checkpoint: Path) -> None:
    next(checkpoint.glob("*/*.safetensors")).unlink()


def lose_the_manifest(checkpoint: Path) -> None:
    (checkpoint / "manifest.json").unlink()


def tear_the_manifest(checkpoint: Path) -> None:
    file = checkpoint / "manifest.json"
    os.truncate(file, file.stat().st_size // 2)


DAMAGES = [cut, flip_a_bit, lose_the_weights, lose_the_manifest, tear_the_manifest]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory, make: MakeRecipe) -> Unbroken:
    output = tmp_path_factory.mktemp("full") / "run"
    checked = make(output)
    train(checked)
    return Unbroken(output, checked)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_checkpoint_is_named_and_passed(
    damage: Callable[[Path], None],
    full: Unbroken,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    checked = broken_after(4, full, tmp_path)
    damage(tmp_path / "run/checkpoints/step-4")
    with caplog.at_level(logging.INFO, "assay"):
        train(checked, resume="auto")
    assert re.search(r"checkpoints/step-4: checkpoint skipped: \S", caplog.text)
    assert "resuming from step-3" in caplog.text
    assert differences(tmp_path / "run", full.run) == []


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_that_is_named_is_an_error(
    damage: Callable[[Path], None], full: Unbroken, tmp_path: Path
) -> None:
    checked = broken_after(4, full, tmp_path)
    checkpoint = tmp_path / "run/checkpoints/step-4"
    damage(checkpoint)
    with pytest.raises(CheckpointError, match="resume from another checkpoint"):
        train(checked, resume=str(checkpoint))


def test_without_a_whole_checkpoint_a_run_begins_again(full: Unbroken, tmp_path: Path) -> None:
    checked = broken_after(1, full, tmp_path)
    cut(tmp_path / "run/checkpoints/step-1")
    train(checked, resume="auto")
    assert differences(tmp_path / "run", full.run) == []


State = tuple[RewardModel, torch.optim.Optimizer, LRScheduler]


def fresh_state(base: Path) -> State:
    """A model with a weight that takes no part in its rewards, an optimizer, a schedule."""
    model = build_for_training(
        ModelConfig(path=str(base)), None, seed=1, max_length=64, device="cpu"
    )
    model.classifier.register_parameter("unused", nn.Parameter(torch.ones(2, 2)))
    config = recipe(base, base, base).train
    optimizer = build_optimizer(model.named_parameters(), config)
    return model, optimizer, build_schedule(optimizer, config, 4)


def saved(directory: Path, state: State, progress: Progress, keep: int | None = None) -> Path:
    model, optimizer, schedule = state
    strategy = Single(model, optimizer)
    return save_checkpoint(directory, strategy, schedule, progress, keep=keep, notes={})


def test_a_weight_that_no_gradient_has_reached_can_be_resumed(
    tiny_base: Path, tmp_path: Path
) -> None:
    # AdamW holds no moments for it (an expert that no token was sent to, for one).
    model, optimizer, schedule = fresh_state(tiny_base)
    for name, parameter in model.named_parameters():
        if "unused" not in name:
            parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    schedule.step()
    one = saved(tmp_path, (model, optimizer, schedule), Progress(1, 0.5, 64))
    others = fresh_state(tiny_base)
    load_weights(one, others[0])
    assert load_progress(one, Single(*others[:2]), others[2]) == Progress(1, 0.5, 64)
    two = saved(tmp_path, others, Progress(2, 0.5, 64))
    for name in ("model/model.safetensors", "optimizer.safetensors"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_the_checkpoint_just_written_is_never_the_one_removed(
    tiny_base: Path, tmp_path: Path
) -> None:
    # A newer one may lie there: resuming passed it because one of its bytes is wrong, which only
    # its hash shows.
    state = fresh_state(tiny_base)
    for step in (3, 6, 4):
        written = saved(tmp_path, state, Progress(step), keep=1)
        assert {path.name for path in tmp_path.iterdir()} == {written.name}


# Real processes: signals and kills.


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Processes:
    return Processes(tmp_path_factory.mktemp("said"))


@dataclass(frozen=True)
class Timed:
    """An unbroken run in a process of its own, and how long it took."""

    run: Path
    seconds: float


@pytest.fixture(scope="module")
def in_a_process(
    processes: Processes, tmp_path_factory: pytest.TempPathFactory, make: MakeRecipe
) -> Timed:
    folder = tmp_path_factory.mktemp("process")
    file = recipe_file(folder / "recipe.yaml", make(folder / "run", save_total_limit=2))
    processes.run("train", "--help")  # the server starts and imports
    started = time.perf_counter()
    ended = processes.run("train", file)
    assert ended.code == 0, ended.said
    return Timed(folder / "run", time.perf_counter() - started)


def size_of(run: Path, name: str) -> int:
    return (run / "checkpoints/step-6" / name).stat().st_size


FAULTS: dict[str, Callable[[Path], Fault]] = {
    "before the rename of a checkpoint": lambda run: Fault((("os.rename", ".step-4.partial"),)),
    "in mid-write of optimizer.safetensors": lambda run: Fault(
        (("os.mkdir", ".step-4.partial"),),
        # Above the weights, which come first, and below the moments, which are twice as large.
        file_limit=int(1.5 * size_of(run, "model/model.safetensors")),
    ),
    # The manifest is opened twice: to be written, then to be synced.
    "after the manifest and before the rename": lambda run: Fault(
        (("open", ".step-4.partial/manifest.json"),) * 2
    ),
    "while an old checkpoint is deleted": lambda run: Fault(
        (("os.rename", "step-4.partial"), ("shutil.rmtree", "step-2"), *[("os.remove", "")] * 2)
    ),
    "while the last old checkpoint is deleted": lambda run: Fault(
        (("os.rename", "step-6.partial"), ("shutil.rmtree", "step-4"), ("os.remove", ""))
    ),
    "before run.json is in its place": lambda run: Fault((("os.rename", ".run.json.partial"),)),
    "before the recipe is in its place": lambda run: Fault((("os.rename", ".recipe.resolved"),)),
    "before the rename of model/": lambda run: Fault((("os.rename", ".model.partial"),)),
    # The first set's entry is in the log by then.
    "in the evaluation of the second set": lambda run: Fault((("os.mkdir", "eval/two"),)),
}


@pytest.mark.slow
@pytest.mark.parametrize("point", FAULTS)
def test_a_kill_at_the_worst_point_loses_nothing(
    point: str, processes: Processes, in_a_process: Timed, make: MakeRecipe, tmp_path: Path
) -> None:
    file = recipe_file(tmp_path / "recipe.yaml", make(tmp_path / "run", save_total_limit=2))
    fault = FAULTS[point](in_a_process.run)
    killed = processes.run("train", file, fault=fault)
    expected = signal.SIGXFSZ if fault.file_limit else signal.SIGKILL
    assert killed.code == -expected, killed.said
    resumed = processes.run("train", file, "--resume", "auto")
    assert resumed.code == 0, resumed.said
    assert differences(tmp_path / "run", in_a_process.run) == []
    kept = sorted(path.name for path in (tmp_path / "run/checkpoints").iterdir())
    assert kept == ["step-5", "step-6"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_kill_at_a_random_moment_loses_nothing(
    seed: int, processes: Processes, in_a_process: Timed, make: MakeRecipe, tmp_path: Path
) -> None:
    file = recipe_file(tmp_path / "recipe.yaml", make(tmp_path / "run", save_total_limit=2))
    moment = random.Random(seed).uniform(0, in_a_process.seconds)
    killed = processes.run("train", file, kill_after=moment)
    assert killed.code in (-signal.SIGKILL, 0), killed.said
    resumed = processes.run("train", file, "--resume", "auto")
    assert resumed.code == 0, f"killed after {moment} s: {resumed.said}"
    assert differences(tmp_path / "run", in_a_process.run) == [], f"killed after {moment} s"


LONG_RUN = 40
"""Steps. A line of the log has some 150 bytes and the pipe below holds 4096: a run whose output
nobody reads stands still within 30 steps, so a signal sent after step 2 finds it on the way."""


@pytest.fixture(scope="module")
def long_run(
    processes: Processes, tmp_path_factory: pytest.TempPathFactory, make: MakeRecipe
) -> Path:
    folder = tmp_path_factory.mktemp("long")
    checked = make(folder / "run", max_steps=LONG_RUN, save_steps=None)
    ended = processes.run("train", recipe_file(folder / "recipe.yaml", checked))
    assert ended.code == 0, ended.said
    return folder / "run"


@dataclass(frozen=True)
class Started:
    """A process on its way, and its run directory."""

    process: subprocess.Popen[str]
    run: Path


@pytest.fixture(scope="module")
def started(
    tmp_path_factory: pytest.TempPathFactory, make: MakeRecipe
) -> Iterator[dict[signal.Signals, Started]]:
    """A process for each signal, side by side: most of their time is imports."""
    found = {}
    for sent in (signal.SIGTERM, signal.SIGINT):
        folder = tmp_path_factory.mktemp(sent.name)
        checked = make(folder / "run", max_steps=LONG_RUN, save_steps=None)
        file = recipe_file(folder / "recipe.yaml", checked)
        process = subprocess.Popen(
            [sys.executable, "-m", "assay", "train", file],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            pipesize=4096,
        )
        found[sent] = Started(process, folder / "run")
    yield found
    for one in found.values():
        one.process.kill()
        one.process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_finishes_the_step_and_writes_a_checkpoint(
    sent: signal.Signals,
    code: int,
    processes: Processes,
    started: dict[signal.Signals, Started],
    long_run: Path,
) -> None:
    process, run = started[sent].process, started[sent].run
    assert process.stdout is not None
    assert fcntl.fcntl(process.stdout, fcntl.F_GETPIPE_SZ) == 4096
    # By readline: iterating reads ahead, and communicate() would then miss what was read.
    read = iter(process.stdout.readline, "")
    assert any(f"step:[2/{LONG_RUN}]" in line for line in read)
    process.send_signal(sent)
    said, notes = process.communicate(timeout=60)
    assert process.returncode == code, notes
    assert f"{sent.name}: finishing the step, then a checkpoint" in notes
    assert "Traceback" not in notes
    stopped = re.search(rf"stopped after step (\d+) of {LONG_RUN}; go on with:\n  assay (.*)", said)
    assert stopped, said
    step = int(stopped[1])
    assert 2 <= step < LONG_RUN
    assert [path.name for path in (run / "checkpoints").iterdir()] == [f"step-{step}"]
    assert max(entry["step"] for entry in log_of(run)) == step
    assert not (run / "model").exists()
    # The command that it prints goes on.
    resumed = processes.run(*stopped[2].split())
    assert resumed.code == 0, resumed.said
    assert differences(run, long_run) == []


def test_a_second_signal_stops_at_once_and_handlers_come_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal is signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert stop.signal is signal.SIGTERM
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize("kind", ["cuda", "xpu"])
def test_random_numbers_are_those_of_the_device_that_computes(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As of a recipe with `device: cuda:1`, without two GPUs.
    device, put_back = torch.device(f"{kind}:1"), dict[torch.device, list[int]]()
    module = torch.get_device_module(kind)
    monkeypatch.setattr(
        module, "get_rng_state", lambda device: torch.tensor([device.index], dtype=torch.uint8)
    )
    monkeypatch.setattr(
        module, "set_rng_state", lambda state, device: put_back.update({device: state.tolist()})
    )
    state = random_state(device)
    assert state[kind] == "01"
    restore_random(state, device)
    assert put_back == {device: [1]}
    assert set(random_state(torch.device("cpu"))) == {"cpu"}


def test_no_process_draws_what_one_of_another_seed_draws() -> None:
    seeds = [process_seed(seed, rank) for seed in range(40, 50) for rank in range(8)]
    assert len(set(seeds)) == len(seeds)
    assert process_seed(42, 0) == 42
    for seed in seeds:
        torch.Generator().manual_seed(seed)  # All of them are seeds to torch.
