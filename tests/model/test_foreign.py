"""Reward models of other programs: read as those compute, against sums written out here."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_directories import (
    BIAS,
    edit_json,
    edit_tensors,
    language_model,
    last_hidden,
    llama_factory,
    openrlhf,
    trl_value_head,
)
from safetensors.torch import load_file, save_file

from assay.config import LoraConfig, ModelConfig
from assay.errors import ModelError
from assay.model.classifier import quiet_transformers
from assay.model.foreign import foreign_head
from assay.model.loading import build_for_training, load_reward_model
from assay.model.metadata import Metadata
from assay.model.reward_model import RewardModel
from assay.model.rewards import score_sequences
from assay.model.saving import save_adapter, save_plain

SEQUENCES = [(5, 6, 7), (9,), tuple(range(40, 60)), (1, 5, 2, 1, 9, 2, 77), (5, 6)]
CLOSE = 1e-5
"""float32, rewards of a few units, two small layers: some tens of roundings of 6e-8 each."""


@pytest.fixture
def said(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(logging.getLogger("assay"), "propagate", True)
    caplog.set_level(logging.INFO, logger="assay")
    return caplog


def scores(model: RewardModel) -> list[float]:
    return score_sequences(model, SEQUENCES)


def train(path: Path, lora: LoraConfig | None = None, **model: Any) -> RewardModel:
    return build_for_training(
        ModelConfig(path=str(path), **model), lora, seed=7, max_length=64, device="cpu"
    )


def adapted(base: Path, **config: Any) -> Any:
    """A LoRA adapter of the language model, as LLaMA-Factory makes one, moved off its start."""
    from peft import LoraConfig as PeftConfig
    from peft import TaskType, get_peft_model

    torch.manual_seed(5)
    options = {"task_type": TaskType.CAUSAL_LM, "r": 4, "target_modules": ["q_proj", "v_proj"]}
    with quiet_transformers():
        model = get_peft_model(language_model(base), PeftConfig(**options | config)).eval()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.1)
    return model


# LLaMA-Factory


def test_llama_factory_full(
    tiny_base: Path, tiny_tokenizer: Any, tmp_path: Path, said: pytest.LogCaptureFixture
) -> None:
    model = language_model(tiny_base)
    head = llama_factory(tmp_path / "m", model, tiny_tokenizer)
    expected = last_hidden(model, SEQUENCES) @ head["v_head.summary.weight"][0] + BIAS
    loaded = load_reward_model(str(tmp_path / "m"))
    assert scores(loaded) == pytest.approx(expected.tolist(), abs=CLOSE)
    assert loaded.head_weight is not None
    assert torch.equal(loaded.head_weight, head["v_head.summary.weight"]), "the row, bit for bit"
    assert loaded.metadata.reward_offset == BIAS
    message = next(m for m in said.messages if "LLaMA-Factory" in m)
    assert "read the reward head of LLaMA-Factory, whose offset +0.8125 only Assay adds" in message


def test_an_offset_does_not_disturb_the_check_of_engines(
    tiny_base: Path, tiny_tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check compares with transformers, which adds none; its verdicts are kept elsewhere."""
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    llama_factory(tmp_path / "m", language_model(tiny_base), tiny_tokenizer)
    model = load_reward_model(str(tmp_path / "m"))
    assert model.metadata.reward_offset == BIAS
    assert (model.engine.name, model.engine_reason) == ("tree", None)


def test_llama_factory_lora(tiny_base: Path, tiny_tokenizer: Any, tmp_path: Path) -> None:
    model = adapted(tiny_base)
    head = llama_factory(tmp_path / "m", model, tiny_tokenizer)
    assert not (tmp_path / "m" / "config.json").exists()
    expected = last_hidden(model, SEQUENCES) @ head["v_head.summary.weight"][0] + BIAS
    plain = last_hidden(language_model(tiny_base), SEQUENCES) @ head["v_head.summary.weight"][0]
    assert not torch.allclose(expected, plain + BIAS, atol=1e-3), "the adapter does something"
    assert scores(load_reward_model(str(tmp_path / "m"))) == pytest.approx(
        expected.tolist(), abs=CLOSE
    )


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`")
def test_an_adapter_of_the_language_models_head_changes_no_reward(
    tiny_base: Path, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    model = adapted(tiny_base, target_modules=["q_proj", "lm_head"])
    head = llama_factory(tmp_path / "m", model, tiny_tokenizer)
    assert any(
        "lm_head.lora" in name for name in load_file(tmp_path / "m" / "adapter_model.safetensors")
    )
    expected = last_hidden(model, SEQUENCES) @ head["v_head.summary.weight"][0] + BIAS
    assert scores(load_reward_model(str(tmp_path / "m"))) == pytest.approx(
        expected.tolist(), abs=CLOSE
    )


def test_a_pickled_value_head_is_refused_with_a_mend(
    tiny_base: Path, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    head = llama_factory(tmp_path / "m", language_model(tiny_base), tiny_tokenizer)
    (tmp_path / "m" / "value_head.safetensors").unlink()
    torch.save(head, tmp_path / "m" / "value_head.bin")
    for use in (load_reward_model, lambda path: train(Path(path))):
        with pytest.raises(ModelError, match=r"pickled \(value_head\.bin\).*save_safetensors"):
            use(str(tmp_path / "m"))
    # Nothing of it is wanted here.
    assert train(tmp_path / "m", head="new").metadata.reward_offset == 0


# TRL


@pytest.mark.parametrize("shard", ["5GB", "20KB"])
def test_trl_with_a_value_head(
    shard: str, tiny_base: Path, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    model = language_model(tiny_base)
    head = trl_value_head(tmp_path / "m", model, tiny_tokenizer, shard)
    assert len(list((tmp_path / "m").glob("model*.safetensors"))) > (shard == "20KB")
    expected = last_hidden(model, SEQUENCES) @ head["v_head.summary.weight"][0] + BIAS
    loaded = load_reward_model(str(tmp_path / "m"))
    assert scores(loaded) == pytest.approx(expected.tolist(), abs=CLOSE)
    assert loaded.metadata.reward_offset == BIAS


def test_a_head_pickled_beside_an_adapter_is_refused(
    tiny_base: Path, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    model = adapted(tiny_base)
    head = llama_factory(tmp_path / "m", model, tiny_tokenizer)
    (tmp_path / "m" / "value_head.safetensors").unlink()
    torch.save(head, tmp_path / "m" / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pickled beside the adapter \(pytorch_model\.bin\)"):
        load_reward_model(str(tmp_path / "m"))


def test_a_head_in_pickled_weights_is_not_replaced_in_silence(
    tiny_base: Path, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    # T24.
    model = language_model(tiny_base)
    head = trl_value_head(tmp_path / "m", model, tiny_tokenizer)
    (tmp_path / "m" / "model.safetensors").unlink()
    torch.save(model.state_dict() | head, tmp_path / "m" / "pytorch_model.bin")
    for use in (load_reward_model, lambda path: train(Path(path))):
        with pytest.raises(ModelError, match=r"a head that Assay cannot read \(v_head\.summary"):
            use(str(tmp_path / "m"))
    assert train(tmp_path / "m", head="new")


def test_plain_directories_of_trl_and_skywork_need_no_reader(
    tiny_reward: Path, tmp_path: Path, said: pytest.LogCaptureFixture
) -> None:
    """Stock `LlamaForSequenceClassification` with one label, no file of Assay's beside it."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    stock = AutoModelForSequenceClassification.from_pretrained(tiny_reward).eval()
    stock.save_pretrained(tmp_path / "m")
    AutoTokenizer.from_pretrained(tiny_reward).save_pretrained(tmp_path / "m")
    assert Metadata.read(tmp_path / "m") is None
    assert foreign_head(tmp_path / "m") is None
    with torch.no_grad():
        expected = [float(stock.model(torch.tensor([ids]))[0][0, -1] @ stock.score.weight[0])
                    for ids in SEQUENCES]  # fmt: skip
    loaded = load_reward_model(str(tmp_path / "m"))
    assert scores(loaded) == pytest.approx(expected, abs=CLOSE)
    assert not any("reward head of" in message for message in said.messages)


# OpenRLHF


@pytest.mark.parametrize(
    ("prefix", "named"), [("value_head", True), ("score", True), ("value_head", False)]
)
@pytest.mark.parametrize("settings", [{}, {"mean": -1.25, "std": 0.3}])
def test_openrlhf(
    prefix: str,
    named: bool,
    settings: dict[str, float],
    tiny_base: Path,
    tiny_tokenizer: Any,
    tmp_path: Path,
) -> None:
    row_1D = openrlhf(
        tmp_path / "m", tiny_base, tiny_tokenizer, prefix=prefix, named=named, **settings
    )
    mean, std = settings.get("mean", 0.0), settings.get("std", 1.0)
    raw = last_hidden(language_model(tiny_base), SEQUENCES) @ row_1D[0]
    expected = (raw - mean) / std
    loaded = load_reward_model(str(tmp_path / "m"))
    assert scores(loaded) == pytest.approx(expected.tolist(), rel=1e-5, abs=CLOSE)
    assert loaded.metadata.reward_offset == pytest.approx(-mean / std)
    assert loaded.head_weight is not None
    assert torch.equal(loaded.head_weight, (row_1D.double() / std).float())


def test_openrlhfs_statistics_are_not_written_again(
    tiny_base: Path, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    """They are in row and offset now: a program that read them would normalise twice."""
    from transformers import AutoConfig

    openrlhf(tmp_path / "m", tiny_base, tiny_tokenizer, mean=2.0, std=4.0)
    model = load_reward_model(str(tmp_path / "m"))
    (tmp_path / "out").mkdir()
    save_plain(model, tmp_path / "out")
    config = AutoConfig.from_pretrained(tmp_path / "out").to_dict()
    assert not {"mean", "std", "value_head_prefix", "normalize_reward"} & set(config)
    assert config["architectures"] == ["LlamaForSequenceClassification"]
    again = load_reward_model(str(tmp_path / "out"))
    assert again.metadata.reward_offset == -0.5
    assert scores(again) == scores(model)


@pytest.mark.parametrize("how", ["a new head", "an adapter", "a merged adapter"])
def test_openrlhfs_settings_go_with_its_head(
    how: str, tiny_base: Path, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    """Where another head is in its place a program that read them would apply them to that."""
    from assay.model.merging import merge

    openrlhf(tmp_path / "m", tiny_base, tiny_tokenizer, mean=2.0, std=4.0)
    (tmp_path / "out").mkdir()
    if how == "a new head":
        model = train(tmp_path / "m", head="new")
        save_plain(model, tmp_path / "out")
    else:
        save_adapter(train(tmp_path / "m", LoraConfig(r=2, target_modules=["q_proj"])), tmp_path)
        model = load_reward_model(str(tmp_path))
        if how == "an adapter":
            save_plain(model, tmp_path / "out")
        else:
            merge(str(tmp_path), tmp_path / "out")
    assert model.metadata.reward_offset == (0 if how == "a new head" else -0.5)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert not {"mean", "std", "value_head_prefix", "normalize_reward"} & set(config)
    assert scores(load_reward_model(str(tmp_path / "out"))) == pytest.approx(
        scores(model), abs=CLOSE
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"std": 0.0}, "not finite"),
        ({"mean": float("nan")}, "not finite"),
        ({"mean": "high"}, "are not numbers"),
        ({"value_head_prefix": "reward"}, r"not among its weights: reward\.weight"),
        ({"architectures": ["CriticModel"]}, "a critic of OpenRLHF"),
    ],
)
def test_an_openrlhf_directory_that_cannot_be_meant_is_one_clear_error(
    changes: dict[str, Any], says: str, tiny_base: Path, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    openrlhf(tmp_path / "m", tiny_base, tiny_tokenizer, mean=2.0, std=4.0)
    edit_json(tmp_path / "m" / "config.json", **changes)
    with pytest.raises(ModelError, match=says) as caught:
        load_reward_model(str(tmp_path / "m"))
    assert str(tmp_path / "m") in str(caught.value)


# Other heads


def test_a_row_with_a_bias_keeps_it(tiny_reward: Path, tmp_path: Path) -> None:
    """Transformers drops it with a remark: `score` of its classes has none."""
    import shutil

    shutil.copytree(tiny_reward, tmp_path / "m")
    (tmp_path / "m" / "assay.json").unlink()
    before = scores(load_reward_model(str(tmp_path / "m")))
    edit_tensors(tmp_path / "m" / "model.safetensors", score__bias=torch.tensor([0.25]))
    after = scores(load_reward_model(str(tmp_path / "m")))
    assert after == pytest.approx([reward + 0.25 for reward in before], abs=1e-6)


def test_a_head_of_two_layers_is_refused_by_name(tiny_reward: Path, tmp_path: Path) -> None:
    """As `Qwen2ForRewardModel` has it."""
    import shutil

    shutil.copytree(tiny_reward, tmp_path / "m")
    (tmp_path / "m" / "assay.json").unlink()
    edit_tensors(
        tmp_path / "m" / "model.safetensors",
        score__weight=None,
        score__0__weight=torch.ones(32, 32),
        score__2__weight=torch.ones(1, 32),
    )
    with pytest.raises(ModelError, match=r"cannot read \(score\.0\.weight\)"):
        load_reward_model(str(tmp_path / "m"))


def test_a_head_of_another_width_is_refused(
    tiny_base: Path, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    llama_factory(tmp_path / "m", language_model(tiny_base), tiny_tokenizer)
    narrow = {"v_head.summary.weight": torch.ones(1, 16), "v_head.summary.bias": torch.ones(1)}
    save_file(narrow, tmp_path / "m" / "value_head.safetensors")
    with pytest.raises(ModelError, match="of width 16 does not fit LlamaForSequenceClassification"):
        load_reward_model(str(tmp_path / "m"))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda p: p.write_bytes(b"no"), "cannot be read"),
        (lambda p: edit_tensors(p, v_head__summary__weight=None), "does not hold v_head.summary"),
        (lambda p: edit_tensors(p, v_head__summary__bias=torch.tensor([torch.inf])), "not finite"),
        (lambda p: edit_tensors(p, v_head__summary__weight=torch.ones(2, 32)), "shape"),
    ],
)
def test_a_damaged_value_head_is_one_clear_error(
    spoil: Callable[[Path], None],
    says: str,
    tiny_base: Path,
    tiny_tokenizer: Any,
    tmp_path: Path,
) -> None:
    llama_factory(tmp_path / "m", language_model(tiny_base), tiny_tokenizer)
    spoil(tmp_path / "m" / "value_head.safetensors")
    with pytest.raises(ModelError, match=says):
        load_reward_model(str(tmp_path / "m"))


# Adapters whose head is elsewhere


def test_an_adapter_without_a_head_takes_that_of_its_base(
    tiny_reward: Path, tiny_base: Path, tmp_path: Path, said: pytest.LogCaptureFixture
) -> None:
    from transformers import AutoModelForSequenceClassification

    adapted(tiny_base).save_pretrained(tmp_path / "a")
    loaded = load_reward_model(str(tmp_path / "a"), base=str(tiny_reward))
    head = AutoModelForSequenceClassification.from_pretrained(tiny_reward).score.weight[0]
    expected = (last_hidden(adapted(tiny_base), SEQUENCES) @ head).tolist()
    assert scores(loaded) == pytest.approx(expected, abs=CLOSE)
    assert any("taking that of its base" in message for message in said.messages)


@pytest.mark.parametrize(
    "extra", ["base_model.model.score.bias", "base_model.model.v_head.summary.weight"]
)
def test_a_part_of_a_head_in_an_adapter_is_not_dropped_in_silence(
    extra: str, tiny_base: Path, tmp_path: Path
) -> None:
    save_adapter(train(tiny_base, LoraConfig(r=2, target_modules=["q_proj"])), tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    assert scores(load_reward_model(str(tmp_path)))
    edit_tensors(file, **{extra.replace(".", "__"): torch.ones(1, 32)})
    with pytest.raises(ModelError, match=rf"that Assay cannot read \({re.escape(extra)}\)"):
        load_reward_model(str(tmp_path))


def test_a_stock_peft_classifier_of_a_foreign_base(
    tiny_base: Path, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    """The adapter's own head counts; the base's, and its offset, do not."""
    from peft import LoraConfig as PeftConfig
    from peft import get_peft_model
    from transformers import AutoModelForSequenceClassification

    llama_factory(tmp_path / "base", language_model(tiny_base), tiny_tokenizer)
    torch.manual_seed(1)
    stock = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base", num_labels=1)
    config = PeftConfig(task_type="SEQ_CLS", r=2, target_modules=["q_proj"])
    with quiet_transformers():
        model = get_peft_model(stock, config)
    model.save_pretrained(tmp_path / "a")
    row_D = load_file(tmp_path / "a" / "adapter_model.safetensors")[
        "base_model.model.score.weight"
    ][0]
    expected = (last_hidden(language_model(tiny_base), SEQUENCES) @ row_D).tolist()
    loaded = load_reward_model(str(tmp_path / "a"))
    assert scores(loaded) == pytest.approx(expected, abs=CLOSE)
    assert loaded.metadata.reward_offset == 0


# Training on from them


@pytest.mark.parametrize("lora", [None, LoraConfig(r=2, target_modules=["q_proj"])])
def test_training_goes_on_from_a_foreign_head(
    lora: LoraConfig | None, tiny_base: Path, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    # T24.
    llama_factory(tmp_path / "m", language_model(tiny_base), tiny_tokenizer)
    model = train(tmp_path / "m", lora)
    assert scores(model.eval()) == pytest.approx(
        scores(load_reward_model(str(tmp_path / "m"))), abs=CLOSE
    )
    assert model.metadata.reward_offset == BIAS
    assert model.head_weight is not None
    assert model.head_weight.requires_grad
    (tmp_path / "out").mkdir()
    save_plain(model, tmp_path / "out")
    assert scores(load_reward_model(str(tmp_path / "out"))) == pytest.approx(
        scores(model), abs=CLOSE
    )


def test_a_head_in_float32_is_not_rounded_below_a_bfloat16_backbone(
    tiny_base: Path, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    # Engineering: the head computes in float32 whatever the backbone's dtype.
    head = llama_factory(tmp_path / "m", language_model(tiny_base, torch.bfloat16), tiny_tokenizer)
    for model in (
        load_reward_model(str(tmp_path / "m"), dtype="bfloat16"),
        train(tmp_path / "m", LoraConfig(r=2, target_modules=["q_proj"]), dtype="bfloat16"),
    ):
        assert model.head_weight is not None
        assert torch.equal(model.head_weight, head["v_head.summary.weight"])


def test_a_new_head_is_drawn_where_the_recipe_says_so(
    tiny_reward: Path, tiny_base: Path, said: pytest.LogCaptureFixture
) -> None:
    def head(path: Path, **model: Any) -> torch.Tensor:
        built = build_for_training(
            ModelConfig(path=str(path), **model), None, seed=8, max_length=64, device="cpu"
        )
        assert built.head_weight is not None
        return built.head_weight.detach()

    saved = load_file(tiny_reward / "model.safetensors")["score.weight"]
    assert torch.equal(head(tiny_reward), saved)
    new = head(tiny_reward, head="new")
    assert any("drawing a new reward head in place" in message for message in said.messages)
    assert torch.equal(new, head(tiny_base)), "the seed's, as on the base model"
    assert not torch.equal(new, saved)


def test_a_new_head_of_an_encoder_is_drawn_from_the_seed(
    tiny_tokenizer: Any, tmp_path: Path
) -> None:
    from transformers import BertConfig, BertForSequenceClassification

    small = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_labels": 1}
    torch.manual_seed(0)
    config = BertConfig(**small, num_hidden_layers=1, num_attention_heads=4)
    BertForSequenceClassification(config).save_pretrained(tmp_path / "m")
    tiny_tokenizer.save_pretrained(tmp_path / "m")
    kept, new, again = (
        train(tmp_path / "m", head=head).classifier.classifier.weight.detach()
        for head in ("keep", "new", "new")
    )
    assert torch.equal(kept, load_file(tmp_path / "m" / "model.safetensors")["classifier.weight"])
    assert torch.equal(new, again)
    assert not torch.equal(new, kept)
    assert 0.2 < float(new.std() / kept.std()) < 5, "by the rule of its own class"
