"""Keys and values of prompts that were computed before, so that they are not computed again.

They stand in a tree of their own: a node holds the tokens that follow its parent's and their rows,
so that what prompts have in common is held once. Of the bytes that it may take, the prompts that
were used last take theirs; the others go, leaves first.

What is worth its bytes: beginnings that come a second time. What was seen is known by hashes of
blocks, so that a prompt that never comes back costs nothing. (Keeping all rows of a pass at once
made it 5 to 15% slower, measured with SmolLM2 on a CPU: they are many bytes of new memory.)

Used by one thread at a time. Shapes: K rows that are kept, F width of a row's keys and values.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from assay.data.rendering import TokenIds, common_prefix
from assay.model.engine import ENGINES
from assay.tree.known import History, without_known
from assay.tree.layout import MIN_SHARED_TOKENS, grow
from assay.tree.pack import Pack
from assay.tree.packing import cut_by_families

if TYPE_CHECKING:
    from assay.model.reward_model import RewardModel

DEFAULT_BYTES = 512 * 2**20
BLOCK = MIN_SHARED_TOKENS
"""Beginnings that were seen are known in whole blocks of so many tokens; shorter ones are not worth
the attention that they cost."""
_BLOCKS_SEEN = 65_536
_BYTES_A_NODE, _BYTES_A_TOKEN = 2048, 40
"""What a node takes in memory besides its rows."""


def why_not(model: RewardModel) -> str | None:
    """Why prompts of a model cannot be remembered, or None.

    Only the tree's attention takes rows from before. (Where rotary frequencies change with the
    longest sequence of a pass, passes with long ones do without.)
    """
    if model.engine is not ENGINES["tree"]:
        return f"its engine is {model.engine.name}, and only the tree's attention takes known rows"
    return None


@dataclass(frozen=True, slots=True)
class Planned:
    """One pass.

    Attributes:
        pack: without the rows that are known.
        keep: sequences, and how many of their first tokens are to be kept.
        place: of each row of the pack that is kept, where it stands among them.
        rows: of each sequence in `keep` the row of each token, known ones included.
        hits: sequences of which some tokens are known.
        tokens_saved: rows that need not be computed.
    """

    pack: Pack
    keep: list[TokenIds]
    place: dict[int, int]
    rows: list[list[int]]
    hits: int
    tokens_saved: int


class PromptKeys:
    """Remembers keys and values of one model, whose weights must not change meanwhile.

    Args:
        max_bytes: that it may take. A pass is not told to keep more.
    """

    def __init__(self, max_bytes: int = DEFAULT_BYTES) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0
        """That it takes."""
        self.hits = 0
        """Sequences of passes that succeeded, of which some tokens were known."""
        self.tokens_saved = 0
        """Rows that these passes did not have to compute."""
        self._root = _Node((), None, None)
        self._order: OrderedDict[_Node, None] = OrderedDict()
        """All nodes but the root, the least recently used first; children before their parents."""
        self._seen: OrderedDict[int, None] = OrderedDict()
        self._width: int | None = None
        """F, once a pass has told it."""
        self._row_bytes = 0
        """Bytes of a row, from then on."""

    def known(self, ids: TokenIds) -> int:
        """How many of a sequence's first tokens are known; the last never is, for it is scored."""
        depth = self._walk(ids[:-1])[1]
        return depth if depth >= BLOCK else 0

    def expect(self, ids: TokenIds) -> None:
        """Say that a beginning will come again, so that it is kept when it comes first."""
        self._seen_before(ids)

    def cut(
        self, sequences: Sequence[TokenIds], families: Sequence[int], max_tokens: int
    ) -> list[list[int]]:
        """`Engine.cut` of what is not known; parts of a family need their prompt only once."""
        depths: dict[int, int] = {}
        for ids, family in zip(sequences, families, strict=True):
            depth = self.known(ids)
            depths[family] = min(depths.get(family, depth), depth)
        rest = [ids[depths[family] :] for ids, family in zip(sequences, families, strict=True)]
        return cut_by_families(rest, families, max_tokens, kept_in_blocks_of=BLOCK)

    def plan(
        self, sequences: Sequence[TokenIds], families: Sequence[int], device: torch.device
    ) -> Planned:
        """A pass over distinct sequences without what is known of them."""
        tree = grow(sequences, families=families)
        depths = [self._used(ids) for ids in sequences]
        _spare_ends(sequences, depths)
        found = without_known(tree, depths)
        parts = [
            part
            for piece in found.pieces
            for part in self._rows(sequences[piece.sequence], piece.start, piece.stop)
        ]
        lengths = [self._seen_before(ids) for ids in sequences]
        num_own = len(found.tree.ids)
        kept = [index for index, length in enumerate(lengths) if length > depths[index]]
        keep, rows = self._fitting(
            [sequences[index][: lengths[index]] for index in kept],
            [found.tree.path_index(index)[: lengths[index]] for index in kept],
        )
        own = sorted({row for path in rows for row in path if row < num_own})
        known_PF = torch.cat(parts) if parts else None
        history = History(known_PF, own, self._width, self.max_bytes)
        return Planned(
            Pack.planted(found.tree, device, history),
            keep,
            {row: place for place, row in enumerate(own)},
            rows,
            hits=sum(depth > 0 for depth in depths),
            tokens_saved=len(tree.ids) - num_own,
        )

    def remember(self, planned: Planned) -> None:
        """Count a pass that has succeeded, and keep what it was to keep."""
        history = planned.pack.layout.history
        assert history is not None
        kept_KF = history.kept()
        self.hits += planned.hits
        self.tokens_saved += planned.tokens_saved
        self._width, self._row_bytes = history.width, history.row_bytes
        if kept_KF is None:
            return
        for ids, rows in zip(planned.keep, planned.rows, strict=True):
            path, depth = self._walk(ids)
            places = [planned.place.get(row) for row in rows[depth:]]
            if None in places:  # What stood before it has gone.
                continue
            if self._num_bytes(1, len(places)) > self.max_bytes:
                continue
            parent = self._cut_off(path, depth)
            if places:
                all_of_them = places == [*range(len(kept_KF))]
                new = _Node(ids[depth:], kept_KF if all_of_them else kept_KF[places], parent)
                parent.children[ids[depth]] = new
                self._order[new] = None
                self.num_bytes += new.num_bytes
            self._touch(parent)
            self._make_room()

    def _fitting(
        self, keep: Sequence[TokenIds], rows: Sequence[list[int]]
    ) -> tuple[list[TokenIds], list[list[int]]]:
        """Of the sequences that are worth it, with their rows, those that can stay together."""
        chosen: list[int] = []
        nodes, taken = 0, set[int]()
        for index, path in enumerate(rows):
            new = {row for row in path if row not in taken}
            if not new:
                chosen.append(index)
            elif self._num_bytes(nodes + 1, len(taken) + len(new)) <= self.max_bytes:
                chosen.append(index)
                nodes += 1
                taken |= new
        return [keep[index] for index in chosen], [rows[index] for index in chosen]

    def _num_bytes(self, nodes: int, rows: int) -> int:
        """That so many nodes take, with so many rows among them."""
        return nodes * _BYTES_A_NODE + rows * (_BYTES_A_TOKEN + self._row_bytes)

    def _walk(self, ids: TokenIds) -> tuple[list[_Node], int]:
        """The nodes along a sequence, of which the last may go another way, and the tokens that it
        has in common with them."""
        node, depth, path = self._root, 0, []
        while depth < len(ids) and ids[depth] in node.children:
            node = node.children[ids[depth]]
            common = common_prefix(node.ids, ids[depth : depth + len(node.ids)])
            path.append(node)
            depth += common
            if common < len(node.ids):
                break
        return path, depth

    def _used(self, ids: TokenIds) -> int:
        """As `known`; it is used now, and what hangs on it grows old by itself."""
        path, depth = self._walk(ids[:-1])
        if depth < BLOCK:
            return 0
        beyond = sum(len(node.ids) for node in path) - depth
        is_cut = beyond >= BLOCK and self.num_bytes + _BYTES_A_NODE <= self.max_bytes
        self._touch(self._cut_off(path, depth) if is_cut else path[-1])
        return depth

    def _cut_off(self, path: Sequence[_Node], depth: int) -> _Node:
        """The node that ends `depth` tokens from the root; the last of a path is cut for it."""
        if not path:
            return self._root
        lower = path[-1]
        beyond = sum(len(node.ids) for node in path) - depth
        if not beyond:
            return lower
        at = len(lower.ids) - beyond
        assert lower.parent is not None
        assert lower.rows_NF is not None
        # Both before anything changes: memory may end at either.
        begin_NF, end_NF = lower.rows_NF[:at].clone(), lower.rows_NF[at:].clone()
        self.num_bytes -= lower.num_bytes
        upper = _Node(lower.ids[:at], begin_NF, lower.parent)
        lower.parent.children[upper.ids[0]] = upper
        lower.ids, lower.rows_NF, lower.parent = lower.ids[at:], end_NF, upper
        upper.children[lower.ids[0]] = lower
        self.num_bytes += upper.num_bytes + lower.num_bytes
        self._order[upper] = None
        self._touch(upper)
        return upper

    def _rows(self, ids: TokenIds, start: int, stop: int) -> Iterator[Tensor]:
        """Keys and values of some positions of a sequence that are known."""
        begin = 0
        for node in self._walk(ids)[0]:
            end = begin + len(node.ids)
            assert node.rows_NF is not None
            if start < end and begin < stop:
                yield node.rows_NF[max(start - begin, 0) : stop - begin]
            begin = end

    def _seen_before(self, ids: TokenIds) -> int:
        """How many of a sequence's first tokens have been seen, in blocks; now all have."""
        key, depth = 0, 0
        for start in range(0, len(ids) - BLOCK + 1, BLOCK):
            key = hash((key, ids[start : start + BLOCK]))
            if depth == start and key in self._seen:
                depth += BLOCK
            self._seen[key] = None
            self._seen.move_to_end(key)
        while len(self._seen) > _BLOCKS_SEEN:
            self._seen.popitem(last=False)
        return depth

    def _touch(self, node: _Node) -> None:
        while node.parent is not None:
            self._order.move_to_end(node)
            node = node.parent

    def _make_room(self) -> None:
        while self.num_bytes > self.max_bytes:
            node, _ = self._order.popitem(last=False)
            assert node.parent is not None
            assert not node.children
            del node.parent.children[node.ids[0]]
            self.num_bytes -= node.num_bytes


class _Node:
    """Tokens that follow those of the parent, with their rows."""

    __slots__ = ("children", "ids", "parent", "rows_NF")

    def __init__(self, ids: TokenIds, rows_NF: Tensor | None, parent: _Node | None) -> None:
        self.ids = ids
        self.rows_NF = rows_NF
        self.parent = parent
        self.children: dict[int, _Node] = {}

    @property
    def num_bytes(self) -> int:
        rows = 0 if self.rows_NF is None else self.rows_NF.nbytes
        return rows + _BYTES_A_NODE + _BYTES_A_TOKEN * len(self.ids)


def _spare_ends(sequences: Sequence[TokenIds], depths: list[int]) -> None:
    """Leave unknown what is scored: a sequence may be the beginning of another."""
    longest = max(depths)
    for ids in sequences:
        if len(ids) > longest:
            continue
        for index, other in enumerate(sequences):
            if len(ids) <= depths[index] and other[: len(ids)] == ids:
                depths[index] = len(ids) - 1
