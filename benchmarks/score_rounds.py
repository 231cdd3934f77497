"""What the scoring benchmarks share: sides that score the same texts in turn, and their figures.

A side (a function of score_sides.py) is one process under the interpreter that has what it needs,
loaded and warm before the first figure. In every round each side scores all texts once, one after
the other, another one first each round; ratios are taken within a round. All get the same token
ids: texts are rendered once, by Assay's renderer, and no special tokens are added.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from ctypes.util import find_library
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from result_file import write_result
from tables import bar, print_bars, ratio, spread

from assay.data.records import Group
from assay.data.rendering import Renderer

SCORES_AGREE = 1e-3
Settings = dict[str, Any]

Found = dict[str, dict[str, Any]]
"""Of one round: by side, seconds and scores."""


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


@dataclass(frozen=True, slots=True)
class Measured:
    """What each side said of itself, and all rounds."""

    hellos: Found
    rounds: list[Found]


def add_arguments(parser: argparse.ArgumentParser, *, rounds: int) -> None:
    """What all of these benchmarks can be told."""
    parser.add_argument("--vllm-python", type=Path, help="interpreter that has vLLM")
    parser.add_argument("--st-python", type=Path, help="interpreter with sentence-transformers")
    parser.add_argument("--sides", help="names of sides with commas (default: all there are)")
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of each side")
    parser.add_argument("--engine", help="Assay's engine (default: the one it chooses)")


def sides_of(arguments: argparse.Namespace, candidates: Sequence[str]) -> list[str]:
    """Those that are asked for and have an interpreter, Assay first.

    What is missing is said: a result without a peer is no result of a peer.
    """
    wanted = arguments.sides.split(",") if arguments.sides else list(candidates)
    unknown = set(wanted) - set(candidates)
    if unknown:
        raise SystemExit(f"no such side: {', '.join(unknown)}; there are {', '.join(candidates)}")
    found = ["assay"]
    for side in candidates:
        if side not in wanted or side == "assay":
            continue
        python = python_of(side, arguments)
        if python is None or not python.exists():
            print(f"note: {side} is left out, no interpreter at {python}: see the Makefile")
            continue
        found.append(side)
    return found


def python_of(side: str, arguments: argparse.Namespace) -> Path | None:
    """The interpreter of a side; None where none was named."""
    if side.startswith("vllm"):
        return arguments.vllm_python  # type: ignore[no-any-return]
    if side == "cross_encoder":
        return arguments.st_python  # type: ignore[no-any-return]
    return Path(sys.executable)


def write_texts(place: Path, renderer: Renderer, groups: Sequence[Group]) -> dict[str, Any]:
    """A set of texts as the sides take it: all answers of each group, group after group.

    Beside whole texts and their ids stand the same in two parts, for peers that take two: cut
    where the last turn begins, which is a special token, so that the ids are those of the whole.
    """
    rows = [
        {
            "prompt": [message.as_dict() for message in group.prompt],
            "responses": [[m.as_dict() for m in answer.messages] for answer in group.responses],
        }
        for group in groups
    ]
    place.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    items = [(group, index) for group in groups for index in range(len(group.responses))]
    rendered = renderer.render_many(items)
    texts = [found.text for found in rendered]
    ids = renderer.tokenizer(texts, add_special_tokens=False)["input_ids"]
    if ids != [list(found.ids) for found in rendered]:
        raise SystemExit("a row's text is not tokenised as Assay reads it: give other rows")
    starts = [text.rindex("<|im_start|>") for text in texts]
    parts = [(text[:start], text[start:]) for text, start in zip(texts, starts, strict=True)]
    return {"rows": str(place), "texts": texts, "parts": parts, "ids": ids}


def settings_with(
    arguments: argparse.Namespace, model: Path, renderer: Renderer, **sets: Sequence[Group]
) -> Settings:
    """What the sides need to know: the model, and sets of texts, written beside it."""
    texts = {
        name: write_texts(model.with_name(f"{name}.jsonl"), renderer, groups)
        for name, groups in sets.items()
    }
    return {"model": str(model), "engine": arguments.engine, **texts}


def measure(
    arguments: argparse.Namespace,
    candidates: Sequence[str],
    settings_of: Callable[[argparse.Namespace, Path], Settings],
) -> tuple[Settings, Measured]:
    """Load all sides, then let them take turns; also what they were told, made in a directory."""
    with tempfile.TemporaryDirectory(prefix="score-rounds-") as scratch, ExitStack() as stack:
        settings = settings_of(arguments, Path(scratch))
        path = Path(scratch) / "settings.json"
        path.write_text(json.dumps(settings), encoding="utf-8")
        workers = {
            side: stack.enter_context(worker(side, arguments, path))
            for side in sides_of(arguments, candidates)
        }
        rounds = [run_round(workers, number) for number in range(arguments.rounds)]
        return settings, Measured({side: found.hello for side, found in workers.items()}, rounds)


@contextmanager
def worker(side: str, arguments: argparse.Namespace, settings: Path) -> Iterator[Worker]:
    """A side that is loaded and warm."""
    script = str(Path(__file__).with_name("score_sides.py"))
    print(f"loading {side} ...", flush=True)
    process = subprocess.Popen(
        [str(python_of(side, arguments)), script, side, str(settings)],
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
    """The next line of a side; the benchmark ends where a side has ended."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"exit code {process.wait()}: {process.args!r}")
    answer: dict[str, Any] = json.loads(line)
    return answer


def run_round(workers: dict[str, Worker], number: int) -> Found:
    """Every side once, one after the other, another one first each round."""
    order = list(workers)
    order = order[number % len(order) :] + order[: number % len(order)]
    found = {side: workers[side].score() for side in order}
    seconds = {side: round(answer["seconds"], 2) for side, answer in found.items()}
    print(f"round {number + 1}, seconds: {seconds}", flush=True)
    return found


def figures_of(
    measured: Measured, *, unit: str, count: int, bars: dict[str, float]
) -> dict[str, Any]:
    """Speeds, ratios and how far scores are apart, over all rounds.

    Args:
        measured: all rounds.
        unit: what a round scores `count` of: pairs, answers.
        count: of a round.
        bars: by peer, how many times as fast Assay is asked to be.
    """
    rounds, sides = measured.rounds, list(measured.hellos)
    speeds = {side: [count / found[side]["seconds"] for found in rounds] for side in sides}
    ratios: dict[str, float] = {}
    for peer in sides[1:]:
        faster = [a / b for a, b in zip(speeds["assay"], speeds[peer], strict=True)]
        ratios |= ratio(f"ratio_vs_{peer}", faster)
    first = rounds[0]["assay"]["scores"]
    return {
        f"{unit}_per_second": {side: spread(values) for side, values in speeds.items()},
        **ratios,
        "score_std": statistics.pstdev(first),
        "max_score_difference": {
            side: max(largest_difference(first, found[side]["scores"]) for found in rounds)
            for side in sides
        },
        "bars": {
            f"ratio_vs_{peer}": bar(ratios[f"ratio_vs_{peer}"], asked)
            for peer, asked in bars.items()
            if peer in sides
        },
        "sides": measured.hellos,
        "rounds": [
            {"order": list(found), "seconds": {side: found[side]["seconds"] for side in found}}
            for found in rounds
        ],
    }


def concluded(figures: dict[str, Any], output: Path) -> int:
    """Print the bars and write the result; 1, and no result, where the sides disagree."""
    print_bars(figures["bars"])
    fault = disagreement(figures)
    if fault is not None:
        print(fault, file=sys.stderr)
        return 1
    write_result(output, figures, ("assay", "torch", "transformers"))
    return 0


def disagreement(figures: dict[str, Any]) -> str | None:
    """What says that the sides did not compute the same thing; None if they did."""
    differences = figures["max_score_difference"]
    worst = max(differences, key=lambda side: float(differences[side]))
    if differences[worst] <= SCORES_AGREE:
        return None
    return f"the scores of {worst} differ by {differences[worst]:.1e}, more than {SCORES_AGREE}"


def largest_difference(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Of two lists of scores of the same texts; infinite where one is no number."""
    apart = [abs(a - b) for a, b in zip(ours, theirs, strict=True)]
    return max(math.inf if math.isnan(one) else one for one in apart)
