"""`--engine ray`: two workers, one of them killed, and the same bytes as the ordinary engine's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from assay.data.sources import DataSource
from assay.errors import ConfigError
from assay.score.engines import ray_cluster
from assay.score.engines.choosing import opened_here
from assay.score.engines.ray_cluster import Places, RayOptions, connected, places_for
from assay.score.files import ScoreOptions, score_source
from assay.score.opening import RewarderChoice
from assay.score.parts import Parts
from assay.score.watching import Watch

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.*")
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed: assay[ray]")
SMALL = ScoreOptions(window=5, on_bad_row="skip")
TWO = RayOptions(workers=2, threads=1)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Workers compute with one; so does what they are compared with."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a cluster of two processors."""
    with connected(TWO):
        import ray

        yield ray.get_runtime_context().gcs_address


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> DataSource:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    lines = [
        json.dumps({"prompt": f"Why {n}?", "responses": ["so " * (n % 4), "深"]}) for n in range(43)
    ]
    lines[7], lines[21] = "{", '{"prompt": 3, "responses": ["a"]}'
    path.write_text("\n".join(lines), encoding="utf-8")
    return DataSource(str(path))


@pytest.fixture(scope="module")
def whole(
    tiny_reward: Path, rows: DataSource, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """What the ordinary engine writes."""
    directory = tmp_path_factory.mktemp("whole")
    by = RewarderChoice(str(tiny_reward)).open()
    score_source(by, rows, directory / "o.jsonl", SMALL)
    return files_in(directory)


def files_in(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def workers() -> list[psutil.Process]:
    """Of this process's cluster."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "ray::MapWorker" in " ".join(process.cmdline()):
                found.append(process)
    return found


class Interrupted(Exception):
    pass


class BreaksOff(Watch):
    def at(self, rows: float) -> None:
        if rows > 10:
            raise Interrupted


class Kills(Watch):
    """Kills a worker at the first window that is done."""

    def __init__(self) -> None:
        self.killed: list[int] = []

    def at(self, rows: float) -> None:
        if not self.killed:
            victim = workers()[0]
            self.killed.append(victim.pid)
            os.kill(victim.pid, signal.SIGKILL)


@needs_ray
def test_it_goes_on_with_a_broken_job_and_writes_the_same_bytes(
    cluster: str, tiny_reward: Path, rows: DataSource, whole: dict[str, bytes], tmp_path: Path
) -> None:
    output, choice = tmp_path / "o.jsonl", RewarderChoice(str(tiny_reward))
    with pytest.raises(Interrupted):
        score_source(choice.open(), rows, output, SMALL, BreaksOff())
    assert Parts(output).done() == {0, 1}
    with opened_here(choice, TWO) as (by, elsewhere):
        summary = score_source(by, rows, output, SMALL, elsewhere=elsewhere)
    assert (summary.rows, summary.bad_rows) == (41, 2)
    assert files_in(tmp_path) == whole


@needs_ray
def test_a_worker_that_is_killed_changes_no_byte(
    cluster: str, tiny_reward: Path, rows: DataSource, whole: dict[str, bytes], tmp_path: Path
) -> None:
    watch = Kills()
    with opened_here(RewarderChoice(str(tiny_reward)), TWO) as (by, elsewhere):
        score_source(by, rows, tmp_path / "o.jsonl", SMALL, watch, elsewhere)
    assert len(watch.killed) == 1
    assert files_in(tmp_path) == whole


@needs_ray
def test_a_worker_with_another_model_is_refused(
    cluster: str, tiny_reward: Path, rows: DataSource, tmp_path: Path
) -> None:
    from assay.score.engines.ray_data import OnRay
    from assay.score.engines.ray_worker import Orders

    choice = RewarderChoice(str(tiny_reward))
    padded = Orders(replace(choice, engine="padded"), [], str(tmp_path), 1)
    by = choice.open()
    elsewhere = OnRay(by, padded, Places(1, 1, "cpu"))
    with pytest.raises(ConfigError, match=r"has another model \(--engine was tree, is padded\)"):
        score_source(by, rows, tmp_path / "o.jsonl", SMALL, elsewhere=elsewhere)
    assert not list(tmp_path.iterdir())


@needs_ray
def test_ctrl_c_ends_the_job_and_leaves_the_cluster(
    cluster: str, tiny_reward: Path, tmp_path: Path
) -> None:
    path, output = tmp_path / "rows.jsonl", tmp_path / "o.jsonl"
    row = json.dumps({"prompt": "Why?", "responses": ["Because.", "So."]})
    path.write_text(f"{row}\n" * 4100, encoding="utf-8")
    command = [
        *(sys.executable, "-m", "assay", "score", "--engine", "ray", "--ray-address", cluster),
        *("--ray-workers", "1", "--ray-threads", "1", "--model", tiny_reward),
        *("--input", path, "--output", output),
    ]
    job = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)
    while not (Parts(output).path / "manifest.json").exists():
        assert job.poll() is None
        time.sleep(0.01)
    job.send_signal(signal.SIGINT)
    said = job.communicate()[1]
    assert job.returncode == 130, said
    assert said.splitlines()[-1] == "error: interrupted"
    assert "log level" not in said  # As Ray's native code remarks before it is silent.
    assert [file.name for file in tmp_path.iterdir()] == ["rows.jsonl"]
    until = time.monotonic() + 60
    while workers():
        assert time.monotonic() < until
        time.sleep(0.1)


def test_what_a_cluster_has_room_for() -> None:
    ten = {"CPU": 10.0}
    assert places_for(RayOptions(), 4, ten) == Places(2, 4, "cpu")
    assert places_for(RayOptions(), 16, ten) == Places(1, 16, "cpu")
    assert places_for(RayOptions(workers=3), 4, ten) == Places(3, 4, "cpu")  # With a warning.
    gpus = ten | {"GPU": 4.0}
    assert places_for(RayOptions(), 4, gpus) == Places(2, 4, "cuda")
    assert places_for(RayOptions(), 1, gpus).gpus == 1
    assert places_for(RayOptions(device="cpu"), 5, gpus) == Places(2, 5, "cpu")
    with pytest.raises(ConfigError, match="has no GPU"):
        places_for(RayOptions(device="cuda"), 4, ten)
    with pytest.raises(ConfigError, match="a GPU of its own, not 'cuda:1'"):
        places_for(RayOptions(device="cuda:1"), 4, gpus)


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    missing: Any = lambda name: None  # noqa: E731
    monkeypatch.setattr(ray_cluster, "find_spec", missing)
    with pytest.raises(ConfigError, match=r"pip install 'assay\[ray\]'"):
        ray_cluster.check_installed()
