r"""Is it the same reward model that TRL's `RewardTrainer` trains, and how long does each take?

Both sides start from one saved directory (SmolLM2-135M, a head drawn from a seed) and train on the
first 512 pairs of hh-rlhf that are short enough, in the same order, 8 a step, one epoch, AdamW,
learning rate 1e-5 falling linearly, float32, no dropout; as in trl_parity.py, whose halves these
are. Then both score the next 300 pairs whose prompts were not trained on.

    .venv/bin/python benchmarks/same_model.py --trl-python .venv-trl/bin/python

Bars: Pearson's r of the 300 margins at least 0.999; the largest difference of two margins at most
2% of their standard deviation. Without a bar: accuracy against minutes of training, four points
a side, beside the accuracy of taking the longer answer. One run of TRL takes half an hour on 2 idle
cores, ours a quarter of that. Figures go to benchmarks/results/same_model.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from command_line import HH, is_missing, parser_of
from result_file import RESULTS, write_result
from scipy.stats import pearsonr
from starting_model import SMOLLM2, save_starting_model
from tables import bar, commit, print_bars
from trl_parity import BATCH, Pair, pair_of, pairs_in_order, train_command, train_trl

from assay import RewardModel
from assay.data.encoding import encode_groups
from assay.data.loading import load_groups
from assay.data.sources import DataSource
from assay.model.rewards import score_sequences
from assay.recipe import load_recipe

TRAINED, HELD_OUT = 512, 300
POINTS = 4
PEARSON_BAR, DIFFERENCE_BAR = 0.999, 0.02


def main() -> int:
    arguments = parse_arguments()
    if is_missing(arguments.data):
        return 0
    checked_out, every = commit(), arguments.steps // POINTS
    with tempfile.TemporaryDirectory(prefix="same-model-") as name:
        scratch = Path(name)
        start, run, rows = scratch / "start", scratch / "run", scratch / "rows.jsonl"
        save_starting_model(SMOLLM2, start, max_length=arguments.max_length)
        model = RewardModel.load(str(start), device="cpu", dtype="float32")
        trained, held_out = split_pairs(arguments, model)
        rows.write_text("".join(json.dumps(pair.row) + "\n" for pair in trained), encoding="utf-8")
        ours = argparse.Namespace(**vars(arguments) | {"data": str(rows)})
        log = train_command(ours, start, run, save_steps=every)
        recipe = load_recipe(str(run / "recipe.resolved.yaml"))
        ordered = pairs_in_order(recipe, model, arguments.steps)
        theirs = train_trl(ours, start, ordered, scratch, save_steps=every)
        steps = range(every, arguments.steps + 1, every)
        weights = {
            "assay": [run / "checkpoints" / f"step-{step}" for step in steps],
            "trl": [scratch / f"trl-{step}" for step in steps],
        }
        for path in weights["trl"]:
            add_reader(start, path)
        margins = {
            side: [margins_of(path, held_out) for path in paths] for side, paths in weights.items()
        }
    seconds = {"assay": [entry["seconds"] for entry in log], "trl": theirs["seconds"]}
    figures = summary(arguments, margins, seconds, held_out, list(steps))
    figures |= {"commit": checked_out, "trl_versions": theirs["versions"]}
    print_bars(figures["bars"])
    write_result(arguments.output, figures, ("assay", "torch", "transformers"))
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--trl-python", type=Path, required=True, help="interpreter that has TRL")
    parser.add_argument("--data", type=Path, default=HH, help="rows of preferences")
    parser.add_argument("--steps", type=int, default=TRAINED // BATCH)
    parser.add_argument("--max-length", type=int, default=512, help="longer rows are left out")
    parser.add_argument("--held-out", type=int, default=HELD_OUT, help="pairs for the margins")
    parser.add_argument("--output", type=Path, default=RESULTS / "same_model.json")
    arguments = parser.parse_args()
    if not arguments.trl_python.exists():
        parser.error(f"no interpreter at {arguments.trl_python}: make .venv-trl/.installed")
    if arguments.steps % POINTS:
        parser.error(f"--steps should be a multiple of {POINTS}")
    return arguments


def split_pairs(arguments: argparse.Namespace, model: RewardModel) -> tuple[list[Pair], list[Pair]]:
    """The pairs to train on, and those held out, whose prompts are others."""
    groups = load_groups([DataSource(str(arguments.data))], group_by="row").groups
    encoded = encode_groups(groups, model.renderer, max_length=arguments.max_length).groups
    count = arguments.steps * BATCH
    known = {group.group.key for group in encoded[:count]}
    unseen = [group for group in encoded[count:] if group.group.key not in known]
    held_out = unseen[: arguments.held_out]
    if len(encoded) < count or len(held_out) < arguments.held_out:
        raise SystemExit(
            f"{len(encoded)} pairs are too few for {count} and {arguments.held_out} others"
        )
    return [pair_of(group) for group in encoded[:count]], [pair_of(group) for group in held_out]


def add_reader(start: Path, weights: Path) -> None:
    """Put tokenizer and template beside weights that were saved without them."""
    for file in start.iterdir():
        if file.suffix != ".safetensors" and not (weights / file.name).exists():
            shutil.copy(file, weights / file.name)


def margins_of(weights: Path, pairs: Sequence[Pair]) -> list[float]:
    """Reward of the better answer less that of the worse, under saved weights."""
    model = RewardModel.load(str(weights), device="cpu", dtype="float32")
    sequences = [tuple(ids) for pair in pairs for ids in (pair.chosen, pair.rejected)]
    rewards = iter(score_sequences(model, sequences))
    return [better - next(rewards) for better in rewards]


def summary(
    arguments: argparse.Namespace,
    margins: dict[str, list[list[float]]],
    seconds: dict[str, list[float]],
    held_out: Sequence[Pair],
    steps: Sequence[int],
) -> dict[str, Any]:
    ours, theirs = margins["assay"][-1], margins["trl"][-1]
    pearson = float(pearsonr(ours, theirs).statistic)
    largest = max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) / statistics.pstdev(theirs)
    minutes = {side: [total / 60 for total in accumulate(s)] for side, s in seconds.items()}
    return {
        "about": f"{SMOLLM2}, {arguments.steps * BATCH} pairs, {BATCH} a step, float32, "
        f"margins of {len(held_out)} held-out pairs",
        "data": arguments.data.name,
        "bars": {
            "pearson": bar(pearson, PEARSON_BAR),
            "largest_difference_over_std": bar(largest, DIFFERENCE_BAR, at_most=True),
        },
        "longer_answer_accuracy": won(
            [float(len(pair.chosen) - len(pair.rejected)) for pair in held_out]
        ),
        "points": {
            side: [
                {"step": step, "minutes": minutes[side][step - 1], "accuracy": won(found)}
                for step, found in zip(steps, margins[side], strict=True)
            ]
            for side in margins
        },
        "margins": {"assay": ours, "trl": theirs},
    }


def won(margins: Sequence[float]) -> float:
    """Share of margins above 0; one of 0 is half won."""
    return statistics.fmean((margin > 0) + (margin == 0) / 2 for margin in margins)


if __name__ == "__main__":
    sys.exit(main())
