"""How many tokens a pack may have: what autograd keeps of each, and what memory is free."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from assay import machine
from assay.config import LoraConfig, ModelConfig, TrainConfig
from assay.model.loading import build_for_training
from assay.model.reward_model import RewardModel
from assay.train import memory
from assay.train.memory import kept_per_token, training_budget
from assay.tree.pack import Pack
from tests.conftest import no_metadata

NO_READER: Any = None
Llama = Callable[..., RewardModel]


def settings(**changes: Any) -> TrainConfig:
    return TrainConfig.model_validate({"max_length": 128, "device": "cpu"} | changes)


@pytest.fixture
def llama() -> Llama:
    """A model of so many layers; by default it has far more weights than a token has numbers."""

    def make(layers: int = 2, vocabulary: int = 4000) -> RewardModel:
        from transformers import LlamaConfig, LlamaForSequenceClassification

        config = LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=512,
            pad_token_id=2,
            num_labels=1,
        )
        model = RewardModel(LlamaForSequenceClassification(config), NO_READER, no_metadata())
        model.use_engine("tree")
        return model

    return make


def build(base: Path, dropout: float | None = None) -> RewardModel:
    """As training opens it: full, or with adapters."""
    lora = None if dropout is None else LoraConfig(r=4, dropout=dropout)  # type: ignore[call-arg]
    return build_for_training(
        ModelConfig(path=str(base)), lora, seed=3, max_length=128, device="cpu", engine="tree"
    )


def kept_of(model: RewardModel, batch: Pack) -> int:
    """Bytes that autograd keeps of a pack."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(batch)
    return sum(kept[place].untyped_storage().nbytes() for place in kept if place not in weights)


# Bytes of a token


def test_each_layer_keeps_as_much(llama: Llama) -> None:
    one, two, four = (kept_per_token(llama(layers), settings()) for layers in (1, 2, 4))
    # At least the inputs of a layer's seven matrices: 4 of 32 numbers and one of 64, in float32.
    assert two - one > 4 * (4 * 32 + 64)
    assert four - two == pytest.approx(2 * (two - one), rel=0.01)
    # The MLP of the last layer sees scored rows alone: with what stands outside of the layers
    # (embedding, last norm, rotary angles) it keeps less than one that sees all.
    assert 0 < one < two - one


def test_weights_are_not_counted(llama: Llama) -> None:
    # Texts of at most 32 tokens take one probe only, which does not cancel what is kept once a
    # pass; of that the weights of the layers would be 4,640 bytes for each of 16 tokens.
    model = llama()
    short, long = (kept_per_token(model, settings(max_length=length)) for length in (16, 128))
    assert short == pytest.approx(long, rel=0.05)


def test_the_measure_holds_for_a_tree_of_many_responses(llama: Llama) -> None:
    # Two short sequences are measured, packs are long and branch: neither blocks of attention nor
    # gathered keys may keep more.
    model = llama()
    prompt = tuple(range(300))
    sequences = [(*prompt, 400 + i, *range(60)) for i in range(9)]
    pack = Pack.of(sequences, model.device)
    assert pack.num_tokens == 300 + 9 * 61
    predicted = kept_per_token(model, settings()) * pack.num_tokens
    assert kept_of(model, pack) == pytest.approx(predicted, rel=0.02)


def test_probing_leaves_no_trace(tiny_base: Path) -> None:
    # A resumed run has the budget already and does not probe: it must draw the same numbers.
    model = build(tiny_base, dropout=0.5)
    model.train()
    state = torch.get_rng_state()
    assert kept_per_token(model, settings()) > 0
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_probe_works_where_gradients_are_off(llama: Llama) -> None:
    model = llama()
    with torch.no_grad():
        off = kept_per_token(model, settings())
    assert off == kept_per_token(model, settings())


def test_dropout_of_adapters_is_counted_before_training_begins(tiny_base: Path) -> None:
    # The budget is chosen before `model.train()`; each adapter keeps what dropout gave it.
    dropping, plain = build(tiny_base, dropout=0.5), build(tiny_base, dropout=0.0)
    before = kept_per_token(dropping, settings())
    dropping.train()
    assert kept_per_token(dropping, settings()) == before > kept_per_token(plain, settings())


def test_checkpointing_keeps_inputs_and_one_layer(llama: Llama) -> None:
    one, two = (kept_per_token(llama(layers), settings()) for layers in (1, 2))
    config = settings(gradient_checkpointing=True)
    three, thirteen = (kept_per_token(llama(layers), config) for layers in (3, 13))
    # Ten layers more are ten inputs of 32 numbers more.
    assert thirteen - three == 10 * 32 * 4
    # Besides inputs, what one layer keeps: it is computed again, one at a time. Not less, at most
    # twice that.
    assert two - one <= three - 3 * 32 * 4 <= 2 * (two - one)


# The budget


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Say how many bytes are free."""

    def say(count: float) -> None:
        monkeypatch.setattr(memory, "free_bytes", lambda device: int(count))

    return say


def test_the_recipe_decides(llama: Llama, free: Callable[[float], None]) -> None:
    free(0)
    model = llama()
    budget = training_budget(model, settings(max_tokens_per_pack=777))
    assert (budget.max_tokens, budget.reason) == (777, "by the recipe")
    assert model.computed.passes == 0


def test_auto_takes_what_half_of_the_free_memory_holds(
    llama: Llama, free: Callable[[float], None]
) -> None:
    model = llama()
    per_token = kept_per_token(model, settings())
    # Before the first step gradients and two moments are not there yet: three times the weights.
    later = 3 * sum(parameter.nbytes for parameter in model.parameters())
    found = {}
    for tokens in (0, 100, 128.5, 1000.5, 2559.5, 10**6):
        free(later + 2 * tokens * per_token)
        found[tokens] = training_budget(model, settings()).max_tokens
    # Never below max_length, for a sequence is not cut; never above what gains speed.
    assert found == {0: 128, 100: 128, 128.5: 128, 1000.5: 1000, 2559.5: 2559, 10**6: 2560}
    # A text may be longer than the largest pack.
    assert training_budget(model, settings(max_length=3000)).max_tokens == 3000


def test_too_little_memory_is_said(
    llama: Llama, free: Callable[[float], None], caplog: pytest.LogCaptureFixture
) -> None:
    model = llama()
    later = 3 * sum(parameter.nbytes for parameter in model.parameters())
    for tokens, said in ((128.5, ""), (100.5, "100 tokens fit"), (-1, "0 tokens fit")):
        caplog.clear()
        free(later + 2 * tokens * kept_per_token(model, settings()))
        with caplog.at_level(logging.WARNING, "assay"):
            assert training_budget(model, settings()).max_tokens == 128
        assert said in caplog.text
        assert bool(caplog.records) == bool(said)


def test_auto_says_why(llama: Llama, free: Callable[[float], None]) -> None:
    free(3 * 2**30)
    model = llama()
    budget = training_budget(model, settings())
    kib = kept_per_token(model, settings()) / 1024
    assert budget.reason == f"auto: {kib:.0f} KiB a token, 3.0 GiB free"
    assert training_budget(model, settings()).max_tokens == budget.max_tokens == 2560


def test_only_trained_weights_get_moments(tiny_base: Path, free: Callable[[float], None]) -> None:
    model = build(tiny_base, dropout=0.0)
    trained = sum(p.nbytes for p in model.parameters() if p.requires_grad)
    assert trained < 0.5 * sum(p.nbytes for p in model.parameters())
    free(3 * trained + 2 * 500.5 * kept_per_token(model, settings()))
    assert training_budget(model, settings()).max_tokens == 500


def test_memory_here_is_measured() -> None:
    # Real numbers of this machine, in bytes: more than 64 MiB are free, and were held.
    assert memory.free_bytes(torch.device("cpu")) > 2**26
    assert memory.peak_bytes(torch.device("cpu")) > 2**26


def test_a_container_may_have_less_than_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    for limits, free in (([2**20], 2**20), ([2**60], memory.free_bytes(torch.device("cpu")))):
        monkeypatch.setattr(machine, "_container_limits", lambda limits=limits: limits)
        # What is free moves by itself, from one call to the next.
        assert memory.free_bytes(torch.device("cpu")) == pytest.approx(free, rel=0.5)


@pytest.mark.parametrize(
    ("folder", "limit", "used", "cache"),
    [
        ("", "memory.max", "memory.current", "inactive_file"),
        ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ],
)
def test_page_cache_in_a_container_is_free(
    tmp_path: Path, folder: str, limit: str, used: str, cache: str
) -> None:
    group = tmp_path / folder
    group.mkdir(exist_ok=True)
    (group / limit).write_text("16000\n")
    (group / used).write_text("14000\n")
    (group / "memory.stat").write_text(f"anon 1\n{cache} 12000\nother 5\n")
    assert machine._container_limits(tmp_path) == [16000 - (14000 - 12000)]
    (group / limit).write_text("max\n")
    assert machine._container_limits(tmp_path) == []


def test_without_a_control_group_there_is_no_limit(tmp_path: Path) -> None:
    assert machine._container_limits(tmp_path) == []


def test_windowed_layers_are_allowed_what_they_gather() -> None:
    from transformers import MistralConfig, MistralForSequenceClassification

    config = MistralConfig(
        vocab_size=1000,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        sliding_window=128,
        pad_token_id=2,
        num_labels=1,
    )
    model = RewardModel(MistralForSequenceClassification(config), NO_READER, no_metadata())
    model.use_engine("tree")
    prompt = tuple(range(1, 90)) * 4
    sequences = [(*prompt, 90 + i, *range(1, 60)) for i in range(9)]
    pack = Pack.of(sequences, model.device)
    short, long = (kept_per_token(model, settings(max_length=n)) for n in (128, 1024))
    assert long == pytest.approx(2 * short, rel=0.02)
    assert short * pack.num_tokens < kept_of(model, pack) < long * pack.num_tokens
