"""The machine: processor, memory, devices that torch knows, the cache directory and its disk."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from assay.cache import cache_dir
from assay.doctor.packages import shortened
from assay.doctor.section import Section, gib
from assay.machine import available_cores, available_memory, processor_name, total_memory
from assay.notices import counted

_COUNTED = 50_000
"""Files of the cache that are looked at: a second, or so."""


def machine() -> Section:
    """What can be said without torch."""
    section = Section("machine")
    with section.tried("the processor"):
        name, cores = processor_name(), available_cores()
        section.say(
            "processor", {"name": name, "cores": cores}, f"{name}, {counted(cores, 'core')}"
        )
    with section.tried("memory"):
        free, total = available_memory(), total_memory()
        section.say("memory", {"free": free, "total": total}, f"{gib(free)} free of {gib(total)}")
    with section.tried("the cache directory"):
        _say_cache(section)
    return section


def devices(torch: Any, section: Section) -> None:
    """Say the build of torch, its threads, and its devices with their memory."""
    with section.tried("the build of torch"):
        _say_build(torch, section)
    with section.tried("CUDA"):
        if torch.cuda.is_available():
            for number in range(torch.cuda.device_count()):
                _say_cuda(torch, number, section)
    with section.tried("XPU"):
        if torch.xpu.is_available():
            for number in range(torch.xpu.device_count()):
                known = torch.xpu.get_device_properties(number)
                _say_device(section, f"xpu:{number}", known.name, known.total_memory)
    with section.tried("NPU"):
        if find_spec("torch_npu") is not None:
            __import__("torch_npu")
            for number in range(torch.npu.device_count()):
                known = torch.npu.get_device_properties(number)
                _say_device(section, f"npu:{number}", known.name, known.total_memory)
    with section.tried("MPS"):
        if torch.backends.mps.is_available():
            total = torch.mps.recommended_max_memory()
            _say_device(section, "mps", "Apple's GPU", total)
    with section.tried("the device that is taken"):
        from assay.model.loading import resolve_device

        chosen = resolve_device("auto").type
        section.say("auto", chosen, f"{chosen} (what `--device auto` takes)")


def _say_build(torch: Any, section: Section) -> None:
    kind = "for CPUs"
    if torch.version.cuda:
        kind = f"for CUDA {torch.version.cuda}"
    elif getattr(torch.version, "hip", None):
        kind = f"for ROCm {torch.version.hip}"
    libraries = [
        name
        for name, module in (("MKL", torch.backends.mkl), ("oneDNN", torch.backends.mkldnn))
        if module.is_available()
    ]
    section.say("torch", str(torch.__version__), f"{torch.__version__}, {kind}")
    section.say("libraries", libraries, ", ".join(libraries) or "neither MKL nor oneDNN")
    capability = torch.backends.cpu.get_cpu_capability()
    section.say("instructions", capability, f"{capability} (the widest that torch uses)")
    threads, cores = torch.get_num_threads(), available_cores()
    section.say("threads", threads, f"{threads} on {counted(cores, 'core')}")
    if threads < cores:
        why = "OMP_NUM_THREADS" if "OMP_NUM_THREADS" in os.environ else "torch's own choice"
        section.notes.append(f"torch uses {threads} of {cores} cores ({why})")


def _say_cuda(torch: Any, number: int, section: Section) -> None:
    known = torch.cuda.get_device_properties(number)
    free, total = torch.cuda.mem_get_info(number)
    halves = torch.cuda.is_bf16_supported(including_emulation=False)
    section.say(
        f"cuda:{number}",
        {
            "name": known.name,
            "capability": f"{known.major}.{known.minor}",
            "free": free,
            "total": total,
            "bfloat16": halves,
        },
        f"{known.name}, capability {known.major}.{known.minor}, {gib(free)} free of {gib(total)}"
        f"{'' if halves else ', without units for bfloat16'}",
    )


def _say_device(section: Section, name: str, kind: str, total: int) -> None:
    section.say(name, {"name": kind, "total": total}, f"{kind}, {gib(total)}")


def _say_cache(section: Section) -> None:
    place = cache_dir()
    parent = next(path for path in (place, *place.parents) if path.exists())
    free = shutil.disk_usage(parent).free
    used, whole = _size(place)
    section.say(
        "cache",
        {"path": shortened(str(place)), "used": used, "free": free},
        f"{shortened(str(place))}, {'' if whole else 'more than '}{gib(used)}; "
        f"{gib(free)} free on its disk",
    )
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        section.problems.append(
            f"{shortened(str(place))}: the cache directory cannot be written to; "
            "set ASSAY_CACHE to one that can"
        )


def _size(place: Path) -> tuple[int, bool]:
    """Bytes of the files below a directory, and whether all were counted."""
    found = seen = 0
    for folder, _, names in os.walk(place):
        for name in names:
            seen += 1
            if seen > _COUNTED:
                return found, False
            try:
                status = Path(folder, name).lstat()
            except OSError:  # Another command has just removed it.
                continue
            found += status.st_size
    return found, True
