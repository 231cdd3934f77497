"""Devices, threads and the cache directory, on machines that this one is not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from assay.doctor.hardware import devices, machine
from assay.doctor.section import Section

GIB = 2**30


def with_gpus(**changes: Any) -> SimpleNamespace:
    """What of torch is asked, on a machine with two GPUs of different kinds."""
    known = [SimpleNamespace(name=f"GPU {n}", major=n + 7, minor=5) for n in range(2)]
    cuda = SimpleNamespace(
        is_available=lambda: True,
        device_count=lambda: 2,
        get_device_properties=lambda number: known[number],
        mem_get_info=lambda number: (number * GIB, 8 * GIB),
        is_bf16_supported=lambda including_emulation: True,
    )
    none, some = (
        SimpleNamespace(is_available=lambda found=found: found) for found in (False, True)
    )
    cpu = SimpleNamespace(get_cpu_capability=lambda: "AVX2")
    parts = {
        "__version__": "2.13.0+cu130",
        "version": SimpleNamespace(cuda="13.0"),
        "backends": SimpleNamespace(mkl=none, mkldnn=some, mps=none, cpu=cpu),
        "get_num_threads": lambda: 1,
        "cuda": cuda,
        "xpu": none,
    }
    return SimpleNamespace(**parts | changes)


def test_gpus_are_named_with_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assay.doctor.hardware.available_cores", lambda: 4)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    section = Section("devices")
    devices(with_gpus(), section)
    said = {fact.name: fact.said for fact in section.facts}
    assert said["torch"] == "2.13.0+cu130, for CUDA 13.0"
    assert said["libraries"] == "oneDNN"
    assert said["cuda:1"] == "GPU 1, capability 8.5, 1.0 GiB free of 8.0 GiB"
    assert section.notes == ["torch uses 1 of 4 cores (OMP_NUM_THREADS)"]


def test_a_driver_that_fails_costs_its_own_line() -> None:
    def fails() -> bool:
        raise RuntimeError("no driver\nand more")

    section = Section("devices")
    devices(with_gpus(cuda=SimpleNamespace(is_available=fails)), section)
    assert "CUDA: not found out (RuntimeError: no driver)" in section.notes
    assert {"torch", "threads", "auto"} <= {fact.name for fact in section.facts}
    assert section.problems == []


def test_the_cache_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    said = {fact.name: fact.said for fact in machine().facts}
    assert said["cache"].startswith("~/cache, 0.0 MiB; ")
    (tmp_path / "cache" / "part").mkdir(parents=True)
    (tmp_path / "cache" / "part" / "file").write_bytes(b"x" * 2**20)
    facts = {fact.name: fact.value for fact in machine().facts}
    assert facts["cache"]["used"] == 2**20  # type: ignore[index]
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache" / "part" / "file" / "below"))
    [problem] = machine().problems
    assert "cannot be written to; set ASSAY_CACHE" in problem
