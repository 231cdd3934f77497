"""Preparation that is killed, doubled, starved of space: the store is whole and the same."""

from __future__ import annotations

import copy
import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from store_rows import MakePreparation, bytes_of, lines_of, write

from assay.data.rendering import Renderer
from assay.data.sources import DataSource
from assay.data.store import building, open_store, prepare_source, settings, shards
from assay.data.store import chunks as chunking
from assay.errors import DataError, OutputError

pytestmark = pytest.mark.slow

PROGRAM = """
import os, signal, sys
from pathlib import Path
from transformers import PreTrainedTokenizerFast
from assay.data.rendering import Renderer
from assay.data.sources import DataSource
from assay.data.store import Preparation, chunks, prepare_source
from assay.data.store import workers as workers_module
from assay.data.templates import resolve_template

tokenizer, rows, output, workers, event, count = sys.argv[1:]
chunks.ROWS_IN_MEMORY, chunks._ROWS, chunks._FEWEST = 20, 16, 4
workers_module._STARTING = 0
waiting = int(count)

def hook(name, args):
    global waiting
    if name == "os.rename" and event in str(args[0 if event == "store" else 1]):
        waiting -= 1
        if not waiting:
            os.kill(os.getpid(), signal.SIGKILL)

loaded = PreTrainedTokenizerFast.from_pretrained(tokenizer)
renderer = Renderer(loaded, resolve_template("auto", loaded))
print("ready", flush=True)
sys.addaudithook(hook)
prepare_source(DataSource(rows), Preparation(renderer, 120, on_bad_row="skip"),
               workers=int(workers), output=Path(output))
print("done", flush=True)
"""
"""Dies at the n-th rename to a file of this name, where n is above 0."""


class Killed:
    """A program that prepares, and its end."""

    def __init__(self, folder: Path, tokenizer: Any) -> None:
        self.folder = folder
        tokenizer.save_pretrained(folder / "tokenizer")
        (folder / "program.py").write_text(PROGRAM)
        self.rows = write(folder / "rows.jsonl", lines_of(150))

    def start(
        self, output: str, *, workers: int = 1, event: str = "-", count: int = 0
    ) -> subprocess.Popen[str]:
        arguments = [self.folder / "tokenizer", self.rows, self.folder / output, workers]
        return subprocess.Popen(
            [sys.executable, self.folder / "program.py", *map(str, [*arguments, event, count])],
            stdout=subprocess.PIPE,
            text=True,
        )

    def finish(self, output: str, **how: Any) -> dict[str, str]:
        process = self.start(output, **how)
        assert process.communicate(timeout=120)[0].endswith("done\n")
        assert process.returncode == 0
        left = [path.name for path in self.folder.iterdir() if path.name.startswith(f".{output}.")]
        assert left == []
        return bytes_of(self.folder / output)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Any) -> Killed:
    return Killed(tmp_path_factory.mktemp("killed"), tiny_tokenizer)


@pytest.fixture(scope="module")
def unbroken(killed: Killed) -> dict[str, str]:
    return killed.finish("unbroken")


@pytest.mark.parametrize(
    ("event", "count"), [("000003.spill", 1), ("shard-00002", 1), ("index.arrow", 1)]
)
def test_killed_at_a_step(event: str, count: int, killed: Killed, unbroken: dict[str, str]) -> None:
    name = f"at-{event[0]}"
    process = killed.start(name, event=event, count=count)
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    workshop = killed.folder / f".{name}.partial"
    done = {path: path.stat().st_mtime_ns for path in workshop.rglob("*.spill")}
    assert done
    assert not (killed.folder / name).exists()
    assert killed.finish(name) == unbroken


def test_killed_at_random_moments(killed: Killed, unbroken: dict[str, str]) -> None:
    draw = random.Random(time.time_ns())
    for number in range(2):
        process = killed.start(f"random-{number}", workers=2)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(draw.uniform(0, 1.5))
        process.kill()
        process.communicate()
        assert killed.finish(f"random-{number}", workers=2) == unbroken


@pytest.mark.parametrize("stage", ["_move", "check_errors"])
def test_what_was_to_become_another_store_is_not_used(
    stage: str, preparation: MakePreparation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an output of the user's, the workshop of other rows and settings has the same name."""
    monkeypatch.setattr(chunking, "ROWS_IN_MEMORY", 20)
    monkeypatch.setattr(chunking, "_FEWEST", 4)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    rows, output = tmp_path / "rows.jsonl", tmp_path / "store"
    source = DataSource(str(write(rows, lines_of(60))))
    with monkeypatch.context() as patch:
        patch.setattr(building, stage, interrupted)
        with pytest.raises(KeyboardInterrupt):
            prepare_source(source, preparation(), workers=1, output=output)
    assert list((tmp_path / ".store.partial").rglob("shard-*"))
    write(rows, lines_of(60, seed=1))
    other = preparation("cvalues-zh")
    store = prepare_source(source, other, workers=1, output=output)
    fresh = prepare_source(source, other, workers=1, output=tmp_path / "fresh")
    assert bytes_of(store.path) == bytes_of(fresh.path)


def test_a_store_that_another_process_put_there_first(
    preparation: MakePreparation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = DataSource(str(write(tmp_path / "rows.jsonl", lines_of(20))))
    first = prepare_source(source, preparation(), output=tmp_path / "first")

    def late(store: Path, final: Path) -> None:
        first.path.rename(final)

    monkeypatch.setattr(building, "_move", late)
    with pytest.raises(OutputError, match="holds a store of other data or settings"):
        prepare_source(source, preparation(max_length=119), output=tmp_path / "store")


def test_what_is_done_is_not_done_again(
    preparation: MakePreparation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunking, "ROWS_IN_MEMORY", 20)
    monkeypatch.setattr(chunking, "_ROWS", 16)
    monkeypatch.setattr(chunking, "_FEWEST", 4)
    source = DataSource(str(write(tmp_path / "rows.jsonl", lines_of(150))))
    calls = {"write_spill": 0, "write_shard": 0}

    def counting(name: str, real: Any, stop_at: int) -> Any:
        def counted(*arguments: Any) -> Any:
            calls[name] += 1
            if calls[name] == stop_at:
                raise KeyboardInterrupt
            return real(*arguments)

        return counted

    from assay.data.store import partitions

    spill, shard = chunking.write_spill, partitions.write_shard
    monkeypatch.setattr(chunking, "write_spill", counting("write_spill", spill, 6))
    monkeypatch.setattr(partitions, "write_shard", counting("write_shard", shard, 3))
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            prepare_source(source, preparation(), workers=1, output=tmp_path / "store")
    store = prepare_source(source, preparation(), workers=1, output=tmp_path / "store")
    chunks = -(-store.account.rows // 16)
    assert calls == {"write_spill": chunks + 1, "write_shard": 4 + 1}


def test_two_at_once(killed: Killed, unbroken: dict[str, str]) -> None:
    processes = [killed.start("twice") for _ in range(2)]
    assert [process.communicate(timeout=120)[0][-5:] for process in processes] == ["done\n"] * 2
    assert bytes_of(killed.folder / "twice") == unbroken


def test_without_locks(
    preparation: MakePreparation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    source = DataSource(str(write(tmp_path / "rows.jsonl", lines_of(20))))
    store = prepare_source(source, preparation(), output=tmp_path / "store")
    assert len(store.groups) == store.account.groups
    names = {path.name for path in tmp_path.iterdir()} - {".store.lock"}
    assert names == {"rows.jsonl", "store"}


def test_a_full_disk(
    preparation: MakePreparation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shards, "_batch", full)
    source = DataSource(str(write(tmp_path / "rows.jsonl", lines_of(20))))
    with pytest.raises(OutputError, match=r"no space left on the device.*free some space"):
        prepare_source(source, preparation(), output=tmp_path / "store")
    assert {path.name for path in tmp_path.iterdir()} == {"rows.jsonl"}


def test_places_that_cannot_be_written_to(preparation: MakePreparation, tmp_path: Path) -> None:
    source = DataSource(str(write(tmp_path / "rows.jsonl", lines_of(20))))
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="cannot be written"):
        prepare_source(source, preparation(), output=tmp_path / "file" / "store")
    with pytest.raises(OutputError, match=r"is not a whole store.*choose another output"):
        prepare_source(source, preparation(), output=tmp_path / "file")
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine").write_text("mine")
    with pytest.raises(OutputError, match="choose another output"):
        prepare_source(source, preparation(), output=full)
    assert (full / "mine").read_text() == (tmp_path / "file").read_text() == "mine"
    if os.geteuid() != 0:
        locked = tmp_path / "locked"
        locked.mkdir(mode=0o500)
        with pytest.raises(OutputError, match="Permission denied"):
            prepare_source(source, preparation(), output=locked / "store")


def test_each_ingredient_makes_another_store(
    preparation: MakePreparation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    rows = write(tmp_path / "rows.jsonl", lines_of(20))
    source = DataSource(str(rows))
    first = prepare_source(source, preparation())
    inode = (first.path / "index.arrow").stat().st_ino
    again = prepare_source(source, preparation())
    assert (again.path, (again.path / "index.arrow").stat().st_ino) == (first.path, inode)
    tokenizer = copy.deepcopy(preparation().renderer.tokenizer)
    tokenizer.add_tokens(["question"])
    renderer = Renderer(tokenizer, preparation().renderer.template)
    error = Renderer(preparation().renderer.tokenizer, renderer.template, "special")
    padded = copy.deepcopy(preparation().renderer.tokenizer)
    padded.pad_token = "<|endoftext|>"  # A template may write it.
    padding = Renderer(padded, renderer.template)
    others = {
        "tokenizer": prepare_source(source, replace(preparation(), renderer=renderer)),
        "padding": prepare_source(source, replace(preparation(), renderer=padding)),
        "special tokens": prepare_source(source, replace(preparation(), renderer=error)),
        "length": prepare_source(source, preparation(max_length=119)),
        "policy": prepare_source(source, preparation(over_length="drop_oldest_turns")),
        "grouping": prepare_source(source, preparation(group_by="row")),
        "template": prepare_source(source, preparation("cvalues-zh")),
        "format": prepare_source(DataSource(str(rows), format="cvalues"), preparation()),
    }
    with monkeypatch.context() as patch:
        patch.setattr(settings, "own_code", lambda: "another")
        others["code"] = prepare_source(source, preparation())
    with monkeypatch.context() as patch:
        patch.setattr(settings, "STORE_VERSION", 0)
        others["store"] = prepare_source(source, preparation())
    write(rows, lines_of(21))
    others["bytes"] = prepare_source(source, preparation())
    paths = {name: store.path for name, store in others.items()} | {"first": first.path}
    assert len(set(paths.values())) == len(paths)


def test_the_files_of_a_source_end_where_they_end(
    preparation: MakePreparation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    rows = [json.dumps({"prompt": f"{n}", "pos_resp": "a", "neg_resp": "b"}) for n in range(4)]
    for cut, places in ((1, "a:1 b:1 b:2 b:3"), (3, "a:1 a:2 a:3 b:1")):
        write(tmp_path / "a.jsonl", rows[:cut])
        write(tmp_path / "b.jsonl", rows[cut:])
        store = prepare_source(DataSource(str(tmp_path / "?.jsonl")), preparation())
        found = [group.group.source for group in store.groups]
        assert [f"{Path(place.file).stem}:{place.line}" for place in found] == places.split()


def test_a_damaged_store_is_made_anew(
    preparation: MakePreparation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    source = DataSource(str(write(tmp_path / "rows.jsonl", lines_of(20))))
    store = prepare_source(source, preparation())
    whole = bytes_of(store.path)
    os.truncate(store.path / "shard-00000.arrow", 100)
    with pytest.raises(DataError, match=r"shard-00000.arrow has 100 bytes.*prepare it again"):
        open_store(store.path)
    assert bytes_of(prepare_source(source, preparation()).path) == whole


def test_a_file_that_changes_while_it_is_read(
    preparation: MakePreparation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunking, "ROWS_IN_MEMORY", 20)
    rows = write(tmp_path / "rows.jsonl", lines_of(60))
    real = building.spill_all

    def meanwhile(*arguments: Any) -> Any:
        found = real(*arguments)
        with rows.open("a") as file:
            file.write(json.dumps({"prompt": "p", "pos_resp": "a", "neg_resp": "b"}) + "\n")
        return found

    monkeypatch.setattr(building, "spill_all", meanwhile)
    with pytest.raises(DataError, match="changed while it was read"):
        prepare_source(DataSource(str(rows)), preparation(), workers=1, output=tmp_path / "store")
    assert {path.name for path in tmp_path.iterdir()} == {"rows.jsonl"}
