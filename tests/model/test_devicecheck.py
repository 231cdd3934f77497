"""Wrong kernels are found on the device: each fault that one can have is planted here once.

The kernels are a GPU's; what stands for them here computes the same on the CPU, with the rounding
of a kernel that works in tiles: weights are rounded before they meet the values, the output is.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Callable, Collection, Iterator
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from families import small_config
from torch import Tensor

from assay.model import devicecheck, ladder
from assay.model.devicecheck import Fault, _Pair, find_wrong, probes, wrong_kernels
from assay.model.reward_model import RewardModel
from assay.model.twin import WINDOW, twin_of
from assay.tree import attention, varlen
from assay.tree.attention import NAME, Demand, Kernel
from assay.tree.layout import grow
from assay.tree.segments import by_segment
from tests.conftest import no_metadata

CPU, BF16 = torch.device("cpu"), torch.bfloat16
NO_READER: Any = None
"""Renderer of the models here: no text is read."""


def kernel(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    query_bounds: Tensor,
    key_bounds: Tensor,
    most_queries: int,
    most_keys: int,
    *,
    scale: float,
    left: int,
    softcap: float | None,
    further: int = 0,
    top_left: bool = False,
    off: float = 1.0,
    keeps_keys: bool = False,
) -> Tensor:
    """A variable-length kernel, and the faults that it may have."""
    outputs = []
    bounds = zip(pairwise(query_bounds.tolist()), pairwise(key_bounds.tolist()), strict=True)
    for queries, keys in bounds:
        wide = [t.float() for t in (q[slice(*queries)], k[slice(*keys)], v[slice(*keys)])]
        q_QHD, (k_LHD, v_LHD) = (
            wide[0],
            (t.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for t in wide[1:]),
        )
        if keeps_keys:
            k_LHD = k_LHD.detach()
        logits = torch.einsum("qhd,lhd->hql", q_QHD, k_LHD) * scale * off
        first = 0 if top_left else len(k_LHD) - len(q_QHD)
        last_Q1 = torch.arange(len(q_QHD))[:, None] + first
        key_L = torch.arange(len(k_LHD))
        hidden = key_L > last_Q1
        if left >= 0:
            hidden |= key_L < last_Q1 - left - further
        weights = logits.masked_fill(hidden, -torch.inf).softmax(-1).to(v.dtype).float()
        outputs.append(torch.einsum("hql,lhd->qhd", weights, v_LHD).to(v.dtype))
    return torch.cat(outputs)


def broken(*_: Any, **__: Any) -> Tensor:
    raise RuntimeError("no kernel image is available for execution\non the device")


def not_a_number(*given: Any, **named: Any) -> Tensor:
    return kernel(*given, **named) * torch.nan


def model_of(family: str, **changes: Any) -> RewardModel:
    return RewardModel(twin_of(small_config(family, **changes)), NO_READER, no_metadata())


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets the CPU stand for a GPU with kernels: torch's, and perhaps flash-attn's."""

    def put(torch_kernel: varlen.Kernel, flash_kernel: varlen.Kernel | None = None) -> None:
        there: frozenset[Kernel] = frozenset(["varlen", *(["flash-attn"] if flash_kernel else [])])
        choose = attention.kernel_for

        def on_a_gpu(demand: Demand, there: Collection[Kernel]) -> Kernel:
            return choose(demand._replace(device="cuda"), there)

        monkeypatch.setattr(varlen, "torch_kernel", torch_kernel)
        monkeypatch.setattr(varlen, "flash_kernel", flash_kernel)
        monkeypatch.setattr(attention, "kernels_on", lambda device: there)
        monkeypatch.setattr(devicecheck, "kernels_on", lambda device: there)
        monkeypatch.setattr(attention, "kernel_for", on_a_gpu)

    return put


@pytest.fixture(scope="module")
def pair() -> _Pair:
    """Mistral: a window in all layers, keys and values of groups of heads."""
    return _Pair(model_of("mistral"), CPU, BF16)


def test_a_right_kernel_is_right(gpu: Callable[..., None], pair: _Pair) -> None:
    gpu(kernel)
    assert pair.taken(()) == ({"varlen"}, None)
    assert pair.fault_in("varlen", ["varlen"]) is None
    assert pair.taken({"varlen"}) == ({"segments"}, None)


@pytest.mark.parametrize(
    ("faulty", "said"),
    [
        (functools.partial(kernel, further=1), "rewards are off by"),
        (functools.partial(kernel, further=-1), "rewards are off by"),
        (functools.partial(kernel, top_left=True), "rewards are off by"),
        (functools.partial(kernel, off=1.2), "rewards are off by"),
        (functools.partial(kernel, keeps_keys=True), "gradients are off by"),
        (not_a_number, "rewards are off by nan"),
        (broken, "it fails (no kernel image is available for execution)"),
    ],
    ids=["window + 1", "window - 1", "top left", "scale", "no gradient", "nan", "raises"],
)
def test_a_wrong_kernel_is_found(
    faulty: varlen.Kernel, said: str, gpu: Callable[..., None], pair: _Pair
) -> None:
    gpu(faulty)
    used, failure = pair.taken(())
    assert used == {"varlen"}, "one that fails is named, too"
    assert (failure is None) == (faulty is not broken)
    fault = pair.fault_in("varlen", ["varlen"])
    assert fault is not None
    assert fault.said.startswith(said)
    assert fault.compared == (faulty is not broken)


def test_the_next_kernel_is_taken(gpu: Callable[..., None]) -> None:
    gpu(functools.partial(kernel, top_left=True), kernel)
    found = find_wrong(model_of("llama"), CPU, BF16)
    assert list(found) == ["varlen"]
    gpu(broken, broken)
    assert list(find_wrong(model_of("llama"), CPU, BF16)) == ["varlen", "flash-attn"]


def test_a_kernel_that_no_layer_takes_is_not_checked(gpu: Callable[..., None]) -> None:
    # Torch's kernel has no softcap.
    gpu(broken)
    assert find_wrong(model_of("gemma2"), CPU, BF16) == {}


def test_a_model_that_cannot_be_computed_there_gets_plain_attention(
    gpu: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> Any:
        raise ValueError("no such dtype")

    gpu(kernel)
    monkeypatch.setattr(devicecheck, "in_dtype", fails)
    said = "a small model of this kind cannot be computed there (no such dtype)"
    assert find_wrong(model_of("llama"), CPU, BF16) == {"varlen": Fault(said, compared=False)}


def full(*_: Any, **__: Any) -> Any:
    raise torch.OutOfMemoryError("CUDA out of memory")


def test_no_memory_without_kernels_is_no_verdict(
    gpu: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu(kernel)
    monkeypatch.setattr(devicecheck, "in_dtype", full)
    with pytest.raises(torch.OutOfMemoryError):
        find_wrong(model_of("llama"), CPU, BF16)


@pytest.mark.parametrize(("calls", "left_out"), [(1000, []), (1, ["flex"])])
def test_a_pass_that_fails_is_no_word_for_kernels_behind(
    calls: int, left_out: list[str], gpu: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was right fails in a later pass, before all kernels have had their turn."""
    left = iter(range(calls))

    def tires(*given: Any, **named: Any) -> Tensor:
        return full() if next(left, None) is None else kernel(*given, **named)

    gpu(tires)
    monkeypatch.setattr(devicecheck, "kernels_on", lambda device: {"varlen", "flex"})
    monkeypatch.setattr(_Pair, "fault_in", lambda self, name, there: None)
    found = find_wrong(model_of("llama"), CPU, BF16)
    assert list(found) == left_out
    assert not any(fault.compared for fault in found.values())


def test_probes_have_what_kernels_stumble_over() -> None:
    (long, families), (short, _) = probes()
    tree = grow(long, families=families)
    rows = [segment.num_rows for segment in tree.segments]
    keys = [segment.depth + segment.num_rows for segment in tree.segments]
    assert min(rows) == 1
    assert max(rows) > 128, "more than a tile of queries"
    assert max(keys) > 128 > WINDOW, "and of keys"
    assert max(keys) <= 256, "positions of twins with learned ones"
    assert max(len(segment.path) for segment in tree.segments) > 1
    assert max(map(len, short)) == WINDOW, "no window is active: it would be another kernel's"
    assert any(segment.path for segment in grow(short).segments)


# What is done with it


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A GPU with a name; where verdicts are kept."""
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "H100")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    return tmp_path / "self-checks"


def verdicts_in(kept: Path) -> list[Any]:
    """What is kept of kernels; verdicts on engines stand beside it."""
    found = [json.loads(path.read_text()) for path in kept.iterdir()]
    return [one["wrong"] for one in found if "wrong" in one]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    logger, lines = logging.getLogger("assay"), list[str]()
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    monkeypatch.setattr(logger, "handlers", [handler])
    monkeypatch.setattr(logger, "propagate", False)
    held = logger.level
    logger.setLevel(logging.INFO)
    yield lines
    logger.setLevel(held)


def test_a_wrong_kernel_is_left_out_and_said(
    said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def wrong(model: RewardModel, device: torch.device) -> dict[Kernel, Fault]:
        asked.append(device)
        return {"varlen": Fault("rewards are off by 1.0e+00, where rounding is 1.0e-02")}

    monkeypatch.setattr(ladder, "wrong_kernels", wrong)
    model = model_of("llama")
    target = torch.device("cuda", 3)
    ladder.choose_engine(model, "auto", target)
    assert asked == [target]
    assert said == [
        "attention without the kernel varlen, which is not right here: rewards are off by "
        "1.0e+00, where rounding is 1.0e-02"
    ]
    name = model.classifier.config._attn_implementation
    assert name == attention.name_without({"varlen"}) != NAME
    assert model.engine.name == "tree"
    asked.clear()
    ladder.choose_engine(model, "padded", target)
    assert not asked, "transformers' own code has no kernels of ours"
    ladder.choose_engine(model, "packed")
    assert asked == [model.device]


@pytest.mark.parametrize("fails", [full, broken], ids=["no memory", "raises"])
def test_what_fails_is_said_once_and_tried_again(
    fails: varlen.Kernel,
    gpu: Callable[..., None],
    said: list[str],
    card: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(devicecheck, "find_wrong", lambda model, *_: find_wrong(model, CPU, BF16))
    monkeypatch.setattr(ladder, "_said", set())
    model, device = model_of("llama"), torch.device("cuda")
    gpu(fails)
    for _ in range(2):
        ladder.choose_engine(model, "packed", device)
        name = model.classifier.config._attn_implementation
        assert name == attention.name_without({"varlen"})
    [line] = said
    assert "kernel varlen, which could not be checked, this time: it fails (" in line
    assert verdicts_in(card) == []
    gpu(kernel)  # There is memory again.
    assert wrong_kernels(model, device) == {}
    assert verdicts_in(card) == [{}]
    gpu(fails)
    assert wrong_kernels(model, device) == {}, "what was compared is kept"


def test_other_devices_have_nothing_to_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devicecheck, "find_wrong", broken)
    model = model_of("llama")
    assert wrong_kernels(model, CPU) == {}
    assert wrong_kernels(model, torch.device("mps")) == {}


def test_verdicts_are_kept_by_gpu_dtype_and_precision(
    card: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[torch.dtype] = []

    def find(model: RewardModel, device: torch.device, dtype: torch.dtype) -> dict[Kernel, Fault]:
        checked.append(dtype)
        return {"flex": Fault("off")}

    monkeypatch.setattr(devicecheck, "find_wrong", find)
    model, device = model_of("llama"), torch.device("cuda")
    for _ in range(2):
        assert wrong_kernels(model, device) == {"flex": Fault("off")}
    assert checked == [torch.float64]
    model.compute_dtype = BF16  # Autocast: what attention is computed in.
    wrong_kernels(model, device)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "B200")
    wrong_kernels(model, device)
    assert checked == [torch.float64, BF16, BF16]
    assert verdicts_in(card) == [{"flex": "off"}] * 3
    for path in card.iterdir():
        path.write_text("{")
    wrong_kernels(model, device)
    assert len(checked) == 4, "what cannot be read is found out again"


def test_triton_may_come_in_a_package_of_another_name(
    card: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As builds of torch for other GPUs bring it."""
    own = devicecheck.metadata.version

    def version(name: str) -> str:
        if name in ("triton", "flash-attn"):
            raise metadata.PackageNotFoundError(name)
        return own(name)

    monkeypatch.setattr(devicecheck.metadata, "version", version)
    monkeypatch.setattr(devicecheck, "find_wrong", lambda model, device, dtype: {})
    assert wrong_kernels(model_of("llama"), torch.device("cuda")) == {}


def test_plain_attention_stands_for_all(gpu: Callable[..., None], pair: _Pair) -> None:
    # The bound holds for what is compared with itself, one sequence at a time and as a tree.
    def plain(q: Tensor, k: Tensor, v: Tensor, layout: Any, scale: float, **how: Any) -> Tensor:
        how.pop("kernel")
        return by_segment(q, k, v, layout, scale, **how)

    gpu(kernel)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(varlen, "varlen", plain)
        assert pair.fault_in("varlen", ["varlen"]) is None


# On a GPU


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("family", ["llama", "mistral", "gemma2", "gpt_oss", "gpt2"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_the_kernels_of_this_gpu_are_right(family: str, dtype: torch.dtype) -> None:
    assert find_wrong(model_of(family), torch.device("cuda"), dtype) == {}
