"""Memoised tokenising gives the ids that the tokenizer gives, for any text."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.pre_tokenizers import PreTokenizer
from tokenizers.trainers import BpeTrainer

from assay.data import tokenising
from assay.data.tokenising import MemoisedEncoder, memoised_encoder
from assay.data.words import (
    _GPT2,
    _SETTLED,
    _SPLITS,
    WordEncoder,
    words_pattern,
    written_out,
)

CORPUS = [
    "The quick brown fox's 12345 jumps; it'll run over 3.14 lazy dogs, won't it?",
    "def f(x):\n    return x  +  1\n\n\n# 2,000,000 naïve café's\t\ttabs",
    "你好，世界！今天天气怎么样？ 二〇二四年 ｆｕｌｌ ひらがな カタカナ 한국어 Привет мир",
    "I'M SHOUTING, I'LL STOP; we're they've you'd don't 'tis",
    "  leading and trailing   \n \n  \r\n mixed \n\tends ",
]
ADDED = ["<|im_start|>", "<|im_end|>", "<|end|>", "<|end|>x"]


def byte_level(pre: PreTokenizer, *, normalizer: Any = None, **added: Any) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.ByteLevel()
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    trainer = BpeTrainer(
        vocab_size=700,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS * 3, trainer)
    tokenizer.add_tokens(
        [AddedToken(name, **({"normalized": False, "special": True} | added)) for name in ADDED]
    )
    return tokenizer


def split(pattern: str) -> PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def metaspace(scheme: str) -> PreTokenizer:
    return pre_tokenizers.Metaspace(prepend_scheme=scheme)


GPT2 = pre_tokenizers.ByteLevel(add_prefix_space=False)
TOKENIZERS: dict[str, Tokenizer] = {
    "gpt2": byte_level(GPT2),
    "gpt2 with a prefix space": byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True)),
    "qwen2": byte_level(split(_SPLITS[0]), normalizer=normalizers.NFC()),
    "llama3": byte_level(split(_SPLITS[1])),
    "unknown split": byte_level(split(r"\s+|[^\s]{1,4}")),
    "digits apart": byte_level(
        pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), GPT2])
    ),
    "lower case": byte_level(GPT2, normalizer=normalizers.Lowercase()),
    "added tokens that swallow spaces": byte_level(GPT2, lstrip=True, rstrip=True),
    "added tokens as whole words": byte_level(GPT2, single_word=True),
    "added tokens after normalising": byte_level(
        GPT2, normalizer=normalizers.NFC(), normalized=True, special=False
    ),
    "metaspace always": byte_level(metaspace("always")),
    "metaspace first": byte_level(metaspace("first")),
    "prepend": byte_level(metaspace("never"), normalizer=normalizers.Prepend("▁")),
}
BY_WORDS = {"gpt2", "qwen2", "llama3"}
WHOLE = {
    "added tokens that swallow spaces",
    "added tokens as whole words",
    "added tokens after normalising",
    "metaspace first",
}
PIECES = st.one_of(
    st.sampled_from([*ADDED, *CORPUS, *(word for text in CORPUS for word in text.split(" "))]),
    st.sampled_from([" ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "\x85", "'S", "ſ", "é"]),
    st.text(max_size=6),
    st.text(alphabet="aZ 1٣²'\n\t.,<|>é你カ한ЖK\u0301", max_size=12),
)
TEXTS = st.lists(st.lists(PIECES, max_size=7).map("".join), min_size=1, max_size=4)


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=60, deadline=None)
@given(texts=TEXTS)
def test_ids_are_the_tokenizers_own(name: str, texts: list[str]) -> None:
    backend = TOKENIZERS[name]
    encoder = ENCODERS[name]  # One for all examples: what it remembers must stay right.
    expected = [tuple(e.ids) for e in backend.encode_batch(texts, add_special_tokens=False)]
    assert encoder.encode_batch(texts) == expected
    assert encoder.encode_batch(texts) == expected


ENCODERS = {name: MemoisedEncoder(backend) for name, backend in TOKENIZERS.items()}


def test_which_tokenizers_are_cut_at_added_tokens_and_into_words() -> None:
    assert {name for name, e in ENCODERS.items() if e._words is not None} == BY_WORDS
    assert {name for name, e in ENCODERS.items() if e._cut is None} == WHOLE


@pytest.mark.parametrize("name", sorted(BY_WORDS))
def test_words_are_cut_alike_wherever_three_settled_characters_meet(name: str) -> None:
    # Every class of characters that an expression tells apart, next to every other.
    backend = TOKENIZERS[name]
    words = WordEncoder(backend, words_pattern(json.loads(backend.to_str())) or "")
    classes = "aZs' \n\r\t1²½.,_-你。カか한ЖйÀß“”…！Ａ１\u00aa×"
    assert _SETTLED.fullmatch(classes)
    texts = [a + b + c for a in classes for b in classes for c in classes]
    draw = random.Random(0)
    texts += ["".join(draw.choices(classes, k=12)) for _ in range(4000)]
    expected = [e.ids for e in backend.encode_batch(texts, add_special_tokens=False)]
    assert [words.encode(text) for text in texts] == expected


@pytest.mark.parametrize("pattern", [_GPT2, *_SPLITS])
def test_every_settled_character_is_in_one_word(pattern: str) -> None:
    settled = [chr(code) for code in range(0x10000) if _SETTLED.fullmatch(chr(code))]
    assert len(settled) > 30_000
    assert re.compile(written_out(pattern)).findall("".join(settled))
    backend = TOKENIZERS["gpt2" if pattern == _GPT2 else "qwen2"]
    if pattern != _SPLITS[1]:
        words = WordEncoder(backend, pattern)
        expected = backend.encode_batch([f"a{c} {c}1" for c in settled], add_special_tokens=False)
        assert [words.encode(f"a{c} {c}1") for c in settled] == [e.ids for e in expected]


@pytest.mark.parametrize(
    "text", ["a\u0301", "\u00a0", "\x85", "\u2126", "\u3000", "😀", "ａ\u0b95"]
)
def test_other_characters_are_left_to_the_tokenizer(text: str) -> None:
    assert WordEncoder(TOKENIZERS["gpt2"], _GPT2).encode(text) is None


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenising, "_KEPT_CHARACTERS", 10)
    encoder = MemoisedEncoder(TOKENIZERS["gpt2"])
    for number in range(5):
        encoder.encode_batch([f"text {number}"])
        assert len(encoder._known) <= 3


def test_a_class_that_does_more_than_its_backend_is_left_alone(tiny_base: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    assert memoised_encoder(tokenizer) is not None

    class Shouting(type(tokenizer)):  # type: ignore[misc]
        def __call__(self, text: list[str], **options: Any) -> Any:
            return super().__call__([one.upper() for one in text], **options)

    tokenizer.__class__ = Shouting
    assert memoised_encoder(tokenizer) is None


def test_truncation_and_padding_of_a_saved_tokenizer_do_not_reach_the_ids(tiny_base: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    tokenizer.backend_tokenizer.enable_truncation(3)
    tokenizer.backend_tokenizer.enable_padding(length=64)
    encoder = memoised_encoder(tokenizer)
    assert encoder is not None
    (ids,) = encoder.encode_batch(["one two three four five six"])
    assert 3 < len(ids) < 64
