"""Keep freed memory for the next pass instead of giving it back to the system.

glibc returns large blocks to the kernel when they are freed, and the kernel hands them out anew
page by page, zeroed. A training step on a CPU frees and takes its activations at every layer:
measured on SmolLM2-135M, 400,000 page faults a step and 8% of its time. Kept, there are none.
"""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGEST_ALLOWED = 32 * 2**20


def keep_freed_memory() -> None:
    """Tell glibc, for the whole process; elsewhere nothing happens.

    Blocks above 32 MiB (weights) are still returned, which bounds what is kept.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_M_MMAP_THRESHOLD, _LARGEST_ALLOWED)
    mallopt(_M_TRIM_THRESHOLD, -1)
