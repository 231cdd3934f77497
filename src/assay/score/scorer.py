"""Rewards of rows: every response of every row gets one, whatever it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from assay.data.formats import Scorable, VerbatimText
from assay.data.rendering import Rendered, TokenIds
from assay.errors import AssayError, ConfigError, DataError
from assay.model.membership import score_with_members
from assay.model.rewards import check_ids
from assay.model.vllm.either import ScoringModel
from assay.model.vllm.model import VllmModel

Progress = Callable[[float], object]
"""Is told which share of the work is done."""


@dataclass(frozen=True, slots=True)
class RowScores:
    """Of one row, in the order in which it names its responses.

    `num_tokens` counts what the model read, after a cut. `uncertainty` is that of an ensemble,
    `components` are those of heads of attributes (`assay.model.membership.Scores` says more), or of
    a reward file (`assay.score.composite.Combined`).
    `unread_thoughts` counts responses whose thoughts the template leaves out.
    """

    scores: list[float]
    num_tokens: list[int]
    truncated: list[bool]
    uncertainty: list[float] | None = None
    components: Sequence[Mapping[str, float | None]] | None = None
    unread_thoughts: int = 0


@dataclass(frozen=True, slots=True)
class _Ready:
    """An item as the model reads it: of each response the text, and the ids after a cut."""

    texts: list[Rendered]
    ids: list[TokenIds]


def score_items(
    model: ScoringModel, items: Sequence[Scorable], *, max_length: int | None = None
) -> list[RowScores]:
    """Score prompts with responses, and verbatim texts.

    A sequence over `max_length` (by default the model's context) loses the beginning of its
    prompt, never the end of its response, and is marked as truncated.

    Raises:
        DataError: a text is empty, holds a token that the model has no row for, or a response alone
            is over `max_length`.
        TemplateError: a conversation cannot be rendered.
    """
    limit = reading_limit(model, max_length)
    ready: list[_Ready] = []
    for found in _prepared(model, items, limit):
        if isinstance(found, AssayError):
            raise found
        ready.append(found)
    return _scored(model, items, ready, limit, None)


def score_or_refuse(
    model: ScoringModel,
    items: Sequence[Scorable],
    *,
    max_length: int | None = None,
    progress: Progress | None = None,
) -> list[RowScores | AssayError]:
    """`score_items`, with an error in the place of each item that cannot be scored.

    Args:
        model: the model.
        items: what to score.
        max_length: as `score_items`.
        progress: is told after each forward pass which share of the sequences is done.
    """
    limit = reading_limit(model, max_length)
    prepared = _prepared(model, items, limit)
    kept = [item for item, found in zip(items, prepared, strict=True) if isinstance(found, _Ready)]
    ready = [found for found in prepared if isinstance(found, _Ready)]
    scores = iter(_scored(model, kept, ready, limit, progress))
    return [next(scores) if isinstance(found, _Ready) else found for found in prepared]


def refusals(
    model: ScoringModel, items: Sequence[Scorable], *, max_length: int | None = None
) -> list[AssayError | None]:
    """Why each item cannot be scored, or None; needs no forward pass."""
    prepared = _prepared(model, items, reading_limit(model, max_length))
    return [found if isinstance(found, AssayError) else None for found in prepared]


def reading_limit(model: ScoringModel, max_length: int | None) -> int:
    """Tokens of one sequence: `max_length`, by default the model's context.

    Raises:
        ConfigError: it is no length, or beyond the model's context.
    """
    if max_length is not None and max_length < 1:
        raise ConfigError(f"--max-length {max_length} leaves no token", mend="give at least 1")
    if max_length is not None and max_length > model.max_length:
        raise ConfigError(
            f"--max-length {max_length} is beyond the model's context of {model.max_length} tokens",
            mend=f"give at most {model.max_length}",
        )
    return max_length or model.max_length


def without_beginning(ids: TokenIds, limit: int, begin: int | None, response: int) -> TokenIds:
    """The last ids, so many; the begin token stays where the ids of the response leave it room."""
    if ids[0] == begin and limit > max(response, 1):
        return (ids[0], *ids[len(ids) - limit + 1 :])
    return ids[len(ids) - limit :]


def _prepared(
    model: ScoringModel, items: Sequence[Scorable], limit: int
) -> list[_Ready | AssayError]:
    """Items rendered in one batch; one by one only where something is refused."""

    def one(item: Scorable) -> _Ready | AssayError:
        try:
            return _fitted(model, item, _render(model, [item])[0], limit)
        except AssayError as error:
            return error

    try:
        rendered = _render(model, items)
        return [
            _fitted(model, item, texts, limit) for item, texts in zip(items, rendered, strict=True)
        ]
    except AssayError:
        return [one(item) for item in items]


def _scored(
    model: ScoringModel,
    items: Sequence[Scorable],
    ready: Sequence[_Ready],
    limit: int,
    progress: Progress | None,
) -> list[RowScores]:
    sequences = [ids for row in ready for ids in row.ids]
    families = [number for number, row in enumerate(ready) for _ in row.ids]
    with _watched(model, len(set(sequences)), progress):
        found = score_with_members(model, sequences, families=families)
    ends = list(accumulate(len(row.ids) for row in ready))
    parts = [slice(end - len(row.ids), end) for end, row in zip(ends, ready, strict=True)]
    return [
        RowScores(
            scores=found.rewards[part],
            num_tokens=[len(ids) for ids in row.ids],
            truncated=[len(text.ids) > limit for text in row.texts],
            uncertainty=None if found.uncertainty is None else found.uncertainty[part],
            components=None if found.components is None else found.components[part],
            unread_thoughts=_unread_thoughts(model, item, row.texts),
        )
        for item, row, part in zip(items, ready, parts, strict=True)
    ]


@contextmanager
def _watched(model: ScoringModel, total: int, progress: Progress | None) -> Iterator[None]:
    """Tell of each forward pass which share of the sequences is done with it."""
    if progress is None or isinstance(model, VllmModel):  # Its passes are seen by nobody here.
        yield
        return
    done = 0

    def count(module: object, inputs: object, rewards: Any) -> None:
        nonlocal done
        done += len(rewards)
        progress(done / total)

    hook = model.register_forward_hook(count)
    try:
        yield
    finally:
        hook.remove()


def _render(model: ScoringModel, items: Sequence[Scorable]) -> list[list[Rendered]]:
    renderer = model.renderer
    pairs = [
        (item, index)
        for item in items
        if not isinstance(item, VerbatimText)
        for index in range(len(item.responses))
    ]
    texts = iter(renderer.render_many(pairs))
    return [
        [renderer.render_text(item.text)]
        if isinstance(item, VerbatimText)
        else [next(texts) for _ in item.responses]
        for item in items
    ]


def _fitted(model: ScoringModel, item: Scorable, texts: list[Rendered], limit: int) -> _Ready:
    ready = _Ready(texts, [_fit(item, text, limit, model) for text in texts])
    if not all(ready.ids):
        raise DataError(
            "an empty text has no token to score",
            where=item.source,
            mend="give it a prompt or an answer",
        )
    check_ids(ready.ids, model.num_ids, model.renderer, item.source)
    return ready


def _unread_thoughts(model: ScoringModel, item: Scorable, texts: Sequence[Rendered]) -> int:
    if isinstance(item, VerbatimText):
        return 0
    return sum(
        model.renderer.leaves_out_thoughts(response, text.text)
        for response, text in zip(item.responses, texts, strict=True)
    )


def _fit(item: Scorable, text: Rendered, limit: int, model: ScoringModel) -> TokenIds:
    """The ids that the model reads: a text over the limit loses its beginning.

    Raises:
        DataError: that would cut the response.
    """
    ids = text.ids
    if len(ids) <= limit:
        return ids
    response = 0
    if not isinstance(item, VerbatimText):
        prompt = model.renderer.render_text(model.renderer.prompt_text(item)).ids
        response = len(ids) - len(prompt)
        if response > limit:
            raise DataError(
                f"a response alone has {response} tokens, more than the limit of {limit}",
                where=item.source,
                mend="shorten it, or raise --max-length up to the model's context",
            )
    return without_beginning(ids, limit, model.renderer.tokenizer.bos_token_id, response)
