"""What decides that words are cut here and not in the tokenizer: characters, and descriptions."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Callable
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from assay.data import words
from assay.data.words import _GPT2, _SETTLED, _SPLITS, WordEncoder, words_pattern


def test_no_settled_character_combines_with_another() -> None:
    settled = {chr(code) for code in range(0x20000) if _SETTLED.fullmatch(chr(code))}
    assert unicodedata.is_normalized("NFC", "".join(sorted(settled)))
    # What NFC could put together stands apart in NFD: Latin accents, kana voice marks, Hangul Jamo.
    apart = (unicodedata.normalize("NFD", chr(code)) for code in range(sys.maxunicode + 1))
    assert settled.isdisjoint(part for parts in apart for part in parts[1:])


def by_bytes(**changes: Any) -> dict[str, Any]:
    """The description of a tokenizer that GPT-2's scheme cuts, or of one that differs from it."""
    tokenizer = Tokenizer(models.BPE(vocab={"a": 0}, merges=[], **changes))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    spec: dict[str, Any] = json.loads(tokenizer.to_str())
    return spec


def by_split(pattern: str, **changes: Any) -> dict[str, Any]:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(pattern), **{"behavior": "isolated"} | changes)
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    spec: dict[str, Any] = json.loads(tokenizer.to_str())
    return spec


def changed(spec: dict[str, Any], change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    change(spec)
    return spec


def test_descriptions_that_are_known() -> None:
    assert words_pattern(by_bytes()) == _GPT2
    assert [words_pattern(by_split(pattern)) for pattern in _SPLITS] == _SPLITS


@pytest.mark.parametrize(
    "spec",
    [
        by_bytes(dropout=0.1),
        by_bytes(byte_fallback=True),
        by_bytes(continuing_subword_prefix="##"),
        by_bytes(end_of_word_suffix="</w>"),
        by_split(_SPLITS[0], invert=True),
        by_split(_SPLITS[0], behavior="removed"),
        by_split(_SPLITS[0], behavior="merged_with_next"),
        by_split(r"\s+"),
        changed(by_bytes(), lambda spec: spec["model"].update(type="WordPiece")),
        changed(by_bytes(), lambda spec: spec["pre_tokenizer"].update(add_prefix_space=True)),
        changed(by_bytes(), lambda spec: spec["pre_tokenizer"].update(use_regex=False)),
        changed(by_bytes(), lambda spec: spec.update(normalizer={"type": "NFKC"})),
        changed(by_bytes(), lambda spec: spec.update(pre_tokenizer=None)),
        changed(
            by_split(_SPLITS[0]),
            lambda spec: spec["pre_tokenizer"]["pretokenizers"].append({"type": "Digits"}),
        ),
        changed(
            by_split(_SPLITS[0]),
            lambda spec: spec["pre_tokenizer"]["pretokenizers"][1].update(use_regex=True),
        ),
    ],
    ids=lambda spec: json.dumps([spec["model"]["type"], spec["pre_tokenizer"]])[:60],
)
def test_descriptions_of_other_kinds(spec: dict[str, Any]) -> None:
    assert words_pattern(spec) is None


def test_the_words_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "_KEPT_CHARACTERS", 4)
    tokenizer = Tokenizer(
        models.BPE(vocab={character: n for n, character in enumerate("abcĠ")}, merges=[])
    )
    encoder = WordEncoder(tokenizer, _GPT2)
    for text in ("a b", "a c", "b c", "c a", "ab ac bc", "abc" * 9, "b"):
        ids = encoder.encode(text)
        assert ids == [{"a": 0, "b": 1, "c": 2, " ": 3}[character] for character in text]
        # It forgets before a text, not within one.
        assert sum(map(len, encoder._known)) <= 4 + len(text)
    assert set(encoder._known) == {"b"}
