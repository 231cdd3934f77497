"""Groups as token ids, with every response that cannot be used dropped under a named reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from assay.data.loading import SkippedRow, bad_rows_error
from assay.data.records import Comparison, Group
from assay.data.rendering import Rendered, Renderer, TokenIds
from assay.data.rows import BadRow
from assay.errors import AssayError, DataError

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
    bad_rows: list[BadRow] = field(default_factory=list)
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
    on_bad_row: Literal["error", "skip"] = "error",
) -> EncodedData:
    """Render and tokenise groups, and drop what cannot be compared.

    Dropped, each with its reason: comparisons with a response over `max_length`, and comparisons
    whose two sequences are the same after rendering. A group goes when no comparison is left.
    Rows that the template refuses are bad rows: all of them are found before an error is raised.

    Raises:
        DataError: a conversation cannot be rendered and `on_bad_row` is `error`, or `over_length`
            is `error` and a sequence is longer than `max_length`.
    """
    data = EncodedData()
    too_long: list[BadRow] = []
    for chunk in _chunks(groups):
        items = [(group, i) for group in chunk for i in range(len(group.responses))]
        rendered = iter(_rendered(renderer, items))
        for group in chunk:
            texts = [next(rendered) for _ in group.responses]
            data.specials_in_content += sum(
                text.specials_in_content for text in texts if isinstance(text, Rendered)
            )
            kept = _keep(group, texts, max_length, data, too_long)
            if kept is not None:
                data.groups.append(kept)
                data.last_tokens.update(sequence[-1] for sequence in kept.sequences)
    if over_length == "error" and too_long:
        raise _too_long_error(too_long)
    if on_bad_row == "error" and data.bad_rows:
        raise bad_rows_error(data.bad_rows)
    return data


def _too_long_error(rows: Sequence[BadRow]) -> DataError:
    first = rows[0]
    others = ", ".join(str(row.source) for row in rows[1:20])
    more = f" (and {len(rows) - 1} more rows: {others})" if others else ""
    return DataError(f"{first.what}{more}", where=first.source, mend=first.mend)


def _rendered(
    renderer: Renderer, items: Sequence[tuple[Group, int]]
) -> Sequence[Rendered | AssayError]:
    """All at once; where one is refused, one by one, with an error in the place of each refused."""
    try:
        return renderer.render_many(items)
    except AssayError:
        return [_one(renderer, group, response) for group, response in items]


def _one(renderer: Renderer, group: Group, response: int) -> Rendered | AssayError:
    try:
        return renderer.render(group, response)
    except AssayError as error:
        return error


def _chunks(groups: Sequence[Group]) -> Iterator[Sequence[Group]]:
    for start in range(0, len(groups), _BATCH):
        yield groups[start : start + _BATCH]


def _keep(
    group: Group,
    texts: Sequence[Rendered | AssayError],
    max_length: int,
    data: EncodedData,
    too_long: list[BadRow],
) -> EncodedGroup | None:
    if not group.comparisons:
        data.skipped.append(SkippedRow(group.source, "no comparison"))
    comparisons = []
    ids = [text.ids if isinstance(text, Rendered) else () for text in texts]
    for comparison in group.comparisons:
        row = comparison.row or group.source
        refused = _refusal(texts[comparison.a]) or _refusal(texts[comparison.b])
        tokens = max(len(ids[comparison.a]), len(ids[comparison.b]))
        if refused is not None:
            data.bad_rows.append(BadRow(row, refused.what, refused.mend or "mend the row", ""))
        elif tokens > max_length:
            data.skipped.append(SkippedRow(row, f"over {max_length} tokens"))
            what = f"a response has {tokens} tokens with its prompt, more than max_length"
            mend = "raise max_length, or set over_length to drop"
            too_long.append(BadRow(row, f"{what} {max_length}", mend, ""))
        elif ids[comparison.a] == ids[comparison.b]:
            data.skipped.append(SkippedRow(row, "identical after rendering"))
        else:
            comparisons.append(comparison)
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
    return EncodedGroup(smaller, tuple(ids[index] for index in used))


def _refusal(text: Rendered | AssayError) -> AssayError | None:
    return text if isinstance(text, AssayError) else None


def _renumber(group: Group, number: dict[int, int]) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """Rankings over the kept responses; ranks that become empty go."""
    rankings = []
    for ranking in group.rankings:
        kept = (tuple(number[i] for i in rank if i in number) for rank in ranking)
        rankings.append(tuple(rank for rank in kept if rank))
    return tuple(rankings)
