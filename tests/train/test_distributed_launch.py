"""Runs as torchrun starts them: signals, errors on one process or on all, a process that dies."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tiny_ranks import free_port
from tiny_runs import log_of, recipe, recipe_file, rows, write_lines
from torch import distributed as dist

from assay.config import Recipe
from assay.errors import ConfigError
from assay.train.loop import train
from assay.train.strategy import ending
from assay.train.strategy.team import Place, Team, device_of

LONG_RUN = 400
"""Steps. The output of a run whose reader has gone on stands still long before."""


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Callable[..., Recipe]:
    data = write_lines(tmp_path_factory.mktemp("data") / "train.jsonl", list(rows(5)))

    def build(output: Path, **changes: object) -> Recipe:
        return recipe(tiny_base, data, output, save_steps=None, **changes)

    return build


@dataclass
class Started:
    """Two processes of one run, and where they write."""

    processes: list[subprocess.Popen[str]]
    run: Path

    def ended(self) -> tuple[list[int | None], list[str]]:
        """Exit codes, and what each said on stderr."""
        said = [process.communicate(timeout=120)[1] for process in self.processes]
        return [process.returncode for process in self.processes], said


def as_ranks(arguments: list[list[str]]) -> list[subprocess.Popen[str]]:
    """Start Python once per list, with the environment of a launcher."""
    port = free_port()
    found = []
    for rank, own in enumerate(arguments):
        place = {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(len(arguments)),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
        found.append(
            subprocess.Popen(
                [sys.executable, *own],
                env=os.environ | place,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                pipesize=4096,
            )
        )
    return found


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Started]]:
    """Start two processes, each with its own recipe file."""
    every = []

    def begin(*files: Path, run: Path) -> Started:
        found = as_ranks([["-m", "assay", "train", str(file)] for file in files])
        every.extend(found)
        return Started(found, run)

    yield begin
    for process in every:
        process.kill()
        process.communicate()


def read_until(pattern: str, process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert any(re.search(pattern, line) for line in iter(process.stdout.readline, ""))


@pytest.mark.slow
def test_a_signal_to_torchrun_ends_all_at_one_step_with_a_checkpoint(
    make: Callable[..., Recipe], tmp_path: Path
) -> None:
    file = recipe_file(tmp_path / "recipe.yaml", make(tmp_path / "run", max_steps=LONG_RUN))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    process = subprocess.Popen(
        [*launcher, "--master-port", str(free_port()), "-m", "assay", "train", file],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pipesize=4096,
    )
    try:
        read_until(rf"step:\[2/{LONG_RUN}\]", process)
        process.send_signal(signal.SIGTERM)
        said, notes = process.communicate(timeout=120)
    finally:
        process.kill()
    assert len(re.findall("SIGTERM: all processes stop after this step", notes)) == 1
    assert not re.search("error:", notes)
    [stopped] = re.findall(rf"stopped after step (\d+) of {LONG_RUN}", said)
    step = int(stopped)
    assert 2 <= step < LONG_RUN
    assert [path.name for path in (tmp_path / "run/checkpoints").iterdir()] == [f"step-{step}"]
    state = json.loads((tmp_path / f"run/checkpoints/step-{step}/trainer.json").read_text())
    assert len(state["random_of_others"]) == 1
    assert log_of(tmp_path / "run")[-1]["step"] == step
    assert "strategy ddp, 2 processes" in (tmp_path / "run/train.log").read_text(encoding="utf-8")


@pytest.mark.slow
def test_an_error_on_one_process_ends_both_with_one_message(
    make: Callable[..., Recipe], start: Callable[..., Started], tmp_path: Path
) -> None:
    # Process 1 alone has a model that is not there; and everybody has data that are not.
    one = recipe_file(tmp_path / "one.yaml", make(tmp_path / "run"))
    other = recipe_file(tmp_path / "other.yaml", make(tmp_path / "run", seed=4))
    no_data = tmp_path / "nothing.jsonl"
    broken = make(tmp_path / "void").model_dump(mode="json")
    broken["data"]["train"][0]["path"] = str(no_data)
    both = recipe_file(tmp_path / "both.yaml", Recipe.model_validate(broken))
    for started in (
        start(one, other, run=tmp_path / "run"),
        start(both, both, run=tmp_path / "void"),
    ):
        codes, said = started.ended()
        assert codes == [2, 2], said
        assert len(re.findall("^error:", "".join(said), re.MULTILINE)) == 1, said
        assert "Traceback" not in "".join(said)
        assert re.search(r"\(process [01] of 2\)", "".join(said))
        assert not started.run.exists()


@pytest.mark.slow
def test_a_process_that_is_killed_takes_the_other_with_it(
    make: Callable[..., Recipe], start: Callable[..., Started], tmp_path: Path
) -> None:
    file = recipe_file(
        tmp_path / "recipe.yaml", make(tmp_path / "run", max_steps=LONG_RUN, strategy="fsdp2")
    )
    started = start(file, file, run=tmp_path / "run")
    read_until(rf"step:\[2/{LONG_RUN}\]", started.processes[0])
    started.processes[1].kill()
    codes, said = started.ended()
    assert codes == [2, -signal.SIGKILL], said
    assert "another process of this run ended without a word" in said[0]
    assert "Traceback" not in said[0]


ONE_FAILS = """
import sys
import time
from assay.cli.entry import _fail
from assay.errors import AssayError, ConfigError
from assay.train.strategy import ending
from assay.train.strategy.team import Place, team

if Place.of_this_process().rank != int(sys.argv[1]):  # As on a machine with much else to do.
    sign_first = ending._Notes.sign_first
    ending._Notes.sign_first = lambda notes: time.sleep(1.5) or sign_first(notes)
try:
    with team("cpu") as joined:
        joined.wait()
        if joined.rank == int(sys.argv[1]):
            raise ConfigError("this one cannot go on")
        joined.wait()
except AssayError as error:
    _fail(error.exit_code, str(error))
"""


@pytest.mark.slow
@pytest.mark.parametrize("rank", range(3))
def test_who_fails_alone_is_the_only_one_that_speaks(rank: int) -> None:
    # Were the first one gone, who holds the signatures, before the others have signed, the second
    # would take it for killed and say so.
    processes = as_ranks([["-c", ONE_FAILS, str(rank)]] * 3)
    said = [process.communicate(timeout=120)[1] for process in processes]
    assert said[rank].startswith(f"error: this one cannot go on (process {rank} of 3)"), said
    assert not any(said[:rank] + said[rank + 1 :]), said
    assert [process.returncode for process in processes] == [2, 2, 2]


ENDS_AT_ONCE = """
import os
import sys
import time
from torch import distributed as dist
from assay.train.strategy.team import Place, Team

codes = []
for turn in range(int(sys.argv[2])):
    if pid := os.fork():
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        continue
    os.environ["MASTER_PORT"] = str(int(sys.argv[1]) + turn)
    dist.init_process_group("gloo")
    joined = Team(Place.of_this_process())
    sys.setswitchinterval(100)
    joined.gather("what is told")
    until = time.monotonic() + 0.1
    while time.monotonic() < until:  # Gloo's thread comes to wait for the interpreter's lock.
        pass
    sys.exit(2)
print(codes)
"""


@pytest.mark.slow
def test_no_thread_frees_tensors_when_a_process_ends() -> None:
    # "terminate called without an active exception" and exit code -6: without what is kept of
    # every exchange, each of these pairs aborts with a probability of about 0.2.
    arguments = ["-c", ENDS_AT_ONCE, str(free_port()), "12"]
    processes = as_ranks([arguments, arguments])
    for process in processes:
        codes, said = process.communicate(timeout=120)
        assert json.loads(codes) == [2] * 12, said


RUNS = """
import random
import time
from assay.errors import ConfigError
from assay.train.strategy.team import team


def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

for turn in range(4):
    with team("cpu") as joined:
        told = joined.gather("a" * joined.rank * (turn + 1))
        assert told == ["", "a" * (turn + 1)], told
        before = resident()
        for _ in range(4):
            joined.gather(bytes(32 << 20))
        assert resident() - before < 64 << 20  # What was told is not kept: 96 MiB each time.
    time.sleep(random.random() / 4)
try:
    with team("cpu") as joined:
        raise ConfigError("the fifth fails")
except (ConfigError, SystemExit):
    try:
        with team("cpu"):
            pass
    except ConfigError as error:
        print(error)
"""


@pytest.mark.slow
def test_runs_of_one_process_follow_one_another() -> None:
    # What one has left in the store is not for the next; a failed one ends its processes.
    processes = as_ranks([["-c", RUNS]] * 2)
    for process in processes:
        told, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
        assert "in a process group already" in told


def test_an_address_where_nobody_can_meet_is_the_users_mistake(
    make: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        place = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
        for name, value in (place | {"MASTER_PORT": port}).items():
            monkeypatch.setenv(name, value)
        with pytest.raises(ConfigError, match=rf"cannot meet at 127\.0\.0\.1:{port} .*free port"):
            train(make(tmp_path / "run"))


def test_who_does_not_speak_keeps_its_exit_code() -> None:
    errors = (ConfigError("x"), KeyboardInterrupt(), SystemExit(143), SystemExit("x"), ValueError())
    assert [ending._exit_code(error) for error in errors] == [2, 130, 143, 2, 2]


class SlowStore(dist.HashStore):
    """Takes its time, as one does whose process is about to go."""

    asked = threading.Event()

    def clone(self) -> dist.Store:
        return self

    def check(self, keys: list[str]) -> bool:
        self.asked.set()
        time.sleep(0.3)
        return False


def test_no_thread_is_in_the_store_when_a_process_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    # "terminate called without an active exception" and exit code -6, once in some hundred runs.
    monkeypatch.setattr(ending, "_POLL", 0.0)
    store = SlowStore()
    with ending.ending_together(store, 0, 2):
        assert store.asked.wait(timeout=10)
    assert "assay-watch" not in {thread.name for thread in threading.enumerate()}


# What is refused before anything is started.


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2", "deepspeed-zero2", "deepspeed-zero3"])
def test_one_process_is_not_enough(
    make: Callable[..., Recipe], strategy: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"is for several processes.*torchrun"):
        train(make(tmp_path / "run", strategy=strategy))
    assert not (tmp_path / "run").exists()


def test_processes_that_a_launcher_did_not_start_are_refused(
    make: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Each would train alone: T-traps of `Accelerator()` under torchrun.
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="RANK, LOCAL_RANK, MASTER_ADDR, MASTER_PORT not set"):
        train(make(tmp_path / "run"))
    monkeypatch.setenv("WORLD_SIZE", "many")
    with pytest.raises(ConfigError, match="'many' is no number"):
        Place.of_this_process()
    monkeypatch.delenv("WORLD_SIZE")
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
    with pytest.raises(ConfigError, match="mpirun"):
        Place.of_this_process()


@pytest.mark.parametrize(("rank", "local_rank"), [("2", "0"), ("0", "1")])
def test_a_place_beyond_the_world_is_refused(
    monkeypatch: pytest.MonkeyPatch, rank: str, local_rank: str
) -> None:
    names = {"WORLD_SIZE": "2", "RANK": rank, "LOCAL_RANK": local_rank}
    for name, value in (names | {"MASTER_ADDR": "localhost", "MASTER_PORT": "1"}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="contradict each other"):
        Place.of_this_process()


def test_alone_a_process_takes_the_device_that_is_named() -> None:
    assert device_of("cuda:1", Team(Place())) == "cuda:1"
    assert device_of("auto", Team(Place())) == "auto"
