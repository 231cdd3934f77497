"""The training loop: from a recipe to a run directory."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.optim.lr_scheduler import LRScheduler

from assay.config import Recipe
from assay.data.encoding import EncodedData
from assay.data.plugins import load_plugins
from assay.data.store import print_table
from assay.errors import ConfigError
from assay.evaluate.evaluator import evaluate_groups, write_evaluation
from assay.files import output_errors
from assay.model.loading import DTYPES, build_for_training, check_config, load_reward_model
from assay.model.manifest import whole_directory
from assay.model.reader import reader_for_training
from assay.model.reward_model import RewardModel
from assay.model.saving import is_adapter, save_adapter, save_plain
from assay.notices import notice
from assay.train.checkpoint import Progress, load_checkpoint, save_checkpoint, sweep
from assay.train.log import RunLog, cut_log
from assay.train.memory import Budget, peak_bytes, training_budget
from assay.train.optimizer import build_optimizer, build_schedule
from assay.train.plan import Plan
from assay.train.prepare import (
    PreparedData,
    checkpoint_to_resume,
    prepare_data,
    write_aside,
)
from assay.train.recipe_data import (
    RecipeData,
    check_recipe_data,
    fingerprints,
    prepare_recipe,
    recipe_sources,
)
from assay.train.run import (
    check_run_directory,
    check_same_data,
    check_same_recipe,
    describe_run,
    open_run,
)
from assay.train.step import train_step
from assay.train.stopping import StopRequest


@dataclass(frozen=True, slots=True)
class TrainResult:
    """Where a run ended. `stopped_by` is the signal that asked for it, if one did."""

    run: Path
    step: int
    num_steps: int
    stopped_by: signal.Signals | None = None


@dataclass
class _State:
    model: RewardModel
    optimizer: torch.optim.Optimizer
    schedule: LRScheduler
    progress: Progress


def train(recipe: Recipe, *, resume: str | None = None, overwrite: bool = False) -> TrainResult:
    """Train a reward model.

    Args:
        recipe: what to do.
        resume: `auto` (the newest valid checkpoint of output_dir) or the path of a checkpoint.
        overwrite: delete what an earlier run left in output_dir.

    Raises:
        AssayError: as the messages say; nothing that was there is lost.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(
            "training on several processes is not there yet, and each would train alone",
            where="WORLD_SIZE",
            mend="start one process",
        )
    checkpoint = checkpoint_to_resume(recipe, resume)
    check_run_directory(recipe, resume=resume is not None, overwrite=overwrite)
    began = checkpoint.resolve().parents[1] if checkpoint is not None else None
    if began is not None and began != Path(recipe.output_dir).resolve():
        check_same_recipe(recipe, began)
    load_plugins(recipe.plugins)
    recipe_sources(recipe)  # A typo in a file's name is said before a model is looked for.
    check_config(recipe.model)
    stores = prepare_recipe(recipe, reader_for_training(recipe.model))
    data_read = fingerprints(recipe, stores.train)
    if began is not None:
        check_same_data(began, data_read)
    print_table(stores.table())
    check_recipe_data(recipe, stores)
    state, data, plan = _build(recipe, stores, checkpoint)
    run = open_run(recipe, overwrite=overwrite)
    described = data.counts | {
        "engine": state.model.engine.name,
        "engine_reason": state.model.engine_reason,
    }
    describe_run(run, recipe, data_read, described, began=began)
    write_aside(data, run)
    sweep(run / "checkpoints")
    cut_log(run, state.progress.step, plan.num_steps)
    with (
        output_errors(run),
        RunLog(
            run,
            plan,
            logging_steps=recipe.train.logging_steps,
            trackers=list(recipe.train.report_to),
            first_step=state.progress.step + 1,
        ) as log,
        StopRequest() as stop,
    ):
        _run_steps(run, recipe, plan, data, state, log, stop)
        stopped_by = stop.signal if state.progress.step < plan.num_steps else None
        if stopped_by is None:
            _finish(run, recipe, data, state, log)
    return TrainResult(run, state.progress.step, plan.num_steps, stopped_by)


def _build(
    recipe: Recipe, stores: RecipeData, checkpoint: Path | None
) -> tuple[_State, PreparedData, Plan]:
    """Everything that a run needs in memory, as the checkpoint left it; writes nothing."""
    model = build_for_training(
        recipe.model,
        recipe.lora,
        seed=recipe.train.seed,
        max_length=recipe.train.max_length,
        device=recipe.train.device,
        engine=recipe.train.engine,
    )
    if recipe.train.gradient_checkpointing:
        _recompute_activations(model)
    data = prepare_data(recipe, model, stores)
    torch.manual_seed(recipe.train.seed)
    plan = Plan.of(
        len(data.train.groups),
        recipe.train.global_batch_size,
        recipe.train.seed,
        recipe.train.num_train_epochs,
        recipe.train.max_steps,
    )
    optimizer = build_optimizer(model.named_parameters(), recipe.train)
    state = _State(
        model, optimizer, build_schedule(optimizer, recipe.train, plan.num_steps), Progress()
    )
    if checkpoint is not None:
        state.progress = load_checkpoint(checkpoint, model, optimizer, state.schedule)
        notice(f"resuming from {checkpoint.name}")
    return state, data, plan


def _recompute_activations(model: RewardModel) -> None:
    try:
        model.classifier.activation_checkpointing_enable({"use_reentrant": False})
    except ValueError as error:
        raise ConfigError(
            str(error), where="train.gradient_checkpointing", mend="leave it out"
        ) from None


def _run_steps(
    run: Path,
    recipe: Recipe,
    plan: Plan,
    data: PreparedData,
    state: _State,
    log: RunLog,
    stop: StopRequest,
) -> None:
    config, progress, model = recipe.train, state.progress, state.model
    budget = _budget(model, recipe, progress)
    log.say(
        f"{len(data.train.groups)} groups, {data.train.num_comparisons} comparisons, "
        f"{plan.num_steps} steps of {plan.global_batch_size} groups"
    )
    log.say(
        f"engine {model.engine.name}"
        + (f" ({model.engine_reason})" if model.engine_reason else "")
        + f", packs of at most {budget.max_tokens} tokens ({budget.reason})"
    )
    model.train()
    stopping = stop.signal is not None
    while progress.step < plan.num_steps and not stopping:
        groups = [data.train.groups[index] for index in plan.groups_of(progress.step)]
        result = train_step(
            model, groups, state.optimizer, state.schedule, recipe, budget.max_tokens
        )
        progress.step += 1
        progress.loss_sum += result.loss
        result.peak_bytes = peak_bytes(model.device)
        log.step(progress.step, result, progress.loss_sum / progress.step)
        last = progress.step == plan.num_steps
        if config.eval_steps and progress.step % config.eval_steps == 0 and not last:
            _evaluate(model, data.evals, progress.step, log, budget.max_tokens)
        due = config.save_steps is not None and progress.step % config.save_steps == 0
        stopping = stop.signal is not None  # Read once: a signal may come at any moment.
        if due or stopping or last:
            save_checkpoint(
                run / "checkpoints",
                model,
                state.optimizer,
                state.schedule,
                progress,
                keep=config.save_total_limit,
            )


def _budget(model: RewardModel, recipe: Recipe, progress: Progress) -> Budget:
    """Tokens of a pack. `auto` is settled once in a run: the last bits depend on it."""
    if recipe.train.max_tokens_per_pack == "auto" and progress.max_tokens:
        return Budget(progress.max_tokens, "auto, as the run began")
    budget = training_budget(model, recipe.train)
    progress.max_tokens = budget.max_tokens
    return budget


def _evaluate(
    model: RewardModel,
    evals: Sequence[tuple[str, EncodedData]],
    step: int,
    log: RunLog,
    budget: int,
) -> None:
    for name, encoded in evals:
        started = time.perf_counter()
        evaluation = evaluate_groups(model, encoded, max_tokens=budget)
        log.evaluation(step, name, evaluation.metrics, time.perf_counter() - started)


def _finish(run: Path, recipe: Recipe, data: PreparedData, state: _State, log: RunLog) -> None:
    """Write `model/`, then evaluate what was written, not what is in memory."""
    with whole_directory(run / "model", replace=True) as directory:
        save_plain(state.model, directory, DTYPES[recipe.model.dtype])
    if is_adapter(state.model):
        with whole_directory(run / "adapter", replace=True) as directory:
            save_adapter(state.model, directory)
    if not data.evals:
        return
    device = str(state.model.device)
    state.model.to("cpu")
    written = load_reward_model(str(run / "model"), device=device, engine=state.model.engine.name)
    for name, encoded in data.evals:
        started = time.perf_counter()
        evaluation = evaluate_groups(written, encoded)
        about = {
            **data.about[name],
            "name": name,
            "model": str(run / "model"),
            "step": state.progress.step,
            "template_hash": written.metadata.template_hash,
            "max_length": recipe.train.max_length,
            "dtype": str(next(written.parameters()).dtype).removeprefix("torch."),
            "engine": written.engine.name,
        }
        write_evaluation(evaluation, run / "eval" / name, about)
        log.evaluation(state.progress.step, name, evaluation.metrics, time.perf_counter() - started)
