"""What the tests of training share: rows, recipes, real processes that die when told, and the
comparison of two runs bit for bit. `benchmarks/torture_train.py` uses it too.

Processes fork from one warmed server (multiprocessing's own), so that torch and transformers are
imported once. A process dies through an audit hook: Python names each file operation before it
happens (`os.rename`, `open`, ...), and the hook kills it there with SIGKILL.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from assay.config import Recipe
from assay.recipe import dump_recipe

MEASURED = {"seconds", "pairs_per_second", "peak_memory_bytes"}
"""Fields of train_log.jsonl that a clock decides."""


def rows(prompts: int, *, prefix: str = "") -> list[dict[str, str]]:
    """CValues rows: three comparisons a prompt, one for every third, lengths of all kinds."""
    types = {"good": "拒绝&正向建议", "plain": "拒绝为主", "bad": "风险回复"}
    found = []
    for number in range(prompts):
        text = {
            kind: f"{kind} answer {number} {'so ' * ((3 * number + place) % 7)}".strip()
            for place, kind in enumerate(types)
        }
        pairs = [("good", "plain"), ("good", "bad"), ("plain", "bad")]
        for better, worse in pairs if number % 3 else pairs[1:2]:
            found.append(
                {
                    "prompt": f"{prefix}question {number}{' why' * (number % 4)}?",
                    "pos_resp": text[better],
                    "neg_resp": text[worse],
                    "pos_type": types[better],
                    "neg_type": types[worse],
                }
            )
    return found


def write_lines(path: Path, lines: list[Any]) -> Path:
    """Rows as JSON lines; a text stands as it is."""
    text = (x if isinstance(x, str) else json.dumps(x, ensure_ascii=False) for x in lines)
    path.write_text("".join(f"{line}\n" for line in text), encoding="utf-8")
    return path


def recipe(
    base: Path, train: Path, output: Path, *, evals: object = (), **changes: object
) -> Recipe:
    """Two epochs of a tiny run; `changes` go to `train`, but for `lora`, `model` and `data`."""
    sections: dict[str, Any] = {key: changes.pop(key, None) for key in ("lora", "model", "data")}
    return Recipe.model_validate(
        {
            "model": {"path": str(base)} | (sections["model"] or {}),
            "lora": sections["lora"],
            "data": {"train": str(train), "eval": list(evals), "max_dropped": 1}  # type: ignore[call-overload]
            | (sections["data"] or {}),
            "train": {
                "learning_rate": 1e-3,
                "max_length": 128,
                "max_tokens_per_pack": 160,
                "global_batch_size": 2,
                "num_train_epochs": 2,
                "save_steps": 1,
                "save_total_limit": None,
                "logging_steps": 1,
                "seed": 3,
                "device": "cpu",
            }
            | changes,
            "output_dir": str(output),
        }
    )


def recipe_file(path: Path, checked: Recipe) -> Path:
    """A recipe as the YAML that the command reads."""
    path.write_text(dump_recipe(checked), encoding="utf-8")
    return path


@dataclass(frozen=True)
class Fault:
    """Die at the last of some audit events, seen in this order: (event, part of its path).

    With `file_limit` the process goes on instead, and the kernel kills it (SIGXFSZ) inside the
    next write that would make a file longer than this: a kill in mid-write, in native code too.
    `sent` is another signal than SIGKILL.
    """

    events: tuple[tuple[str, str], ...] = ()
    file_limit: int | None = None
    sent: signal.Signals = signal.SIGKILL

    def arm(self) -> None:
        """Install the hook in this process."""
        waiting = list(self.events)

        def hook(event: str, args: tuple[object, ...]) -> None:
            if waiting and event == waiting[0][0] and waiting[0][1] in str(args[0]):
                waiting.pop(0)
                if not waiting:
                    self._strike()

        sys.addaudithook(hook)

    def _strike(self) -> None:
        if self.file_limit is None:
            os.kill(os.getpid(), self.sent)
        else:
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.file_limit, self.file_limit))


def _command(argv: list[str], fault: Fault, said: str) -> None:
    """In the child: the command itself, its output in a file."""
    from tqdm import tqdm

    from assay.cli import main

    # By default tqdm makes a semaphore, which a killed process never gives back.
    tqdm.set_lock(threading.RLock())
    # As in a terminal, wherever the tests were started: workers' server is deaf to Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    sys.argv = ["assay", *argv]
    if fault.events:
        fault.arm()
    main()


@dataclass
class Ended:
    """How a process ended: its exit code (-9 for SIGKILL) and all that it said."""

    code: int | None
    said: str


@dataclass
class Processes:
    """Starts real processes that run an `assay` command line."""

    directory: Path
    count: int = 0
    context: ForkServerContext = field(
        default_factory=lambda: multiprocessing.get_context("forkserver")
    )

    def __post_init__(self) -> None:
        self.context.set_forkserver_preload(
            [
                "assay.cli",
                "assay.train.loop",
                "peft",
                "safetensors.torch",
                "transformers.models.llama.modeling_llama",
                "transformers.models.auto.modeling_auto",
                "tiny_runs",
            ]
        )

    def start(self, *argv: object, fault: Fault = Fault()) -> tuple[ForkServerProcess, Path]:
        """Start a command; its output goes to the returned file."""
        self.count += 1
        said = self.directory / f"said-{self.count}.txt"
        process = self.context.Process(
            target=_command, args=([str(word) for word in argv], fault, str(said))
        )
        process.start()
        return process, said

    def run(self, *argv: object, fault: Fault = Fault(), kill_after: float | None = None) -> Ended:
        """Run a command to its end, or kill it after so many seconds."""
        process, said = self.start(*argv, fault=fault)
        process.join(kill_after if kill_after is not None else 120)
        if process.is_alive():
            process.kill()
            process.join()
        text = said.read_text(encoding="utf-8") if said.exists() else ""
        return Ended(process.exitcode, text)


def differences(run: Path, other: Path) -> list[str]:
    """Where two finished runs differ, but for times and paths; empty when they are bit-equal.

    Compared: every log entry, the last checkpoint (weights, moments, trainer state), the model,
    the adapter, each evaluation. A finished run also has nothing half-written lying about.
    """
    found = [f"{path} was left behind" for path in run.rglob(".*")]
    found += _unequal("train_log.jsonl", _log(run), _log(other))
    last = max((path.name for path in (other / "checkpoints").iterdir()), key=_step)
    names = sorted(str(path.relative_to(other)) for path in _weights(other, last))
    found += _unequal(
        "files", sorted(str(path.relative_to(run)) for path in _weights(run, last)), names
    )
    for name in names:
        if (run / name).exists():
            found += _unequal(name, _tensors(run / name), _tensors(other / name))
    for name in (f"checkpoints/{last}/trainer.json", *_evaluations(other)):
        found += _unequal(name, _text(run / name), _text(other / name))
    return found


def _step(name: str) -> int:
    return int(name.rsplit("-", 1)[-1])


def log_of(run: Path) -> list[dict[str, Any]]:
    """The entries of a run's log."""
    lines = (run / "train_log.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _log(run: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in entry.items() if k not in MEASURED} for entry in log_of(run)]


def _weights(run: Path, last: str) -> Iterator[Path]:
    for part in ("model", "adapter", f"checkpoints/{last}"):
        yield from (run / part).rglob("*.safetensors")


def _tensors(path: Path) -> dict[str, bytes]:
    return {name: tensor.tobytes() for name, tensor in load_file(path).items()}


def _evaluations(run: Path) -> list[str]:
    return sorted(str(path.relative_to(run)) for path in run.glob("eval/*/comparisons.jsonl"))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else "(not there)"


def _unequal(what: str, one: Any, other: Any) -> list[str]:
    if one == other:
        return []
    if isinstance(one, dict) and isinstance(other, dict):
        keys = [key for key in one.keys() | other.keys() if one.get(key) != other.get(key)]
        return [f"{what}: {len(keys)} of {len(other)} tensors differ, {sorted(keys)[0]}"]
    if isinstance(one, list) and isinstance(other, list):
        pairs = zip(one, other, strict=False)
        place = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
        return [f"{what}: {len(one)} against {len(other)} entries, first difference at {place}"]
    return [f"{what} differs"]
