"""Kill training at random moments, resume it, and compare with the unbroken run bit for bit.

`make torture`. A tiny model, 20 runs; every run is killed with SIGKILL at a random moment, and its
first continuation too in every second run. Prints a line each and a summary; exit code 1 on any
difference. `--seed` gives other moments.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "train"))

from tiny_runs import Processes, differences, recipe, recipe_file, rows, write_lines

LORA = {"r": 4, "alpha": 8, "dropout": 0.1, "target_modules": "all-linear"}
KINDS: dict[str, dict[str, object]] = {
    "full": {},
    "lora": {"lora": LORA},
}


def make_base(directory: Path) -> Path:
    """A random two-layer Llama with a byte-level tokenizer."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(["a good answer to a question"], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=512,
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


class Torture:
    """Unbroken runs to compare with, and broken ones beside them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes = Processes(folder)
        self.base = make_base(folder / "base")
        self.train = write_lines(folder / "train.jsonl", list(rows(7)))
        self.test = write_lines(folder / "test.jsonl", list(rows(3, prefix="unseen ")))
        self.seconds: dict[str, float] = {}

    def recipe_for(self, kind: str, name: str) -> Path:
        checked = recipe(
            self.base,
            self.train,
            self.folder / name,
            evals=[str(self.test)],
            model={"template": "chatml"},
            num_train_epochs=3,
            save_total_limit=2,
            eval_steps=3,
            **KINDS[kind],
        )
        return recipe_file(self.folder / f"{name}.yaml", checked)

    def unbroken(self, kind: str) -> None:
        """The second of two runs is timed: the first one warms the files and the server."""
        for name in (f"warm-{kind}", f"unbroken-{kind}"):
            started = time.perf_counter()
            ended = self.processes.run("train", self.recipe_for(kind, name))
            self.seconds[kind] = time.perf_counter() - started
            if ended.code != 0:
                raise SystemExit(f"the unbroken run failed: {ended.said}")

    def broken(self, kind: str, number: int, random: random.Random) -> tuple[str, list[str]]:
        """Kill, perhaps kill again, go on to the end; what happened and what differs."""
        name = f"broken-{number}"
        file, run = self.recipe_for(kind, name), self.folder / name
        what = []
        for attempt in range(1 + number % 2):
            more = ["--resume", "auto"] if attempt else []
            moment = random.uniform(0, self.seconds[kind])
            started = time.perf_counter()
            killed = self.processes.run("train", file, *more, kill_after=moment)
            while killed.code == 0 and not attempt:  # it was faster this time: again
                self.seconds[kind] = min(self.seconds[kind], time.perf_counter() - started)
                shutil.rmtree(run)
                moment = random.uniform(0, self.seconds[kind])
                started = time.perf_counter()
                killed = self.processes.run("train", file, kill_after=moment)
            end = f"{moment:.2f} s" if killed.code else "no moment, it had finished"
            what.append(f"{end}, {self._state(run)}")
            if killed.code not in (-signal.SIGKILL, 0):
                return "; ".join(what), [f"exit code {killed.code}: {killed.said[-500:]}"]
        ended = self.processes.run("train", file, "--resume", "auto")
        if ended.code != 0:
            return "; ".join(what), [f"exit code {ended.code}: {ended.said[-500:]}"]
        found = differences(run, self.folder / f"unbroken-{kind}")
        if not found:
            shutil.rmtree(run)
        return "; ".join(what), found

    @staticmethod
    def _state(run: Path) -> str:
        log = run / "train_log.jsonl"
        lines = log.read_bytes().count(b"\n") if log.exists() else 0
        half = sorted(path.name for path in run.rglob(".*")) if run.exists() else []
        return f"{lines} lines logged" + (f", half-written: {', '.join(half)}" if half else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="runs to break")
    parser.add_argument("--seed", type=int, default=None, help="of the moments")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else time.time_ns() % 10**6
    chance = random.Random(seed)
    folder = Path(tempfile.mkdtemp(prefix="assay-torture-"))
    print(f"seed {seed}, in {folder}")
    torture = Torture(folder)
    for kind in KINDS:
        torture.unbroken(kind)
    failed = 0
    taken = []
    for number in range(options.kills):
        kind = list(KINDS)[number // 2 % len(KINDS)]
        started = time.perf_counter()
        what, found = torture.broken(kind, number, chance)
        taken.append(time.perf_counter() - started)
        failed += bool(found)
        print(f"{number + 1:3d} {kind:4s} {'DIFFERS' if found else 'equal  '} killed at {what}")
        for difference in found:
            print(f"      {difference}")
        sys.stdout.flush()
    print(
        f"{options.kills - failed} of {options.kills} resumed runs equal the unbroken run bit for "
        f"bit; {statistics.mean(taken):.1f} s each (unbroken: "
        f"{', '.join(f'{kind} {s:.1f} s' for kind, s in torture.seconds.items())})"
    )
    if failed:
        print(f"the runs that differ are in {folder}; again: --seed {seed}")
        raise SystemExit(1)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
