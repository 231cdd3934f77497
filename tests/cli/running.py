"""Running the command line inside the test process, and looking at what a run left behind."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from assay.tree.pack import Pack


@dataclass(frozen=True, slots=True)
class Ran:
    """What one run of the command line gave."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """Lines on stderr that are not notes or warnings."""
        return [
            line for line in self.err.splitlines() if not line.startswith(("note: ", "warning: "))
        ]


class Assay(Protocol):
    """`assay ARGV...`, in this process."""

    def __call__(self, *argv: object, stdin: bytes | None = None) -> Ran: ...


@dataclass(frozen=True)
class Models:
    """Directories of tiny models."""

    base: Path
    reward: Path
    adapter: Path


def tree(directory: Path) -> dict[str, str]:
    """Everything below a directory: names, what they are, and what is in them."""
    return {str(path.relative_to(directory)): _content(path) for path in directory.rglob("*")}


def _content(path: Path) -> str:
    if path.is_symlink():
        return f"-> {path.readlink()}"
    return "directory" if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def nothing_left_behind(*directories: Path) -> Iterator[None]:
    """No entry of the directories is new, gone or changed."""
    before = [tree(directory) for directory in directories]
    yield
    assert [tree(directory) for directory in directories] == before


def cvalues_rows(prompts: int) -> list[dict[str, Any]]:
    """Rows of CValues-Comparison, one comparison a prompt."""
    return [
        {
            "prompt": f"question {number}?",
            "pos_resp": f"a good answer {number}",
            "neg_resp": f"a bad answer {'so ' * (number % 9)}",
            "pos_type": "拒绝为主",
            "neg_type": "风险回复",
        }
        for number in range(prompts)
    ]


def sequences_of(pack: Pack) -> list[tuple[int, ...]]:
    """What stands on the way from the root to each scored row."""
    found = []
    for row in pack.scored_row_R.tolist():
        segment = next(s for s in pack.layout.segments if s.rows.start <= row < s.rows.stop)
        rows = [at for span in segment.path for at in range(*span)]
        rows += range(segment.rows.start, row + 1)
        found.append(tuple(pack.ids_T[rows].tolist()))
    return found


@contextmanager
def ids_that_reach_the_model() -> Iterator[list[tuple[int, ...]]]:
    """Records the token ids of every sequence behind the one door to the weights.

    Nothing is replaced: the model computes as ever.
    """
    import torch

    from assay.model.batch import PaddedBatch
    from assay.model.reward_model import RewardModel
    from assay.tree.pack import Pack

    seen: list[tuple[int, ...]] = []
    forward = RewardModel.forward

    def recording(self: RewardModel, batch: PaddedBatch | Pack) -> Any:
        if next(self.parameters()).dtype == torch.float64:
            return forward(self, batch)  # The small twin that the engine is checked on.
        if isinstance(batch, Pack):
            seen.extend(sequences_of(batch))
            return forward(self, batch)
        for ids, last in zip(batch.ids_NL.tolist(), batch.last_N.tolist(), strict=True):
            seen.append(tuple(ids[: last + 1]))
        return forward(self, batch)

    RewardModel.forward = recording  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        RewardModel.forward = forward  # type: ignore[method-assign]
