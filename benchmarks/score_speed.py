r"""Scored pairs a second: Assay, transformers' pipeline, vLLM with its prefix cache; float32, CPU.

    .venv/bin/python benchmarks/score_speed.py [--vllm-python .venv-vllm/bin/python]
        [--data FILE] [--pairs 32] [--rounds 3] [--engine NAME]

All sides score the same conversations of hh-rlhf, both of each row, with the same model
(SmolLM2-135M with a seeded head) and so many threads. Each side is one process under its own
interpreter, loaded and warm before the first figure. In every round each scores all pairs once, one
side after the other, another side first each round. Two peers, each as it comes and as its caller
can make it faster:

- Assay: `score_items`, what `assay score` calls; rendering and tokenising are in its time.
- transformers: `pipeline("text-classification")` on rendered texts in the order of the file, the
  best of batches of 1, 8 and 16, found in a probe before the first round; `transformers_sorted`:
  its caller sorts the texts by length.
- vLLM: the pooling runner on token ids, compiled (which takes a C++ compiler and minutes), prefix
  caching on and emptied before every round; by itself it binds its threads to one of two cores and
  caches blocks of 128 tokens. `vllm_tuned`: threads bound to all cores, Intel's OpenMP preloaded as
  its installation guide says, blocks of 32 tokens, the smallest that it recommends.

The token ids are the same for all: texts are rendered once and no special tokens are added. All
rewards are raw ones and are compared with ours: beyond 1e-3 the sides did not compute the same
thing, and that is exit code 1. A missed bar (3 times transformers, 2 times vLLM, both as they come;
the faster settings have none, and stand beside) is printed and is no error. Figures go to
benchmarks/results/score_speed.json. Takes ten minutes on 2 idle cores, half of them for vLLM's
start.
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
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from ctypes.util import find_library
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from result_file import RESULTS, write_result
from starting_model import SMOLLM2, save_starting_model
from tables import bar, commit, print_bars, ratio, spread, write_table

from assay import RewardModel
from assay.data.encoding import EncodedGroup, encode_groups
from assay.data.loading import load_groups
from assay.data.sources import DataSource

HH = Path(__file__).parents[2] / "shared" / "data" / "hh_harmless.jsonl"
BARS = {"transformers": 3.0, "vllm": 2.0}
SCORES_AGREE = 1e-3
SEED = 42
WARM, PROBE = 4, 16


@dataclass(slots=True)
class Worker:
    """A side in its process: it answers every line with a line."""

    process: subprocess.Popen[str]
    hello: dict[str, Any]

    def score(self) -> dict[str, Any]:
        """Seconds and scores of one scoring of all texts."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return answer_of(self.process)


def main() -> int:
    arguments = parse_arguments()
    if not arguments.data.exists():
        print(f"skipped: no rows at {arguments.data}; name a file of preference rows with --data")
        return 0
    checked_out = commit()  # Somebody may commit while this runs.
    with tempfile.TemporaryDirectory(prefix="score-speed-") as name, ExitStack() as stack:
        settings = write_settings(arguments, Path(name))
        workers = {
            side: stack.enter_context(worker(side, arguments, settings))
            for side in sides_of(arguments)
        }
        rounds = [run_round(workers, number) for number in range(arguments.rounds)]
        texts = json.loads(settings.read_text(encoding="utf-8"))["timed"]
    figures = summary(arguments, workers, rounds)
    figures |= {"commit": checked_out, "tokens": sum(map(len, texts["ids"]))}
    for name, value in figures.items():
        if name not in ("rounds", "bars"):
            print(f"{name}: {value}")
    print_bars(figures["bars"])
    if max(figures["max_score_difference"].values()) > SCORES_AGREE:
        print(f"the sides' scores differ by more than {SCORES_AGREE}", file=sys.stderr)
        return 1
    write_result(arguments.output, figures, ("assay", "torch", "transformers"))
    write_table(arguments.output.parent)
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vllm-python", type=Path, help="interpreter that has vLLM")
    parser.add_argument("--data", type=Path, default=HH, help="rows of preferences")
    parser.add_argument("--pairs", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--max-length", type=int, default=512, help="longer rows are left out")
    parser.add_argument("--threads", type=int, default=2, help="threads of each side")
    parser.add_argument("--engine", help="Assay's engine (default: the one it chooses)")
    parser.add_argument("--output", type=Path, default=RESULTS / "score_speed.json")
    return parser.parse_args()


def sides_of(arguments: argparse.Namespace) -> list[str]:
    python = arguments.vllm_python
    if python is None or not python.exists():
        print(f"note: no vLLM at {python}, measuring the rest; make .venv-vllm/.installed")
        return ["assay", "transformers", "transformers_sorted"]
    return ["assay", "transformers", "transformers_sorted", "vllm", "vllm_tuned"]


# The texts


def write_settings(arguments: argparse.Namespace, scratch: Path) -> Path:
    """What the sides need to know: the model, and the texts drawn with a fixed seed."""
    model = scratch / "model"
    save_starting_model(SMOLLM2, model, max_length=arguments.max_length)
    groups = load_groups([DataSource(str(arguments.data))], group_by="row").groups
    renderer = RewardModel.load(str(model), device="cpu", dtype="float32").renderer
    pool = encode_groups(groups, renderer, max_length=arguments.max_length).groups
    needed = arguments.pairs + WARM
    if len(pool) < needed:
        raise SystemExit(f"{len(pool)} usable rows are too few for {needed}: fewer --pairs")
    drawn = random.Random(SEED).sample(pool, needed)
    sets = {"warm": drawn[:WARM], "timed": drawn[WARM:], "probe": drawn[WARM : WARM + PROBE]}
    settings: dict[str, Any] = {"model": str(model), "engine": arguments.engine}
    for name, chosen in sets.items():
        rows = scratch / f"{name}.jsonl"
        rows.write_text("".join(json.dumps(row_of(group)) + "\n" for group in chosen), "utf-8")
        items = [(encoded.group, index) for encoded in chosen for index in (0, 1)]
        rendered = renderer.render_many(items)
        texts = [found.text for found in rendered]
        ids = renderer.tokenizer(texts, add_special_tokens=False)["input_ids"]
        if ids != [list(found.ids) for found in rendered]:
            raise SystemExit("a row's text is not tokenised as Assay reads it: give other rows")
        settings[name] = {"rows": str(rows), "texts": texts, "ids": ids}
    path = scratch / "settings.json"
    path.write_text(json.dumps(settings), encoding="utf-8")
    return path


def row_of(encoded: EncodedGroup) -> dict[str, Any]:
    """A row of two whole conversations, the responses in their order."""
    chosen, rejected = (
        [message.as_dict() for message in (*encoded.group.prompt, *response.messages)]
        for response in encoded.group.responses
    )
    return {"chosen": chosen, "rejected": rejected}


# The sides


@contextmanager
def worker(side: str, arguments: argparse.Namespace, settings: Path) -> Iterator[Worker]:
    """A side that is loaded and warm."""
    python = str(arguments.vllm_python) if side.startswith("vllm") else sys.executable
    script = str(Path(__file__).with_name("score_sides.py"))
    print(f"loading {side} ...", flush=True)
    process = subprocess.Popen(
        [python, script, side, str(settings)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | environment_of(side, arguments),
    )
    with process:  # Leaving closes its standard input, which ends it.
        hello = answer_of(process)
        print(f"{side}: {hello}", flush=True)
        yield Worker(process, hello)


def environment_of(side: str, arguments: argparse.Namespace) -> dict[str, str]:
    """The same threads and instructions for all; for a tuned vLLM what its guide recommends."""
    common = {
        "OMP_NUM_THREADS": str(arguments.threads),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        # Some virtual machines advertise AMX and do not have it.
        "ONEDNN_MAX_CPU_ISA": os.environ.get("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_FP16"),
    }
    if not side.startswith("vllm"):
        return common
    common |= {"VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_NO_USAGE_STATS": "1"}
    if side == "vllm":
        return common
    openmp = arguments.vllm_python.absolute().parents[1] / "lib" / "libiomp5.so"
    preloaded = [find_library("tcmalloc_minimal"), str(openmp) if openmp.exists() else None]
    return common | {
        "LD_PRELOAD": ":".join(library for library in preloaded if library),
        "VLLM_CPU_OMP_THREADS_BIND": f"0-{arguments.threads - 1}",
    }


def answer_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"exit code {process.wait()}: {process.args!r}")
    answer: dict[str, Any] = json.loads(line)
    return answer


def run_round(workers: dict[str, Worker], number: int) -> dict[str, dict[str, Any]]:
    """Every side once, one after the other, another one first each round."""
    order = list(workers)
    order = order[number % len(order) :] + order[: number % len(order)]
    found = {side: workers[side].score() for side in order}
    seconds = {side: round(answer["seconds"], 2) for side, answer in found.items()}
    print(f"round {number + 1}, seconds: {seconds}", flush=True)
    return found


# The figures


def summary(
    arguments: argparse.Namespace,
    workers: dict[str, Worker],
    rounds: Sequence[dict[str, dict[str, Any]]],
) -> dict[str, Any]:
    speeds = {
        side: [arguments.pairs / found[side]["seconds"] for found in rounds] for side in workers
    }
    ratios: dict[str, float] = {}
    for peer in list(workers)[1:]:
        faster = [a / b for a, b in zip(speeds["assay"], speeds[peer], strict=True)]
        ratios |= ratio(f"ratio_vs_{peer}", faster)
    first = rounds[0]["assay"]["scores"]
    return {
        "about": f"{SMOLLM2}, {arguments.pairs} pairs, max_length {arguments.max_length}, float32, "
        f"{arguments.threads} threads, {len(rounds)} rounds",
        "data": arguments.data.name,
        "pairs_per_second": {side: spread(values) for side, values in speeds.items()},
        **ratios,
        "score_std": statistics.pstdev(first),
        "max_score_difference": {
            side: max(largest_difference(first, found[side]["scores"]) for found in rounds)
            for side in workers
        },
        "bars": {
            f"ratio_vs_{peer}": bar(ratios[f"ratio_vs_{peer}"], asked)
            for peer, asked in BARS.items()
            if peer in workers
        },
        "engine_asked_for": arguments.engine,
        "sides": {side: found.hello for side, found in workers.items()},
        "rounds": [
            {"order": list(found), "seconds": {side: found[side]["seconds"] for side in found}}
            for found in rounds
        ],
    }


def largest_difference(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return max(abs(a - b) for a, b in zip(ours, theirs, strict=True))


if __name__ == "__main__":
    sys.exit(main())
