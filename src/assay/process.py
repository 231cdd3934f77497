"""What a command sets for its whole process, before anything large is imported.

glibc returns large blocks to the kernel when they are freed, and the kernel hands them out anew
page by page, zeroed. A training step on a CPU frees and takes its activations at every layer:
measured on SmolLM2-135M, 400,000 page faults a step and 8% of its time. Kept, there are none.

Python looks for cycles after every 700 new objects. Importing torch and transformers makes some
millions that stay: 5.8 seconds so, 4.5 with a search after every 50,000. And it looks for them once
more at its end, for 1.2 seconds, in a memory that the system takes back whole.
"""

from __future__ import annotations

import atexit
import ctypes
import gc

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h
_LARGEST_ALLOWED = 32 * 2**20

COLLECTED = (50_000, 20, 20)
"""For `gc.set_threshold` where millions of small lasting objects are made, and few cycles."""


def settle() -> None:
    """Set all of it for this process."""
    gc.set_threshold(*COLLECTED)
    atexit.register(gc.freeze)  # What is frozen is not searched.
    _keep_freed_memory()


def share_one_heap() -> None:
    """Let threads that compute side by side have no heaps of their own, before they start.

    Their blocks would go back to the kernel whatever `settle` has said.
    """
    _mallopt((_M_ARENA_MAX, 1))


def _keep_freed_memory() -> None:
    """Blocks above 32 MiB (weights) are still returned, which bounds what is kept."""
    _mallopt((_M_MMAP_THRESHOLD, _LARGEST_ALLOWED), (_M_TRIM_THRESHOLD, -1))


def _mallopt(*settings: tuple[int, int]) -> None:
    """Tell glibc; elsewhere nothing happens."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    for name, value in settings:
        mallopt(name, value)
