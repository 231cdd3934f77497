"""What a foreign model directory holds, without opening a model: its settings and its tensors."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from assay.errors import ModelError


@dataclass(frozen=True)
class ForeignDirectory:
    """A directory with a model or an adapter, read by name."""

    path: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        """What config.json says; empty where there is none, as beside an adapter."""
        try:
            read = json.loads((self.path / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return read if isinstance(read, dict) else {}

    @cached_property
    def names(self) -> dict[str, Path]:
        """The file of each tensor in the model's own safetensors files (not of an adapter)."""
        found: dict[str, Path] = {}
        for file in sorted(self.path.glob("model*.safetensors")):
            found |= dict.fromkeys(names_in(file), file)
        return found

    def tensor(self, name: str) -> Tensor | None:
        """A tensor of the model's files, or None."""
        file = self.names.get(name)
        return None if file is None else read_tensor(file, name)

    def holds(self, name: str) -> bool:
        """Whether there is a file of this name."""
        return (self.path / name).is_file()


def names_in(file: Path) -> list[str]:
    """The names of the tensors in a safetensors file.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        with safe_open(file, "pt") as opened:
            return list(opened.keys())
    except (OSError, SafetensorError) as error:
        raise _unreadable(file, error) from None


def read_tensor(file: Path, name: str) -> Tensor:
    """One tensor of a safetensors file.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        with safe_open(file, "pt") as opened:
            tensor: Tensor = opened.get_tensor(name)
            return tensor
    except (OSError, SafetensorError) as error:
        raise _unreadable(file, error) from None


def _unreadable(file: Path, error: Exception) -> ModelError:
    return ModelError(
        f"its weights cannot be read ({file.name}: {error})",
        where=file.parent,
        mend="fetch the model again",
    )
