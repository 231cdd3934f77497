"""Whether 8-bit products are right and worth their rounding on this machine: a short measurement.

Nothing else tells. Without instructions for them they are slower than float32, some instructions
lose what does not fit into 16 bits, and some virtual machines advertise units that they lack and
kill the process: so the probe is a process of its own, and what it found is kept.
"""

from __future__ import annotations

from assay.errors import ConfigError
from assay.model.precision import measured

WORTH = 1.2
"""How many times as fast a linear layer must be, its rounding counted: rewards move for it."""
WHERE = "--precision int8"

_PROBE = """
import statistics, sys, time
import torch
from torch import nn
from assay.model.int8.layers import Int8Linear, Int8Weight, Joined, product

torch.set_num_threads(int(sys.argv[1]))
torch.manual_seed(0)
a, b = torch.randint(-127, 128, (64, 1023)).char(), torch.randint(-127, 128, (63, 1023)).char()
a[0], b[0], b[1] = 127, 127, -127
assert torch.equal(product(a, b).double(), a.double() @ b.double().T)
x, linear = torch.randn(512, 1024), nn.Linear(1024, 1024, bias=False)
layer = Int8Linear(Joined(Int8Weight([linear.weight]), [None]), 0)
with torch.inference_mode():
    times = {linear: [], layer: []}
    for _ in range(9):
        for module, seconds in times.items():
            began = time.perf_counter()
            module(x)
            seconds.append(time.perf_counter() - began)
for seconds in times.values():
    print(statistics.median(seconds))
"""


def layer_seconds() -> tuple[float, float] | None:
    """Of a linear layer in float32 and in 8 bits; None where these are wrong or fail.

    Measured once, as `faster_dtype` does.
    """
    return measured(_PROBE, "int8")


def check_worth() -> None:
    """See that 8 bits are faster here.

    Raises:
        ConfigError: they are not, or their products are wrong or fail.
    """
    seconds = layer_seconds()
    if seconds is None:
        raise ConfigError(
            "8-bit products are wrong or fail on this CPU",
            where=WHERE,
            mend="leave --precision out; where a virtual machine advertises AMX and lacks it, "
            "setting ONEDNN_MAX_CPU_ISA=AVX512_CORE_FP16 may help",
        )
    ratio = seconds[0] / seconds[1]
    if ratio < WORTH:
        raise ConfigError(
            f"8 bits gain nothing here: a linear layer takes {1000 * seconds[1]:.2g} ms, in "
            f"float32 {1000 * seconds[0]:.2g} ms ({ratio:.2g} times as fast, worth it from "
            f"{WORTH} on)",
            where=WHERE,
            mend="leave --precision out",
        )
