"""What scoring and serving ask of a reward model, whoever computes its passes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from assay.data.rendering import TokenIds
from assay.model.prompt_keys import PromptKeys, why_not
from assay.model.reward_model import RewardModel
from assay.model.rewards import inference_budget, passes_of
from assay.model.vllm.model import PASS_TOKENS, VllmModel, in_portions

ScoringModel = RewardModel | VllmModel
"""Whatever reads conversations and gives each a reward."""


def engine_of(model: ScoringModel) -> str:
    """How a model computes, for people."""
    if isinstance(model, VllmModel):
        return model.pooling.name
    return model.engine.name + (" in int8" if model.precision == "int8" else "")


def pass_budget(model: ScoringModel) -> int:
    """Tokens of one pass: of vLLM, what is handed over together."""
    return PASS_TOKENS if isinstance(model, VllmModel) else inference_budget(model.device)


def remembers_prompts(model: ScoringModel) -> bool:
    """Whether `PromptKeys` has a use. (vLLM has a cache of its own.)"""
    return isinstance(model, RewardModel) and why_not(model) is None


def passes_for(
    model: ScoringModel,
    sequences: Sequence[TokenIds],
    families: Sequence[int],
    max_tokens: int,
    prompts: PromptKeys | None = None,
) -> Iterable[list[int]]:
    """Indices of the sequences of each pass, as `passes_of`; in their order for vLLM."""
    if isinstance(model, VllmModel):
        return in_portions(sequences, max_tokens)
    return passes_of(model, sequences, families, max_tokens, prompts)
