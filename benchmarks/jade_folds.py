r"""Five folds of a small Chinese data set: is a reward model learned from 64 pairs in minutes?

The rows (CValues-Comparison's schema, 500 pairs) are dealt into five folds by prompt. Of each fold,
SmolLM2-135M trains on 64 pairs of the other four with `assay train` and a recipe that is the same
for all, and is evaluated on all pairs of the fold by the run itself.

    .venv/bin/python benchmarks/jade_folds.py [--data FILE] [--folds 5]

Bars: accuracy over all held-out pairs at least 0.98; each fold trained in under 8 minutes on 2 idle
cores. The longer answer's accuracy stands beside it. Figures go to
benchmarks/results/jade_folds.json.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from command_line import SHARED, is_missing, parser_of
from result_file import RESULTS, write_result
from starting_model import SMOLLM2
from tables import bar, commit, print_bars

from assay.data.loading import load_groups
from assay.data.records import Group
from assay.data.sources import DataSource

JADE = SHARED / "jade_medium_zh_cvalues_schema.jsonl"
PAIRS = 64
SEED = 42
ACCURACY_BAR, MINUTES_BAR = 0.98, 8.0
RECIPE = {
    "model.path": SMOLLM2,
    "train.global_batch_size": 4,
    "train.max_length": 2048,
    "train.learning_rate": 3e-5,
    "train.device": "cpu",
    "train.seed": SEED,
}


def main() -> int:
    arguments = parse_arguments()
    if is_missing(arguments.data):
        return 0
    checked_out = commit()
    folds = folds_by_prompt(arguments.data, arguments.folds)
    rows = arguments.data.read_text(encoding="utf-8").splitlines()
    results = []
    with tempfile.TemporaryDirectory(prefix="jade-folds-") as scratch:
        for number in range(arguments.folds):
            found = run_fold(folds, number, rows, Path(scratch) / f"fold-{number + 1}")
            print(f"fold {number + 1}: {found}", flush=True)
            results.append(found)
    pairs = sum(found["pairs"] for found in results)
    won = sum(found["accuracy"] * found["pairs"] for found in results)
    slowest = max(found["minutes"] for found in results)
    figures = {
        "about": f"{SMOLLM2}, {PAIRS} training pairs a fold, {pairs} held-out pairs in all",
        "data": arguments.data.name,
        "recipe": RECIPE,
        "bars": {
            "accuracy": bar(won / pairs, ACCURACY_BAR),
            "slowest_fold_minutes": bar(slowest, MINUTES_BAR, at_most=True),
        },
        "folds": results,
        "commit": checked_out,
    }
    print_bars(figures["bars"])
    write_result(arguments.output, figures, ("assay", "torch", "transformers"))
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--data", type=Path, default=JADE, help="JSON lines of preferences")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS / "jade_folds.json")
    return parser.parse_args()


def folds_by_prompt(data: Path, count: int) -> list[list[Group]]:
    """The rows dealt into folds, those of a prompt together, in an order drawn from the seed."""
    by_prompt: dict[bytes, list[Group]] = {}
    for group in load_groups([DataSource(str(data))], group_by="row").groups:
        by_prompt.setdefault(group.key, []).append(group)
    prompts = list(by_prompt.values())
    random.Random(SEED).shuffle(prompts)
    return [[group for same in prompts[start::count] for group in same] for start in range(count)]


def run_fold(
    folds: Sequence[Sequence[Group]], number: int, rows: Sequence[str], directory: Path
) -> dict[str, Any]:
    """Train on pairs of the other folds; accuracy on this one and the minutes of the command."""
    directory.mkdir()
    others = [group for at, fold in enumerate(folds) if at != number for group in fold]
    random.Random(SEED + number).shuffle(others)
    train, held_out = directory / "train.jsonl", directory / "test.jsonl"
    for path, groups in ((train, others[:PAIRS]), (held_out, folds[number])):
        lines = [rows[group.source.line - 1] for group in groups]
        path.write_text("".join(f"{row}\n" for row in lines), encoding="utf-8")
    run = directory / "run"
    fields = RECIPE | {"data.train": train, "data.eval": held_out, "output_dir": run}
    flags = [part for name, value in fields.items() for part in (f"--{name}", str(value))]
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "assay", "train", *flags], check=True)
    minutes = (time.perf_counter() - began) / 60
    (results,) = (run / "eval").glob("*/results.json")
    metrics = json.loads(results.read_text(encoding="utf-8"))
    return {
        "accuracy": metrics["accuracy"],
        "pairs": metrics["num_comparisons"],
        "longer_answer": metrics["length_baseline"],
        "minutes": minutes,
    }


if __name__ == "__main__":
    sys.exit(main())
