"""One process with torch, transformers and assay imported, which forks for each command.

`assay` then starts in milliseconds, and is otherwise the command itself: its words, directory,
environment, standard streams, signals and exit code are those of who calls `CLIENT`. Stands on its
own: `python warm_assay.py SOCKET` serves until its standard input ends.
"""

from __future__ import annotations

import json
import os
import runpy
import select
import signal
import socket
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

CLIENT = '''\
#!{python} -IS
"""Has a warm process do what it is told; passes signals on, and ends as that does."""
import contextlib, json, os, signal, socket, sys

def pass_on(number, frame):
    with contextlib.suppress(ProcessLookupError):
        os.kill(worker, number)

with socket.socket(socket.AF_UNIX) as line:
    line.connect({socket!r})
    order = {{"argv": sys.argv, "cwd": os.getcwd(), "environment": dict(os.environ)}}
    body = json.dumps(order).encode()
    socket.send_fds(line, [len(body).to_bytes(8, "big")], [0, 1, 2])
    line.sendall(body)
    answers = line.makefile("r")
    worker = int(answers.readline())
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, pass_on)
    code = int(answers.readline() or "-9")
if code < 0:
    with contextlib.suppress(OSError):
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
sys.exit(code)
'''
"""A script that is called `assay`; under another name it runs the Python file that it is given."""

IMPORTED = (
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "assay.cli",
    "assay.data.loading",
    "assay.evaluate.command",
    "assay.model.ladder",
    "assay.model.loading",
    "assay.report",
    "assay.score.command",
    "assay.serve.app",
    "assay.train.loop",
)


@dataclass(frozen=True, slots=True)
class Order:
    """What one caller wants done, and its standard streams."""

    argv: list[str]
    cwd: str
    environment: dict[str, str]
    streams: list[int]


def main() -> None:
    """Import, listen, and do one order in each forked process."""
    for name in IMPORTED:
        import_module(name)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(sys.argv[1])
        listener.listen(16)
        print("ready", flush=True)
        order = next_order(listener)
    do(order)


def next_order(listener: socket.socket) -> Order:
    """Returns in the process that is to do the order; the first process never returns."""
    while True:
        readable, _, _ = select.select([listener, 0], [], [])
        if 0 in readable:  # Nothing is ever sent there: who started this has ended.
            os._exit(0)
        line, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            return attended(line)
        line.close()
        while reaped():
            pass


def reaped() -> bool:
    """Whether a child had ended that nobody had asked for."""
    try:
        return os.waitpid(-1, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return False


def attended(line: socket.socket) -> Order:
    """Fork once more: the child returns; this process tells the caller how the child ended."""
    order = received(line)
    worker = os.fork()
    if worker == 0:
        line.close()
        os.setpgid(0, 0)
        return order
    for stream in order.streams:
        os.close(stream)
    line.sendall(f"{worker}\n".encode())
    ended = os.pidfd_open(worker)
    readable, _, _ = select.select([line, ended], [], [])
    if ended not in readable:  # The caller is gone.
        os.kill(worker, signal.SIGKILL)
    _, status = os.waitpid(worker, 0)
    try:
        line.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    except OSError:
        os._exit(1)
    os._exit(0)


def received(line: socket.socket) -> Order:
    """The order that stands on a connection."""
    size, streams, _, _ = socket.recv_fds(line, 8, 3)
    with line.makefile("rb") as body:
        order = json.loads(body.read(int.from_bytes(size, "big")))
    return Order(order["argv"], order["cwd"], order["environment"], list(streams))


def do(order: Order) -> None:
    """Become the command; ends as it ends."""
    for number, stream in enumerate(order.streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(order.cwd)
    os.environ.clear()
    os.environ.update(order.environment)
    sys.argv = order.argv
    if Path(order.argv[0]).name == "assay":
        from assay.cli import main as assay

        assay()
    sys.argv = order.argv[1:]
    sys.path.insert(0, order.cwd)
    runpy.run_path(order.argv[1], run_name="__main__")


if __name__ == "__main__":
    main()
