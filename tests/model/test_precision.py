"""The dtype that a recipe leaves open, quantised backbones, and how far bfloat16 may be off."""

from __future__ import annotations

import json
import logging
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from assay.config import LoraConfig, ModelConfig
from assay.errors import ConfigError
from assay.model import precision, quantised
from assay.model.adapters import on_whole_base
from assay.model.loading import build_for_training, load_reward_model, resolve_dtype
from assay.model.precision import WORTH, faster_dtype
from assay.model.rewards import rewards_of_sequences
from assay.model.saving import save_plain
from assay.model.selfcheck import probe_sequences

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))


def kept(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "cache" / "precision").glob("*.json"))


def test_this_cpu_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = faster_dtype(CPU)
    (place,) = kept(tmp_path)
    float32, bfloat16 = json.loads(place.read_text())
    assert 1e-5 < float32 < 10
    assert 1e-5 < bfloat16 < 10
    assert first.dtype == ("bfloat16" if float32 / bfloat16 >= WORTH else "float32")
    monkeypatch.setattr(subprocess, "run", None)
    assert faster_dtype(CPU) == first


@pytest.mark.parametrize(
    ("seconds", "dtype", "reason"),
    [
        ([2.0, 0.5], "bfloat16", "4 times as fast"),
        ([1.0, 1.1], "float32", "0.91 times as fast"),
        ([1.1, 1.0], "float32", "1.1 times as fast"),
        (None, "float32", "fails on this CPU"),
    ],
)
def test_the_choice_by_what_was_measured(
    seconds: list[float] | None, dtype: str, reason: str
) -> None:
    place = precision._place()
    place.parent.mkdir(parents=True)
    place.write_text(json.dumps(seconds))
    choice = faster_dtype(CPU)
    assert choice.dtype == dtype
    assert reason in choice.reason


def test_a_machine_that_kills_the_probe_computes_in_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As virtual machines do that advertise AMX and lack it: the probe dies, the run does not."""
    dying = "import os, signal; os.kill(os.getpid(), signal.SIGILL)"
    monkeypatch.setattr(precision, "_PROBE", dying)
    assert faster_dtype(CPU).dtype == "float32"
    (place,) = kept(tmp_path)
    assert json.loads(place.read_text()) is None


def test_the_choice_is_said(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("assay"), "propagate", True)
    caplog.set_level(logging.INFO, logger="assay")
    dtype = resolve_dtype("auto", CPU)
    (message,) = caplog.messages
    assert message.startswith(f"model.dtype auto: {dtype} (bfloat16 products are ")
    assert resolve_dtype("bfloat16", CPU) == "bfloat16"
    assert len(caplog.messages) == 1, "what is named needs no words"


def test_threads_and_instruction_sets_are_measured_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    first = precision._place()
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", f"{os.environ.get('ONEDNN_MAX_CPU_ISA')}+")
    assert precision._place() != first


# How far bfloat16 may be off


def test_sharing_adds_no_more_error_than_bfloat16_itself(tiny_reward: Path) -> None:
    """RMS(tree - separate) <= RMS(separate in bfloat16 - separate in float32).

    Engineering: two right runs of bfloat16 differ; sharing must not differ by more than rounding.
    """
    sequences, families = probe_sequences()

    def rewards(dtype: str, engine: str, together: bool) -> torch.Tensor:
        model = load_reward_model(str(tiny_reward), dtype=dtype, engine=engine)
        with torch.inference_mode():
            if together:
                return rewards_of_sequences(model, sequences, max_tokens=4096, families=families)
            alone = [rewards_of_sequences(model, [ids], max_tokens=4096) for ids in sequences]
            return torch.cat(alone)

    def rms(difference: torch.Tensor) -> float:
        return float(difference.double().square().mean().sqrt())

    exact = rewards("float32", "padded", False)
    separate = rewards("bfloat16", "padded", False)
    rounding = rms(separate - exact)
    assert rounding > 1e-4, "bfloat16 rounds"
    for engine in ("tree", "packed"):
        assert rms(rewards("bfloat16", engine, True) - separate) <= rounding
        assert rms(rewards("bfloat16", engine, True) - exact) <= 2 * rounding


# Quantised backbones


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_quantising_needs_a_gpu(kind: Any, tiny_base: Path) -> None:
    with pytest.raises(ConfigError, match=f"{kind} needs a GPU, and this run computes on cpu"):
        build_for_training(
            ModelConfig(path=str(tiny_base)),
            LoraConfig(quantize=kind),
            seed=7,
            max_length=64,
            device="cpu",
        )


def test_quantising_needs_bitsandbytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantised, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"not installed; pip install 'assay\[qlora\]'"):
        quantised.quantisation(LoraConfig(quantize="nf4"), torch.device("cuda"))


@pytest.mark.parametrize("lora", [None, LoraConfig()])
def test_nothing_is_quantised_unasked(lora: LoraConfig | None) -> None:
    assert quantised.quantisation(lora, CPU) == {}


def test_adapters_of_a_quantised_backbone_are_merged_into_the_whole_one(
    tiny_base: Path, tmp_path: Path
) -> None:
    """What is done after QLoRA, on a backbone that is not quantised: the same directory."""
    model = build_for_training(
        ModelConfig(path=str(tiny_base)),
        LoraConfig(r=4, target_modules=["q_proj", "v_proj"]),
        seed=7,
        max_length=64,
        device="cpu",
    )
    torch.manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data.normal_(std=0.1)
    merged: Any = on_whole_base(model).merge_and_unload()  # type: ignore[operator]
    (tmp_path / "m").mkdir()
    save_plain(model, tmp_path / "m")
    stock = load_reward_model(str(tmp_path / "m")).classifier.state_dict()
    state = merged.state_dict()
    assert state.keys() == stock.keys()
    assert all(torch.equal(state[name], stock[name]) for name in stock)
