"""What a command line says of how models are opened, and opening one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from assay.model.vllm.either import ScoringModel

Backend = Literal["assay", "vllm"]
Precision = Literal["full", "int8"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChoice:
    """How models are opened for scoring. It can be pickled.

    Attributes:
        base, template, device, dtype, engine, precision: as `load_reward_model`.
        backend: who computes; vLLM takes `template` and `dtype`.
        vllm_url: of a vLLM server; None starts an engine in this process.
        max_length: tokens of a sequence, for that engine.
    """

    base: str | None = None
    template: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    engine: str = "auto"
    precision: Precision = "full"
    backend: Backend = "assay"
    vllm_url: str | None = None
    max_length: int | None = None

    def load(self, name: str) -> ScoringModel:
        """The model that a user named.

        Raises:
            AssayError: as `load_reward_model` and `load_vllm_model`.
        """
        if self.backend == "vllm":
            from assay.model.vllm.opening import load_vllm_model

            return load_vllm_model(
                name,
                url=self.vllm_url,
                template=self.template,
                dtype=self.dtype,
                max_length=self.max_length,
            )
        from assay.model.loading import load_reward_model

        return load_reward_model(
            name,
            base=self.base,
            template=self.template,
            device=self.device,
            dtype=self.dtype,
            engine=self.engine,
            precision=self.precision,
        )
