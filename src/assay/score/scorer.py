"""Rewards of rows: every response of every row gets one, whatever it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from assay.data.formats import Scorable, VerbatimText
from assay.data.rendering import Rendered, TokenIds
from assay.errors import AssayError, ConfigError, DataError
from assay.model.membership import score_with_members
from assay.model.reward_model import RewardModel


@dataclass(frozen=True, slots=True)
class RowScores:
    """Of one row, in the order in which it names its responses.

    `num_tokens` counts what the model read, after a cut. `uncertainty` is that of an ensemble,
    `components` are those of heads of attributes: `assay.model.membership.Scores` says more.
    """

    scores: list[float]
    num_tokens: list[int]
    truncated: list[bool]
    uncertainty: list[float] | None = None
    components: list[dict[str, float]] | None = None


def score_items(
    model: RewardModel, items: Sequence[Scorable], *, max_length: int | None = None
) -> list[RowScores]:
    """Score prompts with responses, and verbatim texts.

    A sequence over `max_length` (by default the model's context) loses the beginning of its
    prompt, never the end of its response, and is marked as truncated.

    Raises:
        DataError: a text is empty, or a response alone is over `max_length`.
        TemplateError: a conversation cannot be rendered.
    """
    limit = reading_limit(model, max_length)
    rendered = _render(model, items)
    cut = [
        [_fit(item, text, limit, model) for text in texts]
        for item, texts in zip(items, rendered, strict=True)
    ]
    sequences = [ids for row in cut for ids in row]
    families = [number for number, row in enumerate(cut) for _ in row]
    found = score_with_members(model, sequences, families=families)
    ends = list(accumulate(map(len, cut)))
    parts = [slice(end - len(row), end) for end, row in zip(ends, cut, strict=True)]
    return [
        RowScores(
            scores=found.rewards[part],
            num_tokens=[len(ids) for ids in row],
            truncated=[len(text.ids) > limit for text in texts],
            uncertainty=None if found.uncertainty is None else found.uncertainty[part],
            components=None if found.components is None else found.components[part],
        )
        for texts, row, part in zip(rendered, cut, parts, strict=True)
    ]


def refusals(
    model: RewardModel, items: Sequence[Scorable], *, max_length: int | None = None
) -> list[AssayError | None]:
    """Why each item cannot be scored, or None; needs no forward pass."""
    limit = reading_limit(model, max_length)

    def refusal(item: Scorable) -> AssayError | None:
        try:
            for text in _render(model, [item])[0]:
                _fit(item, text, limit, model)
        except AssayError as error:
            return error
        return None

    try:  # Tokenised in one batch; one by one only where something is refused.
        for item, texts in zip(items, _render(model, items), strict=True):
            for text in texts:
                _fit(item, text, limit, model)
    except AssayError:
        return [refusal(item) for item in items]
    return [None] * len(items)


def reading_limit(model: RewardModel, max_length: int | None) -> int:
    """Tokens of one sequence: `max_length`, by default the model's context.

    Raises:
        ConfigError: it is beyond the model's context.
    """
    if max_length is not None and max_length > model.max_length:
        raise ConfigError(
            f"--max-length {max_length} is beyond the model's context of {model.max_length} tokens",
            mend=f"give at most {model.max_length}",
        )
    return max_length or model.max_length


def _render(model: RewardModel, items: Sequence[Scorable]) -> list[list[Rendered]]:
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


def _fit(item: Scorable, text: Rendered, limit: int, model: RewardModel) -> TokenIds:
    """The ids that the model reads: a text over the limit loses its beginning.

    Raises:
        DataError: that would cut the response.
    """
    ids = text.ids
    if len(ids) <= limit:
        return ids
    if not isinstance(item, VerbatimText):
        prompt = model.renderer.render_text(model.renderer.prompt_text(item)).ids
        response = len(ids) - len(prompt)
        if response > limit:
            raise DataError(
                f"a response alone has {response} tokens, more than the limit of {limit}",
                where=item.source,
                mend="shorten it, or raise --max-length up to the model's context",
            )
    if ids[0] == model.renderer.tokenizer.bos_token_id:
        return (ids[0], *ids[len(ids) - limit + 1 :])
    return ids[len(ids) - limit :]
