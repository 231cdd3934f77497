"""The reward model: a transformers (or PEFT) classifier inside, one way to its rewards.

Shapes: N sequences, L tokens of the longest (right padded), D width of the backbone; of a pack
T tree tokens, R sequences.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from assay.data.formats.building import answer, row_group
from assay.data.formats.messages import assistant, read_turns, user
from assay.data.records import Group, Source
from assay.data.rendering import Renderer, TokenIds
from assay.errors import DataError
from assay.model import fast
from assay.model.batch import HiddenBatch, PaddedBatch
from assay.model.engine import ENGINES, Batch, Engine, EngineName
from assay.model.heads import Heads
from assay.model.metadata import Metadata
from assay.model.rewards import score_sequences
from assay.tree.attention import Kernel, name_without, register
from assay.tree.pack import Pack

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

Gives = Literal["rewards", "members", "both", "hidden"]
_counting = Lock()


@dataclass(slots=True)
class Computed:
    """What a model has computed so far."""

    passes: int = 0
    tokens: int = 0
    """Tree tokens, or padded ones: whatever went through the layers."""

    def count(self, tokens: int) -> None:
        """Count a pass, beside which another may be counted."""
        with _counting:
            self.passes += 1
            self.tokens += tokens


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
        self.engine: Engine = ENGINES["padded"]
        self.engine_reason: str | None = None
        """Why the engine is not the fastest one."""
        self.heads: Heads | None = None
        """Members behind the head, which is their weighted mean."""
        self.gives: Gives = "rewards"
        """What `forward` gives; `giving` says what each means."""
        self.precision: Literal["full", "int8"] = "full"
        """Whether linear layers compute in 8 bits; such a model can only score."""
        self.fresh_head = False
        """Whether the head was drawn, and not found in the model's files."""
        self.computed = Computed()
        self._own_attention = self.classifier.config._attn_implementation

    @classmethod
    def load(
        cls,
        path: str,
        *,
        base: str | None = None,
        template: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        engine: str = "auto",
        precision: str = "full",
    ) -> RewardModel:
        """Load for scoring; `assay.model.loading.load_reward_model` says what each means."""
        from assay.model.loading import load_reward_model

        return load_reward_model(
            path,
            base=base,
            template=template,
            device=device,
            dtype=dtype,
            engine=engine,
            precision=precision,
        )

    @property
    def classifier(self) -> PreTrainedModel:
        """The transformers model, adapters (if any) injected."""
        unwrap = getattr(self.inner, "get_base_model", None)
        return unwrap() if unwrap is not None else self.inner

    @property
    def backbone(self) -> nn.Module:
        """The transformers model without its head."""
        backbone: nn.Module = getattr(self.classifier, self.classifier.base_model_prefix)
        return backbone

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
    def num_ids(self) -> int:
        """Rows of the embedding: token ids are below. A tokenizer may have more."""
        embedding: Any = self.classifier.get_input_embeddings()
        return int(getattr(embedding, "base_layer", embedding).num_embeddings)  # Of an adapter.

    @cached_property
    def max_length(self) -> int:
        """Tokens that the backbone has positions for.

        RoBERTa and its kind leave those up to the padding id out: of 514 they use 512.
        """
        config = self.classifier.config.get_text_config()
        rows = int(getattr(config, "max_position_embeddings", None) or 1 << 30)
        for name, table in self.classifier.named_modules():
            if name.endswith("position_embeddings") and isinstance(table, nn.Embedding):
                return rows if table.padding_idx is None else rows - table.padding_idx - 1
        return rows

    @property
    def ropes(self) -> list[dict[str, Any]]:
        """Settings of its rotary embeddings, of all layers or by their kind; empty without any."""
        rope = getattr(self.classifier.config.get_text_config(), "rope_parameters", None) or {}
        return [rope, *(entry for entry in rope.values() if isinstance(entry, dict))]

    @property
    def short_length(self) -> int:
        """Tokens up to which sequences are read with one set of rotary frequencies.

        Longrope (Ding et al., 2024) has a second set for longer ones, and transformers chooses it
        by the longest sequence of a pass. (Dynamic frequencies change only beyond `max_length`.)
        """
        long = [rope for rope in self.ropes if rope.get("rope_type") == "longrope"]
        lengths = (int(rope["original_max_position_embeddings"]) for rope in long)
        return min(lengths, default=self.max_length)

    @property
    def head_weight(self) -> Tensor | None:
        """`score.weight` [1, D], or None for a family with another kind of head (encoders)."""
        head = getattr(self.classifier, "score", None)
        adapted = getattr(head, "modules_to_save", None)
        if adapted is not None:
            head = adapted[head.active_adapter]  # type: ignore[union-attr]
        return head.weight if isinstance(head, nn.Linear) else None

    def use_engine(self, name: EngineName, without: Collection[Kernel] = ()) -> None:
        """Compute rewards with an engine that is known to be right for this model.

        `assay.model.ladder.choose_engine` finds out which are, and which kernels are not.
        """
        register()
        self.engine = ENGINES[name]
        wanted = name_without(without) if self.engine.attention else self._own_attention
        if self.classifier.config._attn_implementation != wanted:
            self.classifier.set_attn_implementation(wanted)
        if name == "padded":  # The oracle of the others: transformers' own code.
            fast.remove(self.classifier)
        else:
            fast.install(self.classifier)

    def forward(self, batch: Batch) -> Tensor:
        """Raw rewards of a batch's scored tokens, by default the last ones, float32 or wider.

        The head computes in float32 whatever the backbone's dtype: bfloat16 would round rewards
        near 16 to steps of 1/8.
        """
        self.computed.count(batch.num_tokens)
        with torch.autocast(
            self.device.type, self.compute_dtype, enabled=self.compute_dtype is not None
        ):
            weight_1D = self.head_weight
            if weight_1D is None:
                assert isinstance(batch, PaddedBatch)
                return self._own_head(batch)
            scored_D = self._scored(batch)
        if self.gives == "hidden":
            return scored_D
        hidden_ND = scored_D.to(torch.promote_types(scored_D.dtype, torch.float32))
        with torch.autocast(self.device.type, enabled=False):
            if self.heads is None or self.gives == "rewards":
                return self._rewards(hidden_ND, weight_1D)
            value_NM: Tensor = self.heads(hidden_ND)
            if self.gives == "members":
                return value_NM
            return torch.cat([self._rewards(hidden_ND, weight_1D)[:, None], value_NM], 1)

    def _rewards(self, hidden_ND: Tensor, weight_1D: Tensor) -> Tensor:
        """What the head gives, and the offset that it has no place for."""
        if self.heads is not None and self.heads.in_training:
            weight_1D = self.heads.mean_row()[None]
        reward_N = F.linear(hidden_ND, weight_1D.to(hidden_ND.dtype))[:, 0]
        offset = self.metadata.reward_offset
        return reward_N + offset if offset else reward_N

    def _scored(self, batch: Batch) -> Tensor:
        """The hidden states that the head reads."""
        if isinstance(batch, HiddenBatch):
            return batch.hidden_ND
        return self._packed(batch) if isinstance(batch, Pack) else self._padded(batch)

    def _packed(self, pack: Pack) -> Tensor:
        """Hidden states of the scored rows [R, D]."""
        hidden_1TD = self.backbone(
            input_ids=pack.ids_T[None],
            position_ids=pack.position_T[None],
            use_cache=False,
            tree=pack.layout,
        ).last_hidden_state
        hidden_RD: Tensor = hidden_1TD[0, pack.scored_row_R]
        return hidden_RD

    def _padded(self, batch: PaddedBatch) -> Tensor:
        """Hidden states of the scored tokens [R, D], by default the last ones.

        A causal model never looks at the padding on its right, which may as well be seen. With a
        mask, padded positions that a sliding window cuts off from all real tokens would see
        nothing: in float64 their softmax is nan, and nan times a weight of 0 reaches every row.
        """
        hides = reads_both_ways(self.classifier.config)
        hidden_NLD = self.backbone(
            input_ids=batch.ids_NL,
            attention_mask=batch.mask_NL if hides else torch.ones_like(batch.mask_NL),
            use_cache=False,
        ).last_hidden_state
        if batch.scored_R2 is not None:
            hidden_RD: Tensor = hidden_NLD[tuple(batch.scored_R2.unbind(1))]
            return hidden_RD
        rows_N = torch.arange(len(batch.last_N), device=hidden_NLD.device)
        hidden_ND: Tensor = hidden_NLD[rows_N, batch.last_N]
        return hidden_ND

    def _own_head(self, batch: PaddedBatch) -> Tensor:
        """Rewards [N] of a family with a head of another kind."""
        output = self.classifier(input_ids=batch.ids_NL, attention_mask=batch.mask_NL)
        reward_N: Tensor = output.logits[:, 0]
        return reward_N.to(torch.promote_types(reward_N.dtype, torch.float32))

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
        sequences = self._sequences(prompt, responses)
        return score_sequences(self, sequences, families=[0] * len(sequences))

    def score_members(
        self, prompt: str | Sequence[dict[str, Any]], responses: Sequence[str | dict[str, Any]]
    ) -> list[dict[str, float]]:
        """What each of the model's heads gives to each response, by name, offsets included.

        Of attributes these are ratings; of an ensemble their standard deviation says how sure the
        model is of the reward.

        Args:
            prompt: the user's words, or a list of messages.
            responses: texts, or assistant messages.

        Raises:
            ConfigError: the model has one head.
            DataError: a message is malformed, or longer than the model's context.
        """
        from assay.model.membership import member_values

        sequences = self._sequences(prompt, responses)
        families = [0] * len(sequences)
        value_RM = member_values(self, sequences, families=families)
        assert self.heads is not None
        return [dict(zip(self.heads.names, row, strict=True)) for row in value_RM.tolist()]

    def _sequences(
        self, prompt: str | Sequence[dict[str, Any]], responses: Sequence[str | dict[str, Any]]
    ) -> list[TokenIds]:
        group = _group(prompt, responses)
        items = [(group, index) for index in range(len(responses))]
        return [rendered.ids for rendered in self.renderer.render_many(items)]


@contextmanager
def giving(model: RewardModel, what: Gives) -> Iterator[None]:
    """Let the passes of a model give something else.

    rewards  [N]; what it gives by itself
    members  the values [N, M] of the heads behind its head; rewards where it has none
    both     [N, 1 + M]: the reward, then the values; rewards where it has no such heads
    hidden   the hidden states [N, D] that the head reads, which must be one row

    A property of the model, and no argument of a pass: so it holds whatever wraps the model.
    """
    before, model.gives = model.gives, what
    try:
        yield
    finally:
        model.gives = before


def reads_both_ways(config: PretrainedConfig) -> bool:
    """Whether a token sees those after it, as in encoders and decoders turned into them."""
    text = config.get_text_config()
    return getattr(text, "is_causal", True) is False or bool(
        getattr(text, "use_bidirectional_attention", False)
    )


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
