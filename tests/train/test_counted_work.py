"""A step and a scoring cost what they cost when somebody last looked: no clock is read.

`counted_work.py` says what is counted, and how the stored counts are renewed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import counted_work
import pytest
import torch
from counted_work import (
    HEAD_WIDTH,
    HEADS,
    INNER,
    KEY_HEADS,
    LAYERS,
    MAX_TOKENS,
    WIDTH,
    Work,
    differences,
    sequences_of_groups,
    work_of,
)
from torch import Tensor

from assay.data.rendering import TokenIds, common_prefix
from assay.model import fast
from assay.model.engine import ENGINES, EngineName
from assay.model.reward_model import RewardModel

STORED = counted_work.stored()
SAME_VERSIONS = STORED["versions"] == counted_work.versions()
OF_VERSIONS = ("calls", "allocations", "allocated_bytes")
"""What another torch or transformers may change and nobody here."""
CASES = [(kind, engine) for kind in ("train", "score") for engine in ENGINES]

KERNEL = "aten._scaled_dot_product_flash_attention_for_cpu"
BACKWARD = f"{KERNEL}_backward"
ATTENTION = 2 * HEADS * HEAD_WIDTH * WIDTH + 2 * KEY_HEADS * HEAD_WIDTH * WIDTH
MLP = 3 * WIDTH * INNER
"""Weights of one layer: projections of queries and output, of keys and values; of the MLP."""


@pytest.fixture(scope="module")
def found() -> dict[tuple[str, EngineName], Work]:
    return {case: work_of(*case) for case in CASES}


@pytest.mark.parametrize(("kind", "engine"), CASES)
def test_nothing_costs_more_or_less_than_it_did(
    found: dict[tuple[str, EngineName], Work], kind: str, engine: EngineName
) -> None:
    now, before = found[kind, engine], STORED["work"][f"{kind} {engine}"]
    exact = {name: now[name] for name in now if SAME_VERSIONS or name not in OF_VERSIONS}
    changed = list(differences({name: before[name] for name in exact}, exact))
    assert not changed, "renew with tests/train/counted_work.py if that is meant to be"
    if not SAME_VERSIONS:
        pytest.skip(f"operators were counted with {STORED['versions']}")


@pytest.mark.parametrize(("kind", "engine"), CASES)
def test_the_work_is_that_of_the_formula(
    found: dict[tuple[str, EngineName], Work], kind: str, engine: EngineName
) -> None:
    """2 FLOPs a weight and token, and 4 a pair of query and key and element of the heads. With
    gradients three times as many of weights; of pairs five halves more, for the backward pass.

    The MLP of the last layer sees scored tokens alone, but for the padded engine. The norms of the
    packed engines give their weight's gradient by a product.
    """
    work, is_training = found[kind, engine], kind == "train"
    linear = pairs = tokens = 0
    for rows, attended, scored in passes(kind, engine):
        seen = scored if engine != "padded" else rows
        linear += 2 * (LAYERS * ATTENTION + (LAYERS - 1) * MLP) * rows + 2 * MLP * seen
        linear += 2 * WIDTH * scored
        pairs += attended
        tokens += rows
    attention = 4 * LAYERS * HEADS * HEAD_WIDTH * pairs
    expected = {"aten.mm": linear, KERNEL: attention}
    if is_training:
        expected = {"aten.mm": 3 * linear, KERNEL: attention, BACKWARD: attention * 5 // 2}
        if engine != "padded":
            expected["aten.mm"] += (2 * LAYERS + 1) * 2 * WIDTH * tokens
    assert work["flops"] == expected
    assert work["tokens"] == tokens


def passes(kind: str, engine: EngineName) -> list[tuple[int, int, int]]:
    """Of each pass: tokens, pairs of a query and a key, scored tokens; from the ids alone."""
    chosen, groups = ENGINES[engine], sequences_of_groups()
    packs = chosen.pack(groups, MAX_TOKENS) if kind == "train" else [range(len(groups))]
    found = []
    for pack in packs:
        sequences = [ids for number in pack for ids in groups[number]]
        families = [number for number in pack for _ in groups[number]]
        for part in chosen.cut(sequences, families, MAX_TOKENS):
            found.append(counts([sequences[index] for index in part], engine))
    return found


def counts(sequences: Sequence[TokenIds], engine: EngineName) -> tuple[int, int, int]:
    """In lexicographic order a sequence adds what its predecessor has not; its new tokens meet
    each other and all that came before them. (Kernels are counted without regard to causality.)"""
    if engine == "padded":
        longest = max(map(len, sequences))
        return len(sequences) * longest, len(sequences) * longest**2, len(sequences)
    rows = pairs = 0
    before: TokenIds = ()
    for ids in sorted(sequences):
        shared = common_prefix(before, ids) if engine == "tree" else 0
        own, before = len(ids) - shared, ids
        rows += own
        pairs += own * own + own * shared
    return rows, pairs, len(sequences)


def second_head(self: RewardModel, hidden_ND: Tensor, weight_1D: Tensor) -> Tensor:
    """The reward, and once more for nothing."""
    torch.nn.functional.linear(hidden_ND, weight_1D)
    return torch.nn.functional.linear(hidden_ND, weight_1D)[:, 0]


def copying(q: Tensor, cos: Tensor, *further: Any, **named: Any) -> Tensor:
    """One temporary more than a rotation needs."""
    return _turned(q.clone(), cos, *further, **named)


_turned = fast._turned


@pytest.mark.parametrize(
    ("owner", "name", "fault", "seen"),
    [
        (RewardModel, "_rewards", second_head, ("aten.mm", "allocations")),
        (fast, "_turned", copying, ("aten.clone", "allocated_bytes")),
        (fast, "_scored_rows_only", None, ("aten.mm",)),
    ],
)
def test_a_planted_fault_is_seen(
    found: dict[tuple[str, EngineName], Work],
    monkeypatch: pytest.MonkeyPatch,
    owner: object,
    name: str,
    fault: object,
    seen: tuple[str, ...],
) -> None:
    """A product too many, a copy too many, a last layer computed for every token."""
    if fault is None:

        def fault(self: Any, *arguments: Any, **named: Any) -> Any:
            return type(self).forward(self, *arguments, **named)

    monkeypatch.setattr(owner, name, fault)
    changed = list(differences(found["train", "tree"], work_of("train", "tree")))
    assert all(any(part in line for line in changed) for part in seen), changed
