"""The model of an evaluation: how it is opened, how long it reads, what results say of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from assay.data.encoding import warn_of_unread_thoughts
from assay.model.loading import load_reward_model
from assay.model.reward_model import RewardModel
from assay.notices import notice
from assay.score.scorer import reading_limit


@dataclass(frozen=True, slots=True)
class Reading:
    """How a command reads a model and rows, and where it writes; each field is one of its flags."""

    output: Path | None = None
    limit: int | None = None
    template: str | None = None
    base: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    engine: str = "auto"
    max_length: int | None = None
    on_bad_row: Literal["error", "skip"] = "error"
    overwrite: bool = False


def open_model(model: str | Path, reading: Reading) -> tuple[RewardModel, int]:
    """The model, and the length that it reads: what it was trained at, unless another is asked for.

    Raises:
        AssayError: no such model, device or dtype; a length beyond the model's context.
    """
    loaded = load_reward_model(
        str(model),
        base=reading.base,
        template=reading.template,
        device=reading.device,
        dtype=reading.dtype,
        engine=reading.engine,
    )
    return loaded, reading_limit(loaded, reading.max_length or loaded.metadata.max_length)


def about_model(model: RewardModel, max_length: int) -> dict[str, Any]:
    """How rows were read and rewards computed, for results."""
    return {
        "template_hash": model.renderer.template.hash,
        "max_length": max_length,
        "dtype": str(next(model.parameters()).dtype).removeprefix("torch."),
        "engine": model.engine.name,
    }


def say_what_was_read(model: RewardModel, *, specials: int, thoughts: int) -> None:
    """Say what a user may not expect of the texts that a model reads.

    Args:
        model: whose template and tokenizer wrote them.
        specials: special tokens that messages hold as text.
        thoughts: responses whose reasoning the template leaves out.
    """
    if specials:
        notice(
            f"{specials} special tokens are written out inside messages; "
            f"read as: {model.renderer.special_tokens}"
        )
    warn_of_unread_thoughts(thoughts, model.renderer.template.name)
