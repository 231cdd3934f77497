"""Evaluations on the way, and what a run leaves when its last step is done."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from assay.data.encoding import EncodedData
from assay.errors import CheckpointError
from assay.evaluate.evaluator import (
    evaluate_groups,
    score_window,
    windows_of,
    write_evaluation,
)
from assay.files import write_text
from assay.model.loading import load_reward_model
from assay.model.manifest import whole_directory
from assay.model.precision import DTYPES
from assay.model.saving import is_adapter, save_adapter, save_plain
from assay.train.best import best_checkpoint
from assay.train.card import card
from assay.train.checkpoint import load_weights
from assay.train.features import drop_features
from assay.train.log import RunLog, Silence
from assay.train.state import RunState
from assay.train.strategy.single import Strategy


def evaluate_all(
    strategy: Strategy,
    evals: Sequence[tuple[str, EncodedData]],
    step: int,
    log: RunLog | Silence,
    budget: int,
) -> dict[str, dict[str, Any]]:
    """The metrics of each evaluation set after a step, the same on all processes."""
    found = {}
    for name, encoded in evals:
        started = time.perf_counter()
        rewards = strategy.deal(
            windows_of(encoded), lambda window: score_window(strategy.model, window, budget)
        )
        metrics = evaluate_groups(strategy.model, encoded, rewards=rewards).metrics
        log.evaluation(step, name, metrics, time.perf_counter() - started)
        found[name] = metrics
    return found


def finish(state: RunState, log: RunLog | Silence) -> None:
    """Write `model/`, then evaluate what was written, not what is in memory; then its card.

    Raises:
        OutputError: no space, no permission.
        CheckpointError: the best checkpoint is damaged, or it is not known which it is.
    """
    run, recipe, progress = state.run, state.recipe, state.progress
    step = progress.step
    with state.strategy.whole() as model:
        if model is None:
            return
        if progress.best_value is None and recipe.train.load_best_model_at_end:
            raise CheckpointError(
                "the run has ended, and it is not known which checkpoint is its best",
                where=run,
                mend="resume with --train.load_best_model_at_end false: model/ is then the last",
            )
        if progress.best_value is None:
            state.watch = None  # It had ended before one was looked for, or the best is lost.
        drop_features(run)
        if state.watch is not None:
            log.say(state.watch.describe(progress))
        if recipe.train.load_best_model_at_end:
            step = progress.best_step
        if step != progress.step:
            load_weights(best_checkpoint(run, progress), model)
            log.say(f"model/ is written from step-{step}")
        with whole_directory(run / "model", replace=True) as directory:
            save_plain(model, directory, DTYPES[recipe.model.dtype])
        if is_adapter(model):
            with whole_directory(run / "adapter", replace=True) as directory:
                save_adapter(model, directory)
    results = _evaluate_model(state, step, log)
    write_text(run / "model" / "README.md", card(state, step, results))


def _evaluate_model(state: RunState, step: int, log: RunLog | Silence) -> dict[str, dict[str, Any]]:
    run, data, trained = state.run, state.data, state.strategy.model
    if not data.evals:
        return {}
    device, engine = str(trained.device), trained.engine.name
    trained.to("cpu")
    written = load_reward_model(str(run / "model"), device=device, engine=engine)
    results = {}
    for name, encoded in data.evals:
        started = time.perf_counter()
        evaluation = evaluate_groups(written, encoded)
        about = {
            **data.about[name],
            "name": name,
            "model": str(run / "model"),
            "step": step,
            "template_hash": written.metadata.template_hash,
            "max_length": state.recipe.train.max_length,
            "dtype": str(next(written.parameters()).dtype).removeprefix("torch."),
            "engine": written.engine.name,
        }
        results[name] = write_evaluation(evaluation, run / "eval" / name, about)
        seconds = time.perf_counter() - started
        # What trackers know already they are not told again.
        tracked = state.watch is None
        log.evaluation(step, name, evaluation.metrics, seconds, final=True, tracked=tracked)
    return results
