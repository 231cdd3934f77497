"""What decides the content of a store, and the fingerprint of it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import IO, TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

import orjson

from assay.config import OverLength
from assay.data.rendering import Renderer
from assay.data.sources import DataSource, Part, unreadable
from assay.data.store.code import foreign_code, own_code

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

STORE_VERSION = 3
"""Of the files in a store: raised when a reader of the older ones could not read the newer."""

_PIECE = 1 << 22
_PACKAGES = ("transformers", "tokenizers", "jinja2", "pyarrow")


@dataclass(frozen=True, slots=True)
class Preparation:
    """How rows become encoded groups."""

    renderer: Renderer
    max_length: int
    over_length: OverLength = "drop"
    on_bad_row: Literal["error", "skip"] = "error"
    group_by: Literal["prompt", "row"] = "prompt"

    def settings(self) -> dict[str, Any]:
        """All of it as JSON, tokenizer and template by their hashes."""
        return {
            "tokenizer": tokenizer_hash(self.renderer),
            "template": self.renderer.template.name,
            "template_hash": self.renderer.template.hash,
            "reads": {k: v for k, v in vars(self.renderer).items() if isinstance(v, str)},
            "max_length": self.max_length,
            "over_length": self.over_length,
            "on_bad_row": self.on_bad_row,
            "group_by": self.group_by,
        }


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of a source: their SHA-256, and the files as they were."""

    sha256: str
    files: tuple[tuple[str, int], ...]
    """Of each part: its name, and its bytes."""
    states: tuple[tuple[str, int, int], ...]
    """Of each part: its name, size, and time of the last change."""

    @property
    def num_bytes(self) -> int:
        """Bytes of all parts."""
        return sum(size for _, size in self.files)


def content_of(parts: Sequence[Part]) -> Content:
    """Read all bytes of some parts.

    Raises:
        DataError: a part cannot be read.
    """
    states = states_of(parts)
    digest, files = hashlib.sha256(), []
    for part in parts:
        size = 0
        try:
            with part.open() as file:
                while piece := file.read(_PIECE):
                    digest.update(piece)
                    size += len(piece)
        except OSError as error:
            raise unreadable(error, part.name) from None
        files.append((part.name, size))
    return Content(digest.hexdigest(), tuple(files), states)


def states_of(parts: Sequence[Part]) -> tuple[tuple[str, int, int], ...]:
    """The files of some parts as they are now.

    Raises:
        DataError: a part cannot be read.
    """
    states = []
    for part in parts:
        try:
            with part.open() as file:
                states.append(_state(part, file))
        except OSError as error:
            raise unreadable(error, part.name) from None
    return tuple(states)


def fingerprint(source: DataSource, content: Content, preparation: Preparation) -> str:
    """32 hex digits: equal where the store would be, byte for byte."""
    parts = {
        "store": STORE_VERSION,
        "content": content.sha256,
        "files": content.files,
        "source": source_settings(source),
        "settings": preparation.settings(),
        "versions": versions(),
        "code": own_code(),
        "foreign": foreign_code(),
    }
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def source_settings(source: DataSource) -> dict[str, Any]:
    """What the user said of a source, but for its name."""
    return {key: value for key, value in asdict(source).items() if key != "name"}


def versions() -> dict[str, str]:
    """Of the packages that take part in the content."""
    return {package: metadata.version(package) for package in _PACKAGES}


def tokenizer_hash(renderer: Renderer) -> str:
    """16 hex digits of a hash of all of the tokenizer that decides ids, special tokens included."""
    if renderer not in _hashes:
        _hashes[renderer] = _hash_of(renderer.tokenizer)
    return _hashes[renderer]


_hashes: WeakKeyDictionary[Renderer, str] = WeakKeyDictionary()


def _hash_of(tokenizer: PreTrainedTokenizerBase) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    parts = [
        type(tokenizer).__name__,
        _description(backend) if backend is not None else sorted(tokenizer.get_vocab().items()),
        {key: str(value) for key, value in tokenizer.special_tokens_map.items()},
        tokenizer.bos_token_id,
        tokenizer.eos_token_id,
    ]
    text = orjson.dumps(parts, default=str, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).hexdigest()[:16]


def _description(backend: Any) -> dict[str, Any]:
    """The tokenizer's own description, without what its last call left in it."""
    described: dict[str, Any] = orjson.loads(backend.to_str())
    return described | {"truncation": None, "padding": None}


def _state(part: Part, file: IO[bytes]) -> tuple[str, int, int]:
    try:
        found = os.fstat(file.fileno())
    except (OSError, AttributeError, ValueError):  # in an archive
        return part.name, 0, 0
    return part.name, found.st_size, found.st_mtime_ns
