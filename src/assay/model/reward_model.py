"""The reward model: a transformers (or PEFT) classifier inside, one way to its rewards.

Shapes: N sequences, L tokens of the longest (right padded), D width of the backbone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from assay.data.formats.building import answer, row_group
from assay.data.formats.messages import assistant, read_turns, user
from assay.data.records import Group, Source
from assay.data.rendering import Renderer
from assay.errors import DataError
from assay.model.batch import PaddedBatch
from assay.model.metadata import Metadata
from assay.model.rewards import score_sequences

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class RewardModel(nn.Module):
    """A model that gives one number for a prompt with a response.

    `forward` is the only door to the weights. A distributed strategy wraps this module, never
    the inner one.

    Args:
        inner: a sequence classifier of transformers with one label, or a PEFT model around one.
        renderer: how conversations become token ids for this model.
        metadata: what is known of the model's origin; saved with it.
    """

    def __init__(self, inner: nn.Module, renderer: Renderer, metadata: Metadata) -> None:
        super().__init__()
        self.inner = inner
        self.renderer = renderer
        self.metadata = metadata
        self.compute_dtype: torch.dtype | None = None
        """Autocast dtype of the backbone in training; None computes in the weights' dtype."""

    @classmethod
    def load(
        cls,
        path: str,
        *,
        base: str | None = None,
        template: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
    ) -> RewardModel:
        """Load for scoring; `assay.model.loading.load_reward_model` says what each means."""
        from assay.model.loading import load_reward_model

        return load_reward_model(path, base=base, template=template, device=device, dtype=dtype)

    @property
    def classifier(self) -> PreTrainedModel:
        """The transformers model, adapters (if any) injected."""
        unwrap = getattr(self.inner, "get_base_model", None)
        return unwrap() if unwrap is not None else self.inner

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def pad_id(self) -> int:
        """The padding token; no rendered sequence ends with it."""
        pad_id = self.classifier.config.get_text_config().pad_token_id
        assert isinstance(pad_id, int)
        return pad_id

    @property
    def max_length(self) -> int:
        """Tokens that the backbone has positions for."""
        config = self.classifier.config.get_text_config()
        return int(getattr(config, "max_position_embeddings", None) or 1 << 30)

    @property
    def head_weight(self) -> Tensor | None:
        """`score.weight` [1, D], or None for a family with another kind of head (encoders)."""
        head = getattr(self.classifier, "score", None)
        adapted = getattr(head, "modules_to_save", None)
        if adapted is not None:
            head = adapted[head.active_adapter]  # type: ignore[union-attr]
        return head.weight if isinstance(head, nn.Linear) else None

    def forward(self, batch: PaddedBatch) -> Tensor:
        """Raw rewards `reward_N` of right-padded sequences, float32 or wider.

        The head computes in float32 whatever the backbone's dtype: bfloat16 would round rewards
        near 16 to steps of 1/8.
        """
        classifier = self.classifier
        weight_1D = self.head_weight
        device_type = batch.ids_NL.device.type
        with torch.autocast(
            device_type, self.compute_dtype, enabled=self.compute_dtype is not None
        ):
            if weight_1D is None:
                output = classifier(input_ids=batch.ids_NL, attention_mask=batch.mask_NL)
                reward_N: Tensor = output.logits[:, 0]
                return reward_N.float() if reward_N.dtype != torch.float64 else reward_N
            body = getattr(classifier, classifier.base_model_prefix)
            hidden_NLD = body(
                input_ids=batch.ids_NL, attention_mask=batch.mask_NL, use_cache=False
            ).last_hidden_state
        rows_N = torch.arange(len(batch.last_N), device=hidden_NLD.device)
        hidden_ND = hidden_NLD[rows_N, batch.last_N]
        wide = torch.float64 if hidden_ND.dtype == torch.float64 else torch.float32
        with torch.autocast(device_type, enabled=False):
            return F.linear(hidden_ND.to(wide), weight_1D.to(wide))[:, 0]

    def score(
        self, prompt: str | Sequence[dict[str, Any]], responses: Sequence[str | dict[str, Any]]
    ) -> list[float]:
        """Raw rewards of responses to one prompt, in their order.

        Args:
            prompt: the user's words, or a list of messages.
            responses: texts, or assistant messages.

        Raises:
            DataError: a message is malformed, or longer than the model's context.
        """
        group = _group(prompt, responses)
        items = [(group, index) for index in range(len(responses))]
        sequences = [rendered.ids for rendered in self.renderer.render_many(items)]
        return score_sequences(self, sequences)


def _group(
    prompt: str | Sequence[dict[str, Any]], responses: Sequence[str | dict[str, Any]]
) -> Group:
    if isinstance(responses, str) or not isinstance(prompt, str | Sequence):
        raise DataError(
            "score takes a prompt and a list of responses", mend="write score(prompt, [response])"
        )
    return row_group(
        Source("score()", 1),
        read_turns(prompt if isinstance(prompt, str) else list(prompt), "prompt", user),
        tuple(
            answer(read_turns(response, f"responses[{index}]", assistant), f"responses[{index}]")
            for index, response in enumerate(responses)
        ),
    )
