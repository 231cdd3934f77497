"""What a GPU computes, and how fast: exactness of its kernels, training against TRL at 8B shapes.

    .venv/bin/python benchmarks/gpu.py --trl-python .venv-trl/bin/python
        [--modes lora full] [--layers N] [--prompts 64 512 ...] [--responses 64 256 ...]
        [--counts 2 4 16] [--rounds 2] [--steps 3] [--exactness-only]

Without a GPU it measures nothing, says so and ends with 0. Figures go to
benchmarks/results/gpu.json and gpu.md.

Exactness: `gpu_exactness.py` says what is compared. A row over its bar is printed, exit code 1.

Throughput: Llama 3.1 8B's shape with random weights, which compute as trained ones do. A cell of
the grid is a mode, a length of prompts, a length of responses and how many there are to a prompt.
Each side is a process of its own for each cell and round, one after the other, the order swapped
every round; 1 step warms up (and compiles), the others are timed, the GPU synchronised around them.
Equal on both sides: weights by seed, token ids, comparisons, AdamW, clipping, learning rates,
bfloat16 (full: float32 weights under autocast; LoRA: rank 16 on all linear layers, bfloat16
backbone), gradient checkpointing, and the tokens of a forward pass at most. TRL gets what suits it:
all sequences of a cell have one length, so that nothing is padded, and comparisons are of
neighbours, so that it, too, computes each response once (all comparisons of 16 responses would be
15 times that). It takes FlashAttention where its environment has flash-attn, else torch's
attention. That both did the same work is checked by the losses and by TRL's count of tokens. A cell
that does not fit into memory says so.

Full training of 8B holds 16 bytes a parameter, 120 GB: by default its backbone has 12 layers,
LoRA's all 32. `--layers` cuts both, and the figures say how many there were.

`--tiny --device cpu` runs all of it at a toy's shapes, to see that it runs: it says that it
measures nothing, and leaves benchmarks/results alone.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from command_line import parser_of
from gpu_shapes import LLAMA_8B, TINY, Cell
from result_file import RESULTS, write_result
from tables import commit, line, ratio, spread

UNMEASURED = "unmeasured: no CUDA device"
FULL_LAYERS = 12
STEP_TOKENS = 65536
"""Tokens of all sequences of a step, about."""
LOSSES_AGREE = {"float32": 1e-3, "bfloat16": 3e-2}
HERE = Path(__file__).parent


def main() -> int:
    arguments = parse_arguments()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print(UNMEASURED)
        return 0
    figures: dict[str, Any] = {"about": about(arguments), "measured": not arguments.tiny}
    from gpu_exactness import missed, table

    figures["exactness"] = table(torch.device(arguments.device))
    over = missed(figures["exactness"])
    if not arguments.exactness_only:
        figures |= {"trl": str(arguments.trl_python or "not run"), "cells": grid(arguments)}
    text = markdown(figures)
    print(text)
    if arguments.output is not None:
        write_result(arguments.output, figures | hardware(arguments), ("assay", "torch"))
        arguments.output.with_suffix(".md").write_text(text, encoding="utf-8")
    print("\n".join(over))
    return 1 if over else 0


def parse_arguments() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--trl-python", type=Path, help="interpreter that has TRL")
    parser.add_argument("--modes", nargs="+", choices=["lora", "full"], default=["lora", "full"])
    parser.add_argument("--layers", type=int, help="of the backbone, in both modes")
    parser.add_argument("--prompts", nargs="+", type=int, default=[64, 512, 1024, 4096])
    parser.add_argument("--responses", nargs="+", type=int, default=[64, 256, 1024])
    parser.add_argument("--counts", nargs="+", type=int, default=[2, 4, 16])
    parser.add_argument("--budget", type=int, default=16384, help="tokens of a forward pass")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3, help="timed steps of a round")
    parser.add_argument("--no-checkpointing", action="store_true", help="keep all activations")
    parser.add_argument("--exactness-only", action="store_true")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a toy's shapes: measures nothing")
    parser.add_argument("--output", type=Path, help="default: benchmarks/results/gpu.json")
    arguments = parser.parse_args()
    if arguments.device == "cpu" and not arguments.tiny:
        parser.error("a CPU computes --tiny shapes only")
    if any(count % 2 for count in arguments.counts):
        parser.error("--counts are even: comparisons are of neighbours")
    if arguments.trl_python is not None and not arguments.trl_python.exists():
        parser.error(f"no interpreter at {arguments.trl_python}: make .venv-trl/.installed")
    if arguments.tiny:
        arguments.prompts, arguments.responses, arguments.counts = [8, 40], [8], [2, 4]
        arguments.budget, arguments.rounds, arguments.steps = 256, 1, 2
    elif arguments.output is None:
        arguments.output = RESULTS / "gpu.json"
    return arguments


def about(arguments: argparse.Namespace) -> str:
    if arguments.tiny:
        return f"a dry run at a toy's shapes on a {arguments.device}: these are no figures of a GPU"
    layers = " and ".join(f"{layers_of(mode, arguments)} ({mode})" for mode in arguments.modes)
    return (
        f"Llama 3.1 8B's shape with random weights, layers: {layers}; bfloat16, passes of at most "
        f"{arguments.budget} tokens, {arguments.rounds} rounds of {arguments.steps} steps"
    )


def hardware(arguments: argparse.Namespace) -> dict[str, Any]:
    if arguments.device == "cpu":
        return {}
    properties = torch.cuda.get_device_properties(0)
    memory = properties.total_memory
    return {"gpu": {"name": properties.name, "memory": memory, "cuda": torch.version.cuda}}


def layers_of(mode: str, arguments: argparse.Namespace) -> int:
    whole = LLAMA_8B["num_hidden_layers"]
    assert isinstance(whole, int)
    return arguments.layers or (FULL_LAYERS if mode == "full" else whole)


# The grid


def grid(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    checked_out = commit()  # Somebody may commit while this runs.
    shapes = itertools.product(
        arguments.modes, arguments.prompts, arguments.responses, arguments.counts
    )
    found = []
    for mode, prompt, response, count in shapes:
        tokens = 1024 if arguments.tiny else STEP_TOKENS
        most = max(1, tokens // (count * (prompt + response)))
        cell = Cell(mode, prompt, response, count, 1 << (most.bit_length() - 1))
        found.append(measured(arguments, cell) | {"commit": checked_out})
        print(cell_line(found[-1]), flush=True)
    return found


def measured(arguments: argparse.Namespace, cell: Cell) -> dict[str, Any]:
    """Both sides of a cell, round after round."""
    sides = ["assay"] if arguments.trl_python is None else ["trl", "assay"]
    rounds: list[dict[str, Any]] = []
    for number in range(arguments.rounds):
        order = sides if number % 2 == 0 else sides[::-1]
        rounds.append({side: run_side(arguments, cell, side) for side in order})
        if any(found.get("out_of_memory") for found in rounds[-1].values()):
            break
    faults = [fault for found in rounds for fault in faults_of(arguments, cell, found)]
    if faults:
        raise SystemExit("\n".join(["the two sides did not do the same work:", *faults]))
    return summary(cell, rounds, sides) | {"layers": settings_of(arguments, cell)["layers"]}


def run_side(arguments: argparse.Namespace, cell: Cell, side: str) -> dict[str, Any]:
    """One process of one side; the seconds of its timed steps, its losses and its memory."""
    python = sys.executable if side == "assay" else str(arguments.trl_python)
    with tempfile.TemporaryDirectory(prefix="gpu-") as name:
        settings, output = Path(name) / "settings.json", Path(name) / "output.json"
        settings.write_text(json.dumps(settings_of(arguments, cell)), encoding="utf-8")
        command = [python, str(HERE / f"gpu_{side}_side.py"), str(settings), str(output)]
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        if subprocess.run(command, env=environment, check=False).returncode:
            raise SystemExit(f"failed: {' '.join(command)}")
        result: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    return result


def settings_of(arguments: argparse.Namespace, cell: Cell) -> dict[str, Any]:
    layers = TINY["num_hidden_layers"] if arguments.tiny else layers_of(cell.mode, arguments)
    return {
        "device": arguments.device,
        "dtype": "float32" if arguments.device == "cpu" else "bfloat16",
        "config": (TINY if arguments.tiny else LLAMA_8B) | {"num_hidden_layers": layers},
        "layers": layers,
        "cell": cell.as_dict(),
        "budget": arguments.budget,
        "checkpointing": not arguments.no_checkpointing,
        "warm": 1,
        "steps": arguments.steps,
    }


def faults_of(
    arguments: argparse.Namespace, cell: Cell, found: dict[str, dict[str, Any]]
) -> Iterator[str]:
    """What shows that the sides did not do the same work."""
    if any(side.get("out_of_memory") for side in found.values()):
        return
    steps = 1 + arguments.steps
    if any(len(side["seconds"]) != steps for side in found.values()):
        yield f"{cell}: not {steps} steps"
    if "trl" not in found:
        return
    if set(found["trl"]["computed_tokens"]) != {cell.logical_tokens}:
        yield f"{cell}: TRL counts {found['trl']['computed_tokens']}, not {cell.logical_tokens}"
    most = LOSSES_AGREE[settings_of(arguments, cell)["dtype"]]
    pairs = zip(found["assay"]["losses"], found["trl"]["losses"], strict=True)
    apart = [abs(ours - theirs) for ours, theirs in pairs]
    if not all(one <= most for one in apart):
        yield f"{cell}: losses are apart by {', '.join(f'{one:.1e}' for one in apart)}"


def summary(
    cell: Cell, rounds: Sequence[dict[str, dict[str, Any]]], sides: Sequence[str]
) -> dict[str, Any]:
    """The figures of a cell over all rounds."""
    figures: dict[str, Any] = {
        **cell.as_dict(),
        "pairs": cell.pairs,
        "logical_tokens": cell.logical_tokens,
        "tree_tokens": cell.tree_tokens,
        "token_ratio": cell.logical_tokens / cell.tree_tokens,
        "rounds": list(rounds),
    }
    full = [side for side in sides if any(found[side].get("out_of_memory") for found in rounds)]
    speeds = {
        side: [cell.pairs / statistics.median(found[side]["seconds"][1:]) for found in rounds]
        for side in sides
        if side not in full
    }
    figures["pairs_per_second"] = {
        side: "out of memory" if side in full else spread(speeds[side]) for side in sides
    }
    if len(speeds) == 2:
        both = zip(speeds["assay"], speeds["trl"], strict=True)
        figures |= ratio("ratio_vs_trl", [ours / theirs for ours, theirs in both])
    return figures


# The table


def markdown(figures: dict[str, Any]) -> str:
    head = ["family", "dtype", "engine", "kernel", "rewards", "gradients", "roundings"]
    lines = [figures["about"], "", line(head), line(["---"] * len(head))]
    for row in figures["exactness"]:
        roundings = ", ".join(f"{value:.2f}" for value in row.get("roundings", []))
        lines.append(
            line(
                [
                    *(str(row[name] or "-") for name in head[:4]),
                    f"{row['rewards']:.1e}",
                    f"{row['gradients']:.1e}",
                    roundings or "-",
                ]
            )
        )
    if "cells" in figures:
        head = ["mode", "prompt", "response", "responses", "Assay pairs/s", "TRL pairs/s"]
        head += ["ratio", "tokens / tree tokens"]
        lines += ["", line(head), line(["---"] * len(head)), *map(cell_line, figures["cells"])]
    return "\n".join([*lines, ""])


def cell_line(found: dict[str, Any]) -> str:
    shape = [str(found[name]) for name in ("mode", "prompt", "response", "responses")]
    speeds = [shown(found["pairs_per_second"].get(side)) for side in ("assay", "trl")]
    faster = f"{found['ratio_vs_trl']:.2f}" if "ratio_vs_trl" in found else "-"
    return line([*shape, *speeds, faster, f"{found['token_ratio']:.2f}"])


def shown(speed: dict[str, float] | str | None) -> str:
    if speed is None:
        return "not run"
    return speed if isinstance(speed, str) else f"{speed['median']:.2f}"


if __name__ == "__main__":
    sys.exit(main())
