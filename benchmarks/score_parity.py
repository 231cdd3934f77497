r"""`assay score` against transformers' own padded batches, on real rows, in float32 on the CPU.

Two figures, each the largest absolute difference between two rewards of the same conversation:

- theirs: the real command on a file, against `AutoModelForSequenceClassification` on the same
  directory, with its tokenizer's chat template, right padding, batches of 8 conversations in file
  order and the scored position that transformers finds by itself;
- alone: the same command, against each conversation of 20 rows in a batch of its own.

The number of tokens that both sides read must also agree. Rows have the two fields of hh-rlhf and
are read here without Assay's code. Exit code 1 above 1e-4.

    .venv/bin/python benchmarks/score_parity.py [--rows 200] [--data FILE] [--model DIR]

Without --model the model is SmolLM2 (pulled once) with a head drawn from a seed: minutes
on 2 idle cores. Figures go to benchmarks/results/score_parity.json.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from command_line import HH, parser_of
from result_file import RESULTS, write_result

BAR = 1e-4
BATCH = 8
ALONE_ROWS = 20

Conversation = list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Read:
    """What one side made of a conversation."""

    reward: float
    num_tokens: int


def main() -> int:
    arguments = parse_arguments()
    if not arguments.data.exists():
        print(f"skipped: no rows at {arguments.data}; name a file of hh-rlhf rows with --data")
        return 0
    with tempfile.TemporaryDirectory(prefix="score-parity-") as scratch:
        model = arguments.model or made_model(Path(scratch) / "model")
        rows = read_rows(arguments.data, arguments.rows)
        ours = score_command(model, rows, Path(scratch))
        theirs = list(transformers_batches(model, rows))
        alone_at = spread(len(rows), ALONE_ROWS)
        alone = score_alone(model, [rows[index] for index in alone_at])
    figures = compare(ours, theirs, alone_at, alone)
    figures |= {"model": str(arguments.model or "SmolLM2, seeded head"), "rows": len(rows)}
    for name, value in figures.items():
        print(f"{name}: {value}")
    write_result(
        arguments.output, figures, ("assay", "torch", "transformers", "tokenizers", "safetensors")
    )
    return 0 if figures["passed"] else 1


def parse_arguments() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--rows", type=int, default=200, help="rows, two conversations each")
    parser.add_argument("--data", type=Path, default=HH, help="JSON lines of hh-rlhf rows")
    parser.add_argument("--model", type=Path, help="directory of a reward model")
    parser.add_argument("--output", type=Path, default=RESULTS / "score_parity.json")
    return parser.parse_args()


def made_model(directory: Path) -> Path:
    from starting_model import SMOLLM2, save_starting_model

    save_starting_model(SMOLLM2, directory, max_length=8192)
    return directory


def read_rows(path: Path, count: int) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in islice(file, count)]


def conversations(rows: Sequence[dict[str, str]]) -> list[Conversation]:
    """Chosen and rejected of each row, in turn."""
    return [turns(row[field]) for row in rows for field in ("chosen", "rejected")]


def turns(text: str) -> Conversation:
    """The messages of one hh-rlhf text."""
    _, *pieces = re.split(r"\n\n(Human|Assistant):", text)
    roles = {"Human": "user", "Assistant": "assistant"}
    return [
        {"role": roles[name], "content": content.strip()}
        for name, content in zip(pieces[::2], pieces[1::2], strict=True)
    ]


def score_command(model: Path, rows: Sequence[dict[str, str]], scratch: Path) -> list[Read]:
    """Rewards as the command writes them, chosen and rejected of each row in turn."""
    source, output = scratch / "rows.jsonl", scratch / "scored.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    command = [sys.executable, "-m", "assay", "score", "--model", str(model)]
    command += ["--input", str(source), "--output", str(output)]
    subprocess.run([*command, "--device", "cpu", "--dtype", "float32"], check=True)
    reads = []
    for line in output.read_text(encoding="utf-8").splitlines():
        scored = json.loads(line)["assay"]
        if any(scored["truncated"]):
            raise SystemExit("a row is longer than the model's context: give shorter rows")
        reads += [Read(*pair) for pair in zip(scored["scores"], scored["num_tokens"], strict=True)]
    return reads


def transformers_batches(model: Path, rows: Sequence[dict[str, str]]) -> Iterator[Read]:
    """Rewards as a user of plain transformers would compute them."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model, padding_side="right")
    classifier = AutoModelForSequenceClassification.from_pretrained(model, dtype=torch.float32)
    classifier.eval()
    texts = conversations(rows)
    for start in range(0, len(texts), BATCH):
        batch = tokenizer.apply_chat_template(
            texts[start : start + BATCH], padding=True, return_dict=True, return_tensors="pt"
        )
        with torch.inference_mode():
            rewards = classifier(**batch).logits[:, 0]
        for reward, length in zip(rewards, batch["attention_mask"].sum(1), strict=True):
            yield Read(float(reward), int(length))


def score_alone(model: Path, rows: Sequence[dict[str, str]]) -> list[float]:
    """Rewards of conversations, each in a forward pass of its own, nothing beside it."""
    from assay import RewardModel

    loaded = RewardModel.load(str(model), device="cpu", dtype="float32")
    return [
        reward for text in conversations(rows) for reward in loaded.score(text[:-1], [text[-1]])
    ]


def spread(count: int, wanted: int) -> list[int]:
    """`wanted` indices below `count`, evenly spaced."""
    wanted = min(count, wanted)
    return [index * count // wanted for index in range(wanted)]


def compare(
    ours: Sequence[Read], theirs: Sequence[Read], alone_at: Sequence[int], alone: Sequence[float]
) -> dict[str, object]:
    """The figures; `reward_std` says against what size the differences stand."""
    pairs = list(zip(ours, theirs, strict=True))
    in_a_batch = [ours[2 * row + side].reward for row in alone_at for side in (0, 1)]
    to_theirs = max(abs(a.reward - b.reward) for a, b in pairs)
    to_alone = max(abs(a - b) for a, b in zip(in_a_batch, alone, strict=True))
    other_lengths = sum(a.num_tokens != b.num_tokens for a, b in pairs)
    return {
        "conversations": len(ours),
        "tokens": sum(read.num_tokens for read in ours),
        "reward_std": statistics.pstdev(read.reward for read in ours),
        "max_difference_to_transformers": to_theirs,
        "max_difference_alone_to_in_a_batch": to_alone,
        "conversations_alone": len(alone),
        "conversations_of_other_length": other_lengths,
        "bar": BAR,
        "passed": max(to_theirs, to_alone) <= BAR and not other_lengths,
    }


if __name__ == "__main__":
    sys.exit(main())
