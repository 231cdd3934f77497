"""Several linear heads on one backbone: of attributes, or of an ensemble.

The reward stays one row: `score.weight` is the mean of the members' rows with their weights, so
that whatever loads the model gives the same rewards. The members stand beside it in a file of
their own. Their offsets are no part of the reward: a constant changes no comparison, and no other
loader would add it.

Shapes: M members, R scored tokens, D width of the backbone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from assay.errors import ModelError

HEADS_FILE = "assay_heads.safetensors"
_MEMBER = "member-{}"
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"


class Member(NamedTuple):
    """A head's name, its weight in the mean that is the reward, and the offset of its values."""

    name: str
    weight: float
    offset: float = 0.0


def ensemble_of(count: int) -> tuple[Member, ...]:
    """Members of an ensemble, which count alike."""
    return tuple(Member(_MEMBER.format(number), 1.0) for number in range(count))


class Heads(nn.Module):
    """Members of a head. Only their rows `weight_MD` are trained.

    Args:
        members: names, weights (their sum is above 0) and offsets.
        weight_MD: a row for each, float32 or wider.
    """

    def __init__(self, members: Sequence[Member], weight_MD: Tensor) -> None:
        super().__init__()
        self.members = tuple(members)
        self.weight_MD = nn.Parameter(weight_MD)
        self.in_training = False
        """Whether the rows change, so that the model's own row is their mean only when saved."""

    @property
    def names(self) -> list[str]:
        """Names of the members."""
        return [member.name for member in self.members]

    @property
    def is_ensemble(self) -> bool:
        """Whether they are an ensemble's, by their names; else they are of attributes."""
        return self.names == [member.name for member in ensemble_of(len(self.members))]

    @property
    def offset_M(self) -> Tensor:
        """Offsets of the members' values, on the device of the rows."""
        offsets = [member.offset for member in self.members]
        return torch.tensor(offsets, dtype=self.weight_MD.dtype, device=self.weight_MD.device)

    @property
    def share_M(self) -> Tensor:
        """Weights divided by their sum, in float64 on the CPU."""
        weights = torch.tensor([member.weight for member in self.members], dtype=torch.float64)
        return weights / weights.sum()

    def forward(self, hidden_RD: Tensor) -> Tensor:
        """Values [R, M]: row times hidden state plus offset."""
        return F.linear(hidden_RD, self.weight_MD.to(hidden_RD.dtype), self.offset_M.to(hidden_RD))

    def rewards(self, value_RM: Tensor) -> Tensor:
        """Rewards [R]: the weighted means of values less their offsets."""
        return (value_RM - self.offset_M.to(value_RM)) @ self.share_M.to(value_RM)

    def mean_row(self) -> Tensor:
        """The row [D] of the reward: the weighted mean of the members', summed in float64."""
        rows_MD = self.weight_MD.detach().cpu().double()  # Some devices have no float64.
        return (self.share_M[:, None] * rows_MD).sum(0).to(self.weight_MD)

    def write(self, directory: Path) -> None:
        """Write `assay_heads.safetensors` beside a model.

        Loaders that take every `*.safetensors` file of a directory (vLLM, SGLang) take those that
        an index lists where there is one; a model of one file gets one.
        """
        save_file(
            {
                "rows": self.weight_MD.detach().cpu().contiguous(),
                "weights": torch.tensor([m.weight for m in self.members], dtype=torch.float64),
                "offsets": torch.tensor([m.offset for m in self.members], dtype=torch.float64),
            },
            directory / HEADS_FILE,
            metadata={"format": "pt", "names": json.dumps(self.names, ensure_ascii=False)},
        )
        if (directory / _WEIGHTS).exists() and not (directory / _INDEX).exists():
            _write_index(directory)

    @torch.no_grad()
    def restore(self, saved: Heads | None) -> bool:
        """Take rows, weights and offsets from saved heads; False where these are of others."""
        if saved is None or saved.weight_MD.shape != self.weight_MD.shape:
            return False
        if saved.names != self.names:
            return False
        self.members = saved.members
        self.weight_MD.copy_(saved.weight_MD)
        return True

    @classmethod
    def read(cls, directory: Path) -> Heads | None:
        """The members beside a model, or None where there are none.

        Raises:
            ModelError: the file is there and is not what `write` writes.
        """
        path = directory / HEADS_FILE
        if not path.exists():
            return None
        try:
            with safe_open(path, "pt") as file:
                names = json.loads(file.metadata()["names"])
                weights = file.get_tensor("weights").tolist()
                offsets = file.get_tensor("offsets").tolist()
                rows_MD = file.get_tensor("rows")
            members = [Member(*each) for each in zip(names, weights, offsets, strict=True)]
            if rows_MD.ndim != 2 or len(rows_MD) != len(members) or not members:
                raise ValueError(f"{len(members)} names for rows {list(rows_MD.shape)}")
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"its heads cannot be read ({error})",
                where=path,
                mend="fetch the model again; without this file it still gives its rewards",
            ) from None
        return cls(members, rows_MD)


def _write_index(directory: Path) -> None:
    with safe_open(directory / _WEIGHTS, "pt") as file:
        names = list(file.keys())
    size = (directory / _WEIGHTS).stat().st_size
    index = {"metadata": {"total_size": size}, "weight_map": dict.fromkeys(names, _WEIGHTS)}
    (directory / _INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
