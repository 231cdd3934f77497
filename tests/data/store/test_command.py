"""Preparing as a command that is interrupted, terminated or out of space: no process stays."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from store_rows import bytes_of, lines_of, write

from assay.config import ModelConfig
from assay.data import plugins
from assay.data.formats import registry
from assay.data.plugins import load_plugins
from assay.data.sources import DataSource
from assay.data.store import Preparation, prepare_source
from assay.data.store import chunks as chunking
from assay.model.reader import reader_for_training

pytestmark = pytest.mark.slow

COMMAND = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.modules["torch"] = None
from assay.data.store import chunks
from assay.data.store import workers as workers_module
chunks.ROWS_IN_MEMORY, chunks._ROWS, chunks._FEWEST = 20, 16, 4
workers_module._STARTING = 0
from assay.cli import main
main()
"""
"""The command itself, with small chunks, so that few rows give processes something to do.

Without torch, which it does not need and transformers would take seconds to import. Ctrl-C works
also where the tests run in the background of a shell, which starts such processes deaf to it.
"""

SLOW = """
import os, time
from pathlib import Path
import assay
from assay.data.store import partitions

@assay.register_format("slow", detects=lambda row: "pos_resp" in row)
def read(row):
    time.sleep(float(os.environ.get("SECONDS_A_ROW", 0)))
    return {"prompt": row["prompt"], "chosen": row["pos_resp"], "rejected": row["neg_resp"]}

if "SECONDS_A_SHARD" in os.environ:
    write = partitions.write_shard
    def slowly(path, groups):
        time.sleep(float(os.environ["SECONDS_A_SHARD"]))
        return write(path, groups)
    partitions.write_shard = slowly
"""


class Prepared:
    """`assay prepare` in a session of its own, as a terminal starts it."""

    def __init__(self, folder: Path, base: Path) -> None:
        self.folder = folder
        self.base = base
        self.rows = write(folder / "rows.jsonl", lines_of(150))
        self.plugin = write(folder / "slow.py", [SLOW])

    @contextmanager
    def started(
        self,
        output: str,
        *,
        largest_file: int = resource.RLIM_INFINITY,
        **slowness: float,
    ) -> Iterator[subprocess.Popen[str]]:
        words = [
            "prepare", "--model.path", self.base, "--data.train", self.rows,
            "--data.on_bad_row", "skip", "--data.max_dropped", 1, "--train.max_length", 120,
            "--output_dir", self.folder / "run", "--plugin", self.plugin,
            "--workers", 2, "--output", self.folder / output,
        ]  # fmt: skip
        quiet = {"TRANSFORMERS_NO_ADVISORY_WARNINGS": "1"}  # That torch is not there.
        with subprocess.Popen(
            [sys.executable, "-c", COMMAND, *map(str, words)],
            env=os.environ | quiet | {name: str(value) for name, value in slowness.items()},
            start_new_session=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file,) * 2),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def workshop(self, output: str) -> Path:
        return self.folder / output / ".train-1.partial"

    def again(self, output: str) -> dict[str, str]:
        """The bytes of the store that another run leaves, which finds what is done."""
        renderer = reader_for_training(ModelConfig(path=str(self.base)))
        how = Preparation(renderer, 120, on_bad_row="skip")
        place = self.folder / output / "train-1"
        prepare_source(DataSource(str(self.rows)), how, workers=1, output=place)
        assert [path.name for path in place.parent.iterdir()] == ["train-1"]
        return bytes_of(place)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Iterator[Prepared]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
        for name in ("_loaded", "_plugin_formats", "_files"):
            patch.setattr(plugins, name, type(getattr(plugins, name))())
        for name, value in (("ROWS_IN_MEMORY", 20), ("_ROWS", 16), ("_FEWEST", 4)):
            patch.setattr(chunking, name, value)
        registry.registered_formats.cache_clear()
        found = Prepared(tmp_path_factory.mktemp("signals"), tiny_base)
        load_plugins([str(found.plugin)])
        yield found
    registry.registered_formats.cache_clear()


@pytest.fixture(scope="module")
def unbroken(prepared: Prepared) -> dict[str, str]:
    """The bytes of the store that the command leaves when nobody disturbs it."""
    with prepared.started("unbroken") as process:
        out, err = process.communicate(timeout=240)
    assert (process.returncode, err) == (0, "")
    assert "to train on: 45 prompts" in out
    found = bytes_of(prepared.folder / "unbroken" / "train-1")
    assert prepared.again("unbroken") == found  # The same key, here and there.
    return found


def alive(session: int) -> list[str]:
    """The processes of a session that run."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            name, _, rest = (place / "stat").read_text().rpartition(")")
        except OSError:
            continue  # It has ended meanwhile.
        state, _, _, its_session = rest.split()[:4]
        if int(its_session) == session and state not in "ZX":
            found.append(name)
    return found


def wait_for(what: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def check_interrupted(process: subprocess.Popen[str], workshop: Path) -> None:
    os.killpg(process.pid, signal.SIGINT)  # A terminal's goes to every process of its group.
    out, err = process.communicate(timeout=240)
    assert process.returncode == 130
    assert err == "interrupted; run again to go on with what is done\n"
    assert out == ""
    wait_for(lambda: not alive(process.pid), 10)
    assert [path.name for path in workshop.parent.iterdir()] == [workshop.name]


def test_ctrl_c_while_processes_start(prepared: Prepared, unbroken: dict[str, str]) -> None:
    workshop = prepared.workshop("start")
    with prepared.started("start") as process:
        wait_for(lambda: list(workshop.glob("work")))
        time.sleep(0.4)  # The server of processes is at its imports, for a second or more.
        check_interrupted(process, workshop)
    assert prepared.again("start") == unbroken


def test_ctrl_c_among_the_rows(prepared: Prepared, unbroken: dict[str, str]) -> None:
    workshop = prepared.workshop("rows")
    with prepared.started("rows", SECONDS_A_ROW=0.05) as process:
        wait_for(lambda: list(workshop.glob("work/*.spill")))
        done = len(list(workshop.glob("work/*.spill")))
        check_interrupted(process, workshop)
    # A chunk takes most of a second, and five are begun or wait: nobody waits for them.
    assert len(list(workshop.glob("work/*.spill"))) <= done + 2
    assert prepared.again("rows") == unbroken


def test_ctrl_c_among_the_shards(prepared: Prepared, unbroken: dict[str, str]) -> None:
    workshop = prepared.workshop("shards")
    with prepared.started("shards", SECONDS_A_SHARD=0.5) as process:
        wait_for(lambda: list(workshop.glob("store/shard-*")))
        check_interrupted(process, workshop)
    assert prepared.again("shards") == unbroken


def test_terminated(prepared: Prepared, unbroken: dict[str, str]) -> None:
    workshop = prepared.workshop("terminated")
    with prepared.started("terminated", SECONDS_A_ROW=0.02) as process:
        wait_for(lambda: list(workshop.glob("work/*.spill")))
        assert len(alive(process.pid)) >= 3  # Itself, and two that work.
        process.terminate()
        out, err = process.communicate(timeout=240)
    assert process.returncode == -signal.SIGTERM
    assert out == ""
    assert "Traceback" not in err
    # Nobody tells the others; they see that it is gone.
    wait_for(lambda: not alive(process.pid), 10)
    assert not (prepared.folder / "terminated" / "train-1").exists()
    assert prepared.again("terminated") == unbroken


@pytest.mark.parametrize("largest_file", [3000, 8000])
def test_no_space(largest_file: int, prepared: Prepared, unbroken: dict[str, str]) -> None:
    # For a chunk of rows, and for a shard, each in another process.
    output = f"full {largest_file}"
    with prepared.started(output, largest_file=largest_file) as process:
        out, err = process.communicate(timeout=240)
    assert process.returncode == 2
    place = prepared.folder / output / "train-1"
    assert err == (
        f"error: {place}: the prepared data cannot be written (File too large); free some space, "
        "or choose another place with --output or ASSAY_CACHE\n"
    )
    assert out == ""
    assert list(place.parent.iterdir()) == []
    assert prepared.again(output) == unbroken
