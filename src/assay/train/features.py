"""A frozen backbone is computed once: what the head reads of each sequence is kept in a file.

The hidden state of a sequence's last token is all that a head of one row reads of it. Where only
the head is trained it never changes, so it is computed before the first step, for training and
evaluation data, and every step and epoch then costs one product with the head. The file stands in
the run directory, for a run that goes on after a kill, and is deleted when the run ends.

Windows of the data are computed in their order, whatever is resumed, so that the bits are the same.

Shapes: N sequences, D width of the backbone.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assay.config import Recipe
from assay.data.encoding import EncodedData, EncodedGroup
from assay.data.rendering import TokenIds
from assay.losses import objective_of
from assay.model.batch import HiddenBatch
from assay.model.engine import Batch, Engine
from assay.model.manifest import altered, whole_directory
from assay.model.reward_model import giving
from assay.model.rewards import inference_budget, rewards_of_sequences
from assay.notices import notice, warn
from assay.train.plan import Plan
from assay.train.strategy.single import Strategy

DIRECTORY = "features"
_ROWS, _KEYS, _ABOUT = "rows.bin", "keys.bin", "about.json"
_KEY_BYTES = 16
_WINDOW, _ROUND = 64, 8
"""Groups of a window, which is computed by one process; windows a process has in a round."""
_SAME = {"float64": 1e-6, "float32": 1e-3, "bfloat16": 0.1}
"""Relative error by dtype of the backbone, above which kept states are of another model."""


def keep_features(
    strategy: Strategy,
    recipe: Recipe,
    plan: Plan,
    train: EncodedData,
    evals: Sequence[EncodedData],
    run: Path,
    say: Callable[[str], None],
) -> None:
    """Where the recipe freezes the backbone, compute what the head reads, once, and train on it.

    Leaves the model as it is where the head is not one row, the loss reads every token, or weights
    are sharded, so that a pass of one process is a pass of all.

    Raises:
        OutputError: no space, no permission.
        ResourceError: out of memory in a forward pass.
    """
    if recipe.train.freeze != "backbone":
        return
    if strategy.model.head_weight is None:
        notice("hidden states are not kept: the head is not one row, and is computed each time")
        return
    if objective_of(recipe.loss, recipe.train.seed).reads_tokens:
        notice("hidden states are not kept: the loss reads those of every token")
        return
    if strategy.in_lockstep:
        notice(f"hidden states are not kept: {strategy.name} has all processes make whole passes")
        return
    groups = _Groups(train, _used(plan), evals if recipe.train.eval_steps else ())
    place = run / DIRECTORY
    if not _are_kept(strategy, groups, place):
        say(f"computing the hidden states of {groups.count} groups, once")
        _compute(strategy, groups, place)
    strategy.team.wait()
    store = _Store.open(place)
    strategy.model.engine = _Kept(strategy.model.engine, store)
    say(f"training the head on {len(store.number)} hidden states")


def drop_features(run: Path) -> None:
    """Delete what `keep_features` wrote: the run has ended."""
    shutil.rmtree(run / DIRECTORY, ignore_errors=True)


@dataclass(frozen=True)
class _Groups:
    """The groups of a run that are computed: of training those that a step takes, then the rest."""

    train: EncodedData
    used: Sequence[int]
    evals: Sequence[EncodedData]

    @property
    def count(self) -> int:
        return len(self.used) + sum(len(data.groups) for data in self.evals)

    def windows(self) -> Iterator[list[EncodedGroup]]:
        """Groups of one forward call."""
        for start in range(0, len(self.used), _WINDOW):
            yield [self.train.groups[index] for index in self.used[start : start + _WINDOW]]
        for data in self.evals:
            for start in range(0, len(data.groups), _WINDOW):
                yield list(data.groups[start : start + _WINDOW])


@dataclass(frozen=True)
class _Store:
    """Hidden states [N, D] in a file, and the number of each sequence's."""

    rows_ND: NDArray[np.generic]
    number: dict[bytes, int]

    @classmethod
    def open(cls, place: Path) -> _Store:
        about = json.loads((place / _ABOUT).read_text(encoding="utf-8"))
        keys = (place / _KEYS).read_bytes()
        places = range(0, len(keys), _KEY_BYTES)
        number = {keys[at : at + _KEY_BYTES]: index for index, at in enumerate(places)}
        shape = (len(number), int(about["width"]))
        rows_ND = np.memmap(place / _ROWS, dtype=about["dtype"], mode="r", shape=shape)
        return cls(rows_ND, number)

    def rows(self, sequences: Sequence[TokenIds]) -> Tensor | None:
        """Hidden states of sequences; None where one of them is not there."""
        numbers = [self.number[key] for key in map(_key, sequences) if key in self.number]
        if len(numbers) < len(sequences):
            return None
        return torch.from_numpy(np.array(self.rows_ND[numbers]))

    def __contains__(self, ids: TokenIds) -> bool:
        return _key(ids) in self.number


class _Kept(Engine):
    """An engine that looks hidden states up, and has another compute what it does not hold."""

    def __init__(self, engine: Engine, store: _Store) -> None:
        self.name, self.attention = engine.name, engine.attention
        self.engine, self.store = engine, store

    def _holds(self, sequences: Sequence[TokenIds]) -> bool:
        return all(ids in self.store for ids in sequences)

    def cost(self, sequences: Sequence[TokenIds]) -> int:
        return 0 if self._holds(sequences) else self.engine.cost(sequences)

    def pack(self, families: Sequence[Sequence[TokenIds]], budget: int) -> list[list[int]]:
        if all(self._holds(sequences) for sequences in families):
            return [list(range(len(families)))]
        return self.engine.pack(families, budget)

    def cut(
        self, sequences: Sequence[TokenIds], families: Sequence[int], budget: int
    ) -> list[list[int]]:
        if sequences and self._holds(sequences):
            return [list(range(len(sequences)))]
        return self.engine.cut(sequences, families, budget)

    def batch(
        self,
        sequences: Sequence[TokenIds],
        families: Sequence[int],
        pad_id: int,
        device: torch.device,
        starts: Sequence[int] | None = None,
    ) -> Batch:
        rows_ND = self.store.rows(sequences) if starts is None else None
        if rows_ND is not None:
            return HiddenBatch(rows_ND.to(device))
        return self.engine.batch(sequences, families, pad_id, device, starts)


def _used(plan: Plan) -> Sequence[int]:
    """The groups that some step takes, in the order of the data."""
    if plan.num_steps >= plan.steps_per_epoch:
        return range(plan.num_groups)
    return sorted({index for step in range(plan.num_steps) for index in plan.groups_of(step)})


def _compute(strategy: Strategy, groups: _Groups, place: Path) -> None:
    """Compute all windows, dealt over the processes, and write what the first one gathers."""
    hidden = partial(_hidden, strategy)
    rounds = _rounds(groups.windows(), _ROUND * strategy.team.size)
    if not strategy.team.is_first:
        for windows in rounds:
            strategy.deal(windows, hidden)
        return
    seen: set[bytes] = set()
    with whole_directory(place, replace=True) as directory:
        about = {"width": 0, "dtype": "float32"}
        with (directory / _ROWS).open("wb") as rows, (directory / _KEYS).open("wb") as keys:
            for windows in rounds:
                found = strategy.deal(windows, hidden)
                for window, hidden_ND in zip(windows, found, strict=True):
                    about = {"width": hidden_ND.shape[1], "dtype": str(hidden_ND.dtype)}
                    for ids, row_D in zip(_distinct(window), hidden_ND, strict=True):
                        if _key(ids) not in seen:
                            seen.add(_key(ids))
                            rows.write(row_D.tobytes())
                            keys.write(_key(ids))
        (directory / _ABOUT).write_text(json.dumps(about), encoding="utf-8")


def _hidden(strategy: Strategy, window: Sequence[EncodedGroup]) -> NDArray[np.generic]:
    """Hidden states [N, D] of a window's distinct sequences, in their order."""
    model = strategy.model
    sequences = _distinct(window)
    family = {ids: n for n, group in enumerate(window) for ids in group.sequences}
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode(), giving(model, "hidden"):
            hidden_ND = rewards_of_sequences(
                model,
                sequences,
                max_tokens=inference_budget(model.device),
                families=[family[ids] for ids in sequences],
            )
    finally:
        model.train(was_training)
    wide = torch.promote_types(hidden_ND.dtype, torch.float32)
    array: NDArray[np.generic] = hidden_ND.to("cpu", wide).numpy()
    return array


def _are_kept(strategy: Strategy, groups: _Groups, place: Path) -> bool:
    """Whether a run that goes on has its states, and they are those of this model."""
    team = strategy.team
    whole = team.gather(altered(place) is None if team.is_first and place.exists() else False)[0]
    if not whole:
        return False
    window = next(iter(groups.windows()))
    computed = _hidden(strategy, window)
    strategy.finish(gradients=False)
    kept_ND = _Store.open(place).rows(_distinct(window))
    dtype = strategy.model.compute_dtype or next(strategy.model.parameters()).dtype
    limit = _SAME.get(str(dtype).removeprefix("torch."), _SAME["float32"])
    same = kept_ND is not None and _error(kept_ND.numpy(), computed) <= limit
    if not all(team.gather(same)):
        warn(f"{place}: hidden states of another model; they are computed again")
        return False
    return True


def _error(found: NDArray[np.generic], expected: NDArray[np.generic]) -> float:
    difference = np.linalg.norm(found.astype(np.float64) - expected.astype(np.float64))
    return float(difference / np.linalg.norm(expected.astype(np.float64)))


def _distinct(window: Sequence[EncodedGroup]) -> list[TokenIds]:
    return list(dict.fromkeys(ids for group in window for ids in group.sequences))


def _rounds(windows: Iterator[list[EncodedGroup]], size: int) -> Iterator[list[list[EncodedGroup]]]:
    while some := list(islice(windows, size)):
        yield some


def _key(ids: TokenIds) -> bytes:
    return hashlib.blake2b(np.asarray(ids, np.int64).tobytes(), digest_size=_KEY_BYTES).digest()
