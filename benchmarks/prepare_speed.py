"""Pairs a second that Assay prepares, against TRL's own preparation of the same rows.

    .venv/bin/python benchmarks/prepare_speed.py --trl-python .venv-trl/bin/python
        [--pairs 20000] [--rounds 5] [--data FILE] [--processes 2]

The rows are those of hh-rlhf as two whole conversations, multiplied: in each copy every message has
one word less, at random, so that no text comes twice. Both sides read the file, render the chat
template, tokenise with SmolLM2's tokenizer, and drop what is over 1024 tokens; ours also merges by
prompt and writes its store. TRL runs with `dataset_num_proc` 1, 2 and 4, each in its own process,
and the best of the three counts. Caches are empty each time. A round is every side once, another
one first each round.

Two figures: seconds within a process whose tokenizer is loaded (the bar, at least 2.5 times TRL's),
and whole processes, imports and all. That both made the same token ids is checked by a hash over
all pairs, in their order; exit code 1 says that they did not. A missed bar is no error.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from command_line import HH, is_missing, parser_of
from result_file import RESULTS, write_result
from starting_model import SMOLLM2
from tables import bar, commit, print_bars, ratio, spread

from assay.data.loading import load_groups
from assay.data.records import Message
from assay.data.sources import DataSource
from assay.model.pull import pull

BAR = 2.5
TRL_PROCESSES = (1, 2, 4)
MAX_LENGTH = 1024

OURS = """
import hashlib, json, os, sys, time
from pathlib import Path
from assay.data.sources import DataSource
from assay.data.store import Preparation, prepare_source
from assay.model.reader import open_reader
settings = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
renderer = open_reader(settings["model"], None, None)
preparation = Preparation(renderer, settings["max_length"])
started = time.perf_counter()
data = prepare_source(DataSource(settings["rows"]), preparation, workers=settings["processes"])
seconds = time.perf_counter() - started
pairs = []
for group in data.groups:
    for comparison in group.comparisons:
        a, b = comparison.winner_loser
        pairs.append((comparison.row.line, [list(group.sequences[a]), list(group.sequences[b])]))
digest = hashlib.sha256()
for _, ids in sorted(pairs):
    digest.update(json.dumps(ids).encode())
Path(sys.argv[2]).write_text(json.dumps(
    {"seconds": seconds, "pairs": len(pairs), "ids_sha256": digest.hexdigest()}))
"""


def main() -> int:
    arguments = parse_arguments()
    if is_missing(arguments.data):
        return 0
    checked_out = commit()
    with tempfile.TemporaryDirectory(prefix="prepare-speed-") as name:
        scratch = Path(name)
        rows = scratch / "rows.jsonl"
        with rows.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows_of(arguments))
        bench = Bench(scratch, rows, str(pull(SMOLLM2).path), arguments)
        rounds = [bench.round(number) for number in range(arguments.rounds)]
    figures = summary(arguments, rounds) | {"commit": checked_out}
    print_bars(figures["bars"])
    write_result(arguments.output, figures, ("assay", "pyarrow", "tokenizers", "transformers"))
    return 0 if figures["same_ids"] else 1


def parse_arguments() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--trl-python", type=Path, required=True, help="interpreter that has TRL")
    parser.add_argument("--data", type=Path, default=HH, help="rows of preferences")
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="Assay's")
    parser.add_argument("--output", type=Path, default=RESULTS / "prepare_speed.json")
    arguments = parser.parse_args()
    if not arguments.trl_python.exists():
        parser.error(f"no interpreter at {arguments.trl_python}: make .venv-trl/.installed")
    return arguments


def rows_of(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rows of two whole conversations; no text comes twice."""
    draw = random.Random(0)
    groups = load_groups([DataSource(str(arguments.data))], group_by="row").groups
    number = made = 0
    while made < arguments.pairs:
        group = groups[number % len(groups)]
        number += 1
        changed = [fewer(message, draw) for message in group.prompt]
        chosen, rejected = (
            [fewer(message, draw) for message in response.messages] for response in group.responses
        )
        if chosen != rejected:  # Without its words a pair can become one, which Assay drops.
            made += 1
            yield {"chosen": [*changed, *chosen], "rejected": [*changed, *rejected]}


def fewer(message: Message, draw: random.Random) -> dict[str, Any]:
    words = message.content.split(" ")
    if len(words) > 1:
        del words[draw.randrange(len(words))]
    return message.as_dict() | {"content": " ".join(words)}


class Bench:
    """Sides that are run one after the other, each in a process of its own."""

    def __init__(
        self, scratch: Path, rows: Path, model: str, arguments: argparse.Namespace
    ) -> None:
        self.scratch = scratch
        self.settings = {"rows": str(rows), "model": model, "max_length": MAX_LENGTH}
        self.arguments = arguments
        self.sides = ["assay", "assay_command", *(f"trl_{count}" for count in TRL_PROCESSES)]

    def round(self, number: int) -> dict[str, dict[str, Any]]:
        """Every side once."""
        start = number % len(self.sides)
        order = self.sides[start:] + self.sides[:start]
        found = {side: self.run(side) for side in order}
        said = {side: round(result["seconds"], 2) for side, result in found.items()}
        print(f"round {number + 1}, seconds: {said}", flush=True)
        return found

    def run(self, side: str) -> dict[str, Any]:
        """What a side measured, and the seconds of its whole process."""
        settings, output = self.scratch / "settings.json", self.scratch / "output.json"
        processes = int(side[4:]) if side.startswith("trl") else self.arguments.processes
        settings.write_text(json.dumps(self.settings | {"processes": processes}), encoding="utf-8")
        cache = self.scratch / "cache"
        shutil.rmtree(cache, ignore_errors=True)
        environment = os.environ | {
            "ASSAY_CACHE": str(cache),
            "HF_HOME": str(cache / "hf"),
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "OMP_NUM_THREADS": "1",
        }
        started = time.perf_counter()
        subprocess.run(
            self.command(side, settings, output),
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        whole = time.perf_counter() - started
        if side == "assay_command":
            return {"seconds": whole, "whole_seconds": whole}
        return json.loads(output.read_text(encoding="utf-8")) | {"whole_seconds": whole}

    def command(self, side: str, settings: Path, output: Path) -> list[str]:
        if side == "assay":
            return [sys.executable, "-c", OURS, str(settings), str(output)]
        if side == "assay_command":
            return [
                *(sys.executable, "-m", "assay", "prepare"),
                *("--model.path", self.settings["model"], "--data.train", self.settings["rows"]),
                *("--train.max_length", str(MAX_LENGTH), "--output_dir", "unused"),
                *("--workers", str(self.arguments.processes)),
            ]
        script = Path(__file__).with_name("trl_prepare_side.py")
        return [str(self.arguments.trl_python), str(script), str(settings), str(output)]


def summary(
    arguments: argparse.Namespace, rounds: Sequence[dict[str, dict[str, Any]]]
) -> dict[str, Any]:
    pairs = arguments.pairs
    speeds = {side: [pairs / found[side]["seconds"] for found in rounds] for side in rounds[0]}
    best = max(TRL_PROCESSES, key=lambda count: spread(speeds[f"trl_{count}"])["median"])
    speeds["trl"] = speeds[f"trl_{best}"]
    faster = [a / b for a, b in zip(speeds["assay"], speeds["trl"], strict=True)]
    whole = [
        found[f"trl_{best}"]["whole_seconds"] / found["assay_command"]["whole_seconds"]
        for found in rounds
    ]
    ratios = ratio("ratio_vs_trl", faster) | ratio("whole_process_ratio_vs_trl", whole)
    hashes = {
        result["ids_sha256"] for found in rounds for result in found.values() if "pairs" in result
    }
    if len(hashes) > 1:
        print("the sides made different token ids", file=sys.stderr)
    return {
        "about": f"{pairs} pairs of {arguments.data.name}, {arguments.processes} processes of "
        f"Assay, TRL with dataset_num_proc {best} (the best of 1, 2, 4), {len(rounds)} rounds",
        "pairs_per_second": {side: spread(values) for side, values in speeds.items()},
        **ratios,
        "trl_dataset_num_proc": best,
        "same_ids": len(hashes) == 1,
        "pairs_kept": rounds[0]["assay"]["pairs"],
        "bars": {"ratio_vs_trl": bar(ratios["ratio_vs_trl"], BAR)},
        "trl_versions": rounds[0]["trl_1"]["versions"],
        "rounds": [
            {
                side: {key: result[key] for key in ("seconds", "whole_seconds")}
                for side, result in found.items()
            }
            for found in rounds
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
