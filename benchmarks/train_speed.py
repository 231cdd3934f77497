r"""Training pairs a second of `assay train` against TRL's `RewardTrainer`, float32 on the CPU.

    .venv/bin/python benchmarks/train_speed.py --trl-python .venv-trl/bin/python
        [--grouped | --lora] [--data FILE] [--rounds 3] [--steps 2] [--engine NAME]

Three scenarios, a figures file each:

- pairs (train_speed.json): rows of hh-rlhf as they are, two answers each, every row a group of its
  own, 8 rows a step. Bars: at least 4.3 times TRL's pairs/s, at most 0.4 of its memory.
- `--grouped` (train_speed_grouped.json): prompts with 4 answers and all 6 comparisons, by default 2
  prompts a step, which are 12 rows for TRL (`make` takes 8, which are 48 in batches of 12); prompts
  and answers are cut from hh's texts to lengths drawn from
  those of its answers. Bar: at least 1.25 times the share of tokens that a tree saves, TRL's padded
  tokens / distinct token prefixes of a step; that share is printed beside.
- `--lora` (train_speed_lora.json): the pairs again, with adapters of rank 16 on all linear layers
  and a head that trains in full (TRL with PEFT). Bars: 3.5 times TRL's pairs/s, 0.4 of its memory.

A round is one process of each side, one after the other, the order swapped every round: 1 step to
warm up, then the timed ones. A round's rows are its own, and the same for both sides, in the same
order, in the same steps, already filtered by length. Assay's side is the real command with its
defaults, its seconds are those of its log; TRL's are taken from `on_step_begin` to `on_step_end`,
its padding is its default. Equal on both sides: the start (SmolLM2-135M with a seeded head), full
fine-tuning, AdamW, learning rate 1e-5 falling linearly, gradients clipped to 1, float32, no
dropout, no gradient checkpointing, the number of threads. Memory is the peak resident set of the
whole process, ours with the checkpoint that it writes at the end.

That both did the same work is checked, and exit code 1 says that they did not: the token ids of
every row, Assay's counts of tokens and comparisons, and the loss of every step to 1e-3. A missed
bar is printed and is no error. Takes tens of minutes and about 16 GB on 2 idle cores.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from command_line import HH, is_missing, parser_of
from result_file import RESULTS, write_result
from starting_model import SMOLLM2, save_starting_model
from tables import bar, commit, print_bars, ratio, spread

from assay import RewardModel
from assay.data.encoding import EncodedGroup, encode_groups
from assay.data.loading import load_groups
from assay.data.rendering import Renderer
from assay.data.sources import DataSource
from assay.train.plan import Plan

LOSSES_AGREE = 1e-3
RATIO_BAR, LORA_BAR, MEMORY_BAR, GROUPED_BAR = 4.3, 3.5, 0.4, 1.25
LORA_R, LORA_ALPHA = 16, 32
LEARNING_RATE = 1e-5
SEED = 42
WARM = 1
ANSWERS = 4

Ids = tuple[int, ...]
Row = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Scenario:
    """What a step is made of: `groups` groups of `rows` comparisons between `answers` answers."""

    name: str
    group_by: str
    groups: int
    rows: int
    answers: int

    @property
    def pairs(self) -> int:
        """Comparisons in a step."""
        return self.groups * self.rows


@dataclass(frozen=True, slots=True)
class Unit:
    """One group: its comparisons as rows of two conversations, and what both sides must read."""

    rows: tuple[Row, ...]
    pairs: tuple[tuple[Ids, Ids], ...]
    sequences: tuple[Ids, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """The groups of one optimizer step, in the order in which Assay's plan takes them."""

    units: tuple[Unit, ...]

    @property
    def pairs(self) -> list[tuple[Ids, Ids]]:
        return [pair for unit in self.units for pair in unit.pairs]

    @property
    def sequences(self) -> list[Ids]:
        return [ids for unit in self.units for ids in unit.sequences]


def main() -> int:
    arguments = parse_arguments()
    if is_missing(arguments.data):
        return 0
    scenario = (
        Scenario("train_speed_grouped", "prompt", arguments.groups or 2, 6, ANSWERS)
        if arguments.grouped
        else Scenario(
            "train_speed_lora" if arguments.lora else "train_speed",
            "row",
            arguments.groups or 8,
            1,
            2,
        )
    )
    checked_out = commit()  # Somebody may commit while this runs.
    with tempfile.TemporaryDirectory(prefix="train-speed-") as name:
        scratch = Path(name)
        save_starting_model(SMOLLM2, scratch / "start", max_length=arguments.max_length)
        rounds = [
            run_round(arguments, scenario, scratch, number, units)
            for number, units in enumerate(units_of_rounds(arguments, scenario, scratch))
        ]
    figures = summary(arguments, scenario, rounds) | {"commit": checked_out}
    print_figures(figures)
    output = arguments.output or RESULTS / f"{scenario.name}.json"
    write_result(output, figures, ("assay", "torch", "transformers"))
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--trl-python", type=Path, required=True, help="interpreter that has TRL")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--grouped", action="store_true", help="4 answers to each prompt")
    shape.add_argument("--lora", action="store_true", help="train adapters and the head")
    parser.add_argument("--data", type=Path, default=HH, help="rows of preferences")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2, help="timed steps of a round")
    parser.add_argument("--groups", type=int, help="groups a step (default: 8, with --grouped 2)")
    parser.add_argument("--max-length", type=int, default=512, help="longer rows are dropped")
    parser.add_argument("--threads", type=int, default=2, help="threads of each side")
    parser.add_argument("--engine", help="Assay's engine (default: the one it chooses)")
    parser.add_argument(
        "--trl-batch-size", type=int, help="rows in one batch of TRL (default: all of a step)"
    )
    parser.add_argument("--output", type=Path, help="figures (default: benchmarks/results/)")
    arguments = parser.parse_args()
    if not arguments.trl_python.exists():
        parser.error(f"no interpreter at {arguments.trl_python}: make .venv-trl/.installed")
    return arguments


# The rows of each round


def units_of_rounds(
    arguments: argparse.Namespace, scenario: Scenario, scratch: Path
) -> Iterator[list[Unit]]:
    """The groups of each round, drawn with a fixed seed from those that both sides can read."""
    model = RewardModel.load(str(scratch / "start"), device="cpu", dtype="float32")
    renderer = model.renderer
    del model  # What stays in memory here counts as a child's until it has more of its own.
    each = (WARM + arguments.steps) * scenario.groups
    needed = arguments.rounds * each
    source, draw = arguments.data, random.Random(SEED)
    if arguments.grouped:
        source = scratch / "pool.jsonl"
        # Twice as many: those over the length are dropped.
        made = grouped_rows(arguments.data, renderer, 2 * needed, draw)
        write_rows(source, made)
    pool = usable_units(source, scenario, renderer, arguments.max_length)
    if len(pool) < needed:
        raise SystemExit(f"{len(pool)} groups are too few for {needed}: fewer --rounds or --steps")
    draw.shuffle(pool)
    for start in range(0, needed, each):
        yield pool[start : start + each]


def usable_units(
    source: Path, scenario: Scenario, renderer: Renderer, max_length: int
) -> list[Unit]:
    """Groups with all their answers and comparisons, each decided and short enough."""
    by_prompt = scenario.group_by == "prompt"
    groups = load_groups([DataSource(str(source))], group_by="prompt" if by_prompt else "row")
    encoded = encode_groups(groups.groups, renderer, max_length=max_length)
    units = [unit_of(group) for group in encoded.groups if not group.group.tools]
    return [
        unit
        for unit in units
        if (len(unit.rows), len(unit.sequences)) == (scenario.rows, scenario.answers)
    ]


def unit_of(encoded: EncodedGroup) -> Unit:
    """A group; comparisons without a winner are not among its rows."""
    group = encoded.group
    decided = [found.winner_loser for found in group.comparisons if found.winner_loser]
    conversations = [
        [message.as_dict() for message in (*group.prompt, *response.messages)]
        for response in group.responses
    ]
    return Unit(
        tuple({"chosen": conversations[a], "rejected": conversations[b]} for a, b in decided),
        tuple((encoded.sequences[a], encoded.sequences[b]) for a, b in decided),
        encoded.sequences,
    )


def grouped_rows(data: Path, renderer: Renderer, count: int, draw: random.Random) -> Iterator[Row]:
    """Rows of `count` prompts with 4 answers, every length drawn from those of hh's answers."""
    groups = load_groups([DataSource(str(data))], group_by="row").groups
    asked = [group.prompt[0].content for group in groups]
    answered = [answer.messages[-1].content for group in groups for answer in group.responses]
    lengths = [len(ids) for ids in token_ids(renderer, answered) if ids]
    for _ in range(count):
        prompt = text_of_length(renderer, asked + answered, draw.choice(lengths), draw)
        answers = [
            text_of_length(renderer, answered, draw.choice(lengths), draw) for _ in range(ANSWERS)
        ]
        begun = [{"role": "user", "content": prompt}]
        whole = [[*begun, {"role": "assistant", "content": answer}] for answer in answers]
        for better, worse in combinations(whole, 2):
            yield {"chosen": better, "rejected": worse}


def text_of_length(
    renderer: Renderer, texts: Sequence[str], length: int, draw: random.Random
) -> str:
    """The beginning of a drawn text that has just so many tokens by itself."""
    while True:
        text = draw.choice(texts)
        ids = token_ids(renderer, [text])[0]
        cut = str(renderer.tokenizer.decode(ids[:length])).strip()
        if len(ids) >= length and len(token_ids(renderer, [cut])[0]) == length:
            return cut


def token_ids(renderer: Renderer, texts: Sequence[str]) -> list[list[int]]:
    found: list[list[int]] = renderer.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    return found


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


# One round


def run_round(
    arguments: argparse.Namespace,
    scenario: Scenario,
    scratch: Path,
    number: int,
    units: Sequence[Unit],
) -> dict[str, Any]:
    """One process of each side on the same rows; TRL begins the first round."""
    steps = steps_of(units, scenario)
    order = ["trl", "assay"] if number % 2 == 0 else ["assay", "trl"]
    sides = {"trl": train_trl, "assay": train_assay}
    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        write_rows(Path(directory) / "rows.jsonl", (row for unit in units for row in unit.rows))
        found = {
            side: sides[side](arguments, scenario, scratch / "start", Path(directory), steps)
            for side in order
        }
    faults = list(faults_of(steps, scenario, **found))
    if faults:
        raise SystemExit("\n".join(["the two sides did not do the same work:", *faults]))
    speeds = {
        side: scenario.pairs / statistics.fmean(result["seconds"][WARM:])
        for side, result in found.items()
    }
    print(f"round {number + 1}: {speeds} pairs/s", flush=True)
    return {
        "order": order,
        "pairs_per_second": speeds,
        "ratio_vs_trl": speeds["assay"] / speeds["trl"],
        "memory_ratio_vs_trl": found["assay"]["peak_memory_bytes"]
        / found["trl"]["peak_memory_bytes"],
        "logical_tokens": [sum(len(a) + len(b) for a, b in step.pairs) for step in steps],
        "tree_tokens": [tree_tokens(step.sequences) for step in steps],
        **{side: {k: v for k, v in found[side].items() if k != "pairs"} for side in found},
    }


def steps_of(units: Sequence[Unit], scenario: Scenario) -> list[Step]:
    """Which groups of its file `assay train` takes in which step."""
    count = len(units) // scenario.groups
    plan = Plan.of(len(units), scenario.groups, SEED, 1, count)
    return [Step(tuple(units[index] for index in plan.groups_of(step))) for step in range(count)]


def train_assay(
    arguments: argparse.Namespace,
    scenario: Scenario,
    start: Path,
    directory: Path,
    steps: Sequence[Step],
) -> dict[str, Any]:
    """Train with `assay train`; the figures of its log, step by step."""
    run = directory / "assay"
    fields = {
        "model.path": start,
        "data.train": directory / "rows.jsonl",
        "data.group_by": scenario.group_by,
        "train.global_batch_size": scenario.groups,
        "train.max_steps": len(steps),
        "train.max_length": arguments.max_length,
        "train.learning_rate": LEARNING_RATE,
        "train.lr_scheduler_type": "linear",
        "train.warmup_ratio": 0.0,
        "train.weight_decay": 0.0,
        "train.max_grad_norm": 1.0,
        "train.seed": SEED,
        "train.device": "cpu",
        "output_dir": run,
    }
    if arguments.lora:
        fields |= {"lora.r": LORA_R, "lora.alpha": LORA_ALPHA, "lora.dropout": 0.0}
    if arguments.engine:
        fields["train.engine"] = arguments.engine
    flags = [part for name, value in fields.items() for part in (f"--{name}", str(value))]
    peak = run_measured([sys.executable, "-m", "assay", "train", *flags], arguments.threads)
    lines = (run / "train_log.jsonl").read_text(encoding="utf-8").splitlines()
    entries = [entry for entry in map(json.loads, lines) if entry["kind"] == "train"]
    about = json.loads((run / "run.json").read_text(encoding="utf-8"))
    return {
        "seconds": [entry["seconds"] for entry in entries],
        "losses": [entry["loss"] for entry in entries],
        "comparisons": [entry["num_comparisons"] for entry in entries],
        "tokens": [entry["num_tokens"] for entry in entries],
        "logged_tree_tokens": [entry.get("num_tree_tokens") for entry in entries],
        "engine": about.get("engine"),
        "peak_memory_bytes": peak,
    }


def train_trl(
    arguments: argparse.Namespace,
    scenario: Scenario,
    start: Path,
    directory: Path,
    steps: Sequence[Step],
) -> dict[str, Any]:
    """Train with TRL under its own interpreter, on the rows in the order of the steps."""
    rows, settings, output = (
        directory / name for name in ("trl_rows.jsonl", "settings.json", "trl.json")
    )
    write_rows(rows, (row for step in steps for unit in step.units for row in unit.rows))
    batch = arguments.trl_batch_size or scenario.pairs
    if scenario.pairs % batch:
        raise SystemExit(f"--trl-batch-size {batch} does not divide a step of {scenario.pairs}")
    chosen = {
        "model": str(start),
        "rows": str(rows),
        "steps": len(steps),
        "batch_size": batch,
        "batches_per_step": scenario.pairs // batch,
        "learning_rate": LEARNING_RATE,
        "max_length": arguments.max_length,
        "lora": lora_of_trl() if arguments.lora else None,
    }
    settings.write_text(json.dumps(chosen), encoding="utf-8")
    script = Path(__file__).with_name("trl_speed_side.py")
    command = [str(arguments.trl_python), str(script), str(settings), str(output)]
    peak = run_measured(command, arguments.threads)
    result: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    return result | {"batch_size": batch, "peak_memory_bytes": peak}


def lora_of_trl() -> dict[str, Any]:
    """Arguments of PEFT's `LoraConfig` for what Assay trains."""
    return {
        "r": LORA_R,
        "lora_alpha": LORA_ALPHA,
        "lora_dropout": 0.0,
        "target_modules": "all-linear",
        "modules_to_save": ["score"],
        "task_type": "SEQ_CLS",
    }


def run_measured(command: Sequence[str], threads: int) -> int:
    """Run a command with so many threads; the peak resident set of its process in bytes."""
    environment = os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    with subprocess.Popen(command, env=environment) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"exit code {process.returncode}: {' '.join(command)}")
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


# Comparing


def faults_of(
    steps: Sequence[Step], scenario: Scenario, trl: dict[str, Any], assay: dict[str, Any]
) -> Iterator[str]:
    """What shows that the sides did not do the same work."""
    if [tuple(map(tuple, pair)) for pair in trl["pairs"]] != [
        pair for step in steps for pair in step.pairs
    ]:
        yield "TRL's token ids are not those of Assay's renderer"
    if assay["comparisons"] != [scenario.pairs] * len(steps):
        yield f"Assay counts {assay['comparisons']} comparisons, not {scenario.pairs} a step"
    expected = [sum(map(len, step.sequences)) for step in steps]
    if assay["tokens"] != expected:
        yield f"Assay counts {assay['tokens']} tokens, not {expected}"
    apart = relative_differences(assay["losses"], trl["losses"])
    if max(apart) > LOSSES_AGREE:
        yield f"losses differ by {max(apart):.1e}: {assay['losses']} and {trl['losses']}"


def relative_differences(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    return [abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True)]


def tree_tokens(sequences: Iterable[Ids]) -> int:
    """Distinct token prefixes: what is left to compute when every shared one is computed once."""
    total = 0
    before: Ids = ()
    for ids in sorted(set(sequences)):
        total += len(ids) - shared_length(before, ids)
        before = ids
    return total


def shared_length(a: Ids, b: Ids) -> int:
    """Number of leading tokens in common."""
    return next(
        (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )


def summary(
    arguments: argparse.Namespace, scenario: Scenario, rounds: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """The figures over all rounds; tokens are those of the timed steps."""
    faster = ratio("ratio_vs_trl", [found["ratio_vs_trl"] for found in rounds])
    memory = ratio("memory_ratio_vs_trl", [found["memory_ratio_vs_trl"] for found in rounds])
    logical, tree = (timed_total(rounds, name) for name in ("logical_tokens", "tree_tokens"))
    padded = timed_total([found["trl"] for found in rounds], "padded_tokens")
    token_ratio = padded / tree
    if arguments.grouped:
        bars = {"ratio_vs_trl": bar(faster["ratio_vs_trl"], GROUPED_BAR * token_ratio)}
    else:
        bars = {
            "ratio_vs_trl": bar(faster["ratio_vs_trl"], LORA_BAR if arguments.lora else RATIO_BAR),
            "memory_ratio_vs_trl": bar(memory["memory_ratio_vs_trl"], MEMORY_BAR, at_most=True),
        }
    sides = ("assay", "trl")
    apart = [
        relative_differences(found["assay"]["losses"], found["trl"]["losses"]) for found in rounds
    ]
    return {
        "about": f"{SMOLLM2}, {scenario.pairs} pairs a step, max_length {arguments.max_length}, "
        f"float32, {arguments.threads} threads, {len(rounds)} rounds of {arguments.steps} steps, "
        f"TRL's padded tokens / tree tokens {token_ratio:.2f}",
        "data": arguments.data.name,
        "pairs_per_second": {
            side: spread([found["pairs_per_second"][side] for found in rounds]) for side in sides
        },
        **faster,
        "peak_memory_bytes": {
            side: spread([found[side]["peak_memory_bytes"] for found in rounds]) for side in sides
        },
        **memory,
        "logical_tokens": logical,
        "trl_padded_tokens": padded,
        "tree_tokens": tree,
        "logged_tree_tokens": timed_total([f["assay"] for f in rounds], "logged_tree_tokens"),
        "token_ratio": token_ratio,
        "ratio_over_token_ratio": faster["ratio_vs_trl"] / token_ratio,
        "max_relative_loss_difference": max(map(max, apart)),
        "bars": bars,
        "engine_asked_for": arguments.engine,
        "trl_versions": rounds[0]["trl"]["versions"],
        "rounds": list(rounds),
    }


def timed_total(rounds: Sequence[dict[str, Any]], name: str) -> Any:
    """The sum over the timed steps; None where a log does not say."""
    values = [value for found in rounds for value in found[name][WARM:]]
    return None if None in values else sum(values)


def print_figures(figures: dict[str, Any]) -> None:
    for name, value in figures.items():
        if name not in ("rounds", "bars"):
            print(f"{name}: {value}")
    print_bars(figures["bars"])


if __name__ == "__main__":
    sys.exit(main())
