"""The training loop: from a recipe to a run directory."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch

from assay.config import Recipe
from assay.data.plugins import load_plugins
from assay.data.store import print_table
from assay.errors import ConfigError
from assay.files import output_errors
from assay.model.lanes import steady_threads
from assay.model.loading import build_for_training, check_config, resolve_device
from assay.model.quantised import quantisation
from assay.model.reader import reader_for_training
from assay.model.reward_model import RewardModel
from assay.notices import notice
from assay.train.best import Watch, bring_best
from assay.train.checkpoint import (
    checkpoint_to_resume,
    load_progress,
    load_weights,
    save_checkpoint,
    sweep,
)
from assay.train.features import keep_features
from assay.train.finishing import evaluate_all, finish
from assay.train.log import RunLog, Silence, cut_log
from assay.train.memory import Budget, peak_bytes, training_budget
from assay.train.objective import prepare_objective
from assay.train.optimizer import build_optimizer, build_schedule
from assay.train.plan import Plan
from assay.train.prepare import prepare_data, write_aside
from assay.train.random_state import process_seed
from assay.train.recipe_data import (
    RecipeData,
    check_recipe_data,
    fingerprints,
    prepare_recipe,
    recipe_sources,
    store_fingerprints,
)
from assay.train.run import (
    alone_in,
    check_run_directory,
    check_same_data,
    check_same_recipe,
    describe_run,
    flat_settings,
    notes_of,
    open_run,
    origin,
)
from assay.train.settling import settle_dtype
from assay.train.state import RunState
from assay.train.step import train_step
from assay.train.stopping import StopRequest, ending_on_sigterm
from assay.train.strategy.choosing import MOVES_ITSELF, strategy_name, wrap
from assay.train.strategy.team import Team, device_of
from assay.train.strategy.team import team as team_of_launcher
from assay.train.trackers import Entry, Trackers, check_trackers
from assay.train.trainable import choose_trained


@dataclass(frozen=True, slots=True)
class TrainResult:
    """Where a run ended. `stopped_by` is the signal that asked for it, if one did.

    `speaks` is on for the one of several processes that tells people of it.
    """

    run: Path
    step: int
    num_steps: int
    stopped_by: signal.Signals | None = None
    speaks: bool = True


def train(recipe: Recipe, *, resume: str | None = None, overwrite: bool = False) -> TrainResult:
    """Train a reward model, with as many processes as a launcher has started.

    Args:
        recipe: what to do; the same in all processes.
        resume: `auto` (the newest valid checkpoint of output_dir) or the path of a checkpoint.
        overwrite: delete what an earlier run left in output_dir.

    Raises:
        AssayError: as the messages say; nothing that was there is lost.
        SystemExit: of several processes another one failed, and says why.
    """
    with (
        team_of_launcher(recipe.train.device) as team,
        ending_on_sigterm(team.size == 1),
        ExitStack() as held,
    ):
        return _train(recipe, resume, overwrite, team, held)


def _train(
    recipe: Recipe, resume: str | None, overwrite: bool, team: Team, held: ExitStack
) -> TrainResult:
    strategy_name(recipe.train.strategy, team)
    team.same(recipe.model_dump(), "the recipe", mend="give all processes the same file and flags")
    checkpoint = checkpoint_to_resume(recipe, resume)
    team.same(
        checkpoint and checkpoint.name,
        "the checkpoint to resume from",
        mend="put output_dir where all machines see it",
    )
    recipe = settle_dtype(recipe, checkpoint, resume=resume is not None, team=team)
    check_run_directory(recipe, resume=resume is not None, overwrite=overwrite)
    began = origin(checkpoint) if checkpoint is not None else None
    if checkpoint is not None and began is not None and not _is_of(recipe, checkpoint):
        check_same_recipe(recipe, began)
    watch = Watch.of(recipe)
    check_trackers(recipe.train.report_to)
    load_plugins(recipe.plugins)
    recipe_sources(recipe)  # A typo in a file's name is said before a model is looked for.
    check_config(recipe.model)
    quantisation(recipe.lora, resolve_device(device_of(recipe.train.device, team)))
    stores = team.in_turn(lambda: prepare_recipe(recipe, reader_for_training(recipe.model)))
    data_read = fingerprints(recipe, stores.train)
    team.same(data_read, "the data", mend="give all machines the same files")
    if began is not None:
        check_same_data(began, data_read, store_fingerprints(stores), evaluated=watch is not None)
    if team.is_first:
        print_table(stores.table(), recipe.data.group_name)
    check_recipe_data(recipe, stores)
    steady_threads()
    state = _build(recipe, stores, watch, checkpoint, team)
    run = state.run
    dropped: list[Entry] = []
    team.wait()  # Nobody looks into the directory any more.
    if team.is_first:
        held.enter_context(alone_in(run))
        # Again: another command may have ended in it while this one loaded.
        check_run_directory(recipe, resume=resume is not None, overwrite=overwrite)
        open_run(recipe, overwrite=overwrite)
        counts = state.data.counts | {
            "engine": state.strategy.model.engine.name,
            "engine_reason": state.strategy.model.engine_reason,
            "strategy": state.strategy.name,
            "num_processes": team.size,
        }
        prints = store_fingerprints(stores)
        state.described = describe_run(run, recipe, data_read, prints, counts, began=began)
        write_aside(state.data, run)
        sweep(run / "checkpoints")
        dropped = cut_log(run, state.progress.step)
    if checkpoint is not None:
        found = bring_best(run, checkpoint, state.progress) if team.is_first else True
        if not team.gather(found)[0]:
            state.progress.forget_best()
    with (
        output_errors(run),
        _log(state, dropped) as log,
        StopRequest(announce=team.size == 1) as stop,
    ):
        if not state.has_ended:
            data, evals = state.data, [encoded for _, encoded in state.data.evals]
            with stop.at_once():
                keep_features(state.strategy, recipe, state.plan, data.train, evals, run, log.say)
        _run_steps(state, log, stop)
        complete = False
        if state.has_ended:
            with stop.at_once():
                finish(state, log)
                complete = True
        stopped_by = None if complete else stop.signal
    return TrainResult(run, state.progress.step, state.plan.num_steps, stopped_by, team.is_first)


def _is_of(recipe: Recipe, checkpoint: Path) -> bool:
    """Whether a checkpoint stands where the recipe's run writes its own."""
    return checkpoint.resolve().parents[1] == Path(recipe.output_dir).resolve()


def _log(state: RunState, dropped: list[Entry]) -> RunLog | Silence:
    if not state.strategy.team.is_first:
        return Silence()
    config, run, step = state.recipe.train, state.run, state.progress.step
    settings = flat_settings(state.recipe)
    trackers = Trackers(config.report_to, run, settings, step=step, dropped=dropped)
    return RunLog(
        run,
        state.plan,
        logging_steps=config.logging_steps,
        trackers=trackers,
        first_step=step + 1,
    )


def _build(
    recipe: Recipe, stores: RecipeData, watch: Watch | None, checkpoint: Path | None, team: Team
) -> RunState:
    """Everything that a run needs in memory, as the checkpoint left it; writes nothing."""
    device = device_of(recipe.train.device, team)
    moves = strategy_name(recipe.train.strategy, team) in MOVES_ITSELF
    model = build_for_training(
        recipe.model,
        recipe.lora,
        seed=recipe.train.seed,
        max_length=recipe.train.max_length,
        device="cpu" if moves else device,
        engine=recipe.train.engine,
        frozen=recipe.train.freeze == "backbone",
    )
    choose_trained(model, recipe.train)
    if recipe.train.gradient_checkpointing:
        _recompute_activations(model)
    data = prepare_data(recipe, model, stores)
    prepare_objective(recipe, model, data.train.groups)
    torch.manual_seed(process_seed(recipe.train.seed, team.rank))
    plan = Plan.of(
        len(data.train.groups),
        recipe.train.global_batch_size,
        recipe.train.seed,
        recipe.train.num_train_epochs,
        recipe.train.max_steps,
    )
    if checkpoint is not None:
        load_weights(checkpoint, model)
    strategy = wrap(
        model,
        lambda: build_optimizer(model.named_parameters(), recipe.train),
        recipe.train,
        team,
        resolve_device(device),
    )
    schedule = build_schedule(strategy.optimizer, recipe.train, plan.num_steps)
    state = RunState(recipe, stores, data, plan, strategy, schedule, watch)
    if checkpoint is not None:
        state.progress = load_progress(checkpoint, strategy, schedule)
        ended = state.progress.step >= plan.num_steps
        notice(f"resuming from {checkpoint.name}" + (", where the training ended" if ended else ""))
    return state


def _recompute_activations(model: RewardModel) -> None:
    try:
        model.classifier.activation_checkpointing_enable({"use_reentrant": False})
    except ValueError as error:
        raise ConfigError(
            str(error), where="train.gradient_checkpointing", mend="leave it out"
        ) from None
    # Made for reentrant checkpoints: it would give frozen layers a graph and gradients.
    model.classifier.disable_input_require_grads()


def _run_steps(state: RunState, log: RunLog | Silence, stop: StopRequest) -> None:
    config, progress, plan, watch = state.recipe.train, state.progress, state.plan, state.watch
    strategy, train_groups = state.strategy, state.data.train.groups
    model, team = strategy.model, strategy.team
    budget = _budget(state)
    _announce(state, budget, log)
    model.train()
    stopping = stop.agreed(team.gather(stop.signal)) is not None
    while not state.has_ended and not stopping:
        batch = [train_groups[index] for index in plan.groups_of(progress.step)]
        result = train_step(strategy, batch, state.schedule, state.recipe, budget.max_tokens)
        progress.step += 1
        progress.loss_sum += result.loss
        # Read once: a signal may come at any moment, and on each process at its own.
        peaks, signals = zip(*team.gather((peak_bytes(model.device), stop.signal)), strict=True)
        result.peak_bytes = max(peaks)
        log.step(progress.step, result, progress.loss_sum / progress.step)
        # The last evaluation is that of model/; what is best among all has to be known before.
        is_due = config.eval_steps is not None and progress.step % config.eval_steps == 0
        is_last = progress.step == plan.num_steps
        due = config.save_steps is not None and progress.step % config.save_steps == 0
        if (is_due and not is_last) or (is_last and watch is not None):
            evals = state.data.evals
            metrics = evaluate_all(strategy, evals, progress.step, log, budget.max_tokens)
            due |= watch is not None and watch.look(metrics, progress)
        stopping = stop.agreed(signals) is not None
        if due or stopping or state.has_ended:
            save_checkpoint(
                state.run / "checkpoints",
                strategy,
                state.schedule,
                progress,
                keep=config.save_total_limit,
                notes=notes_of(state.recipe, state.described),
            )
    if watch is not None and watch.gives_up(progress) and progress.step < plan.num_steps:
        times = f"{progress.num_bad} evaluation{'s' * (progress.num_bad > 1)}"
        log.say(f"stopped after step {progress.step}: no better for {times}")


def _announce(state: RunState, budget: Budget, log: RunLog | Silence) -> None:
    count, batch = len(state.data.train.groups), state.plan.global_batch_size
    few = f" (all there are; the recipe's {batch})" if count < batch else ""
    log.say(
        f"{count} groups, {state.data.train.num_comparisons} comparisons, "
        f"{state.plan.num_steps} steps of {min(count, batch)} groups{few}"
    )
    model = state.strategy.model
    log.say(
        f"engine {model.engine.name}"
        + (f" ({model.engine_reason})" if model.engine_reason else "")
        + f", packs of at most {budget.max_tokens} tokens ({budget.reason})"
    )
    if state.strategy.team.size > 1:
        log.say(f"strategy {state.strategy.name}, {state.strategy.team.size} processes")


def _budget(state: RunState) -> Budget:
    """Tokens of a pack. `auto` is settled once in a run: the last bits depend on it."""
    config, progress, strategy = state.recipe.train, state.progress, state.strategy
    if config.max_tokens_per_pack == "auto" and progress.max_tokens:
        return Budget(progress.max_tokens, "auto, as the run began")
    budget = training_budget(strategy.model, config)
    strategy.finish(gradients=False)
    progress.max_tokens = -strategy.team.largest(-budget.max_tokens)
    return Budget(progress.max_tokens, budget.reason)
