"""Checkpoints: everything a run needs to go on as if it had never stopped. Nothing is unpickled.

step-N/
  model/ or adapter/       a loadable model, weights as they are trained
  optimizer.safetensors    moments by parameter name
  trainer.json             step, schedule, random state, running sums, the best so far
  recipe.resolved.yaml     what the run is, so that a checkpoint that was copied can be checked
  run.json                 its data, and what the last bits depend on
  manifest.json            size and SHA-256 of each file
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from assay.errors import CheckpointError
from assay.model.heads import HEADS_FILE, Heads
from assay.model.locate import STEP, checkpoints_in
from assay.model.manifest import altered, whole_directory
from assay.model.reward_model import RewardModel
from assay.model.saving import is_adapter, save_adapter, save_plain
from assay.notices import warn
from assay.train.strategy.protocol import Moments, Strategy
from assay.train.strategy.single import Single

RandomState = dict[str, str]
"""The state of each generator by its name, hexadecimal."""


@dataclass(slots=True)
class Progress:
    """How far a run is: what resuming needs beside weights and optimizer."""

    step: int = 0
    loss_sum: float = 0.0
    max_tokens: int = 0
    """Tokens of one pass: `auto` depends on the memory that is free, the last bits on it."""
    best_value: float | None = None
    """Of the metric that tells the best checkpoint; None before the first evaluation."""
    best_step: int = 0
    num_bad: int = 0
    """Evaluations since then."""

    def forget_best(self) -> None:
        """Look for the best checkpoint anew."""
        self.best_value, self.best_step, self.num_bad = None, 0, 0


def save_checkpoint(
    directory: Path,
    model: RewardModel,
    optimizer: torch.optim.Optimizer,
    schedule: LRScheduler,
    progress: Progress,
    *,
    keep: int | None,
    moments: Moments | None = None,
    random: Sequence[RandomState] | None = None,
    notes: Mapping[str, str] | None = None,
) -> Path:
    """Write `step-N`, whole or not at all, then remove the oldest beyond `keep` but the best.

    Args:
        directory: of the checkpoints.
        model: with all its weights.
        optimizer: of the model.
        schedule: of the optimizer.
        progress: how far the run is.
        keep: checkpoints, the newest; None keeps all.
        moments: the optimizer's state, where the processes hold a part of it each.
        random: the random state of each process; by default of this one.
        notes: further files by name.

    Raises:
        OutputError: no space, no permission.
    """
    target = directory / f"step-{progress.step}"
    with whole_directory(target, replace=True) as partial:
        inner = partial / ("adapter" if is_adapter(model) else "model")
        inner.mkdir()
        (save_adapter if is_adapter(model) else save_plain)(model, inner)
        state = Single(model, optimizer).moments() if moments is None else moments
        save_file(state, partial / "optimizer.safetensors")
        own, *further = [random_state(model.device)] if random is None else random
        rest = {
            "progress": asdict(progress),
            "schedule": _plain(schedule.state_dict()),
            "random": own,
        } | ({"random_of_others": further} if further else {})
        (partial / "trainer.json").write_text(json.dumps(rest), encoding="utf-8")
        for name, text in (notes or {}).items():
            (partial / name).write_text(text, encoding="utf-8")
    if keep is not None:
        best = directory / f"step-{progress.best_step}"
        others = [path for path in checkpoints_in(directory) if path != target]
        for old in others[: max(0, len(others) + 1 - keep)]:
            # Hidden first: a kill in the midst of deleting must not leave a torn checkpoint.
            if old != best:
                old.rename(old.with_name(f".{old.name}.old"))
    sweep(directory)
    return target


def sweep(directory: Path) -> None:
    """Delete what a kill left half-written or half-deleted."""
    for left in directory.glob(".step-*"):
        shutil.rmtree(left)


def newest_checkpoint(directory: Path) -> Path | None:
    """The newest checkpoint whose every byte is as written; damaged ones are named and passed."""
    for path in reversed(checkpoints_in(directory)):
        damage = altered(path)
        if damage is None:
            return path
        warn(f"{path}: checkpoint skipped: {damage}")
    return None


def step_of(checkpoint: Path) -> int:
    """N of `step-N`; -1 for a checkpoint that someone renamed."""
    match = STEP.fullmatch(checkpoint.name)
    return int(match[1]) if match else -1


def load_progress(path: Path, strategy: Strategy, schedule: LRScheduler) -> Progress:
    """Restore moments, schedule and random state, after `load_weights`.

    Written by any strategy and any number of processes. A process that was not there draws the
    random numbers of its own seed.

    Raises:
        CheckpointError: of another model.
    """
    try:
        strategy.put_moments(load_file(path / "optimizer.safetensors"))
    except CheckpointError as error:
        raise CheckpointError(error.what, where=path, mend=error.mend) from None
    state = json.loads((path / "trainer.json").read_text(encoding="utf-8"))
    schedule.load_state_dict(state["schedule"])
    for group, rate in zip(strategy.optimizer.param_groups, schedule.get_last_lr(), strict=True):
        group["lr"] = rate
    random = [state["random"], *state.get("random_of_others", [])]
    if strategy.team.rank < len(random):
        _restore_random(random[strategy.team.rank], strategy.model.device)
    return Progress(**state["progress"])


def load_weights(path: Path, model: RewardModel) -> None:
    """Restore the weights of a whole model in place.

    Raises:
        CheckpointError: damaged, or of another model.
    """
    damage = altered(path)
    if damage:
        raise CheckpointError(damage, where=path, mend="resume from another checkpoint")
    _load_weights(path, model)


def _load_weights(path: Path, model: RewardModel) -> None:
    inner = path / ("adapter" if is_adapter(model) else "model")
    state: dict[str, Tensor] = {}
    for file in sorted(inner.glob("*.safetensors")):
        if file.name != HEADS_FILE:
            state |= load_file(file)
    if not state:
        raise CheckpointError("holds no weights for this recipe", where=inner)
    if is_adapter(model):
        from peft import set_peft_model_state_dict

        report = set_peft_model_state_dict(model.inner, state)
        wrong = list(report.unexpected_keys)
    else:
        report = model.classifier.load_state_dict(state, strict=False)
        tied = set(getattr(model.classifier, "all_tied_weights_keys", None) or ())
        wrong = [*report.unexpected_keys, *(set(report.missing_keys) - tied)]
    if wrong:
        raise CheckpointError(f"weights do not fit the model: {wrong[0]}", where=inner)
    if model.heads is not None and not model.heads.restore(Heads.read(inner)):
        raise CheckpointError(f"{HEADS_FILE} does not fit the recipe's loss", where=inner)


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    """A scheduler's state without its functions, which the recipe makes again."""
    return {key: value for key, value in state.items() if key != "lr_lambdas"} | {
        "lr_lambdas": [None] * len(state.get("lr_lambdas", []))
    }


def random_state(device: torch.device) -> RandomState:
    """Of this process and the device that it computes on, which need not be the first, as text."""
    state = {"cpu": bytes(torch.get_rng_state().tolist()).hex()}
    if device.type == "cuda":
        state["cuda"] = bytes(torch.cuda.get_rng_state(device).tolist()).hex()
    return state


def _restore_random(state: RandomState, device: torch.device) -> None:
    torch.set_rng_state(torch.tensor(list(bytes.fromhex(state["cpu"])), dtype=torch.uint8))
    if "cuda" in state and device.type == "cuda":
        on_gpu = torch.tensor(list(bytes.fromhex(state["cuda"])), dtype=torch.uint8)
        torch.cuda.set_rng_state(on_gpu, device)
