"""Grouping: rows that share what the model reads before the response become one group."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations

from assay.data.records import Comparison, Group, Ranking, Response, Source, prompt_key

UNRATED = "no rating"
REPEATED = "repeated response"
ALONE = "no other response to its prompt"


def group_by_prompt(groups: Iterable[Group]) -> list[Group]:
    """Merge groups whose prompt, tools and template arguments are the same.

    Groups come in the order of first appearance, and so do the responses in each. Responses with
    the same messages become one. Every comparison and ranking is kept, re-indexed; a comparison
    still names its row. Where ratings, tags, weight or extra fields contradict, the first wins.
    """
    return [_merge(key, members) for key, members in _by_prompt(groups).items()]


def compare_rated(
    groups: Iterable[Group], name: str
) -> tuple[list[Group], list[tuple[Source, str]]]:
    """Merge the rows of one source, a rated response each, by prompt, and compare the responses.

    Call it for each source by itself: ratings of two sources are on two scales.

    Args:
        groups: the group of each row, without comparisons.
        name: the rating that decides.

    Returns:
        The groups with their comparisons, and the rows that are in none, with the reason: they
        lack the rating, repeat an earlier response to their prompt, or have the only one.
    """
    merged, skipped = [], []
    for key, rows in _by_prompt(groups).items():
        seen: set[object] = set()
        kept = []
        for row in rows:
            fresh = {_words_of(r) for r in row.responses if name in r.ratings} - seen
            seen |= fresh
            if fresh:
                kept.append(row)
            else:
                unrated = all(name not in response.ratings for response in row.responses)
                skipped.append((row.source, UNRATED if unrated else REPEATED))
        group = _merge(key, kept) if kept else None
        comparisons = comparisons_from_ratings(group, name) if group else ()
        if group and comparisons:
            merged.append(replace(group, comparisons=(*group.comparisons, *comparisons)))
        else:
            skipped += [(row.source, ALONE) for row in kept]
    return merged, skipped


def comparisons_from_ratings(group: Group, name: str) -> tuple[Comparison, ...]:
    """A comparison of each two responses by one of their ratings, the higher one the better.

    The margin is the difference of the two; equal ratings are ties. Responses without the rating
    are not compared. Each comparison names the row where the group begins.
    """
    rated = [(i, r.ratings[name]) for i, r in enumerate(group.responses) if name in r.ratings]
    return tuple(
        Comparison(
            a,
            b,
            "tie" if of_a == of_b else "a" if of_a > of_b else "b",
            margin=abs(of_a - of_b),
            row=group.source,
        )
        for (a, of_a), (b, of_b) in combinations(rated, 2)
    )


def _by_prompt(groups: Iterable[Group]) -> dict[str, list[Group]]:
    by_prompt: dict[str, list[Group]] = {}
    for group in groups:
        by_prompt.setdefault(group.key, []).append(group)
    return by_prompt


def _merge(key: str, members: Sequence[Group]) -> Group:
    if len(members) == 1 and _all_differ(members[0].responses):
        return replace(members[0], id=key)
    responses: list[Response] = []
    slots: dict[object, int] = {}
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


def _all_differ(responses: Sequence[Response]) -> bool:
    return len({_words_of(response) for response in responses}) == len(responses)


def _words_of(response: Response) -> object:
    """What makes a response the same as another."""
    if all(message.is_plain for message in response.messages):
        return tuple((message.role, message.content) for message in response.messages)
    return prompt_key(response.messages)


def _place(response: Response, responses: list[Response], slots: dict[object, int]) -> int:
    """The index of a response among those seen so far, to which it is added."""
    slot = slots.setdefault(_words_of(response), len(responses))
    if slot == len(responses):
        responses.append(response)
    else:
        responses[slot] = _first_wins(responses[slot], response)
    return slot


def _first_wins(first: Response, second: Response) -> Response:
    return replace(first, ratings=second.ratings | first.ratings, tags=second.tags | first.tags)


def _reindexed(ranking: Ranking, index: Sequence[int]) -> Ranking:
    return tuple(tuple(index[place] for place in rank) for rank in ranking)
