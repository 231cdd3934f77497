"""What this machine has for a process."""

from __future__ import annotations

from pathlib import Path


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
