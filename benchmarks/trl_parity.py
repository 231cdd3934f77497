r"""The loss of Assay's `train` against TRL's `RewardTrainer`, step by step, float32 on the CPU.

Both start from one saved directory (base model, head drawn from a seed, a padding token that no
text ends with), read the same rows in the order of Assay's plan, 8 rows a step, and train with
AdamW, learning rate 1e-5 falling linearly without warm-up, no weight decay, gradients clipped to
norm 1, no dropout. Assay's side is the real command. TRL gets the conversations, not token ids:
it renders and tokenises them itself, and its ids must equal ours. TRL runs under the interpreter
of an environment of its own (`make .venv-trl/.installed`).

    .venv/bin/python benchmarks/trl_parity.py --trl-python .venv-trl/bin/python
        [--data sample:values] [--model smollm2-135m-instruct] [--steps 20]

Compared: the loss of every step, relative difference at most 1e-3, else exit code 1. The column
`untrained` is the loss of the same rows under the weights of step 0: how far the updates have
moved the loss, hence what agreement is worth. The distance between the two sides' trained weights
is printed as a share of the way that training moved them, without a bar. Takes minutes on 2
idle cores. Figures go to benchmarks/results/trl_parity.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from command_line import parser_of
from result_file import RESULTS, write_result
from starting_model import SMOLLM2, save_starting_model

from assay import RewardModel
from assay.config import Recipe
from assay.data.encoding import EncodedGroup, encode_groups
from assay.data.loading import load_groups
from assay.data.sources import DataSource
from assay.model.rewards import score_sequences
from assay.recipe import load_recipe
from assay.train.plan import Plan

BAR = 1e-3
BATCH = 8
LEARNING_RATE = 1e-5

Row = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Pair:
    """One comparison in the order of training: its row as TRL reads it, and our token ids."""

    row: Row
    chosen: list[int]
    rejected: list[int]


def main() -> int:
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory(prefix="trl-parity-") as scratch:
        start, run = Path(scratch) / "start", Path(scratch) / "run"
        save_starting_model(arguments.model, start, max_length=arguments.max_length)
        ours = train_command(arguments, start, run)
        model = RewardModel.load(str(start), device="cpu", dtype="float32")
        recipe = load_recipe(str(run / "recipe.resolved.yaml"))
        pairs = pairs_in_order(recipe, model, arguments.steps)
        untrained = losses_of(model, pairs)
        theirs = train_trl(arguments, start, pairs, Path(scratch))
        updates = update_differences(start, run / "model", Path(scratch) / "trl")
    figures = compare(ours, theirs, untrained, pairs) | updates
    print_table(figures["steps"])
    if figures["max_moved_by_training"] < 10 * BAR:
        print("note: the updates hardly move the loss of this model, so agreement says little")
    for name, value in figures.items():
        if name != "steps":
            print(f"{name}: {value}")
    about = {"model": arguments.model, "data": arguments.data}
    write_result(arguments.output, about | figures, ("assay", "torch", "transformers"))
    return 0 if figures["passed"] else 1


def parse_arguments() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--trl-python", type=Path, required=True, help="interpreter that has TRL")
    parser.add_argument("--data", default="sample:values", help="preference rows")
    parser.add_argument("--model", default=SMOLLM2, help="whatever model.path takes")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--max-length", type=int, default=512, help="longer rows are dropped")
    parser.add_argument("--output", type=Path, default=RESULTS / "trl_parity.json")
    arguments = parser.parse_args()
    if not arguments.trl_python.exists():
        parser.error(f"no interpreter at {arguments.trl_python}: make .venv-trl/.installed")
    return arguments


def train_command(
    arguments: argparse.Namespace, start: Path, run: Path, *, save_steps: int | None = None
) -> list[dict[str, Any]]:
    """Train with `assay train`; the lines of its log, one a step."""
    fields = {
        "model.path": start,
        "data.train": arguments.data,
        "data.group_by": "row",
        "train.global_batch_size": BATCH,
        "train.max_steps": arguments.steps,
        "train.max_length": arguments.max_length,
        "train.learning_rate": LEARNING_RATE,
        "train.lr_scheduler_type": "linear",
        "train.warmup_ratio": 0.0,
        "train.weight_decay": 0.0,
        "train.max_grad_norm": 1.0,
        "train.device": "cpu",
        "output_dir": run,
    }
    if save_steps is not None:
        fields["train.save_steps"] = save_steps
        fields["train.save_total_limit"] = arguments.steps // save_steps
    flags = [part for name, value in fields.items() for part in (f"--{name}", str(value))]
    subprocess.run([sys.executable, "-m", "assay", "train", *flags], check=True)
    lines = (run / "train_log.jsonl").read_text(encoding="utf-8").splitlines()
    return [entry for entry in map(json.loads, lines) if entry["kind"] == "train"]


def pairs_in_order(recipe: Recipe, model: RewardModel, steps: int) -> list[Pair]:
    """The comparisons of the first steps as the plan of the run orders them."""
    sources = [DataSource(s.path, s.format, s.split, s.name, s.label) for s in recipe.data.train]
    loaded = load_groups(sources, group_by=recipe.data.group_by)
    groups = encode_groups(loaded.groups, model.renderer, max_length=recipe.train.max_length).groups
    if steps * BATCH > len(groups):
        raise SystemExit(
            f"{len(groups)} rows are too few for {steps} steps of {BATCH}: TRL would cut epochs "
            "elsewhere; give more rows or fewer --steps"
        )
    plan = Plan.of(len(groups), BATCH, recipe.train.seed, 1, steps)
    return [pair_of(groups[index]) for step in range(steps) for index in plan.groups_of(step)]


def pair_of(encoded: EncodedGroup) -> Pair:
    group = encoded.group
    if len(group.comparisons) != 1 or group.comparisons[0].winner_loser is None:
        raise SystemExit(f"{group.source}: TRL takes one decided comparison a row")
    if group.tools or group.template_kwargs:
        raise SystemExit(f"{group.source}: rows with tools are not compared here")
    better, worse = group.comparisons[0].winner_loser
    chosen, rejected = (
        [message.as_dict() for message in (*group.prompt, *group.responses[side].messages)]
        for side in (better, worse)
    )
    return Pair(
        {"chosen": chosen, "rejected": rejected},
        list(encoded.sequences[better]),
        list(encoded.sequences[worse]),
    )


def losses_of(model: RewardModel, pairs: Sequence[Pair]) -> list[float]:
    """The loss of each step's rows under the model as it is."""
    import torch
    from torch.nn.functional import logsigmoid

    sequences = [tuple(ids) for pair in pairs for ids in (pair.chosen, pair.rejected)]
    reward_SB2 = torch.tensor(score_sequences(model, sequences)).view(-1, BATCH, 2)
    loss_S = -logsigmoid(reward_SB2[..., 0] - reward_SB2[..., 1]).mean(1)
    return [float(loss) for loss in loss_S]


def train_trl(
    arguments: argparse.Namespace,
    start: Path,
    pairs: Sequence[Pair],
    scratch: Path,
    *,
    save_steps: int | None = None,
) -> dict[str, Any]:
    """Train the same rows with TRL under its own interpreter; its weights go to `SCRATCH/trl`."""
    rows, settings, output = (
        scratch / name for name in ("rows.jsonl", "settings.json", "trl.json")
    )
    rows.write_text("".join(json.dumps(pair.row) + "\n" for pair in pairs), encoding="utf-8")
    chosen = {
        "model": str(start),
        "trained": str(scratch / "trl"),
        "rows": str(rows),
        "steps": arguments.steps,
        "save_steps": save_steps,
        "batch_size": BATCH,
        "learning_rate": LEARNING_RATE,
        "max_length": arguments.max_length,
    }
    settings.write_text(json.dumps(chosen), encoding="utf-8")
    script = Path(__file__).with_name("trl_side.py")
    command = [str(arguments.trl_python), str(script), str(settings), str(output)]
    subprocess.run(command, check=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    result: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    return result


def update_differences(start: Path, ours: Path, theirs: Path) -> dict[str, float]:
    """How far the trained weights lie apart, as a share of how far training moved them.

    No bar: where a gradient is near zero, AdamW's first updates are its sign, and noise decides.
    """
    from safetensors.torch import load_file

    begun, mine, other = (load_file(path / "model.safetensors") for path in (start, ours, theirs))
    backbone = [name for name in begun if name != "score.weight"]
    shares = {}
    for part, names in (("head", ["score.weight"]), ("backbone", backbone)):
        apart = sum(float((mine[name] - other[name]).double().norm()) ** 2 for name in names)
        moved = sum(float((mine[name] - begun[name]).double().norm()) ** 2 for name in names)
        shares[f"{part}_update_difference"] = (apart / max(moved, 1e-30)) ** 0.5
    return shares


def compare(
    ours: Sequence[dict[str, Any]],
    theirs: dict[str, Any],
    untrained: Sequence[float],
    pairs: Sequence[Pair],
) -> dict[str, Any]:
    """The figures; a differing token, rate or number of steps fails like a differing loss."""
    steps = []
    columns = (theirs["losses"], theirs["grad_norms"], theirs["learning_rates"], untrained)
    for entry, loss, norm, rate, still in zip(ours, *columns, strict=True):
        steps.append(
            {
                "step": entry["step"],
                "assay": entry["loss"],
                "trl": loss,
                "difference": abs(entry["loss"] - loss) / loss,
                "untrained": still,
                "moved": abs(entry["loss"] - still) / still,
                "grad_norm_difference": abs(entry["grad_norm"] - norm) / norm,
                "learning_rate": [entry["learning_rate"], rate],
            }
        )
    ids = zip(theirs["chosen_ids"], theirs["rejected_ids"], strict=True)
    same_ids = [(pair.chosen, pair.rejected) for pair in pairs] == list(ids)
    same_rates = all(
        abs(a - b) <= 1e-9 * LEARNING_RATE for a, b in (step["learning_rate"] for step in steps)
    )
    worst = max(step["difference"] for step in steps)
    return {
        "rows": len(pairs),
        "tokens": sum(len(pair.chosen) + len(pair.rejected) for pair in pairs),
        "same_token_ids": same_ids,
        "same_learning_rates": same_rates,
        "max_relative_difference": worst,
        "max_moved_by_training": max(step["moved"] for step in steps),
        "max_grad_norm_difference": max(step["grad_norm_difference"] for step in steps),
        "bar": BAR,
        "passed": worst <= BAR and same_ids and same_rates,
        "trl_versions": theirs["versions"],
        "trl_pad_token": theirs["pad_token"],
        "trl_dtype": theirs["dtype"],
        "steps": steps,
    }


def print_table(steps: Sequence[dict[str, Any]]) -> None:
    print("step     assay       trl  rel. diff  untrained  grad norm diff")
    for step in steps:
        print(
            f"{step['step']:4d}  {step['assay']:.6f}  {step['trl']:.6f}  "
            f"{step['difference']:9.2e}  {step['untrained']:9.6f}  "
            f"{step['grad_norm_difference']:14.2e}"
        )


if __name__ == "__main__":
    sys.exit(main())
