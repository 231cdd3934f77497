"""Special tokens that somebody wrote out inside a message, read as the plain text they are.

A tokenizer cannot tell a template's own `<|im_end|>` from the same characters in a message. Here
those in messages are masked before the template runs, and the result is tokenised by a twin of the
tokenizer in which every special token has another name: only the template's own can match. The twin
keeps all other behaviour (boundaries, prefix spaces, ids), hence equals the original wherever no
special token is written out.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from assay.data.records import Message
from assay.errors import TemplateError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_OPEN, _CLOSE = "\ue0a0", "\ue0a1"
_NONCE = secrets.token_hex(8)
"""Part of the twin's names, so that no message can hold one; ids do not depend on it."""
_MASK = re.compile(f"{_OPEN}(\\d+){_CLOSE}")


class SpecialTokenGuard:
    """Finds, masks and tokenises special tokens written out in messages of one tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        marked = {t.content for t in tokenizer.added_tokens_decoder.values() if t.special}
        self._names = sorted(marked | set(tokenizer.all_special_tokens), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, self._names)) or r"(?!)")
        self._firsts = {name[0] for name in self._names if name}
        # The marks' own characters are masked too: in a message they mean themselves.
        self._masks = [*self._names, _OPEN, _CLOSE]
        self._number = {name: number for number, name in enumerate(self._masks)}
        self._to_mask = re.compile("|".join(map(re.escape, self._masks)))
        self._twin: Tokenizer | None = None

    def find(self, messages: Sequence[Message], *others: Any) -> list[str]:
        """Special tokens written out anywhere in messages, tools and the like, in order."""
        found: list[str] = []
        for message in messages:
            for text in (message.content,) if message.is_plain else _strings(message.as_dict()):
                # Most texts hold not even the first character of a special token.
                if any(first in text for first in self._firsts):
                    found += self._pattern.findall(text)
        return found + [name for text in _strings(others) for name in self._pattern.findall(text)]

    def mask(self, message: Message) -> Message:
        """The message with each written-out special token replaced by a mark."""
        return Message(
            role=message.role,
            content=self.mask_value(message.content),
            tool_calls=self.mask_value(message.tool_calls),
            reasoning_content=self.mask_value(message.reasoning_content),
            extra=self.mask_value(message.extra),
        )

    def unmask(self, text: str) -> str:
        """The text with every mark replaced by what it stands for."""
        return _MASK.sub(lambda mark: self._masks[int(mark[1])], text)

    def encode(self, masked: str) -> tuple[int, ...]:
        """Ids of a masked rendered text, its marks read as plain text."""
        if self._twin is None:
            self._twin = _twin(self._tokenizer, self._names)
        renamed = self._pattern.sub(lambda name: _other_name(name[0]), masked)
        return tuple(self._twin.encode(self.unmask(renamed), add_special_tokens=False).ids)

    def mask_value(self, value: Any) -> Any:
        """The same for any value of a row: texts in lists and mappings, keys among them."""
        if isinstance(value, str):
            return self._to_mask.sub(lambda m: f"{_OPEN}{self._number[m[0]]}{_CLOSE}", value)
        if isinstance(value, Mapping):
            return {self.mask_value(key): self.mask_value(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self.mask_value(inner) for inner in value)
        return value


def _other_name(name: str) -> str:
    return _OPEN + _NONCE + _CLOSE.join(name) + _OPEN


def _twin(tokenizer: PreTrainedTokenizerBase, names: Sequence[str]) -> Tokenizer:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise TemplateError(
            "this tokenizer has no fast version, so special tokens inside messages cannot be "
            "read as plain text",
            mend="set special_tokens_in_content to special or error",
        )
    spec = json.loads(backend.to_str())
    special = set(names)
    for token in spec["added_tokens"]:
        if token["content"] in special:
            token["content"] = _other_name(token["content"])
    vocabulary = spec["model"].get("vocab")
    if isinstance(vocabulary, dict):
        spec["model"]["vocab"] = {
            _other_name(word) if word in special else word: number
            for word, number in vocabulary.items()
        }
    elif isinstance(vocabulary, list):
        for entry in vocabulary:
            if entry[0] in special:
                entry[0] = _other_name(entry[0])
    if "merges" in spec["model"]:
        # Conversions from SentencePiece merge characters into special tokens as into any word.
        spec["model"]["merges"] = [
            merge for merge in spec["model"]["merges"] if not special & _words_of(merge)
        ]
    unknown = spec["model"].get("unk_token")
    if unknown in special:
        spec["model"]["unk_token"] = _other_name(unknown)
    spec["post_processor"] = spec["truncation"] = spec["padding"] = None
    return Tokenizer.from_str(json.dumps(spec))


def _words_of(merge: str | list[str]) -> set[str]:
    """The two parts of a merge and what they become."""
    left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
    return {left, right, left + right}


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from (text for pair in value.items() for text in _strings(pair))
    elif isinstance(value, list | tuple):
        yield from (text for inner in value for text in _strings(inner))
