"""Whether the GPU's kernels are right for a model, found out on the GPU in the dtype of the run.

The self-check in float64 says whether a tree is right for an architecture. It cannot say whether a
kernel is right that knows neither float64 nor the CPU. So the twin is computed again, on the device
and in the dtype that the model computes in: as a tree through the kernel; through plain attention,
segment by segment, as a tree and one sequence at a time; and one at a time in float64 on the CPU,
which is exact beside these. Two right ways are each off by their rounding, hence at most twice that
apart: a kernel is right if, for the rewards of all tokens and for the gradients,

    RMS(tree by the kernel - plain) <= 2 RMS(separate and plain - exact).

Plain is the tree or the separate sequences, whichever is nearer: what sums over more rows do to
gradients is no fault of a kernel. On the CPU, kernels that round as FlashAttention does were seen
to be 0.2 to 0.9 times the rounding away in bfloat16, up to 1.2 times in float32; with a window that
is off by one, or a mask that is aligned to the other corner, 9 to 70 times.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib import metadata
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from assay.cache import cache_dir, keep_answer
from assay.data.rendering import TokenIds
from assay.errors import first_line
from assay.model.classifier import quiet_transformers
from assay.model.reward_model import RewardModel
from assay.model.rewards import is_out_of_memory, rewards_of_sequences
from assay.model.selfcheck import architecture_key
from assay.model.twin import ORDINARY, WINDOW, twin_of
from assay.tree.attention import KERNELS, Kernel, kernels_on, tree_attention

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from assay.model.engine import EngineName

ROUNDINGS = 2
"""How many times the rounding of separate sequences a kernel may be away from plain attention."""
_NAME = "assay_tree_on_device"
"""What transformers knows the attention of a check as."""

Probe = tuple[list[TokenIds], list[int]]
"""Sequences, and their families."""


class Fault(NamedTuple):
    """Why a kernel is left out; `compared` is False where no numbers could be compared."""

    said: str
    compared: bool = True


def wrong_kernels(model: RewardModel, device: torch.device) -> dict[Kernel, Fault]:
    """The kernels of a GPU that are wrong for a model that computes trees or packs, and why.

    Found out on the first use and kept in the cache directory by architecture, code, versions,
    kind of GPU and dtype. What kept a kernel's numbers from being compared may pass: then nothing
    is kept, and all is tried again next time. Other devices have no kernels that are not computed
    in float64, too.
    """
    if device.type != "cuda":
        return {}
    dtype = model.compute_dtype or model.classifier.dtype
    place = cache_dir() / "self-checks" / f"{_key(model, device, dtype)}.json"
    try:
        known: dict[str, str] = json.loads(place.read_text(encoding="utf-8"))["wrong"]
        return {name: Fault(known[name]) for name in KERNELS if name in known}
    except (OSError, ValueError, KeyError, TypeError):
        pass
    wrong = find_wrong(model, device, dtype)
    if not all(fault.compared for fault in wrong.values()):
        return wrong
    said = {name: fault.said for name, fault in wrong.items()}
    keep_answer(place, {"device": _named(device), "wrong": said})
    return wrong


def find_wrong(model: RewardModel, device: torch.device, dtype: torch.dtype) -> dict[Kernel, Fault]:
    """Check each kernel that the model's layers take, until all of those are right.

    Raises:
        RuntimeError: the device has no memory even for a small model without kernels.
    """
    there = set(kernels_on(device))
    # Whatever the caller has switched on or off is no property of the model.
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast("cpu", enabled=False),
        torch.autocast(device.type, enabled=False),
    ):
        try:
            pair = _Pair(model, device, dtype)
        except Exception as error:  # Anything may come out of somebody else's model code.
            if is_out_of_memory(error):
                raise
            said = f"a small model of this kind cannot be computed there ({first_line(error)})"
            fault = Fault(said, compared=False)
            return dict.fromkeys((name for name in KERNELS if name in there), fault)
        wrong: dict[Kernel, Fault] = {}
        right: set[Kernel] = {"segments"}
        while True:
            used, failure = pair.taken(set(wrong))
            unknown = used - right
            if not unknown:
                break
            name = next(name for name in KERNELS if name in unknown)
            found = pair.fault_in(name, there)
            if found is None:
                right.add(name)
            else:
                wrong[name] = found
        if failure is not None:  # Further kernels may not have had their turn.
            fault = Fault(f"a pass failed before it ({failure})", compared=False)
            wrong |= {name: fault for name in KERNELS if name in there - right - set(wrong)}
    return wrong


class _Pair:
    """A twin in float64 on the CPU, and the same in a dtype on a device, computed separately."""

    def __init__(self, model: RewardModel, device: torch.device, dtype: torch.dtype) -> None:
        plain = replace(model.metadata, reward_offset=0.0)
        with torch.device("cpu"):
            exact = RewardModel(twin_of(model.classifier.config), model.renderer, plain)
            classifier = in_dtype(exact.classifier, dtype)
        self._twin = RewardModel(classifier.to(device), model.renderer, plain)
        self._probes = probes()
        every = set(KERNELS)
        with torch.device("cpu"):
            self._exact = [_measured(exact, probe, every, share=False) for probe in self._probes]
        self._apart, self._plain = (
            [_measured(self._twin, probe, every, share=share) for probe in self._probes]
            for share in (False, True)
        )

    def taken(self, refused: Collection[Kernel]) -> tuple[set[Kernel], str | None]:
        """The kernels that the layers take of those that are not refused, up to one that fails;
        and how it fails."""
        used: set[Kernel] = set()
        failure = None
        for sequences, families in self._probes:
            _attend(self._twin, "tree", refused, used)
            try:
                with torch.no_grad():
                    rewards_of_sequences(
                        self._twin, sequences, max_tokens=_total(sequences), families=families
                    )
            except Exception as error:  # Anything may come out of a kernel.
                failure = first_line(error)[:160]
        return used, failure

    def fault_in(self, name: Kernel, there: Collection[Kernel]) -> Fault | None:
        """Why a kernel is wrong, alone among plain attention; None if it is right."""
        for number, probe in enumerate(self._probes):
            try:
                tree = _measured(self._twin, probe, set(there) - {name}, share=True)
            except Exception as error:  # Anything may come out of a kernel.
                return Fault(f"it fails ({first_line(error)[:160]})", compared=False)
            others = self._apart[number], self._plain[number], self._exact[number]
            for what, one, apart, plain, exact in zip(
                ("rewards", "gradients"), tree, *others, strict=True
            ):
                off, rounding = min(rms(one - apart), rms(one - plain)), rms(apart - exact)
                if not off <= ROUNDINGS * rounding:
                    return Fault(f"{what} are off by {off:.1e}, where rounding is {rounding:.1e}")
        return None


def probes() -> tuple[Probe, Probe]:
    """Trees that a kernel cuts into several tiles, and short ones, within the twin's window.

    Segments of one row and of many, paths of one span and of several, a sequence alone.
    """
    draw = random.Random(1)

    def tokens(count: int) -> TokenIds:
        return tuple(draw.randrange(1, ORDINARY) for _ in range(count))

    prompt, system, question, answer = tokens(140), tokens(40), tokens(30), tokens(50)
    one = [prompt + tokens(count) for count in (1, 3, 70, 100)]
    two = [system + question + answer + tokens(count) for count in (1, 20, 66)]
    two += [system + question + tokens(80), system + tokens(90)]
    long = [*one, *two, tokens(200)]
    start, other = tokens(2), tokens(1)
    short = [start + tokens(1), start + tokens(4), start + tokens(3), other + tokens(WINDOW - 1)]
    families = [0] * len(one) + [1] * len(two) + [2]
    return (long, families), (short, [0, 0, 0, 1])


def rms(difference: Tensor) -> float:
    """Root of the mean square; of nothing 0."""
    return float(difference.square().mean().sqrt()) if difference.numel() else 0.0


def _measured(
    twin: RewardModel, probe: Probe, refused: Collection[Kernel], *, share: bool
) -> tuple[Tensor, Tensor]:
    """Rewards of all tokens and all gradients of a weighted sum of them, in float64 on the CPU."""
    sequences, families = probe
    _attend(twin, "tree" if share else "packed", refused)
    twin.zero_grad()
    reward_R = rewards_of_sequences(
        twin,
        sequences,
        max_tokens=_total(sequences) if share else 1,  # Each sequence in a pass of its own.
        families=families,
        starts=[0] * len(sequences),
    )
    weight_R = torch.linspace(-1, 1.5, len(reward_R), device=reward_R.device)
    (reward_R * weight_R.to(reward_R)).sum().backward()  # type: ignore[no-untyped-call]
    gradients = [
        (torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in twin.parameters()
    ]
    return reward_R.detach().double().cpu(), torch.cat(gradients).double().cpu()


def _attend(
    twin: RewardModel,
    engine: EngineName,
    refused: Collection[Kernel],
    used: set[Kernel] | None = None,
) -> None:
    """Let a twin compute with an engine, without some kernels."""
    from transformers import AttentionInterface

    twin.use_engine(engine)
    way = partial(tree_attention, refused=frozenset(refused), used=used)
    AttentionInterface.register(_NAME, way)
    twin.classifier.set_attn_implementation(_NAME)


def in_dtype(exact: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """The same weights in a model that was built in another dtype.

    Cast as a whole it would lose what models hold in float32 whatever their dtype, such as the
    frequencies of rotary embeddings.
    """
    from transformers import AutoModelForSequenceClassification

    config = copy.deepcopy(exact.config)
    with quiet_transformers(), torch.random.fork_rng(devices=[]):
        narrow = AutoModelForSequenceClassification.from_config(config, dtype=dtype).eval()
    with torch.no_grad():
        for ours, theirs in zip(narrow.parameters(), exact.parameters(), strict=True):
            ours.copy_(theirs)
    return narrow


def _total(sequences: Sequence[TokenIds]) -> int:
    return sum(map(len, sequences))


def _key(model: RewardModel, device: torch.device, dtype: torch.dtype) -> str:
    versions = []
    for name in ("flash-attn", "triton"):
        with suppress(metadata.PackageNotFoundError):
            versions.append(f"{name} {metadata.version(name)}")
    precision = torch.get_float32_matmul_precision()
    return architecture_key(model, "kernels", _named(device), str(dtype), precision, *versions)


def _named(device: torch.device) -> str:
    capability = torch.cuda.get_device_capability(device)
    return f"{torch.cuda.get_device_name(device)} {capability}, CUDA {torch.version.cuda}"
