"""What the training loop asks of the engine that holds the weights; here one process, no engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import torch
from torch import Tensor, nn

from assay.errors import CheckpointError
from assay.model.reward_model import RewardModel
from assay.train.embedding_rows import EmbeddingRows
from assay.train.strategy.team import Place, Team

S = TypeVar("S")
T = TypeVar("T")
Moments = dict[str, Tensor]
"""`KIND/PARAMETER` to a whole tensor on the CPU; KIND is step, exp_avg or exp_avg_sq."""
_KINDS = ("step", "exp_avg", "exp_avg_sq")


class Single:
    """One step is: `zero_grad`, passes of `model` with `backward`, `finish`, `clip`, `step`.

    All processes call these in the same order, but for the passes: `own` says which packs are
    whose, and how many a process makes is its own affair. Here there is one process.

    Args:
        model: calling it makes a pass through the engine.
        optimizer: its rates are the schedule's to set.
        team: the processes.
    """

    name = "single"
    """As in recipes."""
    in_lockstep = False
    """Whether each forward pass with gradients must be followed by its backward pass."""
    is_alone = True
    """Whether nothing but autograd meets the gradients, so that passes may run side by side."""

    def __init__(
        self, model: RewardModel, optimizer: torch.optim.Optimizer, team: Team | None = None
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.team = team or Team(Place())
        self._embedding = EmbeddingRows(model)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self.optimizer.zero_grad(set_to_none=True)

    def gathering(self) -> AbstractContextManager[None]:
        """What the passes of a round stand in."""
        return self._embedding.gathered() if self.is_alone else nullcontext()

    def own(self, count: int) -> Sequence[int]:
        """Every W-th pack of W processes."""
        return range(self.team.rank, count, self.team.size)

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a part of the loss; the parts of all processes make the whole."""
        loss.backward()  # type: ignore[no-untyped-call]

    def finish(self, *, gradients: bool) -> None:
        """No further passes from here; with `gradients`, sum them over the processes."""

    def clip(self, max_norm: float) -> Tensor:
        """Scale the gradient down to a norm, and return the norm that it had.

        The numbers of `torch.nn.utils.clip_grad_norm_`, which multiplies by 1 where nothing is to
        be clipped: a pass over all gradients.
        """
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        norm = whole_tensor(
            nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        )
        if norm + 1e-6 > max_norm:
            nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
        return norm

    def step(self) -> None:
        """Update the weights."""
        self.optimizer.step()

    def gather(self, parts: dict[int, T]) -> list[T]:
        """What all processes have, by number of the pack."""
        found = {number: part for some in self.team.gather(parts) for number, part in some.items()}
        return [found[number] for number in sorted(found)]

    def deal(self, windows: Iterable[S], compute: Callable[[S], T]) -> list[T]:
        """What is computed of each window without gradients, everywhere.

        A window is one process's, as if it were alone: so nothing depends on how many there are.
        """
        team = self.team
        parts = {
            number: compute(window)
            for number, window in enumerate(windows)
            if number % team.size == team.rank
        }
        self.finish(gradients=False)
        return self.gather(parts)

    def whole(self) -> AbstractContextManager[RewardModel | None]:
        """On the first process a model with all weights, to be saved; elsewhere None."""
        return nullcontext(self.model if self.team.is_first else None)

    def moments(self) -> Moments:
        """The optimizer's state, whole on the first process."""
        names = {id(parameter): name for name, parameter in self.model.named_parameters()}
        return {
            f"{kind}/{names[id(parameter)]}": whole_tensor(value.detach()).cpu().contiguous()
            for parameter, entry in self.optimizer.state.items()
            for kind, value in entry.items()
        }

    def put_moments(self, moments: Moments) -> None:
        """Restore what `moments` gave, from any strategy and any number of processes."""
        for name, parameter in self.model.named_parameters():
            found = moments_of(name, moments) if parameter.requires_grad else None
            if found is not None:
                self.optimizer.state[parameter].update(
                    {kind: self._placed(kind, value, parameter) for kind, value in found.items()}
                )

    def _placed(self, kind: str, value: Tensor, parameter: nn.Parameter) -> Tensor:
        # Fused AdamW keeps its step counter on the parameter's device, too.
        return value.to(parameter.device)


Strategy = Single
"""What the loop works with: `Single`, or what is derived from it."""


def moments_of(name: str, moments: Moments) -> Moments | None:
    """The state of one parameter by kind; None where no gradient has reached it yet.

    Raises:
        CheckpointError: a part of it is missing.
    """
    found = {kind: moments[f"{kind}/{name}"] for kind in _KINDS if f"{kind}/{name}" in moments}
    if found and len(found) < len(_KINDS):
        raise CheckpointError(
            f"optimizer state of {name} is missing", mend="resume from another checkpoint"
        )
    return found or None


def whole_tensor(tensor: Tensor) -> Tensor:
    """A tensor that is sharded over the processes, gathered on each; all must call it."""
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
