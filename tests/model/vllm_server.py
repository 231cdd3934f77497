"""vLLM in its own environment: where it is, and a server of it."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STARTUP_SECONDS = 900
"""On an idle machine one minute."""


def vllm_python() -> Path:
    """The interpreter that has vLLM, or a skip."""
    python = Path(os.environ.get("ASSAY_VLLM_PYTHON") or ROOT / ".venv-vllm" / "bin" / "python")
    if not python.exists():
        pytest.skip(f"no vLLM at {python}: make .venv-vllm/.installed, or set ASSAY_VLLM_PYTHON")
    return python


def environment() -> dict[str, str]:
    """As benchmarks give it: one thread, no reports, small memory for keys and values."""
    return os.environ | {
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "PYTHONWARNINGS": "ignore",
    }


@contextmanager
def server(model: Path, log: Path, name: str) -> Iterator[str]:
    """The address of a server that is ready."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    command = [
        # (`vllm serve` asks for the version of a package that vllm-cpu is not.)
        *(str(vllm_python()), "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)),
        *("--runner", "pooling", "--dtype", "float32", "--enforce-eager"),
        *("--served-model-name", name, "--host", "127.0.0.1", "--port", str(port)),
    ]
    url = f"http://127.0.0.1:{port}"
    with log.open("wb") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, env=environment())
    try:
        _wait_for(url, process, log)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + STARTUP_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"vLLM does not serve: {log.read_text(errors='replace')[-4000:]}")
