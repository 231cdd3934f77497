"""What computes here, and why: dtype, 8 bits, attention kernels, lanes, the rate of products.

What the probes of `assay.model` measure is kept in the cache directory, as for every other command.
"""

from __future__ import annotations

import statistics
import time

import torch

from assay.doctor.section import Section
from assay.errors import AssayError
from assay.model.int8.probe import check_worth, layer_seconds
from assay.model.lanes import lanes_here
from assay.model.loading import resolve_device
from assay.model.precision import WORTH, faster_dtype
from assay.model.products import DTYPE, is_onednn_faster, linear
from assay.notices import counted
from assay.tree.attention import KERNELS, kernels_on

PRODUCT = (512, 1024, 1024)
"""Tokens, inputs and outputs of a linear layer of a small model."""
_SECONDS = 0.5
_NEEDS = {
    "cascade": "a CPU",
    "varlen": "a GPU from Ampere on, and torch's own variable-length attention",
    "flash-attn": "a GPU from Ampere on, and flash-attn 2.6",
    "flex": "a GPU from Volta on, and triton",
}
"""What each kernel of trees needs to be there; `segments` needs nothing."""


def computing(section: Section) -> None:
    """Say what `auto` takes on this machine, whatever the model."""
    device = resolve_device("auto")
    with section.tried("the rate of products"):
        _say_products(device, section)
    with section.tried("model.dtype: auto"):
        choice = faster_dtype(device)
        why = (
            choice.reason if device.type != "cpu" else f"{choice.reason}, worth it from {WORTH} on"
        )
        section.say(
            "dtype auto",
            {"taken": choice.dtype, "reason": choice.reason},
            (f"{choice.dtype} in training ({why})"),
        )
    if device.type == "cpu":
        with section.tried("8 bits"):
            _say_int8(section)
        with section.tried("lanes"):
            _say_lanes(section)
    with section.tried("attention kernels"):
        _say_kernels(device, section)


def product_rate(device: torch.device, dtype: torch.dtype = torch.float32) -> float:
    """Floating-point operations a second of a product of `PRODUCT`, the median of half a second."""
    rows, inner, columns = PRODUCT
    scale = 1 if device.type == "cpu" else 8  # A GPU is not filled by less.
    x = torch.ones(rows * scale, inner, dtype=dtype, device=device)
    y = torch.ones(inner, columns, dtype=dtype, device=device)
    by_onednn = device.type == "cpu" and dtype == DTYPE and is_onednn_faster()

    def multiplied() -> torch.Tensor:
        return linear(x, y.t(), None) if by_onednn else x @ y

    seconds: list[float] = []
    with torch.inference_mode():
        multiplied().sum().item()
        while sum(seconds) < _SECONDS and len(seconds) < 200:
            began = time.perf_counter()
            product = multiplied()
            if device.type != "cpu":
                product[0, 0].item()  # Which waits for the device.
            seconds.append(time.perf_counter() - began)
    return 2 * rows * scale * inner * columns / statistics.median(seconds)


def _say_products(device: torch.device, section: Section) -> None:
    dtypes = [torch.float32]
    # On a CPU only a process of its own may try: some kill it (`assay.model.precision`).
    if device.type == "cuda":
        dtypes.append(torch.bfloat16)
    rate = {str(dtype).removeprefix("torch."): product_rate(device, dtype) for dtype in dtypes}
    said = ", ".join(f"{value / 1e9:,.0f} GFLOP/s in {name}" for name, value in rate.items())
    shape = " x ".join(map(str, PRODUCT))
    section.say("products", rate, f"{said} ({shape}, {counted(torch.get_num_threads(), 'thread')})")
    if device.type == "cpu":
        by, why = (
            ("oneDNN", "faster on processors of this maker")
            if is_onednn_faster()
            else ("torch", "as it does by itself")
        )
        section.say("linear layers", by, f"{by} multiplies those in float32 ({why})")


def _say_int8(section: Section) -> None:
    seconds = layer_seconds()
    ratio = seconds[0] / seconds[1] if seconds is not None else None
    try:
        check_worth()
        worth, why = True, f"a linear layer is {ratio:.2g} times as fast as in float32"
    except AssayError as error:
        worth, why = False, error.what
    said = f"{'can be had' if worth else 'refused'} ({why})"
    section.say("precision int8", {"worth": worth, "ratio": ratio}, said)


def _say_lanes(section: Section) -> None:
    threads = torch.get_num_threads()
    lanes = lanes_here()
    said = (
        f"{lanes} halves of a training pack side by side, {threads // lanes} of the threads each"
        if lanes > 1
        else f"none: {counted(threads, 'thread')} cannot be shared by two halves of a pack"
    )
    section.say("lanes", lanes, said)


def _say_kernels(device: torch.device, section: Section) -> None:
    there = kernels_on(device)
    known = [name for name in KERNELS if name in there or name == "segments"]
    lacking = {name: need for name, need in _NEEDS.items() if name not in there}
    if device.type == "cpu":
        lacking = {} if "cascade" in there else {"cascade": "a torch with its CPU kernels"}
    else:
        lacking.pop("cascade")
    said = ", ".join(known)
    said += "".join(f"; no {name}, which needs {need}" for name, need in lacking.items())
    section.say("attention", {"kernels": known, "lacking": sorted(lacking)}, said)
