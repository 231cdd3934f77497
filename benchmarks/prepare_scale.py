"""Two million generated pairs: memory of each process of `assay prepare`, and the first batch.

    .venv/bin/python benchmarks/prepare_scale.py [--rows 2000000] [--workers N] [--keep DIR]

The command runs as a process of its own; its resident memory and that of each of its children is
read every half second, that which only this process holds (anonymous) and all of it. Then another
process opens the store as training does and builds the first batch of 64 groups, in the order of a
training plan. Bars: no process above 2 GB, the first batch within 5 s of opening.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from prepare_rows import make_tokenizer, write_rows
from result_file import RESULTS, write_result
from tables import bar, commit, print_bars

MEMORY_BAR, SECONDS_BAR = 2e9, 5.0

FIRST_BATCH = """
import json, sys, time
from assay.data.store import open_store
from assay.train.plan import Plan
import resource
started = time.perf_counter()
data = open_store(sys.argv[1])
opened = time.perf_counter() - started
plan = Plan.of(len(data.groups), 64, 42, 1, None)
batch = [data.groups[number] for number in plan.groups_of(0)]
seconds = time.perf_counter() - started
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"open": opened, "seconds": seconds, "peak_bytes": peak,
                  "tokens": sum(group.num_tokens for group in batch)}))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--words", type=int, default=60, help="mean words of a text")
    parser.add_argument(
        "--scratch", type=Path, help="a directory with room for three times the rows"
    )
    parser.add_argument("--output", type=Path, default=RESULTS / "prepare_scale.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="prepare-scale-", dir=arguments.scratch) as name:
        folder = Path(name)
        rows = folder / "rows.jsonl"
        write_rows(rows, arguments.rows, words=arguments.words)
        print(f"{arguments.rows:,} rows, {rows.stat().st_size / 1e9:.2f} GB", flush=True)
        figures = prepare(folder, rows, arguments.workers)
        store = folder / "stores" / "train-1"
        size = sum(path.stat().st_size for path in store.iterdir())
        first = subprocess.run(
            [sys.executable, "-c", FIRST_BATCH, str(store)],
            capture_output=True,
            text=True,
            check=True,
        )
        figures |= {
            "about": f"{arguments.rows} generated pairs, {arguments.workers} processes",
            "rows": arguments.rows,
            "rows_bytes": rows.stat().st_size,
            "store_bytes": size,
            "first_batch": json.loads(first.stdout),
            "commit": commit(),
        }
    figures["pairs_per_second"] = arguments.rows / figures["seconds"]
    figures["bars"] = {
        "memory_bytes_of_a_process": bar(figures["peak_bytes"], MEMORY_BAR, at_most=True),
        "first_batch_seconds": bar(figures["first_batch"]["seconds"], SECONDS_BAR, at_most=True),
    }
    print(json.dumps({key: value for key, value in figures.items() if key != "bars"}, indent=1))
    print_bars(figures["bars"])
    write_result(arguments.output, figures, ("assay", "pyarrow", "tokenizers", "transformers"))
    return 0


def prepare(folder: Path, rows: Path, workers: int) -> dict[str, Any]:
    """Run the command; seconds, and peaks over all its processes, in bytes."""
    model = make_tokenizer(folder / "model")
    command = [
        *(sys.executable, "-m", "assay", "prepare", "--model.path", model),
        *("--model.template", "chatml", "--data.train", rows, "--output_dir", "unused"),
        *("--data.max_dropped", "1", "--workers", workers, "--output", folder / "stores"),
    ]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    started = time.perf_counter()
    process = subprocess.Popen([str(word) for word in command], env=environment)
    peaks: dict[str, int] = {"peak_bytes": 0, "peak_own_bytes": 0}
    while process.poll() is None:
        for number in family_of(process.pid):
            whole, own = memory_of(number)
            peaks["peak_bytes"] = max(peaks["peak_bytes"], whole)
            peaks["peak_own_bytes"] = max(peaks["peak_own_bytes"], own)
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
    seconds = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"exit code {process.returncode}")
    return {"seconds": seconds, **peaks}


def family_of(parent: int) -> list[int]:
    """A process and all below it."""
    found = [parent]
    for number in found:
        try:
            for task in Path(f"/proc/{number}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
        except OSError:
            continue
    return found


def memory_of(number: int) -> tuple[int, int]:
    """Resident bytes of a process, and those of them that no file stands behind."""
    try:
        text = Path(f"/proc/{number}/status").read_text()
    except OSError:
        return 0, 0
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return tuple(int(fields.get(name, "0").split()[0]) * 1024 for name in ("VmHWM", "RssAnon"))  # type: ignore[return-value]


if __name__ == "__main__":
    sys.exit(main())
