"""Runs the blocks of a page, in order and in one directory, as a reader would.

What a block printed stays in `blocks/LINE.out` beside the page's directory: with pytest's
`--basetemp DIR` that is where the outputs that a page shows come from.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from doc_pages import Block, Page

BLOCK_SECONDS = 900.0
READY_SECONDS = 180.0
DRAIN_SECONDS = 20.0
DEFAULT_PORT = 8000
_SHOWN = 6_000
"""Characters of a block's output that a failure shows, the last ones."""


class BlockFailed(AssertionError):
    """A block of a page does not do what a reader expects of it."""


class PageRun:
    """One page being run; `close` ends what is still there of it."""

    def __init__(self, page: Page, directory: Path, environment: dict[str, str]) -> None:
        self.page = page
        self.directory = directory
        self.environment = environment
        self.scripts = directory.parent / "blocks"
        self.scripts.mkdir()
        self.servers: dict[int, subprocess.Popen[bytes]] = {}

    def run(self) -> None:
        """Write the files, run the scripts, start what stands in the background.

        Raises:
            BlockFailed: with the place, the command and what it printed.
        """
        for block in self.page.blocks:
            if block.title is not None:
                place = self.directory / block.title
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(block.text, encoding="utf-8")
            elif block.runs and block.background:
                self._serve(block)
            elif block.runs:
                self._await(block, self._started(block))

    def close(self) -> None:
        """Stop the servers, as Ctrl-C does."""
        for process in self.servers.values():
            stop(process)
        self.servers.clear()

    def _place(self, block: Block) -> str:
        return f"{self.page.name}:{block.line}"

    def _output(self, block: Block) -> Path:
        return self.scripts / f"{block.line}.out"

    def _started(self, block: Block) -> subprocess.Popen[bytes]:
        with self._output(block).open("wb") as out:
            return subprocess.Popen(
                self._command(block),
                cwd=self.directory,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _command(self, block: Block) -> list[str]:
        """A script whose lines have the numbers that they have on the page."""
        above = "\n" * (block.line - 1)
        if block.language == "python":
            script = self.scripts / f"{Path(self.page.name).stem}-{block.line}.py"
            script.write_text(above + block.text, encoding="utf-8")
            return ["run-python", str(script)]
        script = self.scripts / f"{block.line}.sh"
        told = f"{self.page.name}:$LINENO: exit code $?: $BASH_COMMAND"
        script.write_text(
            f"set -eE; trap 'echo \"{told}\" >&2' ERR{above}{block.text}", encoding="utf-8"
        )
        return ["bash", str(script)]

    def _await(self, block: Block, process: subprocess.Popen[bytes]) -> None:
        try:
            code = process.wait(BLOCK_SECONDS)
        except subprocess.TimeoutExpired:
            kill_group(process)
            raise self._failed(block, f"not done within {BLOCK_SECONDS:.0f} seconds") from None
        kill_group(process)  # What the block has left running.
        if code:
            raise self._failed(block, f"exit code {code}")

    def _serve(self, block: Block) -> None:
        port = port_of(block.text)
        if port in self.servers:  # The same address again: the page goes on with another server.
            stop(self.servers.pop(port))
        if answers(port):
            raise self._failed(block, f"something on this machine listens at port {port} already")
        process = self.servers[port] = self._started(block)
        until = time.monotonic() + READY_SECONDS
        while not answers(port, "/ready"):
            if process.poll() is not None:
                raise self._failed(block, f"ended with exit code {process.returncode}")
            if time.monotonic() > until:
                raise self._failed(block, f"no answer within {READY_SECONDS:.0f} seconds")
            time.sleep(0.05)

    def _failed(self, block: Block, what: str) -> BlockFailed:
        output = self._output(block)
        said = output.read_text(encoding="utf-8", errors="replace") if output.exists() else ""
        return BlockFailed(f"{self._place(block)}: {what}\n{block.text}\n{said[-_SHOWN:]}")


def port_of(script: str) -> int:
    """Where a command will listen."""
    words = shlex.split(script.replace("\\\n", " "), comments=True)
    named = [after for word, after in pairwise(words) if word == "--port"]
    return int(named[0]) if named else DEFAULT_PORT


def answers(port: int, path: str | None = None) -> bool:
    """Whether somebody listens at the port; with a path, whether that answers 200."""
    if path is None:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.HTTPError):
        return False


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask a group of processes to end, wait until all of them have, and at last make them."""
    until = time.monotonic() + DRAIN_SECONDS
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        while time.monotonic() < until:
            process.poll()  # Else the first of them would stay there, dead.
            os.killpg(process.pid, 0)
            time.sleep(0.02)
    kill_group(process)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """End whatever is left of a group of processes."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def outputs_of(page: Page) -> set[str]:
    """The run directories that a page makes by itself, and must not find."""
    scripts = "\n".join(block.text for block in page.blocks if block.runs or block.title)
    return set(re.findall(r"^(?:.*\s)?(?:--output_dir[ =]|output_dir: )(\S+)", scripts, re.M))
