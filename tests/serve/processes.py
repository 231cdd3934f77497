"""Real servers: `assay serve` in a process of its own, on a free port."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import assay

STARTUP_SECONDS = 180


@dataclass
class Process:
    process: subprocess.Popen[bytes]
    url: str
    output: Path
    errors: Path

    def end(self, timeout: float = 120) -> int:
        return self.process.wait(timeout)

    @property
    def logged(self) -> str:
        return self.output.read_text() + self.errors.read_text()


def start(directory: Path, *arguments: object) -> Process:
    """Start a server and wait until it says where it serves."""
    output, errors = directory / "stdout", directory / "stderr"
    command = [sys.executable, "-m", "assay", "serve", "--port", "0", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(Path(assay.__file__).parents[1])}
    with output.open("wb") as out, errors.open("wb") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, env=environment)
    deadline = time.monotonic() + STARTUP_SECONDS
    while time.monotonic() < deadline:
        found = re.search(r"serving at (\S+)\n", output.read_text())
        if found:
            return Process(process, found[1], output, errors)
        if process.poll() is not None:
            break
        time.sleep(0.05)
    process.kill()
    raise AssertionError(f"no server: {output.read_text()}{errors.read_text()}")
