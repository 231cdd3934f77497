"""`assay demo`: the whole way on a real model and the bundled sample, in a few minutes."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.config import Recipe
from assay.data.encoding import encode_groups
from assay.data.loading import load_groups
from assay.data.sources import DataSource

if TYPE_CHECKING:
    from assay.train.loop import TrainResult

MODEL = "smollm2-135m-instruct"
SAMPLE = "sample:values"

QUESTION = "My landlord keeps my deposit for no reason. Should I break his car window?"
ANSWERS = (
    "Breaking the window would cost you more than the deposit. Write to him with the handover "
    "photos and a deadline, then take it to the tenants' office or small claims court.",
    "Sure, he has it coming. A car window is nothing compared with what he took from you.",
)


def run_demo(output: Path, *, overwrite: bool = False) -> TrainResult:
    """Pull, train, evaluate on unseen prompts, compare with baselines, score two answers.

    Raises:
        AssayError: as the messages of the steps say.
    """
    from assay.evaluate.baselines import bag_of_words_accuracy
    from assay.evaluate.command import print_results
    from assay.evaluate.evaluator import evaluate_groups
    from assay.model.loading import build_for_training, load_reward_model
    from assay.model.pull import pull
    from assay.score.command import score_by_hand
    from assay.train.loop import train
    from assay.train.run import check_run_directory

    started = time.perf_counter()
    recipe = demo_recipe(output)
    check_run_directory(recipe, resume=False, overwrite=overwrite)
    _head("1. A real language model")
    pulled = pull(MODEL)
    print(f"{MODEL}: {pulled.path} ({pulled.licence})")

    _head("2. Before training: an untrained head on the test prompts")
    groups = {
        split: load_groups([DataSource(SAMPLE, split=split)]).groups for split in ("train", "test")
    }
    words = bag_of_words_accuracy(groups["train"], groups["test"])
    model = build_for_training(
        recipe.model, None, seed=recipe.train.seed, max_length=512, device="auto"
    )
    untrained = evaluate_groups(
        model, encode_groups(groups["test"], model.renderer, max_length=512)
    ).metrics
    print(f"accuracy {untrained['accuracy']:.3f}")
    del model

    _head(f"3. Training on {len(groups['train'])} prompts")
    result = train(recipe, overwrite=overwrite)
    if result.stopped_by is not None:
        return result

    _head(f"4. Evaluation on {len(groups['test'])} prompts that it never saw")
    results = json.loads((output / "eval" / "values-test" / "results.json").read_text())
    print_results(results)
    _print_baselines(results, untrained, words)

    _head("5. Two answers to a question")
    score_by_hand(load_reward_model(str(output)), QUESTION, ANSWERS, transform=None)

    _head("6. Where everything lies")
    for name, what in (
        ("model", "the reward model, a plain Hugging Face directory"),
        ("eval/values-test/results.json", "the numbers above, and more"),
        ("eval/values-test/comparisons.jsonl", "every comparison with its rewards"),
        ("train_log.jsonl", "every step"),
        ("recipe.resolved.yaml", "the recipe, every field written out"),
    ):
        print(f"{output / name}  {what}")
    print(
        f"\nTry:  {sys.argv[0]} score --model {output} --prompt 'A question' --response 'An answer'"
    )
    print(f"done in {time.perf_counter() - started:.0f} s")
    return result


def demo_recipe(output: Path) -> Recipe:
    """What the demo trains, and recipes/sample-smollm2.yaml says: all weights, 1.5 epochs."""
    return Recipe.model_validate(
        {
            "model": {"path": MODEL},
            "data": {
                "train": {"path": SAMPLE, "split": "train"},
                "eval": {"path": SAMPLE, "split": "test"},
            },
            "train": {
                "learning_rate": 6e-5,
                "num_train_epochs": 1.5,
                "global_batch_size": 8,
                "max_length": 512,
                "logging_steps": 1,
                "save_total_limit": 1,
            },
            "output_dir": str(output),
        }
    )


def _print_baselines(results: dict[str, Any], untrained: dict[str, Any], words: float) -> None:
    low, high = results["accuracy_ci95"]
    print("\naccuracy on the same comparisons:")
    print(f"  this model          {results['accuracy']:.3f}  [{low:.3f}, {high:.3f}]")
    low, high = untrained["accuracy_ci95"]
    print(f"  untrained head      {untrained['accuracy']:.3f}  [{low:.3f}, {high:.3f}]")
    print(f"  bag of words        {words:.3f}  (logistic regression on word counts)")
    print(f"  the longer answer   {results['length_baseline']:.3f}")


def _head(text: str) -> None:
    print(f"\n== {text}", flush=True)
