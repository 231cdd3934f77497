r"""Scored pairs a second: Assay, and what else scores a pair on a CPU; float32.

    .venv/bin/python benchmarks/score_speed.py [--vllm-python .venv-vllm/bin/python]
        [--st-python .venv-st/bin/python] [--data FILE] [--pairs 32] [--rounds 3] [--engine NAME]

All sides score the same conversations of hh-rlhf, both of each row, with the same model
(SmolLM2-135M with a seeded head) and so many threads, in the rounds of score_rounds.py. A peer
stands here as it comes, and as its caller can make it faster:

- assay: `score_items`, what `assay score` calls; rendering and tokenising are in its time.
- transformers: `pipeline("text-classification")` on rendered texts in the order of the file, the
  best of several batch sizes, found in a probe before the first round; `transformers_sorted`: its
  caller sorts the texts by length.
- cross_encoder: `CrossEncoder.predict` of sentence-transformers, which sorts by length itself and
  tokenises prompt and answer as two texts; the best of the same batch sizes.
- vllm: the pooling runner on token ids, compiled (which takes a C++ compiler and minutes), prefix
  caching on and emptied before every round; by itself it binds its threads to one of two cores and
  caches blocks of 128 tokens. `vllm_tuned`: threads bound to all cores, Intel's OpenMP preloaded as
  its installation guide says, blocks of 32 tokens, the smallest that it recommends.

All rewards are raw ones and are compared with ours: beyond 1e-3 the sides did not compute the same
thing, and that is exit code 1. A missed bar (3.8 times transformers, 2.5 times vLLM, both as they
come; the others have none, and stand beside) is printed and is no error. Figures go to
benchmarks/results/score_speed.json. Takes a quarter of an hour on 2 idle cores, half of it for
vLLM's start.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

from command_line import HH, is_missing, parser_of
from result_file import RESULTS
from score_rounds import Settings, add_arguments, concluded, figures_of, measure, settings_with
from starting_model import SMOLLM2, save_starting_model
from tables import commit

from assay import RewardModel
from assay.data.encoding import encode_groups
from assay.data.loading import load_groups
from assay.data.sources import DataSource

SIDES = ("assay", "transformers", "transformers_sorted", "cross_encoder", "vllm", "vllm_tuned")
BARS = {"transformers": 3.8, "vllm": 2.5}
SEED = 42
WARM, PROBE = 4, 16


def main() -> int:
    arguments = parse_arguments()
    if is_missing(arguments.data):
        return 0
    checked_out = commit()  # Somebody may commit while this runs.
    settings, measured = measure(arguments, SIDES, settings_of)
    figures = {
        "about": f"{SMOLLM2}, {arguments.pairs} pairs, max_length {arguments.max_length}, float32, "
        f"{arguments.threads} threads, {arguments.rounds} rounds",
        "data": arguments.data.name,
        **figures_of(measured, unit="pairs", count=arguments.pairs, bars=BARS),
        "engine_asked_for": arguments.engine,
        "tokens": sum(map(len, settings["timed"]["ids"])),
        "commit": checked_out,
    }
    return concluded(figures, arguments.output)


def parse_arguments() -> argparse.Namespace:
    parser = parser_of(__doc__)
    add_arguments(parser, rounds=3)
    parser.add_argument("--data", type=Path, default=HH, help="rows of preferences")
    parser.add_argument("--pairs", type=int, default=32)
    parser.add_argument("--max-length", type=int, default=512, help="longer rows are left out")
    parser.add_argument("--output", type=Path, default=RESULTS / "score_speed.json")
    return parser.parse_args()


def settings_of(arguments: argparse.Namespace, scratch: Path) -> Settings:
    """What the sides need to know: the model, and the texts drawn with a fixed seed."""
    model = scratch / "model"
    save_starting_model(SMOLLM2, model, max_length=arguments.max_length)
    groups = load_groups([DataSource(str(arguments.data))], group_by="row").groups
    renderer = RewardModel.load(str(model), device="cpu", dtype="float32").renderer
    pool = encode_groups(groups, renderer, max_length=arguments.max_length).groups
    needed = arguments.pairs + WARM
    if len(pool) < needed:
        raise SystemExit(f"{len(pool)} usable rows are too few for {needed}: fewer --pairs")
    drawn = [encoded.group for encoded in random.Random(SEED).sample(pool, needed)]
    warm, timed = drawn[:WARM], drawn[WARM:]
    return settings_with(arguments, model, renderer, warm=warm, timed=timed, probe=timed[:PROBE])


if __name__ == "__main__":
    sys.exit(main())
