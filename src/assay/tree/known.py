"""A tree of which some beginnings are known: keys and values that an earlier pass computed.

Of a row others read nothing but its keys and values. Where these are at hand, a row need not be
computed again: it stands behind the rows of the pack, where paths name it and no query does.

Shapes: T rows of the pack, P known rows, K rows that are kept, G key heads, D width of a head,
F width of all keys and values of one row, layer after layer.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from assay.errors import ModelError
from assay.tree.layout import Segment, Span, Tree, first_spans, joined


class Piece(NamedTuple):
    """Positions `start` up to, not including, `stop` of a sequence."""

    sequence: int
    start: int
    stop: int


class Known(NamedTuple):
    """A tree without its known rows, T in number, and where these come from.

    `tree` holds only rows of its own in `ids`, `positions` and as rows of segments. Spans of paths
    and sequences from T on are known rows, which stand in the order of `pieces`.
    """

    tree: Tree
    pieces: tuple[Piece, ...]


class _Run(NamedTuple):
    """Rows that stay together: where they were, and where the first of them is now."""

    start: int
    stop: int
    to: int


def without_known(tree: Tree, depths: Sequence[int]) -> Known:
    """Take the rows out of a tree that are known.

    Args:
        tree: of whole sequences.
        depths: how many of the first tokens of each sequence are known; the last token of no
            sequence may be among them.
    """
    total = len(tree.ids)
    is_known = bytearray(total)
    found: list[tuple[Span, Piece]] = []
    for sequence, depth in enumerate(depths):
        position = 0
        for span in first_spans(tree.sequences[sequence], depth):
            for rows in _marked(is_known, span):
                start = position + rows.start - span.start
                piece = Piece(sequence, start, start + rows.stop - rows.start)
                found.append((rows, piece))
            position += span.stop - span.start
    found.sort()
    runs = _runs(total, [rows for rows, _ in found])
    num_own = total - sum(is_known)
    segments = []
    for segment in tree.segments:
        *before, own = _moved((segment.rows,), runs)
        if own.start < num_own:
            path = _moved(segment.path, runs)
            for span in before:
                path = joined(path, span)
            segments.append(Segment(own, path))
    own_rows = [run for run in runs if run.to < num_own]
    thinned = Tree(
        tuple(token for run in own_rows for token in tree.ids[run.start : run.stop]),
        tuple(position for run in own_rows for position in tree.positions[run.start : run.stop]),
        tuple(segments),
        tuple(_moved(spans, runs) for spans in tree.sequences),
    )
    return Known(thinned, tuple(piece for _, piece in found))


def _marked(is_known: bytearray, span: Span) -> Iterable[Span]:
    """The parts of a span that were not marked yet, and are now."""
    start = is_known.find(0, *span)
    while start >= 0:
        stop = is_known.find(1, start, span.stop)
        rows = Span(start, span.stop if stop < 0 else stop)
        is_known[slice(*rows)] = b"\1" * (rows.stop - rows.start)
        yield rows
        start = is_known.find(0, rows.stop, span.stop)


def _runs(total: int, known: Sequence[Span]) -> list[_Run]:
    """All rows in their old order: those of the pack move up, the known ones stand behind."""
    runs: list[_Run] = []
    own, behind, at = 0, total - sum(span.stop - span.start for span in known), 0
    for start, stop in [*known, Span(total, total)]:
        if at < start:
            runs.append(_Run(at, start, own))
            own += start - at
        if start < stop:
            runs.append(_Run(start, stop, behind))
            behind += stop - start
        at = stop
    return runs


def _moved(spans: Iterable[Span], runs: Sequence[_Run]) -> tuple[Span, ...]:
    """Spans where their rows are now."""
    moved: tuple[Span, ...] = ()
    for start, stop in spans:
        at = bisect_right(runs, start, key=lambda run: run.start) - 1
        while start < stop:
            run = runs[at]
            end = min(stop, run.stop)
            moved = joined(moved, Span(run.to + start - run.start, run.to + end - run.start))
            start, at = end, at + 1
    return moved


class History:
    """Keys and values from before a pass, and those that are kept of it. For one pass.

    Layers are told apart by the order in which they attend, which is the same in each pass.

    Args:
        past_PF: of the known rows; None where there are none.
        keep: rows of the pack whose keys and values are kept, in their order.
        width: F, where it is known.
        max_bytes: more is not kept; for whoever cannot know it beforehand, without `width`.

    Attributes:
        width: F, after the pass.
        row_bytes: that a row takes, after the pass.
    """

    def __init__(
        self,
        past_PF: Tensor | None,
        keep: Sequence[int] = (),
        width: int | None = None,
        max_bytes: int | None = None,
    ) -> None:
        self.width = 0
        self.row_bytes = 0
        self._past_PF = past_PF
        self._keep = keep
        self._known_width = width
        self._max_bytes = max_bytes
        self._rows: slice | Tensor | None = None
        self._kept: list[Tensor] = []
        self._kept_KF: Tensor | None = None

    def extended(self, new_GTD: Tensor) -> Tensor:
        """Keys, or values, of a layer, [1, G, T + P, D]: the pack's, then the known ones."""
        _, heads, _, width = new_GTD.shape
        start, stop = self.width, self.width + heads * width
        self.width = stop
        self.row_bytes += heads * width * new_GTD.itemsize
        if self._keep:
            self._take(new_GTD, start)
        if self._past_PF is not None:
            past = self._past_PF[:, start:stop].reshape(-1, heads, width)
            new_GTD = torch.cat([new_GTD, past.transpose(0, 1)[None]], dim=2)
        return new_GTD

    def _take(self, new_GTD: Tensor, start: int) -> None:
        if self._max_bytes is not None and len(self._keep) * self.row_bytes > self._max_bytes:
            self._keep, self._kept = (), []
            return
        if self._rows is None:
            first, last = self._keep[0], self._keep[-1]
            together = last - first + 1 == len(self._keep)
            self._rows = (
                slice(first, last + 1)
                if together
                else torch.tensor(self._keep, device=new_GTD.device)
            )
        kept = new_GTD[0, :, self._rows].transpose(0, 1)
        if self._known_width is None:
            self._kept.append(kept.reshape(len(self._keep), -1))
            return
        if self._kept_KF is None:
            self._kept_KF = kept.new_empty(len(self._keep), self._known_width)
        self._kept_KF[:, start : self.width].view(kept.shape).copy_(kept)

    def kept(self) -> Tensor | None:
        """Keys and values [K, F] of the rows that were to be kept; None where there are none.

        Raises:
            ModelError: the pass had other layers than the one before.
        """
        known = self._known_width if self._past_PF is None else self._past_PF.shape[1]
        if known is not None and known != self.width:
            raise ModelError("the model's layers attend in another order in each pass")
        return torch.cat(self._kept, dim=1) if self._kept else self._kept_KF
