"""Grouping: rows that share what the model reads before the response become one group."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from assay.data.records import Group, Ranking, Response, prompt_key


def group_by_prompt(groups: Iterable[Group]) -> list[Group]:
    """Merge groups whose prompt, tools and template arguments are the same.

    Groups come in the order of first appearance, and so do the responses in each. Responses with
    the same messages become one. Every comparison and ranking is kept, re-indexed; a comparison
    still names its row. Where ratings, tags, weight or extra fields contradict, the first wins.
    """
    by_prompt: dict[str, list[Group]] = {}
    for group in groups:
        key = prompt_key(group.prompt, group.tools, group.template_kwargs)
        by_prompt.setdefault(key, []).append(group)
    return [_merge(key, members) for key, members in by_prompt.items()]


def _merge(key: str, members: Sequence[Group]) -> Group:
    responses: list[Response] = []
    slots: dict[str, int] = {}
    comparisons, rankings = [], []
    extra: dict[str, object] = {}
    for group in members:
        index = [_place(response, responses, slots) for response in group.responses]
        comparisons += [replace(c, a=index[c.a], b=index[c.b]) for c in group.comparisons]
        rankings += [_reindexed(ranking, index) for ranking in group.rankings]
        extra = group.extra | extra
    return replace(
        members[0],
        id=key,
        responses=tuple(responses),
        comparisons=tuple(comparisons),
        rankings=tuple(rankings),
        extra=extra,
    )


def _place(response: Response, responses: list[Response], slots: dict[str, int]) -> int:
    """The index of a response among those seen so far, to which it is added."""
    slot = slots.setdefault(prompt_key(response.messages), len(responses))
    if slot == len(responses):
        responses.append(response)
    else:
        responses[slot] = _first_wins(responses[slot], response)
    return slot


def _first_wins(first: Response, second: Response) -> Response:
    return replace(first, ratings=second.ratings | first.ratings, tags=second.tags | first.tags)


def _reindexed(ranking: Ranking, index: Sequence[int]) -> Ranking:
    return tuple(tuple(index[place] for place in rank) for rank in ranking)
