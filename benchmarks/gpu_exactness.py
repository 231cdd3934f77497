"""The exactness table of gpu.py: each engine on the device, in three dtypes, against float64.

Small random models of several families, with windows shorter than their prompts, softcaps and
sinks. Exact is transformers' own eager attention in float64 on the CPU, one sequence at a time,
with no code of ours; errors are norms of the difference over norms, of the rewards and of all
gradients. For bfloat16 two further numbers stand beside: how far an engine is from one sequence at
a time in bfloat16, over how far that is from exact (root mean squares). Bars: 1e-5 in float64, 1
for the last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from assay.model.devicecheck import in_dtype, probes, rms
from assay.model.engine import EngineName
from assay.model.ladder import choose_engine
from assay.model.metadata import Metadata
from assay.model.reward_model import RewardModel
from assay.model.rewards import rewards_of_sequences
from assay.model.selfcheck import error_norm
from assay.model.twin import twin_of
from assay.tree.attention import Demand, kernel_for, kernels_on

FLOAT64_BAR, ROUNDING_BAR = 1e-5, 1.0
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {"use_sliding_window": True, "sliding_window": 32, "max_window_layers": 2},
    "mistral": {"sliding_window": 32},
    "gemma2": {"sliding_window": 32, "head_dim": 16, "query_pre_attn_scalar": 16},
    "gpt_oss": {
        "head_dim": 16,
        "sliding_window": 32,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
    },
}
SMALL = {
    "vocab_size": 128,
    "hidden_size": 128,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "max_position_embeddings": 1024,
}
ENGINES: tuple[EngineName, ...] = ("tree", "packed", "padded")
DTYPES = (torch.float64, torch.float32, torch.bfloat16)


def table(device: torch.device) -> list[dict[str, Any]]:
    """A row for each family, dtype and engine."""
    return [row for family in FAMILIES for row in rows_of(family, device)]


def rows_of(family: str, device: torch.device) -> Iterator[dict[str, Any]]:
    from transformers import AutoConfig

    no_reader: Any = None
    about = Metadata("none", "", "", "text", "")
    exact_model = twin_of(AutoConfig.for_model(family, **(SMALL | FAMILIES[family])))
    (sequences, families), _ = probes()
    exact = stock(exact_model, sequences)
    for dtype in DTYPES:
        model = RewardModel(in_dtype(exact_model, dtype).to(device), no_reader, about)
        model.use_engine("padded")
        apart = ours(model, sequences, families, together=False)
        for engine in ENGINES:
            choose_engine(model, engine, device)
            found = ours(model, sequences, families, together=True)
            row: dict[str, Any] = {
                "family": family,
                "dtype": str(dtype).removeprefix("torch."),
                "engine": engine,
                "kernel": kernel(model, device, dtype) if engine != "padded" else None,
                "rewards": error_norm(found[0], exact[0]),
                "gradients": error_norm(found[1], exact[1]),
            }
            if dtype == torch.bfloat16:
                row["roundings"] = [
                    rms(one - other) / rms(other - right)
                    for one, other, right in zip(found, apart, exact, strict=True)
                ]
            yield row


def kernel(model: RewardModel, device: torch.device, dtype: torch.dtype) -> str:
    """What computes a layer without a window; a layer with one may take another."""
    config = model.classifier.config
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    demand = Demand(
        device.type,
        dtype,
        width,
        width,
        softcap=bool(getattr(config, "attn_logit_softcapping", None)),
        sinks=config.model_type == "gpt_oss",
    )
    return kernel_for(demand, kernels_on(device))


def stock(classifier: Any, sequences: Sequence[tuple[int, ...]]) -> tuple[Tensor, Tensor]:
    """Rewards and gradients of transformers' own classifier in float64."""
    classifier.set_attn_implementation("eager")
    classifier.zero_grad()
    rewards = []
    for ids in sequences:
        ids_1L = torch.tensor([ids])
        reward = classifier(input_ids=ids_1L, attention_mask=torch.ones_like(ids_1L)).logits[0, 0]
        rewards.append(reward)
    reward_R = torch.stack(rewards)
    return of(classifier, reward_R)


def ours(
    model: RewardModel,
    sequences: Sequence[tuple[int, ...]],
    families: Sequence[int],
    *,
    together: bool,
) -> tuple[Tensor, Tensor]:
    model.zero_grad()
    budget = 4 * sum(map(len, sequences)) if together else 1
    reward_R = rewards_of_sequences(model, sequences, max_tokens=budget, families=families)
    return of(model.classifier, reward_R)


def of(classifier: Any, reward_R: Tensor) -> tuple[Tensor, Tensor]:
    """Rewards, and the gradient of a weighted sum of them, in float64 on the CPU."""
    weight_R = torch.linspace(-1, 1.5, len(reward_R), device=reward_R.device).to(reward_R)
    (reward_R * weight_R).sum().backward()  # type: ignore[no-untyped-call]
    gradient = torch.cat(
        [
            (torch.zeros_like(p) if p.grad is None else p.grad).flatten().double().cpu()
            for p in classifier.parameters()
        ]
    )
    return reward_R.detach().double().cpu(), gradient


def missed(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The rows that are over their bar, in words."""
    found = []
    for row in rows:
        name = f"{row['family']}, {row['dtype']}, {row['engine']}"
        errors = row["rewards"], row["gradients"]
        # Of a number and nan, `max` may take the number.
        if row["dtype"] == "float64" and not all(error <= FLOAT64_BAR for error in errors):
            found.append(f"{name}: {row['rewards']:.1e}, {row['gradients']:.1e} > {FLOAT64_BAR}")
        roundings = row.get("roundings", ())
        if not all(rounding <= ROUNDING_BAR for rounding in roundings):
            said = ", ".join(f"{rounding:.2f}" for rounding in roundings)
            found.append(f"{name}: {said} > {ROUNDING_BAR} roundings")
    return found
