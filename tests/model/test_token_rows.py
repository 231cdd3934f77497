"""Tokens and positions that a model has no row for: refused by name, and no row is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from test_saving import SEQUENCES, copy_with, one_step
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from assay.config import LoraConfig, ModelConfig
from assay.data.formats import VerbatimText
from assay.data.records import Source
from assay.errors import ConfigError, DataError
from assay.model.loading import build_for_training, load_reward_model
from assay.model.reward_model import RewardModel
from assay.model.rewards import rewards_of_sequences, score_sequences
from assay.model.saving import save_adapter
from assay.score.scorer import RowScores, refusals, score_or_refuse

LORA = LoraConfig(r=2, target_modules=["q_proj"])
SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_labels": 1,
}


def with_more_tokens(directory: Path, target: Path, **named: str) -> Path:
    """A model whose tokenizer has got two tokens, and whose embedding has not."""
    copy_with(directory, target)
    tokenizer = AutoTokenizer.from_pretrained(target)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<rule>", "<end>"]} | named)
    tokenizer.save_pretrained(target)
    return target


def build(path: Path, lora: LoraConfig | None = None) -> RewardModel:
    return build_for_training(
        ModelConfig(path=str(path)), lora, seed=7, max_length=64, device="cpu"
    )


def test_a_token_without_a_row_is_refused_by_name(tiny_reward: Path, tmp_path: Path) -> None:
    before = load_reward_model(str(tiny_reward))
    model = load_reward_model(str(with_more_tokens(tiny_reward, tmp_path / "m")))
    assert model.num_ids == before.num_ids == len(model.renderer.tokenizer) - 2
    assert score_sequences(model, SEQUENCES) == score_sequences(before, SEQUENCES)
    with pytest.raises(DataError, match=rf"'<end>' is token {model.num_ids + 1} of the tokenizer"):
        score_sequences(model, [*SEQUENCES, (5, model.num_ids + 1)])
    last = (5, model.num_ids - 1)
    assert len(score_sequences(model, [last])) == 1


def test_a_row_with_such_a_token_is_refused_alone(tiny_reward: Path, tmp_path: Path) -> None:
    model = load_reward_model(str(with_more_tokens(tiny_reward, tmp_path / "m")))
    texts = ["yes", "yes <end>"]
    rows = [VerbatimText(text, Source("rows.jsonl", 1 + at)) for at, text in enumerate(texts)]
    (scored, refused) = score_or_refuse(model, rows)
    assert isinstance(scored, RowScores)
    assert isinstance(refused, DataError)
    assert "rows.jsonl:2: '<end>' is token" in str(refused)
    assert [type(found) for found in refusals(model, rows)] == [type(None), DataError]


def test_a_row_without_a_token_is_refused_alone(tiny_reward: Path) -> None:
    model = load_reward_model(str(tiny_reward))
    rows = [VerbatimText(text, Source("rows.jsonl", 1 + at)) for at, text in enumerate(["a", ""])]
    (scored, refused) = score_or_refuse(model, rows)
    assert isinstance(scored, RowScores)
    assert "rows.jsonl:2: an empty text has no token" in str(refused)
    for length in (0, -3):
        with pytest.raises(ConfigError, match=f"--max-length {length} leaves no token"):
            score_or_refuse(model, rows, max_length=length)


@pytest.mark.parametrize("lora", [None, LORA])
def test_training_draws_no_row_either(
    lora: LoraConfig | None, tiny_base: Path, tmp_path: Path
) -> None:
    model = build(with_more_tokens(tiny_base, tmp_path / "m"), lora)
    assert model.num_ids == build(tiny_base, lora).num_ids
    with pytest.raises(DataError, match="'<rule>' is token"):
        rewards_of_sequences(model, [(5, model.num_ids)], max_tokens=64)


def test_an_encoder_names_the_token_too(tiny_tokenizer: Any, tmp_path: Path) -> None:
    config = BertConfig(vocab_size=len(tiny_tokenizer), **SMALL)
    BertForSequenceClassification(config).save_pretrained(tmp_path / "base")
    tiny_tokenizer.save_pretrained(tmp_path / "base")
    model = load_reward_model(str(with_more_tokens(tmp_path / "base", tmp_path / "m")))
    with pytest.raises(DataError, match="'<rule>' is token"):
        score_sequences(model, [(5, len(tiny_tokenizer))])


def test_what_pads_has_a_row(tiny_base: Path, tiny_reward: Path, tmp_path: Path) -> None:
    """As of base models whose users gave the tokenizer a padding token, and the model none."""
    reward = with_more_tokens(tiny_reward, tmp_path / "reward", pad_token="[PAD]")
    model = load_reward_model(str(reward))
    assert model.pad_id < model.num_ids
    base = with_more_tokens(tiny_base, tmp_path / "base", pad_token="[PAD]")
    adapted, whole = build(base, LORA), build(base)
    assert adapted.pad_id < adapted.num_ids == model.num_ids
    assert whole.renderer.tokenizer.pad_token == "[PAD]", "an embedding that is trained may grow"
    assert whole.pad_id == whole.num_ids - 1


def test_adapters_of_the_embedding_come_back(tiny_base: Path, tmp_path: Path) -> None:
    model = build(tiny_base, LoraConfig(r=2, target_modules=["embed_tokens", "q_proj"]))
    one_step(model)
    expected = score_sequences(model, SEQUENCES)
    (tmp_path / "a").mkdir()
    save_adapter(model, tmp_path / "a")
    again = load_reward_model(str(tmp_path / "a"))
    assert again.num_ids == model.num_ids
    assert score_sequences(again, SEQUENCES) == pytest.approx(expected, abs=1e-5)


def test_roberta_has_no_position_up_to_its_padding_id(tiny_tokenizer: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=len(tiny_tokenizer), max_position_embeddings=34, pad_token_id=1, **SMALL
    )
    RobertaForSequenceClassification(config).save_pretrained(tmp_path / "m")
    tiny_tokenizer.save_pretrained(tmp_path / "m")
    model = load_reward_model(str(tmp_path / "m"))
    assert model.max_length == 32
    assert len(score_sequences(model, [tuple(range(10, 42))])) == 1
    with pytest.raises(DataError, match="longer than the model's context of 32"):
        score_sequences(model, [tuple(range(10, 43))])
