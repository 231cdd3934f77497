"""What a command line says of a model or a reward file, and opening it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from assay.errors import ConfigError
from assay.model.choice import ModelChoice
from assay.score.rewarder import OneModel, Rewarder
from assay.score.several import Kind, load_several


@dataclass(frozen=True, slots=True)
class RewarderChoice(ModelChoice):
    """A model, or a reward file with its models. It can be pickled.

    Attributes:
        model: what `--model` takes; None where the file names all models.
        reward: the file.
    """

    model: str | None
    reward: Path | None = None

    def __post_init__(self) -> None:
        if self.backend == "vllm" and self.reward is not None:
            raise ConfigError(
                "--backend vllm computes one model, and a reward file may name several",
                where="--reward",
                mend="leave one of the two out",
            )

    def open(self) -> Rewarder:
        """What gives the rewards.

        Raises:
            AssayError: as `load_several`, `ModelChoice.load` and `Int8Model`.
        """
        load = self.load
        kind: Kind = OneModel
        if self.precision == "int8":
            from assay.score.int8 import Int8Model

            # Which exchanges the layers itself, when it has seen some rows.
            load, kind = replace(self, precision="full").load, Int8Model
        if self.reward is not None:
            return load_several(self.reward, self.model, load, kind)
        name = self.model or ""
        return kind(load(name), name)
