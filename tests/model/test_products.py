"""Linear layers by oneDNN give torch's numbers and gradients, and only where they are asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from families import SMALL
from torch import Tensor, nn

from assay import machine
from assay.model import fast, products
from assay.model.products import Linear, linear
from assay.model.reward_model import RewardModel
from assay.model.rewards import rewards_of_sequences
from assay.model.twin import twin_of
from tests.conftest import no_metadata

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN"
)
SINGLE = 1e-6
NO_READER: Any = None
"""Renderer of the models here: no text is read."""
SEQUENCES = [(5, 6, 7, 8), (5, 6, 7, 9, 11), (5, 6, 12), tuple(range(40, 60))]


@pytest.fixture
def on_amd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "is_onednn_faster", lambda: True)


def draw(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).requires_grad_()


def check(ours: list[Tensor], theirs: list[Tensor]) -> None:
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.dtype == other.dtype
        assert mine.shape == other.shape
        assert float((mine - other).norm()) <= SINGLE * float(other.norm())
        assert float(other.norm()) > 0


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("shape", [(7, 24), (2, 3, 24), (1, 1, 24)], ids=str)
@pytest.mark.parametrize("how", ["plain", "transposed", "strided"])
def test_numbers_and_gradients_are_those_of_torch(
    shape: tuple[int, ...], how: str, with_bias: bool
) -> None:
    x, weight = draw(*shape), draw(40, 24, seed=1)
    if how == "transposed":
        x = draw(*reversed(shape)).permute(*reversed(range(len(shape)))).detach().requires_grad_()
    elif how == "strided":
        x = draw(*shape[:-1], 48)[..., ::2].detach().requires_grad_()
    bias = draw(40, seed=2) if with_bias else None
    inputs = [tensor for tensor in (x, weight, bias) if tensor is not None]
    slope = draw(*shape[:-1], 40, seed=3).detach()
    found = []
    for product in (linear, torch.nn.functional.linear):
        output = product(x, weight, bias)
        found.append([output.detach(), *torch.autograd.grad(output, inputs, slope)])
    check(*found)


def test_a_gradient_without_memory_of_its_own() -> None:
    """That of a sum is one number, seen many times."""
    x, weight = draw(5, 24), draw(40, 24, seed=1)
    ours, theirs = (
        list(torch.autograd.grad(product(x, weight, None).sum(), (x, weight)))
        for product in (linear, torch.nn.functional.linear)
    )
    check(ours, theirs)


@pytest.mark.parametrize("trained", ["x", "weight", "bias"])
def test_what_is_frozen_gets_no_gradient_and_costs_none(trained: str) -> None:
    tensors = {"x": draw(5, 24), "weight": draw(40, 24, seed=1), "bias": draw(40, seed=2)}
    for name, tensor in tensors.items():
        tensor.requires_grad_(name == trained)
    output = linear(**tensors)
    kept = output.grad_fn.saved_tensors  # type: ignore[union-attr]
    assert (kept[0] is not None) == (trained == "weight")
    output.sum().backward()
    assert [name for name, tensor in tensors.items() if tensor.grad is not None] == [trained]


def test_without_gradients_nothing_is_kept() -> None:
    with torch.no_grad():
        assert linear(draw(5, 24), draw(40, 24, seed=1), None).grad_fn is None


def test_a_gradient_is_not_differentiated_again() -> None:
    x, weight = draw(5, 24), draw(40, 24, seed=1)
    (slope,) = torch.autograd.grad(linear(x, weight, None).pow(2).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


# In a model


def model_of(family: str, dtype: torch.dtype = torch.float32) -> RewardModel:
    from transformers import AutoConfig

    config = AutoConfig.for_model(family, **SMALL, bos_token_id=1, eos_token_id=2)
    return RewardModel(twin_of(config).to(dtype), NO_READER, no_metadata())


def layers_by_onednn(model: RewardModel) -> int:
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    return sum("forward" in vars(layer) for layer in layers)


def rewards_and_gradients(model: RewardModel) -> list[Tensor]:
    reward_R = rewards_of_sequences(model, SEQUENCES, max_tokens=99, families=[0, 0, 0, 1])
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    return [reward_R.detach(), *torch.autograd.grad(reward_R.sum(), weights)]


@pytest.mark.parametrize("family", ["llama", "qwen2"])  # Without biases, and with some.
def test_a_model_computes_the_same_by_both(
    family: str, on_amd: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, calls = model_of(family), []
    monkeypatch.setattr(
        Linear, "apply", lambda *args, apply=Linear.apply: calls.append(args) or apply(*args)
    )
    model.use_engine("tree")
    assert layers_by_onednn(model) > 0
    ours = rewards_and_gradients(model)
    assert calls
    fast.remove(model.classifier)
    assert layers_by_onednn(model) == 0
    theirs = rewards_and_gradients(model)
    for mine, other in zip(ours, theirs, strict=True):
        # Through two layers, and float32 on both sides.
        assert float((mine - other).norm()) <= 20 * SINGLE * float(other.norm())


def test_other_dtypes_and_no_rows_are_torchs_own(
    on_amd: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> Tensor:
        raise AssertionError

    monkeypatch.setattr(products, "linear", never)
    layers = nn.ModuleList([nn.Linear(4, 4, dtype=dtype) for dtype in (torch.float64, torch.half)])
    layers.append(nn.Linear(4, 4))
    fast.install(layers)
    for layer in layers[:2]:
        layer(torch.ones(2, 4, dtype=layer.weight.dtype))
    assert layers[2](torch.ones(0, 4)).shape == (0, 4)
    with pytest.raises(AssertionError):
        layers[2](torch.ones(2, 4))
    with torch.autocast("cpu"):
        assert layers[2](torch.ones(2, 4)).dtype == torch.bfloat16


class Other(nn.Linear):
    """Somebody's own."""


def test_layers_of_other_classes_stay(on_amd: None) -> None:
    other = Other(4, 4)
    fast.install(other)
    assert "forward" not in vars(other)


def test_torchs_own_layers_stay_where_they_are_as_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "is_onednn_faster", lambda: False)
    model = model_of("llama")
    model.use_engine("tree")
    assert layers_by_onednn(model) == 0


@pytest.mark.parametrize("fault", ["wrong", "gone", "refusing"])
def test_an_operator_that_is_not_what_it_was_is_not_used(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = products._product

    def product(*arguments: Any) -> Tensor:
        if fault == "gone":
            raise AttributeError
        if fault == "refusing":
            raise RuntimeError
        return 1.01 * right(*arguments)

    monkeypatch.setattr(products, "processor_vendor", lambda: "AuthenticAMD")
    assert products.is_onednn_faster.__wrapped__()
    monkeypatch.setattr(products, "_product", product)
    assert not products.is_onednn_faster.__wrapped__()


@pytest.mark.parametrize(
    ("vendor", "faster"), [("AuthenticAMD", True), ("GenuineIntel", False), ("", False)]
)
def test_the_processor_decides(
    vendor: str, faster: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "Path", lambda _: tmp_path / "cpuinfo")
    if vendor:
        text = f"processor\t: 0\nvendor_id\t: {vendor}\ncpu family\t: 25\n"
        (tmp_path / "cpuinfo").write_text(text, encoding="utf-8")
    assert machine.processor_vendor() == vendor
    assert products.is_onednn_faster.__wrapped__() == faster
