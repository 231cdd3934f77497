"""`merge`: what is written is what transformers and PEFT compute, and rounds nothing unasked."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_directories import BIAS, language_model, last_hidden, llama_factory, openrlhf
from safetensors.torch import load_file, save_file

from assay.config import LoraConfig, ModelConfig
from assay.errors import ConfigError, ModelError, OutputError, TemplateError
from assay.model.classifier import quiet_transformers
from assay.model.loading import build_for_training, load_reward_model
from assay.model.merging import merge
from assay.model.metadata import Metadata
from assay.model.reward_model import RewardModel
from assay.model.rewards import score_sequences
from assay.model.saving import save_adapter

SEQUENCES = [(5, 6, 7), (9,), tuple(range(40, 60)), (1, 5, 2, 1, 9, 2, 77), (5, 6)]
CLOSE = 1e-5


@pytest.fixture
def said(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(logging.getLogger("assay"), "propagate", True)
    caplog.set_level(logging.INFO, logger="assay")
    return caplog


def stock_rewards(path: Path) -> list[float]:
    """Transformers alone, which adds no offset."""
    from transformers import AutoModelForSequenceClassification

    stock, report = AutoModelForSequenceClassification.from_pretrained(
        path, output_loading_info=True
    )
    assert not any(report.values()), report
    with torch.no_grad():
        return [float(stock.eval()(input_ids=torch.tensor([ids])).logits) for ids in SEQUENCES]


def scores(path: Path) -> list[float]:
    return score_sequences(load_reward_model(str(path)), SEQUENCES)


def moved_adapter(base: Path, target: Path, dtype: str = "float32") -> RewardModel:
    """An adapter of Assay's whose B is not zero."""
    model = build_for_training(
        ModelConfig(path=str(base), dtype=dtype),  # type: ignore[arg-type]
        LoraConfig(r=4, target_modules=["q_proj", "v_proj"]),
        seed=7,
        max_length=64,
        device="cpu",
    )
    torch.manual_seed(2)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.1)
    target.mkdir()
    save_adapter(model, target)
    return model.eval()


def test_an_adapter_becomes_the_plain_directory(tiny_base: Path, tmp_path: Path) -> None:
    model = moved_adapter(tiny_base, tmp_path / "a")
    merged = merge(str(tmp_path / "a"), tmp_path / "m")
    assert (merged.architecture, merged.dtype) == ("LlamaForSequenceClassification", "float32")
    # W + alpha / r * B A, summed here.
    base = load_file(tiny_base / "model.safetensors")
    adapter = load_file(tmp_path / "a" / "adapter_model.safetensors")
    written = load_file(tmp_path / "m" / "model.safetensors")
    for name, weight in written.items():
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        if f"{stem}.lora_A.weight" in adapter:
            a, b = adapter[f"{stem}.lora_A.weight"], adapter[f"{stem}.lora_B.weight"]
            torch.testing.assert_close(weight, base[name] + 32 / 4 * (b @ a), rtol=0, atol=1e-7)
            assert not torch.equal(weight, base[name])
        elif name == "score.weight":
            assert torch.equal(weight, adapter["base_model.model.score.weight"])
        else:
            assert torch.equal(weight, base[name])
    expected = score_sequences(model, SEQUENCES)
    assert stock_rewards(tmp_path / "m") == pytest.approx(expected, abs=CLOSE)
    assert Metadata.read(tmp_path / "m") == model.metadata
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    assert config["problem_type"] == "regression"
    assert config["id2label"] == {"0": "LABEL_0"}


def test_a_foreign_directory_is_written_bit_for_bit(
    tiny_base: Path, tiny_tokenizer: Any, tmp_path: Path, said: pytest.LogCaptureFixture
) -> None:
    head = llama_factory(tmp_path / "f", language_model(tiny_base), tiny_tokenizer)
    merged = merge(str(tmp_path / "f"), tmp_path / "m")
    assert merged.reward_offset == BIAS
    written = load_file(tmp_path / "m" / "model.safetensors")
    base = load_file(tiny_base / "model.safetensors")
    assert torch.equal(written.pop("score.weight"), head["v_head.summary.weight"])
    base.pop("lm_head.weight", None)
    assert written.keys() == base.keys()
    assert all(torch.equal(written[name], base[name]) for name in base)
    raw = last_hidden(language_model(tiny_base), SEQUENCES) @ head["v_head.summary.weight"][0]
    assert stock_rewards(tmp_path / "m") == pytest.approx(raw.tolist(), abs=CLOSE)
    # Equal weights at other places in memory: products may round in another order.
    assert scores(tmp_path / "m") == pytest.approx(scores(tmp_path / "f"), abs=CLOSE)
    assert scores(tmp_path / "m") == pytest.approx((raw + BIAS).tolist(), abs=CLOSE)
    assert sum("which other programs do not add" in message for message in said.messages) == 2
    metadata = Metadata.read(tmp_path / "m")
    assert metadata is not None
    assert metadata.base == str(tmp_path / "f")
    assert metadata.reward_offset == BIAS


def test_bfloat16_stays_bfloat16_where_nothing_is_rounded(
    tiny_base: Path, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    model = language_model(tiny_base, torch.bfloat16)
    llama_factory(tmp_path / "f", model, tiny_tokenizer)
    # The head of float32 cannot be held in bfloat16: all is written in float32.
    assert merge(str(tmp_path / "f"), tmp_path / "wide").dtype == "float32"
    row_1D = openrlhf(tmp_path / "o", tiny_base, tiny_tokenizer)
    from foreign_directories import edit_json, edit_tensors

    tensors = load_file(tmp_path / "o" / "model.safetensors")
    narrow = {name.replace(".", "__"): t.bfloat16() for name, t in tensors.items()}
    edit_tensors(tmp_path / "o" / "model.safetensors", **narrow)
    edit_json(tmp_path / "o" / "config.json", dtype="bfloat16")
    merged = merge(str(tmp_path / "o"), tmp_path / "narrow")
    assert merged.dtype == "bfloat16"
    written = load_file(tmp_path / "narrow" / "model.safetensors")
    assert {t.dtype for t in written.values()} == {torch.bfloat16}
    assert torch.equal(written["score.weight"], row_1D.bfloat16())
    assert json.loads((tmp_path / "narrow" / "config.json").read_text())["dtype"] == "bfloat16"


def test_a_named_dtype_says_what_it_rounds(
    tiny_base: Path, tmp_path: Path, said: pytest.LogCaptureFixture
) -> None:
    moved_adapter(tiny_base, tmp_path / "a")
    assert merge(str(tmp_path / "a"), tmp_path / "m", dtype="bfloat16").dtype == "bfloat16"
    message = next(m for m in said.messages if "rounded" in m)
    count = len(load_file(tmp_path / "m" / "model.safetensors"))
    norms = 5  # All ones, which bfloat16 holds.
    assert message == f"{count - norms} of {count} weights are rounded to bfloat16"
    with pytest.raises(ConfigError, match="unknown dtype 'int4'"):
        merge(str(tmp_path / "a"), tmp_path / "other", dtype="int4")


def test_a_foreign_adapter_with_its_head_beside_it(
    tiny_base: Path, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    from test_foreign import adapted

    model = adapted(tiny_base)
    head = llama_factory(tmp_path / "a", model, tiny_tokenizer)
    raw = last_hidden(model, SEQUENCES) @ head["v_head.summary.weight"][0]
    merge(str(tmp_path / "a"), tmp_path / "m")
    assert stock_rewards(tmp_path / "m") == pytest.approx(raw.tolist(), abs=CLOSE)
    assert scores(tmp_path / "m") == pytest.approx((raw + BIAS).tolist(), abs=CLOSE)


def test_an_adapter_without_a_head_on_a_reward_model(
    tiny_base: Path, tiny_reward: Path, tmp_path: Path
) -> None:
    from test_foreign import adapted

    adapted(tiny_base).save_pretrained(tmp_path / "a")
    expected = score_sequences(
        load_reward_model(str(tmp_path / "a"), base=str(tiny_reward)), SEQUENCES
    )
    merge(str(tmp_path / "a"), tmp_path / "m", base=str(tiny_reward))
    assert stock_rewards(tmp_path / "m") == pytest.approx(expected, abs=CLOSE)


def test_an_adapter_without_any_head_becomes_a_language_model_to_train(
    tiny_base: Path, tmp_path: Path, said: pytest.LogCaptureFixture
) -> None:
    from test_foreign import adapted

    model = adapted(tiny_base)
    model.save_pretrained(tmp_path / "a")
    merged = merge(str(tmp_path / "a"), tmp_path / "m")
    assert (merged.architecture, merged.reward_offset) == ("LlamaForCausalLM", None)
    assert any("is a language model to train from" in message for message in said.messages)
    torch.testing.assert_close(
        last_hidden(language_model(tmp_path / "m"), SEQUENCES),
        last_hidden(model, SEQUENCES),
        rtol=0,
        atol=CLOSE,
    )
    with pytest.raises(ModelError, match="no reward head in its files"):
        load_reward_model(str(tmp_path / "m"))
    built = build_for_training(
        ModelConfig(path=str(tmp_path / "m")), None, seed=7, max_length=64, device="cpu"
    )
    assert built.head_weight is not None


def test_a_base_that_lacks_a_weight_makes_no_language_model(
    tiny_base: Path, tmp_path: Path
) -> None:
    """Transformers would draw it."""
    from test_foreign import adapted

    base = tmp_path / "base"
    shutil.copytree(tiny_base, base)
    adapted(base).save_pretrained(tmp_path / "a")
    weights = load_file(base / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"missing.*: model\.layers\.1\.mlp\.up_proj\.weight"):
        merge(str(tmp_path / "a"), tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_a_damaged_config_of_the_base_is_named(tiny_base: Path, tmp_path: Path) -> None:
    from test_foreign import adapted

    base = tmp_path / "base"
    shutil.copytree(tiny_base, base)
    adapted(base).save_pretrained(tmp_path / "a")
    about = json.loads((base / "config.json").read_text(encoding="utf-8"))
    (base / "config.json").write_text(json.dumps(about | {"hidden_size": "many"}), encoding="utf-8")
    with pytest.raises(ModelError, match=r"base: its config\.json cannot be read .*hidden_size"):
        merge(str(tmp_path / "a"), tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_a_language_model_is_written_with_the_template_that_is_named(
    tiny_base: Path, tmp_path: Path
) -> None:
    from test_foreign import adapted
    from transformers import AutoTokenizer

    adapted(tiny_base).save_pretrained(tmp_path / "a")
    merge(str(tmp_path / "a"), tmp_path / "m", template="cvalues-zh")
    template = AutoTokenizer.from_pretrained(tmp_path / "m").chat_template
    assert "根据以下问题" in template
    with pytest.raises(TemplateError, match="unknown template 'nonsense'"):
        merge(str(tmp_path / "a"), tmp_path / "other", template="nonsense")


def test_no_tokenizer_anywhere_is_one_clear_error(tiny_base: Path, tmp_path: Path) -> None:
    from test_foreign import adapted

    shutil.copytree(tiny_base, tmp_path / "base")
    adapted(tmp_path / "base").save_pretrained(tmp_path / "a")
    for path in (tmp_path / "base").glob("*token*"):
        path.unlink()
    with pytest.raises(TemplateError, match="no readable tokenizer"):
        merge(str(tmp_path / "a"), tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_peft_loads_an_adapter_of_ours_on_a_foreign_base_bit_for_bit(
    tiny_base: Path, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    """Stock `PeftModel` on the stock classifier of the merged directory: the same weights."""
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    llama_factory(tmp_path / "f", language_model(tiny_base), tiny_tokenizer)
    merge(str(tmp_path / "f"), tmp_path / "m")
    model = moved_adapter(tmp_path / "m", tmp_path / "a")
    stock = AutoModelForSequenceClassification.from_pretrained(tmp_path / "m")
    with quiet_transformers():
        theirs = PeftModel.from_pretrained(stock, str(tmp_path / "a")).eval()
    ours = {k.removeprefix("inner."): v for k, v in model.state_dict().items()}
    assert ours.keys() == theirs.state_dict().keys()
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.state_dict().items())
    with torch.no_grad():
        rewards = [float(theirs(input_ids=torch.tensor([ids])).logits) for ids in SEQUENCES]
    with_offset = [reward + BIAS for reward in rewards]
    assert score_sequences(model, SEQUENCES) == pytest.approx(with_offset, abs=CLOSE)


def test_nothing_is_overwritten_and_nothing_half_written(
    tiny_base: Path, tiny_reward: Path, tmp_path: Path
) -> None:
    moved_adapter(tiny_base, tmp_path / "a")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for place, says in (("full", "is not empty"), ("file", "is a file")):
        with pytest.raises(OutputError, match=says):
            merge(str(tmp_path / "a"), tmp_path / place)
    with pytest.raises(ModelError, match="there is nothing to merge"):
        merge(str(tiny_reward), tmp_path / "m")
    with pytest.raises(ModelError, match="no reward head"):
        merge(str(tiny_base), tmp_path / "m")
    (tmp_path / "empty").mkdir()
    merge(str(tmp_path / "a"), tmp_path / "empty")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "empty", "file", "full"]
    assert scores(tmp_path / "empty")
