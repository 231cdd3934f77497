"""Where a benchmark's figures go: a JSON file that says which machine and versions gave them."""

from __future__ import annotations

import json
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from tables import commit

RESULTS = Path(__file__).parent / "results"


def write_result(path: Path, figures: dict[str, Any], packages: tuple[str, ...]) -> None:
    """Write figures with machine, versions and commit, whole or not at all.

    A benchmark that takes long says itself on which commit it began.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    about = {"machine": machine(), "versions": versions(packages), "commit": commit()}
    result = about | figures
    partial.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
    print(f"written: {path}")


def machine() -> dict[str, Any]:
    """The machine, as far as it can move the last digits of a float32."""
    import torch

    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Installed versions, Python's own included."""
    found = {package: metadata.version(package) for package in packages}
    return {"python": platform.python_version(), **found}


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
