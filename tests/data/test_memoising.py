"""What is remembered of texts, and which tokenizers are left whole; beside `test_tokenising`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from tokenizers.trainers import BpeTrainer

from assay.data import tokenising
from assay.data.tokenising import MemoisedEncoder, memoised_encoder

LEFT = "É une idée… cafe\u0301 naïve\u00a0?"
"""Characters that words are not cut at here: the tokenizer's own engine has to do it."""


@pytest.fixture
def backend() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(["a good answer, another answer"], trainer)
    return tokenizer


def own(backend: Tokenizer, texts: list[str]) -> list[tuple[int, ...]]:
    encodings = backend.encode_batch(texts, add_special_tokens=False)
    return [tuple(encoding.ids) for encoding in encodings]


def test_some_added_tokens_that_cannot_be_cut_at(backend: Tokenizer) -> None:
    # One is found after normalising, within pieces: these pieces are no plain words.
    backend.add_special_tokens([AddedToken("<|end|>", normalized=False)])
    backend.add_tokens([AddedToken("answer", normalized=True)])
    encoder = MemoisedEncoder(backend)
    assert set(encoder._added) == {"<|end|>"}
    texts = ["a good answer<|end|>answers", "answer<|end|>", "unanswered"]
    assert encoder.encode_batch(texts) == own(backend, texts)


def test_what_was_forgotten_is_learnt_again(
    backend: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenising, "_KEPT_CHARACTERS", 10)
    backend.add_special_tokens([AddedToken("<|end|>", normalized=False)])
    encoder = MemoisedEncoder(backend)
    counts = []
    for text in ("a good answer", "bad", "why", "bad", "the end of it all", "why"):
        assert encoder.encode_batch([text]) == own(backend, [text])
        counts.append(len(encoder._known))
    # Above ten characters all is forgotten, once; below, it is kept.
    assert counts == [1, 1, 2, 2, 3, 1]


def test_truncation_and_padding_do_not_reach_the_ids_of_any_text(tiny_base: Path) -> None:
    from transformers import AutoTokenizer

    plain = AutoTokenizer.from_pretrained(tiny_base)
    expected = plain([LEFT, "short"], add_special_tokens=False)["input_ids"]
    assert min(map(len, expected)) > 3
    for limit in (lambda backend: backend.enable_truncation(3), pad):
        tokenizer: Any = AutoTokenizer.from_pretrained(tiny_base)
        limit(tokenizer.backend_tokenizer)
        encoder = memoised_encoder(tokenizer)
        assert encoder is not None
        assert encoder.encode_batch([LEFT, "short"]) == [tuple(ids) for ids in expected]


def pad(backend: Tokenizer) -> None:
    backend.enable_padding(length=64)
