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
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from assay.config import Recipe
from assay.errors import CheckpointError
from assay.model.heads import HEADS_FILE, Heads
from assay.model.locate import STEP, checkpoints_in
from assay.model.manifest import altered, whole_directory
from assay.model.reward_model import RewardModel
from assay.model.saving import is_adapter, save_adapter, save_plain
from assay.notices import notice, warn
from assay.train.random_state import random_state, restore_random
from assay.train.strategy.single import Moments, Strategy


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
    strategy: Strategy,
    schedule: LRScheduler,
    progress: Progress,
    *,
    keep: int | None,
    notes: Mapping[str, str],
) -> Path:
    """Write `step-N`, whole or not at all, then remove the oldest beyond `keep` but the best.

    All processes call it, and the first writes what one process would write.

    Args:
        directory: of the checkpoints.
        strategy: holds the weights and the optimizer.
        schedule: of the optimizer.
        progress: how far the run is.
        keep: checkpoints, the newest; None keeps all.
        notes: further files by name.

    Raises:
        OutputError: no space, no permission.
    """
    target = directory / f"step-{progress.step}"
    moments = strategy.moments()
    own, *further = strategy.team.gather(random_state(strategy.model.device))
    rest: dict[str, Any] = {
        "progress": asdict(progress),
        "schedule": _plain(schedule.state_dict()),
        "random": own,
    }
    if further:
        rest["random_of_others"] = further
    with strategy.whole() as model:
        if model is not None:
            _write(target, model, moments, {"trainer.json": json.dumps(rest), **notes})
            if keep is not None:
                _remove_old(directory, keep, target, directory / f"step-{progress.best_step}")
            sweep(directory)
    strategy.team.wait()
    return target


def _write(target: Path, model: RewardModel, moments: Moments, texts: Mapping[str, str]) -> None:
    with whole_directory(target, replace=True) as partial:
        inner = partial / ("adapter" if is_adapter(model) else "model")
        inner.mkdir()
        (save_adapter if is_adapter(model) else save_plain)(model, inner)
        save_file(moments, partial / "optimizer.safetensors")
        for name, text in texts.items():
            (partial / name).write_text(text, encoding="utf-8")


def _remove_old(directory: Path, keep: int, newest: Path, best: Path) -> None:
    others = [path for path in checkpoints_in(directory) if path != newest]
    for old in others[: max(0, len(others) + 1 - keep)]:
        # Hidden first: a kill in the midst of deleting must not leave a torn checkpoint.
        if old != best:
            old.rename(old.with_name(f".{old.name}.old"))


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


def checkpoint_to_resume(recipe: Recipe, resume: str | None) -> Path | None:
    """The checkpoint that `--resume` names; None to start at the beginning.

    Raises:
        CheckpointError: there is no such checkpoint.
    """
    if resume is None:
        return None
    if resume == "auto":
        found = newest_checkpoint(Path(recipe.output_dir) / "checkpoints")
        if found is None:
            notice("no checkpoint to resume from: starting at step 0")
        return found
    path = Path(resume)
    if not (path / "trainer.json").exists():
        raise CheckpointError(
            "is not a checkpoint", where=resume, mend="name a checkpoints/step-N directory, or auto"
        )
    if path.resolve().parent == (Path(recipe.output_dir) / "checkpoints").resolve():
        newest = newest_checkpoint(path.parent)
        if newest is not None and step_of(newest) > step_of(path.resolve()):
            raise CheckpointError(
                f"the run has a newer checkpoint, {newest.name}, which going back would contradict",
                where=resume,
                mend="resume auto, or delete the newer checkpoints first",
            )
    return path


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
        restore_random(random[strategy.team.rank], strategy.model.device)
    return Progress(**state["progress"])


def load_weights(path: Path, model: RewardModel) -> None:
    """Restore the weights of a whole model in place.

    Raises:
        CheckpointError: damaged, or of another model.
    """
    damage = altered(path)
    if damage:
        raise CheckpointError(damage, where=path, mend="resume from another checkpoint")
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
