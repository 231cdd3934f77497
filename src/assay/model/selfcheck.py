"""Whether an engine is right for an architecture, found out on a small random twin of it.

The twin has the model's own config, shrunk, and float64 weights. Its rewards and all gradients
are compared with those of transformers' own classifier, one sequence at a time, with no code of
ours. Float64 leaves a mistake no room to hide: what differs in bfloat16 may be rounding.

Error of a tensor = norm of the difference / max(its norm, 1e-3 of the whole gradient's norm): the
gradient of a constant is exactly zero, and 0/0 is no error.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from assay.cache import cache_dir, keep_answer
from assay.data.rendering import TokenIds
from assay.errors import ModelError
from assay.model.reward_model import RewardModel
from assay.model.rewards import is_out_of_memory, rewards_of_sequences
from assay.model.twin import twin_of

if TYPE_CHECKING:
    from assay.model.engine import EngineName

TOLERANCE = 1e-5
"""Stock models take softmax and norms in float32 even in float64: their own rounding is 1e-6."""
LEAK = 1e-7
"""What a reward may move when another response is edited."""
_TOKENS = 100
_FLOOR = 1e-3


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why an engine is wrong for an architecture, or None where it is right.

    `compared` is False where no numbers could be compared: the fault then says why.
    """

    fault: str | None
    compared: bool = True


def verdict_on(model: RewardModel, engine: EngineName) -> Verdict:
    """Whether an engine is right for a model's architecture.

    A verdict on numbers is kept in the cache directory by config, versions and the engine's own
    code. What kept numbers from being compared may pass, and is tried again next time.
    """
    place = cache_dir() / "self-checks" / f"{architecture_key(model, engine)}.json"
    try:
        known = json.loads(place.read_text(encoding="utf-8"))
        return Verdict(None if known["fault"] is None else str(known["fault"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    # Whatever the caller has switched on or off is no property of the model.
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.device("cpu"),
        torch.autocast("cpu", enabled=False),
    ):
        verdict = _check(model, engine)
    if verdict.compared:
        keep_answer(place, {"engine": engine, "fault": verdict.fault})
    return verdict


def error_norm(ours: Tensor, theirs: Tensor, floor: float = 0.0) -> float:
    """Norm of the difference over the norm of the second, or over a floor above it."""
    scale = max(float(theirs.norm()), floor)
    return float((ours - theirs).norm()) / scale if scale else float(ours.norm())


def probe_sequences() -> tuple[list[TokenIds], list[int]]:
    """Sequences and their families: what trees are made of, longer than the twin's window.

    Prompts that share history at three depths, one, two and many responses, a response that is a
    prefix of another, and a family of its own.
    """
    draw = random.Random(0)

    def tokens(count: int) -> TokenIds:
        return tuple(draw.randrange(1, _TOKENS) for _ in range(count))

    system, first, second = tokens(9), tokens(8), tokens(7)
    answer = tokens(10)
    conversation = [
        system + first + answer,
        system + first + answer + tokens(3),
        system + first + tokens(11),
    ]
    later = [system + first + answer + second + tokens(count) for count in (1, 8, 12)]
    other = [tokens(14)]
    families = [0] * len(conversation) + [1] * len(later) + [2]
    return [*conversation, *later, *other], families


def _check(model: RewardModel, engine: EngineName) -> Verdict:
    try:
        classifier = twin_of(model.classifier.config)
    except ModelError as error:
        return Verdict(f"it cannot be checked: {error.what}", compared=False)
    # An offset is no part of the engine, and transformers adds none.
    twin = RewardModel(classifier, model.renderer, replace(model.metadata, reward_offset=0.0))
    sequences, families = probe_sequences()
    weight_R = torch.linspace(-1, 1.5, len(sequences), dtype=torch.float64)
    try:
        expected = _stock(twin, sequences, weight_R)
        twin.use_engine(engine)
        found = _ours(twin, sequences, families, weight_R)
        leak = _leak(twin, sequences, families)
    except Exception as error:  # Anything may come out of somebody else's model code.
        if is_out_of_memory(error):
            raise
        said = " ".join(str(error).split())[:160]
        return Verdict(f"it fails on a small model of this kind ({said})", compared=False)
    worst = _worst(found, expected)
    if not worst <= TOLERANCE:
        return Verdict(
            f"rewards or gradients are wrong by {worst:.1e} on a small model of this kind"
        )
    if not leak <= LEAK:
        return Verdict(
            f"a response moves another's reward by {leak:.1e} on a small model of this kind"
        )
    return Verdict(None)


def _stock(twin: RewardModel, sequences: Sequence[TokenIds], weight_R: Tensor) -> list[Tensor]:
    """Rewards, then gradients, of transformers' own classifier on one sequence at a time."""
    classifier = twin.classifier
    if classifier._can_set_attn_implementation():
        classifier.set_attn_implementation("eager")
    classifier.zero_grad()
    rewards = []
    for ids, weight in zip(sequences, weight_R, strict=True):
        ids_1L = torch.tensor([ids])
        reward = classifier(input_ids=ids_1L, attention_mask=torch.ones_like(ids_1L)).logits[0, 0]
        (reward * weight).backward()
        rewards.append(reward.detach())
    return [torch.stack(rewards), *_gradients(twin)]


def _ours(
    twin: RewardModel, sequences: Sequence[TokenIds], families: Sequence[int], weight_R: Tensor
) -> list[Tensor]:
    twin.zero_grad()
    reward_R = rewards_of_sequences(
        twin, sequences, max_tokens=sum(map(len, sequences)), families=families
    )
    (reward_R * weight_R).sum().backward()  # type: ignore[no-untyped-call]
    return [reward_R.detach(), *_gradients(twin)]


def _gradients(twin: RewardModel) -> list[Tensor]:
    return [
        (torch.zeros_like(p) if p.grad is None else p.grad).detach().clone()
        for p in twin.parameters()
    ]


def _worst(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The largest error; nan where anything is not finite."""
    floor = _FLOOR * float(torch.stack([tensor.norm() for tensor in expected[1:]]).norm())
    errors = [error_norm(found[0], expected[0])]
    errors += [error_norm(a, b, floor) for a, b in zip(found[1:], expected[1:], strict=True)]
    return float(torch.tensor(errors).max())


@torch.no_grad()
def _leak(twin: RewardModel, sequences: Sequence[TokenIds], families: Sequence[int]) -> float:
    """How far the other rewards move when one response's last token is another, at most."""

    def rewards(changed: Sequence[TokenIds]) -> Tensor:
        budget = sum(map(len, sequences))
        return rewards_of_sequences(twin, changed, max_tokens=budget, families=families)

    before_R = rewards(sequences)
    moved = 0.0
    for edited, ids in enumerate(sequences):
        changed = list(sequences)
        changed[edited] = (*ids[:-1], _TOKENS)
        difference_R = (rewards(changed) - before_R).abs()
        difference_R[edited] = 0
        moved = max(moved, float(difference_R.max()))
    return moved


def architecture_key(model: RewardModel, *checked: str) -> str:
    """A name for what a verdict holds for: architecture, code, versions, and what was checked."""
    config = model.classifier.config.to_dict()
    for name in ("_name_or_path", "transformers_version", "dtype", "architectures"):
        config.pop(name, None)
    package = Path(__file__).parents[1]
    code = [*(package / "tree").glob("*.py"), *(package / "model").glob("*.py")]
    parts = [
        *checked,
        type(model.classifier).__name__,
        json.dumps(config, sort_keys=True, default=str),
        metadata.version("torch"),
        metadata.version("transformers"),
        *(path.read_text(encoding="utf-8") for path in sorted(code)),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
