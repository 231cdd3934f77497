"""Kill `assay score` at random moments, run it again, and compare the outputs byte for byte.

    .venv/bin/python benchmarks/torture_score.py [--kills 20] [--rows 40000] [--seed N]

Generated rows, one in 1,000 of them broken, and a tiny model. Each round is killed with SIGKILL at
a random moment of the time that an unbroken job takes (most of what it takes to import left out),
every second one twice, and then run to its end; every fourth writes Parquet. Prints a line each;
exit code 1 on any difference.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from prepare_rows import write_rows
from torture_train import make_base


def make_model(directory: Path) -> Path:
    """A tiny reward model, its head drawn."""
    from assay.config import ModelConfig
    from assay.model.loading import build_for_training
    from assay.model.saving import save_plain

    base = make_base(directory / "base")
    config = ModelConfig(path=str(base), template="chatml")
    model = build_for_training(config, None, seed=1, max_length=512, device="cpu")
    save_plain(model, directory / "model")
    return directory / "model"


class Torture:
    """Unbroken outputs to compare with, and broken jobs beside them."""

    def __init__(self, folder: Path, rows: int) -> None:
        self.folder = folder
        self.rows = folder / "rows.jsonl"
        write_rows(self.rows, rows, words=8)
        lines = self.rows.read_text(encoding="utf-8").splitlines()
        lines[500::1000] = ["{broken" for _ in lines[500::1000]]
        self.rows.write_text("\n".join(lines), encoding="utf-8")
        self.model = make_model(folder)

    def start(self, output: Path) -> subprocess.Popen[bytes]:
        command = [
            *(sys.executable, "-m", "assay", "score", "--model", self.model, "--input", self.rows),
            *("--output", output, "--on-bad-row", "skip"),
        ]
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        with (self.folder / "said.txt").open("wb") as said:
            return subprocess.Popen(
                [str(word) for word in command], stdout=said, stderr=said, env=environment
            )

    def finish(self, output: Path) -> float:
        started = time.perf_counter()
        if self.start(output).wait() != 0:
            raise SystemExit((self.folder / "said.txt").read_text(errors="replace"))
        return time.perf_counter() - started

    def kill(self, output: Path, after: float) -> str:
        """Kill after so many seconds; what was there then."""
        process = self.start(output)
        try:
            process.wait(after)
        except subprocess.TimeoutExpired:
            process.kill()
        ended = "killed" if process.wait() == -signal.SIGKILL else "had finished"
        parts = len(list(parts_of(output).glob("window-*")))
        return f"{ended} after {after:.2f} s with {parts} parts"


def parts_of(output: Path) -> Path:
    return output.with_name(f"{output.name}.parts")


def files(folder: Path) -> dict[str, str]:
    """Everything in a folder, by its content."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "directory"
        for path in sorted(folder.iterdir())
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--seed", type=int, default=None)
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(10**6)
    draw, failures = random.Random(seed), 0
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="torture-score-") as scratch:
        torture = Torture(Path(scratch), arguments.rows)
        expected: dict[str, dict[str, str]] = {}
        begins = seconds = 0.0
        for name in ("o.jsonl", "o.parquet"):
            folder = torture.folder / "unbroken" / name
            seconds = torture.finish(folder / name)
            expected[name] = files(folder)
            print(f"unbroken {name}: {seconds:.1f} s", flush=True)
        begins = min(4.0, seconds / 2)
        for number in range(1, arguments.kills + 1):
            name = "o.jsonl" if number % 4 else "o.parquet"
            folder = torture.folder / f"broken-{number}"
            output = folder / name
            moments = [draw.uniform(0.7 * begins, seconds) for _ in range(1 + number % 2)]
            said = []
            for moment in moments:
                if not output.exists():
                    said.append(torture.kill(output, moment))
            if not output.exists() or parts_of(output).exists():
                torture.finish(output)
            same = files(folder) == expected[name]
            failures += not same
            verdict = "identical" if same else "DIFFERENT"
            print(f"{number}: {name}: {'; '.join(said)}: {verdict}", flush=True)
            shutil.rmtree(folder)
    print(f"{arguments.kills - failures} of {arguments.kills} outputs identical (seed {seed})")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
