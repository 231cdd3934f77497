"""The bar of the project: a prefix tree gives the rewards and gradients of one sequence at a time.

On float64 twins of eight families (windows of 6 tokens, shorter than every prompt). The error of a
tensor is |a - b| / max(|b|, 1e-3 of the whole gradient's norm), 2-norms: a constant that all
rewards contain has no gradient at all, and 0/0 is no error. Two references:

- ours, one sequence a pack: the same functions, so only sharing and packing can differ, 1e-6;
- transformers' own classifier, eager, one sequence at a time, and no code of ours: 1e-5, for it
  takes softmax and norms in float32 even in float64.

A reference is computed once for each family: the reward of each sequence and its gradient. By the
chain rule the gradient of any loss of the rewards is a combination of those.
"""

from __future__ import annotations

import copy
import functools
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import pytest
import torch
from families import small_config
from torch import Tensor, nn
from torch.nn import functional as F

from assay.data.records import Comparison
from assay.data.rendering import TokenIds
from assay.losses import Pairs, bradley_terry
from assay.model.classifier import quiet_transformers
from assay.model.engine import EngineName
from assay.model.reward_model import RewardModel
from assay.model.rewards import rewards_of_sequences
from assay.model.twin import twin_of
from assay.train.split import backward_in_packs
from assay.tree.layout import Span
from assay.tree.pack import Pack
from tests.conftest import no_metadata

OF_OURS, OF_STOCK, LEAK = 1e-6, 1e-5, 1e-7
WINDOW = 6
"""Of every twin that has one."""
VISIBLE = 1e-4
"""A wrong mask is to move a tensor by at least this, or the bars above would prove nothing."""
FLOOR = 1e-3

NO_READER: Any = None
"""Renderer of the models here: no text is read."""

FAMILIES = ("llama", "qwen2", "qwen3", "mistral", "gemma2", "gemma3_text", "phi3", "gpt2")
WINDOWED = ("qwen2", "mistral", "gemma2", "gemma3_text", "phi3")
WITH_LORA = ("llama", "gemma2", "gpt2")


def _tokens(draw: random.Random, count: int) -> TokenIds:
    return tuple(draw.randrange(1, 99) for _ in range(count))  # 99 is for what a test edits.


def _groups() -> dict[str, list[TokenIds]]:
    draw = random.Random(0)
    tokens = functools.partial(_tokens, draw)
    prompt, other = tokens(14), tokens(10)
    nine = [prompt + tokens(count) for count in (5, 1, 9, 3, 12, 7, 2, 6, 4)]
    system, question, answer, further = tokens(8), tokens(7), tokens(9), tokens(7)
    talk = system + question + answer + further
    depths = [system + tokens(6), system + question + tokens(5)]
    depths += [talk + tokens(count) for count in (4, 8, 1)]
    short, longer = tokens(4), tokens(5)
    prefixes = [other + short, other + short + longer, other + tokens(6), other, other + short[:2]]
    return {"nine": nine, "depths": depths, "prefixes": prefixes, "alone": [tokens(5)]}


GROUPS = _groups()


@dataclass(frozen=True)
class Case:
    """Groups that one loss compares; with a budget they are cut into packs of so many tokens."""

    groups: tuple[Sequence[TokenIds], ...]
    budget: int | None = None

    @property
    def sequences(self) -> list[TokenIds]:
        return [ids for group in self.groups for ids in group]

    @property
    def families(self) -> list[int]:
        return [number for number, group in enumerate(self.groups) for _ in group]

    @property
    def comparisons(self) -> list[Comparison]:
        """All pairs of each group, won in turn by either side; a lone answer beats a constant.

        The constant stands at the end of the rewards.
        """
        found, first = [], 0
        for group in self.groups:
            places = range(first, first + len(group))
            pairs = list(combinations(places, 2)) or [(first, len(self.sequences))]
            found += [
                Comparison(a, b, "tie" if number % 5 == 4 else "ab"[number % 2])  # type: ignore[arg-type]
                for number, (a, b) in enumerate(pairs)
            ]
            first += len(group)
        return found


CASES = {
    "one response": Case((GROUPS["nine"][:1],)),
    "two responses": Case((GROUPS["nine"][:2],)),
    "nine responses": Case((GROUPS["nine"],)),
    "history at three depths": Case((GROUPS["depths"],)),
    "a prefix of another": Case((GROUPS["prefixes"],)),
    "larger than a pack": Case((GROUPS["nine"],), budget=34),
    "several groups": Case(tuple(GROUPS.values())),
}
ALL = list(dict.fromkeys(ids for group in GROUPS.values() for ids in group))


@dataclass(frozen=True)
class Variant:
    """How the model is trained."""

    lora: bool = False
    checkpointing: bool = False


PLAIN, LORA, CHECKPOINTING = Variant(), Variant(lora=True), Variant(checkpointing=True)


@dataclass(frozen=True)
class Measured:
    """Rewards [R], the loss, and the gradient of each trained parameter by name."""

    reward_R: Tensor
    loss: Tensor
    gradients: dict[str, Tensor]


@dataclass(frozen=True)
class Reference:
    """The reward of each sequence of `ALL`, computed alone, and its gradients."""

    rewards: dict[TokenIds, Tensor]
    gradients: dict[TokenIds, dict[str, Tensor]]

    @classmethod
    def of(cls, model: nn.Module, reward_of: Callable[[TokenIds], Tensor]) -> Reference:
        names, trained = zip(
            *((name, p) for name, p in model.named_parameters() if p.requires_grad), strict=True
        )
        rewards, gradients = {}, {}
        for ids in ALL:
            reward = reward_of(ids)
            assert reward.dtype == torch.float64
            parts = torch.autograd.grad(reward, trained)
            rewards[ids], gradients[ids] = reward.detach(), dict(zip(names, parts, strict=True))
        return cls(rewards, gradients)

    def measured(self, case: Case) -> Measured:
        """What a case must give; the loss is written out here, once more."""
        reward_R = torch.stack([self.rewards[ids] for ids in case.sequences]).requires_grad_()
        loss = torch.zeros((), dtype=torch.float64)
        with_constant = torch.cat([reward_R, torch.zeros(1, dtype=torch.float64)])
        for comparison in case.comparisons:
            gap = with_constant[comparison.a] - with_constant[comparison.b]
            wins, loses = F.softplus(-gap), F.softplus(gap)
            loss = loss + {"a": wins, "b": loses, "tie": (wins + loses) / 2}[comparison.outcome]
        (slope_R,) = torch.autograd.grad(loss, reward_R)
        gradients = {
            name: sum(
                slope * self.gradients[ids][name]
                for slope, ids in zip(slope_R, case.sequences, strict=True)
            )
            for name in self.gradients[ALL[0]]
        }
        return Measured(reward_R.detach(), loss.detach(), gradients)


def build(family: str, variant: Variant = PLAIN) -> RewardModel:
    """A twin, the same one each time."""
    classifier = twin_of(small_config(family))
    inner = with_adapters(classifier) if variant.lora else classifier
    model = RewardModel(inner, NO_READER, no_metadata())
    if variant.checkpointing:
        # As train/loop.py does; transformers recomputes in training mode only.
        model.classifier.activation_checkpointing_enable({"use_reentrant": False})
        model.train()
    return model


def with_adapters(classifier: nn.Module) -> nn.Module:
    """LoRA as `build_for_training` adds it, with adapters that are not zero."""
    from peft import LoraConfig, TaskType, get_peft_model

    config = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=4,
        lora_alpha=8,
        target_modules="all-linear",
        modules_to_save=["score"],
    )
    with quiet_transformers(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "fan_in_fan_out is set to False", UserWarning)
        model: nn.Module = get_peft_model(classifier, config)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        assert parameter.dtype == torch.float64
        if "lora_" in name:
            parameter.data.normal_(0, 0.1, generator=generator)
    return model


@functools.cache
def stock(family: str, lora: bool) -> Reference:
    """Transformers' own classifier (in PEFT's own model): eager, one sequence at a time."""
    model = copy.deepcopy(build(family, Variant(lora=lora)).inner)
    classifier = model.get_base_model() if lora else model
    classifier.set_attn_implementation("eager")
    return Reference.of(model, lambda ids: model(input_ids=torch.tensor([ids])).logits[0, 0])


@functools.cache
def one_at_a_time(family: str, lora: bool) -> Reference:
    """The tree engine on one sequence a pack."""
    model = build(family, Variant(lora=lora))
    model.use_engine("tree")
    return Reference.of(
        model.inner, lambda ids: rewards_of_sequences(model, [ids], max_tokens=1)[0]
    )


@functools.cache
def packs(family: str, name: str, variant: Variant, engine: EngineName = "tree") -> Measured:
    """Rewards and gradients of a case by an engine, as training computes them."""
    model, case = build(family, variant), CASES[name]
    model.use_engine(engine)

    def loss_of(reward_R: Tensor) -> Tensor:
        pairs = Pairs.of((0, comparison, 1.0) for comparison in case.comparisons)
        return bradley_terry(torch.cat([reward_R, reward_R.new_zeros(1)]), pairs)

    calls = []
    layer = next(m for m in model.modules() if isinstance(m, nn.ModuleList))[0]
    # Hooks of the layer itself stand outside of what is computed again.
    next(layer.children()).register_forward_pre_hook(lambda *_: calls.append(1))
    if case.budget is None:
        everything = sum(map(len, case.sequences))
        reward_R = rewards_of_sequences(
            model, case.sequences, max_tokens=everything, families=case.families
        )
        loss = loss_of(reward_R)
        loss.backward()  # type: ignore[no-untyped-call]
        assert model.computed.passes == 1
        assert len(calls) == 1 + variant.checkpointing, "checkpointing computes a layer again"
    else:
        reward_R, loss = backward_in_packs(model, case.sequences, loss_of, case.budget)
        assert model.computed.passes >= 6, "three packs, each computed twice"
    if engine == "tree" and len(case.groups) == 1 and case.budget is None:
        prefixes = {ids[: end + 1] for ids in case.sequences for end in range(len(ids))}
        assert model.computed.tokens == len(prefixes), "each distinct prefix is computed once"
    gradients = {n: p.grad for n, p in model.inner.named_parameters() if p.requires_grad}
    assert all(gradient is not None for gradient in gradients.values())
    return Measured(reward_R.detach(), loss.detach(), gradients)


def error(ours: Tensor, theirs: Tensor, floor: float) -> float:
    return float((ours - theirs).norm()) / max(float(theirs.norm()), floor)


def errors(found: Measured, expected: Measured) -> dict[str, float]:
    """The error of the rewards, the loss and each parameter's gradient."""
    assert found.gradients.keys() == expected.gradients.keys()
    norms = torch.stack([gradient.norm() for gradient in expected.gradients.values()])
    floor = FLOOR * float(norms.norm())
    pairs = {"rewards": (found.reward_R, expected.reward_R), "loss": (found.loss, expected.loss)}
    pairs |= {name: (g, expected.gradients[name]) for name, g in found.gradients.items()}
    return {name: error(ours, theirs, floor) for name, (ours, theirs) in pairs.items()}


def check(found: Measured, expected: Measured, bar: float) -> None:
    by_name = errors(found, expected)
    wrong = {name: f"{each:.1e}" for name, each in by_name.items() if not each <= bar}
    assert not wrong, f"above {bar:.0e}: {wrong}"


every_case = pytest.mark.parametrize("name", CASES)


@every_case
@pytest.mark.parametrize("family", FAMILIES)
def test_a_tree_is_transformers_one_sequence_at_a_time(family: str, name: str) -> None:
    check(packs(family, name, PLAIN), stock(family, False).measured(CASES[name]), OF_STOCK)


@every_case
@pytest.mark.parametrize("family", FAMILIES)
def test_a_tree_is_one_sequence_a_pack(family: str, name: str) -> None:
    check(packs(family, name, PLAIN), one_at_a_time(family, False).measured(CASES[name]), OF_OURS)


@every_case
@pytest.mark.parametrize("family", FAMILIES)
def test_a_tree_is_a_row_that_shares_nothing(family: str, name: str) -> None:
    check(packs(family, name, PLAIN), packs(family, name, PLAIN, "packed"), OF_OURS)


@every_case
@pytest.mark.parametrize("family", WITH_LORA)
def test_a_tree_with_adapters(family: str, name: str) -> None:
    found = packs(family, name, LORA)
    assert any("lora_" in parameter for parameter in found.gradients)
    check(found, stock(family, True).measured(CASES[name]), OF_STOCK)
    check(found, one_at_a_time(family, True).measured(CASES[name]), OF_OURS)


@pytest.mark.parametrize("name", ["nine responses", "larger than a pack", "several groups"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_tree_with_gradient_checkpointing(family: str, name: str) -> None:
    found = packs(family, name, CHECKPOINTING)
    check(found, stock(family, False).measured(CASES[name]), OF_STOCK)
    check(found, one_at_a_time(family, False).measured(CASES[name]), OF_OURS)


def test_adapters_with_gradient_checkpointing() -> None:
    found = packs("llama", "several groups", Variant(lora=True, checkpointing=True))
    check(found, stock("llama", True).measured(CASES["several groups"]), OF_STOCK)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_window_is_shorter_than_a_prompt(family: str) -> None:
    text = twin_of(small_config(family)).config.get_text_config()
    assert family not in WINDOWED or text.sliding_window == WINDOW
    assert min(len(prompt) for prompt in (GROUPS["nine"][1], GROUPS["prefixes"][3])) > WINDOW


# No reward depends on another response


@pytest.mark.parametrize("place", ["middle", "last"])
@pytest.mark.parametrize("family", FAMILIES)
def test_an_edited_response_moves_no_other_reward(family: str, place: str) -> None:
    model, group = build(family), GROUPS["depths"]
    model.use_engine("tree")
    starts = [8, 15, 31, 31, 31]  # Of the responses: after one, two and four turns.
    with torch.no_grad():
        before_R = rewards_of_sequences(model, group, max_tokens=1000, families=[0] * 5)
        for edited, (ids, start) in enumerate(zip(group, starts, strict=True)):
            at = len(ids) - 1 if place == "last" else (start + len(ids)) // 2
            changed = [*group]
            changed[edited] = (*ids[:at], 99, *ids[at + 1 :])
            after_R = rewards_of_sequences(model, changed, max_tokens=1000, families=[0] * 5)
            moved_R = (after_R - before_R).abs()
            assert moved_R[edited] > VISIBLE
            moved_R[edited] = 0
            assert float(moved_R.max()) <= LEAK


# The bars can fail


@contextmanager
def a_sibling_is_seen() -> Iterator[None]:
    """The second of two responses also sees the last token of the first."""
    planted = Pack.planted

    def faulty(*arguments: Any) -> Pack:
        pack = planted(*arguments)
        first, second = pack.layout.segments
        seen = Span(first.rows.stop - 1, first.rows.stop)
        faulty_second = second._replace(path=(*second.path, seen))
        return replace(pack, layout=replace(pack.layout, segments=(first, faulty_second)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pack, "planted", faulty)
        yield


@pytest.mark.parametrize("family", FAMILIES)
def test_one_visible_token_of_a_sibling_is_far_above_the_bars(family: str) -> None:
    with a_sibling_is_seen():
        found = packs.__wrapped__(family, "two responses", PLAIN)
    by_name = errors(found, stock(family, False).measured(CASES["two responses"]))
    assert by_name["rewards"] > VISIBLE
    assert max(each for name, each in by_name.items() if name not in ("rewards", "loss")) > VISIBLE
