"""Tokenising each piece of text once: prompts, headings and answers that come again are looked up.

A fast tokenizer cuts a text at its added tokens before anything else, and what stands between two
of them is normalised, cut and merged by itself. So the ids of a text are those of its pieces in a
row, and a piece has the same ids wherever it stands. The exceptions are told from the tokenizer's
own description, and then nothing is cut: prefix spaces that only the beginning of a text gets, and
added tokens that swallow the spaces beside them or stand for whole words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from assay.data.words import WordEncoder, words_pattern

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

_KEPT_CHARACTERS = 16_000_000
"""Characters of the pieces that are remembered; above it all are forgotten."""


class MemoisedEncoder:
    """Ids of texts, no special tokens added, equal to the tokenizer's own.

    Args:
        backend: the tokenizer behind a fast tokenizer of transformers, without truncation and
            padding.
    """

    def __init__(self, backend: Tokenizer) -> None:
        self._backend = backend
        spec = json.loads(backend.to_str())
        self._added = _places_to_cut(spec)
        names = sorted(self._added, key=len, reverse=True)
        self._cut = re.compile(f"({'|'.join(map(re.escape, names))})") if names else None
        pattern = words_pattern(spec)
        whole = self._cut is not None and len(self._added) == len(spec["added_tokens"])
        self._words = WordEncoder(backend, pattern) if pattern and whole else None
        self._known: dict[str, list[int]] = {}
        self._characters = 0

    def encode_batch(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """Ids of each text."""
        if self._cut is None:
            return [tuple(ids) for ids in self._encode(texts)]
        if self._characters > _KEPT_CHARACTERS:
            self._known.clear()
            self._characters = 0
        cut = [[piece for piece in self._cut.split(text) if piece] for text in texts]
        new = {
            piece: None
            for pieces in cut
            for piece in pieces
            if piece not in self._known and piece not in self._added
        }
        self._learn(list(new))
        return [self._joined(pieces) for pieces in cut]

    def forget(self) -> None:
        """Forget all of it: a server does not keep what people write."""
        self._known.clear()
        self._characters = 0
        if self._words is not None:
            self._words.forget()

    def _learn(self, pieces: Sequence[str]) -> None:
        others = []
        for piece in pieces:
            self._characters += len(piece)
            ids = self._words.encode(piece) if self._words is not None else None
            if ids is None:
                others.append(piece)
            else:
                self._known[piece] = ids
        self._known |= zip(others, self._encode(others), strict=True)

    def _joined(self, pieces: Sequence[str]) -> tuple[int, ...]:
        ids: list[int] = []
        for piece in pieces:
            number = self._added.get(piece)
            if number is None:
                ids += self._known[piece]
            else:
                ids.append(number)
        return tuple(ids)

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        found = self._backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in found]


def memoised_encoder(tokenizer: PreTrainedTokenizerBase) -> MemoisedEncoder | None:
    """The encoder of a tokenizer that is all in its backend; None for any other.

    Some classes do more than their backend. A text with all that steps look at (spaces at both
    ends, lines, digits, cases, accents, Chinese, an added token in the middle) tells.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    backend = type(backend).from_str(backend.to_str())
    backend.no_truncation()
    backend.no_padding()
    encoder = MemoisedEncoder(backend)
    marks = [tokenizer.eos_token or "", *sorted(tokenizer.get_added_vocab())[:3]]
    probes = [f" Ab c's\n\n 12345 É{mark} 你好。 x {mark}\ty  " for mark in marks]
    theirs = tokenizer(probes, add_special_tokens=False, verbose=False)["input_ids"]
    ours = encoder.encode_batch(probes)
    return encoder if ours == [tuple(ids) for ids in theirs] else None


def _places_to_cut(spec: dict[str, Any]) -> dict[str, int]:
    """Added tokens at which a text may be cut, with their ids; none if it must stay whole."""
    added = spec["added_tokens"]
    swallows = any(token["lstrip"] or token["rstrip"] or token["single_word"] for token in added)
    steps = json.dumps([spec["normalizer"], spec["pre_tokenizer"]])
    if swallows or '"prepend_scheme": "first"' in steps:
        return {}
    return {
        token["content"]: token["id"]
        for token in added
        if token["content"] and not token["normalized"]
    }
