r"""How time and memory grow: with pairs, with the length of a prompt, with answers, with processes.

    .venv/bin/python benchmarks/scale.py [--pairs 1000,10000,100000,1000000] [--words 30]
        [--lengths 512,1024,2048,4096,8192,16384] [--answers 2,4,8,16,32,64,128,256]
        [--processes 1,2] [--repeats 3] [--skip preparation,prompt,answers,processes]

- preparation: `assay prepare` as a process on generated pairs; its seconds, and the most memory
  that one of its processes held. What it takes for ten pairs (interpreter, imports) is taken off
  both before the exponents are fitted.
- prompt, answers: one group in one pack of a tiny random model, scored, and trained on; 2 answers
  of 128 tokens to a prompt of each length, and a prompt of 256 tokens with so many answers of 64. A
  process of its own for each point; what grows is told apart from what the model takes.
- processes: `assay prepare` with so many workers, and `assay train` under torchrun with so many
  processes of one thread each, on a random model of 8 million weights: pairs a second.

An exponent is the slope of a straight line through the logarithms (least squares), with its
standard error, and beside it that between the last two points: 1 is proportional, 2 is quadratic.
The tree's attention is quadratic in the prompt and linear in the answers; a tiny model, whose
layers cost little beside it, shows the worst. There is no bar. Figures go to
benchmarks/results/scale.json. Takes half an hour on 2 idle cores.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from command_line import parser_of
from prepare_rows import make_tokenizer, write_rows
from prepare_scale import prepare
from result_file import RESULTS, write_result
from tables import commit

Point = dict[str, Any]
SECTIONS = ("preparation", "prompt", "answers", "processes")
FEW_PAIRS = 10
PROMPT_ANSWERS, PROMPT_ANSWER_TOKENS = 2, 128
ANSWERS_PROMPT_TOKENS, ANSWERS_TOKENS = 256, 64
STEPS, WARM = 6, 1


def main() -> int:
    arguments = parse_arguments()
    sections: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
        "preparation": preparation,
        "prompt": lengths_of_prompts,
        "answers": answers_to_a_prompt,
        "processes": processes,
    }
    figures: dict[str, Any] = {
        "about": f"generated pairs of texts of {arguments.words} words, a tiny random model for "
        f"prompts and answers, {arguments.threads} threads, medians of {arguments.repeats}",
        "commit": commit(),
    }
    for name, measure in sections.items():
        if name not in arguments.skip:
            figures[name] = measure(arguments)
            for found in figures[name]["exponents"]:
                print(f"{name}: {found}", flush=True)
    write_result(arguments.output, figures, ("assay", "torch", "transformers", "pyarrow"))
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = parser_of(__doc__)

    def numbers(text: str) -> list[int]:
        return [int(part) for part in text.split(",")]

    parser.add_argument("--pairs", type=numbers, default=[10**n for n in (3, 4, 5, 6)])
    parser.add_argument("--words", type=int, default=30, help="mean words of a text")
    parser.add_argument("--lengths", type=numbers, default=[2**n for n in range(9, 15)])
    parser.add_argument("--answers", type=numbers, default=[2**n for n in range(1, 9)])
    parser.add_argument("--processes", type=numbers, default=[1, 2])
    parser.add_argument("--process-pairs", type=int, default=20_000, help="to prepare")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--scratch", type=Path, help="a directory with room for the rows")
    parser.add_argument("--skip", type=lambda text: text.split(","), default=[])
    parser.add_argument("--output", type=Path, default=RESULTS / "scale.json")
    arguments = parser.parse_args()
    if unknown := set(arguments.skip) - set(SECTIONS):
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    return arguments


# What is measured


def preparation(arguments: argparse.Namespace) -> dict[str, Any]:
    """`assay prepare` on so many pairs."""
    start = prepared(arguments, FEW_PAIRS, arguments.processes[-1])
    points = []
    for pairs in arguments.pairs:
        found = prepared(arguments, pairs, arguments.processes[-1])
        points.append({"pairs": pairs, **{k: found[k] for k in ("seconds", "bytes")}})
        print(f"preparation: {points[-1]}", flush=True)
    beyond = [
        {"pairs": point["pairs"], **{k: point[k] - start[k] for k in ("seconds", "bytes")}}
        for point in points
    ]
    return {
        "about": f"assay prepare, {arguments.processes[-1]} workers",
        "start": start,
        "points": points,
        "exponents": [
            exponent(beyond, "pairs", "seconds", "seconds"),
            exponent(beyond, "pairs", "bytes", "memory of its largest process"),
        ],
    }


def prepared(arguments: argparse.Namespace, pairs: int, workers: int) -> Point:
    """Seconds and bytes of one preparation."""
    with tempfile.TemporaryDirectory(prefix="scale-", dir=arguments.scratch) as name:
        rows = Path(name) / "rows.jsonl"
        write_rows(rows, pairs, words=arguments.words)
        found = prepare(Path(name), rows, workers)
    return {"seconds": found["seconds"], "bytes": found["peak_own_bytes"]}


def lengths_of_prompts(arguments: argparse.Namespace) -> dict[str, Any]:
    """Two answers to a prompt of so many tokens."""
    return of_groups(
        arguments,
        "prompt",
        [(length, (length, PROMPT_ANSWERS, PROMPT_ANSWER_TOKENS)) for length in arguments.lengths],
        f"tokens of a prompt with {PROMPT_ANSWERS} answers of {PROMPT_ANSWER_TOKENS}",
    )


def answers_to_a_prompt(arguments: argparse.Namespace) -> dict[str, Any]:
    """So many answers to one prompt."""
    return of_groups(
        arguments,
        "answers",
        [(count, (ANSWERS_PROMPT_TOKENS, count, ANSWERS_TOKENS)) for count in arguments.answers],
        f"answers of {ANSWERS_TOKENS} tokens to a prompt of {ANSWERS_PROMPT_TOKENS}",
    )


def of_groups(
    arguments: argparse.Namespace,
    name: str,
    sizes: Sequence[tuple[int, tuple[int, int, int]]],
    about: str,
) -> dict[str, Any]:
    """A group of each size, scored and trained on."""
    points = []
    for size, shape in sizes:
        point: Point = {name: size}
        for kind in ("score", "train"):
            found = one_group(arguments, kind, shape)
            point |= {f"{kind}_seconds": found["seconds"], f"{kind}_bytes": found["bytes"]}
        points.append(point)
        print(f"{name}: {point}", flush=True)
    said = {"score": "scoring", "train": "a training step"}
    return {
        "about": about,
        "points": points,
        "exponents": [
            exponent(points, name, f"{kind}_{what}", f"{said[kind]}, {called}")
            for kind in said
            for what, called in (("seconds", "seconds"), ("bytes", "memory beyond the model"))
        ],
    }


def one_group(
    arguments: argparse.Namespace, kind: str, shape: tuple[int, int, int]
) -> dict[str, Any]:
    """A point, in a process of its own."""
    side = Path(__file__).with_name("scale_side.py")
    command = [sys.executable, str(side), kind, *map(str, shape), str(arguments.repeats)]
    environment = os.environ | {"OMP_NUM_THREADS": str(arguments.threads)}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def processes(arguments: argparse.Namespace) -> dict[str, Any]:
    """Pairs a second of preparing and training with so many processes."""
    points = []
    with tempfile.TemporaryDirectory(prefix="scale-", dir=arguments.scratch) as name:
        scratch = Path(name)
        model = small_model(scratch / "model")
        rows = scratch / "rows.jsonl"
        write_rows(rows, 400, words=arguments.words)
        for count in arguments.processes:
            seconds = prepared(arguments, arguments.process_pairs, count)["seconds"]
            points.append(
                {
                    "processes": count,
                    "prepared_pairs_per_second": arguments.process_pairs / seconds,
                    "trained_pairs_per_second": trained(model, rows, scratch / str(count), count),
                }
            )
            print(f"processes: {points[-1]}", flush=True)
    return {
        "about": f"{arguments.process_pairs} pairs prepared, start included; training with one "
        "thread a process",
        "points": points,
        "exponents": [
            exponent(points, "processes", f"{what}_pairs_per_second", f"{what} pairs a second")
            for what in ("prepared", "trained")
        ]
        if len(points) > 1
        else [],
    }


def trained(model: Path, rows: Path, run: Path, count: int) -> float:
    """Pairs a second of `assay train`, the median of its steps but the first."""
    fields = {
        "model.path": model,
        "model.template": "chatml",
        "model.dtype": "float32",
        "data.train": rows,
        "data.max_dropped": 1,
        "train.global_batch_size": 32,
        "train.max_steps": WARM + STEPS,
        "train.max_length": 512,
        # Else one pack would hold all groups of a step, and one process do all of it.
        "train.max_tokens_per_pack": 1024,
        "train.device": "cpu",
        "output_dir": run,
    }
    flags = [part for name, value in fields.items() for part in (f"--{name}", str(value))]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    command = [sys.executable, *launcher, "-m", "assay", "train", *flags]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    lines = (run / "train_log.jsonl").read_text(encoding="utf-8").splitlines()
    entries = [entry for entry in map(json.loads, lines) if entry["kind"] == "train"]
    return statistics.median(entry["pairs_per_second"] for entry in entries[WARM:])


def small_model(directory: Path) -> Path:
    """A random Llama of 8 million weights with the tokenizer of the generated rows."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    make_tokenizer(directory)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=600,
        hidden_size=320,
        intermediate_size=864,
        num_hidden_layers=6,
        num_attention_heads=5,
        max_position_embeddings=1024,
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    return directory


# How it grows


def exponent(points: Sequence[Point], x: str, y: str, called: str) -> dict[str, Any]:
    """The slope of log y over log x, and its standard error (None with fewer than 3 points).

    Beside them the first and the last y, and the slope between the last two points, where what does
    not grow counts least.
    Points without growth (not above 0) are left out: noise has no logarithm.
    """
    ends = [points[0][y], points[-1][y]]
    kept = [(point[x], point[y]) for point in points if point[y] > 0]
    if len(kept) < 2:
        return {"of": called, "ends": ends, "exponent": None, "error": None, "last": None}
    log_x, log_y = np.log(np.array(kept, dtype=float).T)
    centred = log_x - log_x.mean()
    spread = float(centred @ centred)
    slope = float(centred @ log_y) / spread
    residual = log_y - log_y.mean() - slope * centred
    free = len(kept) - 2
    error = float(np.sqrt(residual @ residual / free / spread)) if free else None
    last = float((log_y[-1] - log_y[-2]) / (log_x[-1] - log_x[-2]))
    return {"of": called, "ends": ends, "exponent": slope, "error": error, "last": last}


if __name__ == "__main__":
    sys.exit(main())
