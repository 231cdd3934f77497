"""Which kernel computes a layer, from what it asks for and what the device has."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from tree_reference import TALK, Inputs, check, layout_of, sees, written_out

from assay.tree import attention, cascade, flex, segments, varlen
from assay.tree.attention import (
    KERNELS,
    NAME,
    Demand,
    Kernel,
    kernel_for,
    kernels_on,
    name_without,
    tree_attention,
)

BF16, F16, F32, F64 = torch.bfloat16, torch.float16, torch.float32, torch.float64
ALL: Collection[Kernel] = KERNELS


def cuda(
    dtype: torch.dtype = BF16, width: int = 128, values: int | None = None, **asks: bool
) -> Demand:
    return Demand("cuda", dtype, width, values or width, **asks)


@pytest.mark.parametrize(
    ("demand", "order"),
    [
        # On a CPU: blocks without masks, else segment by segment.
        (Demand("cpu", F32, 64, 64), ["cascade"]),
        (Demand("cpu", BF16, 64, 64), ["cascade"]),
        (Demand("cpu", F64, 3, 3), ["cascade"]),
        (Demand("cpu", F32, 64, 48), []),
        (Demand("cpu", F32, 64, 64, window=True), []),
        (Demand("cpu", F32, 64, 64, softcap=True), []),
        (Demand("cpu", F32, 64, 64, sinks=True), []),
        # On a GPU, halves: torch's variable-length kernel, flash-attn, flex attention.
        (cuda(), ["varlen", "flash-attn", "flex"]),
        (cuda(F16, 64), ["varlen", "flash-attn", "flex"]),
        (cuda(window=True), ["varlen", "flash-attn", "flex"]),
        (cuda(width=256), ["varlen", "flash-attn", "flex"]),
        (cuda(width=264), ["flex"]),
        (cuda(width=100), ["flash-attn", "flex"]),
        (cuda(width=8), ["varlen", "flash-attn"]),
        (cuda(width=192, values=128), ["flex"]),
        (cuda(softcap=True), ["flash-attn", "flex"]),
        (cuda(softcap=True, window=True), ["flash-attn", "flex"]),
        (cuda(sinks=True), ["flex"]),
        (cuda(sinks=True, softcap=True, window=True), ["flex"]),
        # float32: flex attention; float64: none.
        (cuda(F32), ["flex"]),
        (cuda(F32, window=True), ["flex"]),
        (cuda(F32, 8), []),
        (cuda(F64), []),
        # Other devices.
        (Demand("npu", BF16, 128, 128), []),
        (Demand("mps", F32, 64, 64), []),
    ],
)
def test_which_kernel_in_which_order(demand: Demand, order: list[Kernel]) -> None:
    there = set(ALL)
    for expected in [*order, "segments"]:
        assert kernel_for(demand, there) == expected
        there -= {expected}
    assert kernel_for(demand, ()) == "segments"


def test_what_a_device_has(monkeypatch: pytest.MonkeyPatch) -> None:
    assert kernels_on(torch.device("cpu")) == {"cascade"}
    monkeypatch.setattr(cascade, "is_available", lambda: False)
    assert kernels_on(torch.device("cpu")) == set()
    assert kernels_on(torch.device("mps")) == set()
    monkeypatch.setattr(varlen, "has_torch_kernel", lambda device: True)
    monkeypatch.setattr(varlen, "has_flash_kernel", lambda device: False)
    monkeypatch.setattr(flex, "is_available", lambda device: True)
    device = torch.device("cuda", 7)
    assert kernels_on(device) == {"varlen", "flex"}
    attention._kernels_on_gpu.cache_clear()


@pytest.mark.parametrize("capability", [(7, 0), (7, 5), (8, 0), (9, 0), (12, 0)])
def test_older_gpus_have_no_variable_length_kernel(
    capability: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: True)
    monkeypatch.setattr(flex, "find_spec", lambda name: object())
    device = torch.device("cuda")
    assert varlen.has_torch_kernel(device) is (capability >= (8, 0))
    assert flex.is_available(device)
    monkeypatch.setattr(flex, "find_spec", lambda name: None)
    assert not flex.is_available(device)
    monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: False)
    assert not varlen.has_torch_kernel(device)


# Through the function that transformers calls


def stands_for(patch: pytest.MonkeyPatch, kernel: Kernel) -> None:
    """Whatever is asked for, this kernel is taken."""
    patch.setattr(attention, "kernel_for", lambda demand, there: kernel)


def run(given: Inputs, layout: Any, used: set[Kernel], **how: Any) -> list[Tensor]:
    def way(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        how_all = {"tree": layout, "scaling": given.scale, "used": used} | how
        output, weights = tree_attention(nn.Module(), q, k, v, None, **how_all)
        assert weights is None
        return output

    return given.run(way)


@pytest.mark.parametrize(
    ("kernel", "name"), [("varlen", "torch_kernel"), ("flash-attn", "flash_kernel")]
)
def test_a_layer_goes_through_its_kernel(
    kernel: Kernel, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from test_varlen import reference_kernel

    layout = layout_of(TALK)
    given = Inputs.of(layout.num_rows)
    stands_for(monkeypatch, kernel)
    monkeypatch.setattr(varlen, name, reference_kernel)
    used: set[Kernel] = set()
    for window in (None, 3):
        found = run(given, layout, used, sliding_window=window)
        check(found, given.run(written_out(sees(TALK, window), given.scale)))
    assert used == {kernel}


def test_a_layer_goes_through_flex_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    layout = layout_of(TALK)
    given = Inputs.of(layout.num_rows)
    stands_for(monkeypatch, "flex")
    calls: list[dict[str, Any]] = []

    def dense(q: Tensor, k: Tensor, v: Tensor, *rest: Any, **how: Any) -> Tensor:
        calls.append(how)
        return segments.dense(q, k, v, *rest, **how)

    monkeypatch.setattr(flex, "flex", dense)
    found = run(given, layout, set(), softcap=0.7, sliding_window=3)
    check(found, given.run(written_out(sees(TALK, 3), given.scale, 0.7)))
    assert calls == [{"window": 3, "softcap": 0.7, "sink_H": None}]


def test_what_is_refused_is_not_taken() -> None:
    layout = layout_of(TALK)
    given = Inputs.of(layout.num_rows)
    expected = given.run(written_out(sees(TALK), given.scale))
    for refused, kernel in ((frozenset[Kernel](), "cascade"), (frozenset({"cascade"}), "segments")):
        used: set[Kernel] = set()
        check(run(given, layout, used, refused=refused), expected)
        assert used == {kernel}


def test_each_choice_has_a_name_that_transformers_does_not_take_for_its_own() -> None:
    from transformers import AttentionInterface
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

    assert name_without(()) == NAME
    names = {name_without({kernel}) for kernel in KERNELS} | {name_without({"varlen", "flex"})}
    assert len(names) == len(KERNELS) + 1
    for name in names:
        assert name in AttentionInterface()
        assert name not in ALL_MASK_ATTENTION_FUNCTIONS
        assert not any(word in name for word in ("flash", "flex", "sdpa", "eager", "/", "|"))
    assert AttentionInterface()[name_without({"flex"})].keywords == {"refused": {"flex"}}
