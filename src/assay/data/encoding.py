"""Groups as token ids, with every response that cannot be used dropped under a named reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Literal

from assay.config import OverLength
from assay.data.cutting import cut_prompt
from assay.data.loading import SkippedRow, bad_rows_error
from assay.data.records import Comparison, Group, Source
from assay.data.rendering import Rendered, Renderer, TokenIds
from assay.data.rows import BadRow
from assay.errors import AssayError, DataError
from assay.notices import warn

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

    groups: Sequence[EncodedGroup] = ()
    skipped: Sequence[SkippedRow] = ()
    bad_rows: Sequence[BadRow] = ()
    specials_in_content: int = 0
    last_tokens: Counter[int] = field(default_factory=Counter)
    cut_prompts: int = 0
    """Groups whose prompt lost turns or tokens."""
    unread_thoughts: int = 0
    """Responses with a reasoning that was to be read and that the template does not write."""

    @property
    def num_comparisons(self) -> int:
        """Comparisons that are left."""
        return sum(len(group.comparisons) for group in self.groups)

    @property
    def num_tokens(self) -> int:
        """Tokens of all sequences, shared prefixes counted in each."""
        return sum(group.num_tokens for group in self.groups)


@dataclass(slots=True)
class Encoding:
    """What became of one group: itself encoded, or None, and what was left out of it.

    `too_long` holds the rows that are an error where `over_length` is `error`.
    """

    group: EncodedGroup | None = None
    skipped: list[SkippedRow] = field(default_factory=list)
    bad_rows: list[BadRow] = field(default_factory=list)
    too_long: list[BadRow] = field(default_factory=list)
    specials_in_content: int = 0
    unread_thoughts: int = 0
    cut: bool = False


def encode_groups(
    groups: Sequence[Group],
    renderer: Renderer,
    *,
    max_length: int,
    over_length: OverLength = "drop",
    on_bad_row: Literal["error", "skip"] = "error",
) -> EncodedData:
    """Render and tokenise groups, and drop what cannot be compared.

    What becomes of a response that is over `max_length` with its prompt is `over_length`: `drop`,
    it goes, and its comparisons with it; `error`, it is one; `drop_oldest_turns` and
    `truncate_prompt_left` cut the prompt, for all responses of a group alike, and drop a response
    that no cut makes fit (`assay.data.cutting`). No response ever loses a token.

    Dropped, each with its reason: comparisons with a response over `max_length`, and comparisons
    whose two sequences are the same after rendering. A group goes when no comparison is left.
    Rows that the template refuses are bad rows: all of them are found before an error is raised.

    Raises:
        DataError: a conversation cannot be rendered and `on_bad_row` is `error`, or `over_length`
            is `error` and a sequence is longer than `max_length`.
    """
    kept: list[EncodedGroup] = []
    skipped: list[SkippedRow] = []
    bad_rows: list[BadRow] = []
    too_long: list[BadRow] = []
    data = EncodedData(kept, skipped, bad_rows)
    for encoding in encode_each(groups, renderer, max_length=max_length, over_length=over_length):
        skipped += encoding.skipped
        bad_rows += encoding.bad_rows
        too_long += encoding.too_long
        data.specials_in_content += encoding.specials_in_content
        data.unread_thoughts += encoding.unread_thoughts
        data.cut_prompts += encoding.cut
        if encoding.group is not None:
            kept.append(encoding.group)
            data.last_tokens.update(sequence[-1] for sequence in encoding.group.sequences)
    if over_length == "error" and too_long:
        raise too_long_error(too_long)
    if on_bad_row == "error" and data.bad_rows:
        raise bad_rows_error(data.bad_rows)
    return data


def encode_each(
    groups: Iterable[Group],
    renderer: Renderer,
    *,
    max_length: int,
    over_length: OverLength = "drop",
) -> Iterator[Encoding]:
    """`encode_groups` one by one, in order; raises nothing for rows."""
    waiting = iter(groups)
    while chunk := list(islice(waiting, _BATCH)):
        items = [(group, i) for group in chunk for i in range(len(group.responses))]
        rendered = iter(rendered_or_refused(renderer, items))
        for group in chunk:
            texts = [next(rendered) for _ in group.responses]
            yield _encoding(group, texts, renderer, max_length, over_length)


def too_long_error(rows: Sequence[BadRow]) -> DataError:
    """One error that names the rows whose responses are over the length."""
    first = rows[0]
    others = ", ".join(str(row.source) for row in rows[1:20])
    more = f" (and {len(rows) - 1} more rows: {others})" if others else ""
    return DataError(f"{first.what}{more}", where=first.source, mend=first.mend)


def warn_of_unread_thoughts(count: int, template: str) -> None:
    """Say that a template leaves out what responses thought, where it does."""
    if count:
        warn(
            f"the template '{template}' leaves out the reasoning of {count} responses "
            "(reasoning_content, <think>), so that the model does not read it; choose a template "
            "that writes it, or set thinking to strip to leave it out on purpose"
        )


def rendered_or_refused(
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


def _encoding(
    group: Group,
    texts: Sequence[Rendered | AssayError],
    renderer: Renderer,
    max_length: int,
    over_length: OverLength,
) -> Encoding:
    encoding = Encoding()
    encoding.specials_in_content = sum(
        text.specials_in_content for text in texts if isinstance(text, Rendered)
    )
    encoding.unread_thoughts = sum(
        renderer.leaves_out_thoughts(response, text.text)
        for response, text in zip(group.responses, texts, strict=True)
        if isinstance(text, Rendered)
    )
    if not group.comparisons:
        encoding.skipped.append(SkippedRow(group.source, "no comparison"))
    whole = [text.ids if isinstance(text, Rendered) else () for text in texts]
    ids = whole
    if over_length in ("drop_oldest_turns", "truncate_prompt_left"):
        whole_turns = over_length == "drop_oldest_turns"
        cut = cut_prompt(group, whole, renderer, max_length, whole_turns=whole_turns)
        if cut is not None:
            group, ids, encoding.cut = cut.group, cut.ids, True
    comparisons = []
    for comparison in group.comparisons:
        row = comparison.row or group.source
        a, b = comparison.a, comparison.b
        refused = next((t for t in (texts[a], texts[b]) if isinstance(t, AssayError)), None)
        tokens = max(len(ids[a]), len(ids[b]))
        if refused is not None:
            mend = refused.mend or "mend the row"
            encoding.bad_rows.append(BadRow(row, refused.what, mend, ""))
        elif tokens > max_length:
            encoding.skipped.append(SkippedRow(row, f"over {max_length} tokens"))
            encoding.too_long.append(_too_long(row, tokens, max_length))
        elif ids[a] == ids[b]:
            cause = "rendering" if whole[a] == whole[b] else "cutting"
            encoding.skipped.append(SkippedRow(row, f"identical after {cause}"))
        else:
            comparisons.append(comparison)
    used = sorted({index for c in comparisons for index in (c.a, c.b)})
    encoding.cut = encoding.cut and bool(used)
    if used:
        encoding.group = EncodedGroup(
            _only(group, used, comparisons), tuple(ids[index] for index in used)
        )
    return encoding


def _too_long(row: Source, tokens: int, max_length: int) -> BadRow:
    what = f"a response has {tokens} tokens with its prompt, more than max_length {max_length}"
    return BadRow(row, what, "raise max_length, or set over_length to drop", "")


def _only(group: Group, used: Sequence[int], comparisons: Sequence[Comparison]) -> Group:
    """The group with only the responses that are used, renumbered in all that names them."""
    if len(used) == len(group.responses) and len(comparisons) == len(group.comparisons):
        return group
    number = {old: new for new, old in enumerate(used)}
    return replace(
        group,
        responses=tuple(group.responses[index] for index in used),
        comparisons=tuple(replace(c, a=number[c.a], b=number[c.b]) for c in comparisons),
        rankings=_renumber(group, number),
    )


def _renumber(group: Group, number: dict[int, int]) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """Rankings over the kept responses; ranks that become empty go."""
    rankings = []
    for ranking in group.rankings:
        kept = (tuple(number[i] for i in rank if i in number) for rank in ranking)
        rankings.append(tuple(rank for rank in kept if rank))
    return tuple(rankings)
