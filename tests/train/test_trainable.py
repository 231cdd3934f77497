"""What a recipe freezes has no gradient and no graph, and what it trains has both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from tiny_runs import recipe, rows, write_lines
from torch import nn

from assay.config import ModelConfig, Recipe, TrainConfig
from assay.errors import ConfigError
from assay.model.loading import build_for_training
from assay.model.reward_model import RewardModel
from assay.model.rewards import rewards_of_sequences
from assay.train.loop import _recompute_activations, train
from assay.train.optimizer import build_optimizer
from assay.train.trainable import choose_trained

SEQUENCES = [(5, 6, 7), (5, 6, 9, 9), (9, 3), tuple(range(40, 60))]


def small(kind: str, directory: Path, tokenizer: Any) -> Path:
    """A random model of a kind with three layers."""
    import transformers

    widths: dict[str, Any] = {
        "Llama": {"hidden_size": 32, "intermediate_size": 48, "num_key_value_heads": 2},
        "GPT2": {"n_embd": 32, "n_inner": 48},
        "GPTNeoX": {"hidden_size": 32, "intermediate_size": 48},
        "Bloom": {"hidden_size": 32},
        "OPT": {"hidden_size": 32, "ffn_dim": 48, "word_embed_proj_dim": 32},
        "Bert": {"hidden_size": 32, "intermediate_size": 48},
    }
    names = {"GPT2": ("n_layer", "n_head"), "Bloom": ("n_layer", "n_head")}
    layers, heads = names.get(kind, ("num_hidden_layers", "num_attention_heads"))
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=300, **widths[kind], **{layers: 3, heads: 4}, num_labels=1
    )
    getattr(transformers, f"{kind}ForSequenceClassification")(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def build(path: Path, dtype: Any = "float32", **config: Any) -> RewardModel:
    frozen = config.get("freeze") == "backbone"
    chosen = ModelConfig(path=str(path), dtype=dtype)
    model = build_for_training(chosen, None, seed=7, max_length=64, device="cpu", frozen=frozen)
    choose_trained(model, TrainConfig(**config))
    return model.train()


def trained(model: RewardModel) -> set[str]:
    return {n.removeprefix("inner.") for n, p in model.named_parameters() if p.requires_grad}


TOPS = {
    "Llama": ("model.layers.2.", "model.norm.", "score."),
    "GPT2": ("transformer.h.2.", "transformer.ln_f.", "score."),
    "GPTNeoX": ("gpt_neox.layers.2.", "gpt_neox.final_layer_norm.", "score."),
    "Bloom": ("transformer.h.2.", "transformer.ln_f.", "score."),
    "OPT": ("model.decoder.layers.2.", "model.decoder.final_layer_norm.", "score."),
    "Bert": ("bert.encoder.layer.2.", "bert.pooler.", "classifier."),
}


@pytest.mark.parametrize("kind", TOPS)
def test_the_last_layer_what_follows_it_and_the_head(
    kind: str, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    model = build(small(kind, tmp_path / "m", tiny_tokenizer), top_layers=1)
    names = [n.removeprefix("inner.") for n, _ in model.named_parameters()]
    assert trained(model) == {name for name in names if name.startswith(TOPS[kind])}
    for top in TOPS[kind]:
        assert any(name.startswith(top) for name in names), top
    rewards_of_sequences(model, SEQUENCES, max_tokens=64).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name


def test_only_the_head(tiny_tokenizer: Any, tmp_path: Path) -> None:
    llama = build(small("Llama", tmp_path / "l", tiny_tokenizer), freeze="backbone")
    assert trained(llama) == {"score.weight"}
    bert = build(small("Bert", tmp_path / "b", tiny_tokenizer), freeze="backbone")
    assert trained(bert) == {
        f"{module}.{part}"
        for module in ("bert.pooler.dense", "classifier")
        for part in ("weight", "bias")
    }
    assert len(list(build_optimizer(llama.named_parameters(), TrainConfig()).param_groups)) == 1


def test_an_encoders_head_is_not_rounded_with_its_backbone(
    tiny_tokenizer: Any, tmp_path: Path
) -> None:
    """In bfloat16 most updates of a weight would be rounded away."""
    path = small("Bert", tmp_path / "m", tiny_tokenizer)
    model = build(path, "bfloat16", freeze="backbone")
    kinds = {(p.requires_grad, p.dtype) for p in model.parameters()}
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}
    before = {name: p.clone() for name, p in model.named_parameters() if p.requires_grad}
    optimizer = build_optimizer(model.named_parameters(), TrainConfig(learning_rate=1e-6))
    rewards_of_sequences(model, SEQUENCES, max_tokens=64).square().sum().backward()
    optimizer.step()
    after = dict(model.named_parameters())
    assert all(not torch.equal(after[name], weight) for name, weight in before.items())


@pytest.mark.parametrize("recomputed", [False, True])
@pytest.mark.parametrize(("config", "first"), [({"freeze": "backbone"}, 3), ({"top_layers": 2}, 1)])
def test_frozen_layers_keep_no_graph(
    config: dict[str, Any], first: int, recomputed: bool, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    """`first` is the first layer whose output has one."""
    model = build(small("Llama", tmp_path / "m", tiny_tokenizer), **config)
    if recomputed:
        _recompute_activations(model)
    has_graph: dict[int, bool] = {}

    def watch(number: int) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            hidden = output if isinstance(output, torch.Tensor) else output[0]
            has_graph[number] = hidden.requires_grad

        return hook

    layers: Any = model.classifier.model.layers
    for number, layer in enumerate(layers):
        layer.register_forward_hook(watch(number))
    rewards = rewards_of_sequences(model, SEQUENCES, max_tokens=64)
    assert rewards.requires_grad
    assert has_graph == {number: number >= first for number in range(3)}
    rewards.sum().backward()
    assert all((p.grad is None) != p.requires_grad for p in model.parameters())


def test_gradients_of_what_is_trained_are_those_of_full_training(
    tiny_tokenizer: Any, tmp_path: Path
) -> None:
    path = small("Llama", tmp_path / "m", tiny_tokenizer)
    full, top = build(path).double(), build(path, top_layers=2).double()
    for model in (full, top):
        rewards_of_sequences(model, SEQUENCES, max_tokens=64).square().sum().backward()
    theirs = dict(full.named_parameters())
    compared = 0
    for name, parameter in top.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, theirs[name].grad, rtol=1e-9, atol=1e-12)
            compared += 1
    assert compared == 2 * 9 + 2, "two layers, the norm, the head"


def test_a_run_of_the_last_layer(tiny_base: Path, tmp_path: Path) -> None:
    data = write_lines(tmp_path / "rows.jsonl", list(rows(4)))
    train(recipe(tiny_base, data, tmp_path / "run", top_layers=1, max_steps=3))
    before = load_file(tiny_base / "model.safetensors")
    after = load_file(tmp_path / "run" / "model" / "model.safetensors")
    changed = {name for name, t in after.items() if not torch.equal(before.get(name, t + 1), t)}
    assert changed == {
        name for name in after if name.startswith(("model.layers.1.", "model.norm.", "score."))
    }
    moments = load_file(tmp_path / "run" / "checkpoints" / "step-3" / "optimizer.safetensors")
    assert {name.split("/", 1)[1].removeprefix("inner.") for name in moments} == changed


def test_more_layers_than_there_are(tiny_base: Path) -> None:
    with pytest.raises(ConfigError, match="3 layers are to be trained, and the model has 2"):
        build(tiny_base, top_layers=3)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"freeze": "backbone", "top_layers": 1}, "contradict each other"),
        ({"freeze": "backbone", "lora": {"r": 2}}, "lora and train.freeze: backbone contradict"),
        ({"top_layers": 1, "lora": {"r": 2}}, "lora and train.top_layers contradict"),
    ],
)
def test_contradictions_are_recipe_errors(
    changes: dict[str, Any], says: str, tiny_base: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValidationError, match=says):
        recipe(tiny_base, tmp_path / "x", tmp_path / "run", **changes)
    assert isinstance(recipe(tiny_base, tmp_path / "x", tmp_path / "run"), Recipe)
