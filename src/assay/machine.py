"""What this machine has for a process: cores, processor, memory."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

_CONTROL_GROUPS = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
)
"""Limit, use, and the part of the use that is page cache, in version 2 and version 1."""


def available_cores() -> int:
    """Processor cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # Not on every system.
        return os.cpu_count() or 1


def processor_name() -> str:
    """What the processor calls itself, or what Python knows of it."""
    return _cpuinfo("model name") or platform.processor()


def processor_vendor() -> str:
    """Who made the processor, as it says itself (`GenuineIntel`); empty where that is not told."""
    return _cpuinfo("vendor_id")


def _cpuinfo(key: str) -> str:
    """What Linux says of the first core; empty elsewhere, and where it says nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def total_memory() -> int:
    """Bytes of main memory that are built in."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def available_memory() -> int:
    """Bytes of main memory that can be had without swapping, within the container's limit."""
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        # Free memory and what the page cache gives back.
        available = re.search(r"^MemAvailable:\s+(\d+) kB", meminfo.read_text(), re.MULTILINE)
        if available is not None:
            return min([int(available[1]) * 1024, *_container_limits()])
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _container_limits(group: Path = Path("/sys/fs/cgroup")) -> list[int]:
    """What a control group leaves, where there is one with a limit: /proc shows the whole host.

    Page cache counts as used there, but is given back when memory is asked for.
    """
    for limit_file, used_file, cache in _CONTROL_GROUPS:
        try:
            limit = (group / limit_file).read_text().strip()
            used = int((group / used_file).read_text())
            stat = (group / used_file).with_name("memory.stat").read_text()
            given_back = re.search(rf"^{cache} (\d+)$", stat, re.MULTILINE)
            used -= int(given_back[1]) if given_back is not None else 0
            return [max(int(limit) - used, 0)] if limit != "max" else []
        except (OSError, ValueError):
            continue
    return []
