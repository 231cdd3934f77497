"""Rewards of items: all responses of an item as one tree, or the item is left out whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from assay.config import OverLength
from assay.data.cutting import cut_prompt
from assay.data.encoding import EncodedGroup, rendered_or_refused, too_long_error
from assay.data.loading import SkippedRow
from assay.data.records import Group
from assay.data.rendering import Rendered, Renderer, TokenIds
from assay.data.rows import BadRow
from assay.errors import AssayError
from assay.evaluate.benchmarks.benchmark import Item, ScoredItem

if TYPE_CHECKING:
    from assay.model.reward_model import RewardModel

_WINDOW = 64


@dataclass(slots=True)
class ScoredItems:
    """Items with rewards, and an account of every item without: rows = all three together."""

    scored: list[ScoredItem] = field(default_factory=list)
    skipped: list[SkippedRow] = field(default_factory=list)
    bad_rows: list[BadRow] = field(default_factory=list)


@dataclass(slots=True)
class _Encoded:
    """Items whose every response fits, with their token ids; who is left out, and counts."""

    items: list[tuple[Item, tuple[TokenIds, ...]]] = field(default_factory=list)
    skipped: list[SkippedRow] = field(default_factory=list)
    bad_rows: list[BadRow] = field(default_factory=list)
    too_long: list[BadRow] = field(default_factory=list)
    specials: int = 0
    unread_thoughts: int = 0


def score_benchmark(
    model: RewardModel,
    items: Sequence[Item],
    *,
    max_length: int,
    over_length: OverLength = "drop",
    progress: Callable[[int], object] = lambda items: None,
) -> ScoredItems:
    """Score all items.

    An item with one response over the length is left out whole: a benchmark's number needs all of
    them. Where a prompt may be cut, it is cut for all responses alike.

    Args:
        model: the model.
        items: read from rows.
        max_length: tokens of prompt and response together.
        over_length: what becomes of an item over it; `drop` leaves it out.
        progress: called with the number of items that were done.

    Raises:
        DataError: `over_length` is `error` and an item is over the length.
        ModelError: a reward is not finite.
        ResourceError: out of memory.
    """
    from assay.evaluate.evaluator import score_window
    from assay.evaluate.opening import say_what_was_read

    encoded = _encode(items, model.renderer, max_length, over_length)
    if over_length == "error" and encoded.too_long:
        raise too_long_error(encoded.too_long)
    say_what_was_read(model, specials=encoded.specials, thoughts=encoded.unread_thoughts)
    found = ScoredItems(skipped=encoded.skipped, bad_rows=encoded.bad_rows)
    for start in range(0, len(encoded.items), _WINDOW):
        window = encoded.items[start : start + _WINDOW]
        groups = [EncodedGroup(_group(item), ids) for item, ids in window]
        rewards = iter(score_window(model, groups, None))
        for item, ids in window:
            found.scored.append(
                ScoredItem(item, tuple(next(rewards) for _ in ids), tuple(map(len, ids)))
            )
        progress(len(window))
    return found


def _encode(
    items: Sequence[Item], renderer: Renderer, max_length: int, over_length: OverLength
) -> _Encoded:
    found = _Encoded()
    for start in range(0, len(items), _WINDOW):
        window = items[start : start + _WINDOW]
        pairs = [(_group(item), place) for item in window for place in range(item.num_responses)]
        texts = iter(rendered_or_refused(renderer, pairs))
        for item in window:
            _sort_in(found, item, [next(texts) for _ in range(item.num_responses)], renderer)
    cuts = over_length in ("drop_oldest_turns", "truncate_prompt_left")
    kept = []
    for item, whole in found.items:
        ids = whole
        if cuts and max(map(len, ids)) > max_length:
            whole_turns = over_length == "drop_oldest_turns"
            cut = cut_prompt(_group(item), ids, renderer, max_length, whole_turns=whole_turns)
            ids = tuple(cut.ids) if cut is not None else ids
        tokens = max(map(len, ids))
        if tokens <= max_length:
            kept.append((item, ids))
            continue
        found.skipped.append(SkippedRow(item.source, f"over {max_length} tokens"))
        what = f"a response has {tokens} tokens with its prompt, more than max_length {max_length}"
        mend = "raise max_length, or set over_length to drop"
        found.too_long.append(BadRow(item.source, what, mend, ""))
    found.items = kept
    return found


def _sort_in(
    found: _Encoded, item: Item, texts: Sequence[Rendered | AssayError], renderer: Renderer
) -> None:
    rendered = []
    for text in texts:
        if isinstance(text, AssayError):
            found.bad_rows.append(BadRow(item.source, text.what, text.mend or "mend the row", ""))
            return
        rendered.append(text)
    found.specials += sum(text.specials_in_content for text in rendered)
    found.unread_thoughts += sum(
        renderer.leaves_out_thoughts(response, text.text)
        for response, text in zip(_group(item).responses, rendered, strict=True)
    )
    found.items.append((item, tuple(text.ids for text in rendered)))


def _group(item: Item) -> Group:
    assert item.group is not None, f"{item.source}: nothing to score"
    return item.group
