"""Groups as token ids, with every response that cannot be used dropped under a named reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from assay.data.loading import SkippedRow
from assay.data.records import Comparison, Group
from assay.data.rendering import Rendered, Renderer, TokenIds, row_of
from assay.errors import DataError

OverLength = Literal["drop", "error"]

_BATCH = 512


@dataclass(frozen=True, slots=True)
class EncodedGroup:
    """A group as the model reads it: one sequence a response, comparisons between sequences.

    `group` holds just the responses and comparisons that were kept: `sequences[i]` is
    `group.responses[i]`.
    """

    group: Group
    sequences: tuple[TokenIds, ...]

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """Comparisons; their `a` and `b` index `sequences`."""
        return self.group.comparisons

    @property
    def num_tokens(self) -> int:
        """Tokens of all sequences, shared prefixes counted in each."""
        return sum(map(len, self.sequences))


@dataclass
class EncodedData:
    """Encoded groups and an account of what was left out."""

    groups: list[EncodedGroup] = field(default_factory=list)
    skipped: list[SkippedRow] = field(default_factory=list)
    specials_in_content: int = 0
    last_tokens: Counter[int] = field(default_factory=Counter)

    @property
    def num_comparisons(self) -> int:
        """Comparisons that are left."""
        return sum(len(group.comparisons) for group in self.groups)


def encode_groups(
    groups: Sequence[Group],
    renderer: Renderer,
    *,
    max_length: int,
    over_length: OverLength = "drop",
    progress: Callable[[int], None] | None = None,
) -> EncodedData:
    """Render and tokenise groups, and drop what cannot be compared.

    Dropped, each with its reason: comparisons with a response over `max_length`, and comparisons
    whose two sequences are the same after rendering. A group goes when no comparison is left.

    Raises:
        DataError: `over_length` is `error` and a sequence is longer than `max_length`.
        TemplateError: a conversation cannot be rendered.
    """
    data = EncodedData()
    for chunk in _chunks(groups):
        items = [(group, i) for group in chunk for i in range(len(group.responses))]
        rendered = iter(renderer.render_many(items))
        for group in chunk:
            texts = [next(rendered) for _ in group.responses]
            data.specials_in_content += sum(text.specials_in_content for text in texts)
            kept = _keep(group, texts, max_length, over_length, data.skipped)
            if kept is not None:
                data.groups.append(kept)
                data.last_tokens.update(sequence[-1] for sequence in kept.sequences)
        if progress is not None:
            progress(len(chunk))
    return data


def _chunks(groups: Sequence[Group]) -> Iterator[Sequence[Group]]:
    for start in range(0, len(groups), _BATCH):
        yield groups[start : start + _BATCH]


def _keep(
    group: Group,
    texts: Sequence[Rendered],
    max_length: int,
    over_length: OverLength,
    skipped: list[SkippedRow],
) -> EncodedGroup | None:
    longest = max(range(len(texts)), key=lambda index: len(texts[index].ids))
    tokens = len(texts[longest].ids)
    if over_length == "error" and tokens > max_length:
        raise DataError(
            f"a response has {tokens} tokens with its prompt, more than max_length {max_length}",
            where=row_of(group, longest),
            mend="raise max_length, or set over_length to drop",
        )
    if not group.comparisons:
        skipped.append(SkippedRow(group.source, "no comparison"))
    comparisons = []
    for comparison in group.comparisons:
        a, b = texts[comparison.a].ids, texts[comparison.b].ids
        if max(len(a), len(b)) > max_length:
            reason = f"over {max_length} tokens"
        elif a == b:
            reason = "identical after rendering"
        else:
            comparisons.append(comparison)
            continue
        skipped.append(SkippedRow(comparison.row or group.source, reason))
    used = sorted({index for c in comparisons for index in (c.a, c.b)})
    if not used:
        return None
    number = {old: new for new, old in enumerate(used)}
    smaller = replace(
        group,
        responses=tuple(group.responses[index] for index in used),
        comparisons=tuple(replace(c, a=number[c.a], b=number[c.b]) for c in comparisons),
        rankings=_renumber(group, number),
    )
    return EncodedGroup(smaller, tuple(texts[index].ids for index in used))


def _renumber(group: Group, number: dict[int, int]) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """Rankings over the kept responses; ranks that become empty go."""
    rankings = []
    for ranking in group.rankings:
        kept = (tuple(number[i] for i in rank if i in number) for rank in ranking)
        rankings.append(tuple(rank for rank in kept if rank))
    return tuple(rankings)
