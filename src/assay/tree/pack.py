"""A pack as the model takes it: one row of tree tokens, and the layout that attention reads.

Shapes: T tree tokens, R sequences, S scored rows, K gathered keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from assay.data.rendering import TokenIds
from assay.tree.known import History
from assay.tree.layout import Segment, Span, Tree, grow


class Block(NamedTuple):
    """Queries that attend to a span of keys: causally to themselves, or to all of the others."""

    queries: Span
    keys: Span

    @property
    def is_causal(self) -> bool:
        """Whether queries and keys are the same rows."""
        return self.queries == self.keys


@dataclass(frozen=True)
class Layout:
    """Who attends to whom in a pack, and which rows are scored; integers only.

    Travels through the model as `tree=`.
    """

    segments: tuple[Segment, ...]
    scored_rows: tuple[int, ...]
    device: torch.device
    history: History | None = None
    """Of rows that the pack does not hold and paths name, with numbers from T on."""

    @property
    def num_rows(self) -> int:
        """T."""
        return self.segments[-1].rows.stop

    @cached_property
    def scored_row_S(self) -> Tensor:
        """Each scored row once."""
        return torch.tensor(sorted(set(self.scored_rows)), device=self.device)

    @cached_property
    def longest(self) -> int:
        """Tokens of the longest path with its segment: no key is further from its query."""
        return max(segment.depth + segment.num_rows for segment in self.segments)

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """All attention as rectangles without a mask and causal squares, the squares first.

        All descendants of a span stand together, so that a prompt meets the queries of all its
        responses in one rectangle. A row is in just one square.
        """
        squares = [Block(segment.rows, segment.rows) for segment in self.segments]
        rectangles: dict[Span, list[Block]] = {}
        for segment in self.segments:
            for keys in segment.path:
                known = rectangles.setdefault(keys, [])
                if known and known[-1].queries.stop == segment.rows.start:
                    rows = Span(known.pop().queries.start, segment.rows.stop)
                    known.append(Block(rows, keys))
                else:
                    known.append(Block(segment.rows, keys))
        return (*squares, *(block for known in rectangles.values() for block in known))

    @cached_property
    def key_rows_K(self) -> Tensor:
        """For each segment in turn the rows of its path and its own: keys of a varlen call.

        The queries of a segment are the last of its keys, so that causality is bottom-right, as
        variable-length kernels have it, and a window counts tree positions.
        """
        spans = [span for s in self.segments for span in (*s.path, s.rows)]
        with torch.inference_mode(False):  # A later pass may save them for its gradients.
            return torch.cat([torch.arange(*span) for span in spans]).to(self.device)

    @cached_property
    def key_offsets(self) -> tuple[int, ...]:
        """Where the keys of each segment begin in `key_rows_K`; one more for the end."""
        offsets = [0]
        for segment in self.segments:
            offsets.append(offsets[-1] + segment.depth + segment.num_rows)
        return tuple(offsets)

    @cached_property
    def key_bounds(self) -> Tensor:
        """`key_offsets` as kernels take them: int32, on the device."""
        return self._bounds(self.key_offsets)

    @cached_property
    def query_bounds(self) -> Tensor:
        """Where the rows of each segment begin, and one more for the end, as kernels take them."""
        return self._bounds((0, *(segment.rows.stop for segment in self.segments)))

    @cached_property
    def most_queries(self) -> int:
        """Rows of the largest segment."""
        return max(segment.num_rows for segment in self.segments)

    @cached_property
    def made(self) -> dict[Any, Any]:
        """What attention made of this layout, for the other layers of the pass."""
        return {}

    def _bounds(self, offsets: tuple[int, ...]) -> Tensor:
        with torch.inference_mode(False):
            return torch.tensor(offsets, dtype=torch.int32, device=self.device)

    def sees_TT(self, window: int | None = None) -> Tensor:
        """Which row (first index) attends to which: ancestors and itself, within a window."""
        sees_TT = torch.zeros(self.num_rows, self.num_rows, dtype=torch.bool)
        position_T = torch.zeros(self.num_rows, dtype=torch.long)
        for segment in self.segments:
            rows = slice(*segment.rows)
            position_T[rows] = torch.arange(segment.depth, segment.depth + segment.num_rows)
            sees_TT[rows, rows] = torch.ones(segment.num_rows, segment.num_rows).tril().bool()
            for span in segment.path:
                sees_TT[rows, slice(*span)] = True
        if window is not None:
            sees_TT &= position_T[:, None] - position_T[None, :] < window
        return sees_TT.to(self.device)


@dataclass(frozen=True)
class Pack:
    """One row of T tree tokens with the R rows that are scored. On the model's device.

    Scored is the last token of each sequence; or, with `starts`, all of its tokens from one on,
    sequence after sequence, so that a row that several share is there several times.
    """

    ids_T: Tensor
    position_T: Tensor
    scored_row_R: Tensor
    layout: Layout

    @property
    def num_tokens(self) -> int:
        """T."""
        return len(self.ids_T)

    @classmethod
    def of(
        cls,
        sequences: Sequence[TokenIds],
        device: torch.device,
        *,
        families: Sequence[int] | None = None,
        share: bool = True,
        starts: Sequence[int] | None = None,
    ) -> Pack:
        """Pack sequences; `assay.tree.layout.grow` says what the arguments mean.

        `starts` is the first scored position of each sequence.
        """
        tree = grow(sequences, families=families, share=share)
        pack = cls.planted(tree, device)
        return pack if starts is None else pack.scored_from(tree, starts)

    @classmethod
    def planted(cls, tree: Tree, device: torch.device, history: History | None = None) -> Pack:
        """A tree as tensors, with what is known from before."""
        return cls(
            torch.tensor(tree.ids, device=device),
            torch.tensor(tree.positions, device=device),
            torch.tensor(tree.scored_rows, device=device),
            Layout(tree.segments, tree.scored_rows, device, history),
        )

    def scored_from(self, tree: Tree, starts: Sequence[int]) -> Pack:
        """The pack of a tree with all tokens of each sequence scored from one on."""
        rows = tuple(
            row
            for sequence, start in enumerate(starts)
            for row in tree.path_index(sequence)[start:]
        )
        return replace(
            self,
            scored_row_R=torch.tensor(rows, device=self.scored_row_R.device),
            layout=replace(self.layout, scored_rows=rows),
        )
