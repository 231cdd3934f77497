"""A vLLM engine in this process."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from assay.data.rendering import TokenIds
from assay.errors import ConfigError, ModelError, first_line


class InProcess:
    """`vllm.LLM` with a model's directory, as a pooling engine with prefix caching.

    Args:
        directory: of the model.
        dtype: `auto` is float32 on a CPU, else as saved.
        max_length: tokens of a sequence; None takes the model's context.

    Raises:
        ConfigError: vLLM is not installed here.
        ModelError: vLLM cannot serve the model.
    """

    def __init__(self, directory: Path, dtype: str, max_length: int | None) -> None:
        if find_spec("vllm") is None:
            raise ConfigError(
                "vLLM is not installed in this environment",
                where="--backend",
                mend=f"start it in its own (vllm serve {directory} --runner pooling), and name its "
                "address: --vllm-url http://localhost:8000",
            )
        os.environ["VLLM_NO_USAGE_STATS"] = "1"
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        from vllm import LLM, PoolingParams
        from vllm.platforms import current_platform

        if dtype == "auto" and current_platform.is_cpu():
            dtype = "float32"
        try:
            self._llm: Any = LLM(
                model=str(directory),
                runner="pooling",
                dtype=dtype,
                enable_prefix_caching=True,
                max_model_len=max_length,
                disable_log_stats=True,
            )
        except Exception as error:  # Whatever its parts raise: it cannot serve the model.
            raise ModelError(
                f"vLLM cannot serve it ({first_line(error)[:300]})",
                where=directory,
                mend="leave --backend vllm out; VLLM_LOGGING_LEVEL=INFO says more",
            ) from None
        self._directory = directory
        self._raw = PoolingParams(use_activation=False)
        config = self._llm.llm_engine.model_config
        self.max_length = int(config.max_model_len)
        self.dtype = str(config.dtype).removeprefix("torch.")
        self.name = "vllm"
        self.served: dict[str, Any] = {}

    def raw(self, sequences: Sequence[TokenIds]) -> list[float]:
        """By `LLM.classify`, all of them in one call."""
        prompts = [{"prompt_token_ids": list(ids)} for ids in sequences]
        found = self._llm.classify(prompts, pooling_params=self._raw, use_tqdm=False)
        values = [answer.outputs.probs for answer in found]
        if any(len(value) != 1 for value in values):
            raise ModelError(
                f"gives {len(values[0])} values a text, not one reward",
                where=self._directory,
                mend="name a reward model: a classifier into one label",
            )
        return [value for [value] in values]
