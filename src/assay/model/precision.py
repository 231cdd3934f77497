"""Which dtype a run computes in where the recipe leaves it open: the faster of two on this machine.

A bfloat16 product is several times as fast as a float32 one where the hardware has units for it
(GPUs, CPUs with AMX or bfloat16 dot products), and slower where it is emulated. Nothing but a
measurement tells: some virtual machines even advertise units that they do not have, and a process
that uses them is killed. So the CPU is measured in a process of its own.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

import torch

from assay.cache import cache_dir, keep_answer
from assay.errors import ConfigError
from assay.machine import processor_name

TrainingDType = Literal["float32", "bfloat16"]

DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}

WORTH = 1.2
"""How many times as fast bfloat16 must be: autocast has costs of its own, and bits are lost."""

_PROBE = """
import statistics, sys, time
import torch

torch.set_num_threads(int(sys.argv[1]))
for dtype in (torch.float32, torch.bfloat16):
    x, y = torch.ones(512, 1024, dtype=dtype), torch.ones(1024, 1024, dtype=dtype)
    x @ y
    times = []
    for _ in range(7):
        began = time.perf_counter()
        x @ y
        times.append(time.perf_counter() - began)
    print(statistics.median(times))
"""


@dataclass(frozen=True, slots=True)
class Choice:
    """A dtype, and the words that say why."""

    dtype: TrainingDType
    reason: str


def check_dtype(name: str) -> None:
    """Refuse what is neither `auto` nor the name of a dtype.

    Raises:
        ConfigError: it is not.
    """
    if name != "auto" and name not in DTYPES:
        raise ConfigError(f"unknown dtype '{name}'", mend=f"known: auto, {', '.join(DTYPES)}")


def faster_dtype(device: torch.device) -> Choice:
    """float32, or bfloat16 where matrix products are at least `WORTH` times as fast in it.

    Measured once for a machine, number of threads and version of torch, and kept in the cache.
    """
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return Choice("bfloat16", "the GPU has units for it")
    if device.type != "cpu":
        return Choice("float32", "the device has no units for bfloat16")
    seconds = measured(_PROBE)
    if seconds is None:
        return Choice("float32", "a bfloat16 product fails on this CPU")
    ratio = seconds[0] / seconds[1]
    dtype: TrainingDType = "bfloat16" if ratio >= WORTH else "float32"
    return Choice(dtype, f"bfloat16 products are {ratio:.2g} times as fast as float32 on this CPU")


def measured(probe: str, kind: str = "") -> tuple[float, float] | None:
    """Seconds of a product in float32 and in another precision; None where that cannot be had.

    Args:
        probe: a program that prints both; its argument is the number of threads.
        kind: of the other precision, by which the cache knows it; bfloat16 has no name.
    """
    place = _place(kind)
    try:
        known = json.loads(place.read_text(encoding="utf-8"))
        return None if known is None else (float(known[0]), float(known[1]))
    except (OSError, ValueError, TypeError, IndexError):
        pass
    done = subprocess.run(
        [sys.executable, "-c", probe, str(torch.get_num_threads())],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.split()
    found = (float(lines[0]), float(lines[1])) if done.returncode == 0 and len(lines) == 2 else None
    keep_answer(place, found)
    return found


def _place(kind: str = "") -> Path:
    parts = [
        platform.machine(),
        processor_name(),
        torch.__version__,
        torch.backends.cpu.get_cpu_capability(),
        str(torch.get_num_threads()),
        os.environ.get("ONEDNN_MAX_CPU_ISA", ""),
        *([kind] if kind else ()),
    ]
    return (
        cache_dir() / "precision" / f"{sha256(chr(0).join(parts).encode()).hexdigest()[:32]}.json"
    )
