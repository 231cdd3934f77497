"""Grouping keeps every comparison and every message, and merges exactly what is the same."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from assay.data.grouping import (
    ALONE,
    REPEATED,
    UNRATED,
    compare_rated,
    comparisons_from_ratings,
    group_by_prompt,
)
from assay.data.records import Comparison, Group, Message, Response, Source, prompt_key

TEXTS = st.sampled_from(["", "a", "b", "c"])
TOOLS = st.sampled_from([None, ({"name": "f"},)])


def prompt_of(text: str) -> tuple[Message, ...]:
    return (Message("user", text),)


def response(text: str, **parts: dict[str, float] | dict[str, str]) -> Response:
    return Response((Message("assistant", text),), **parts)  # type: ignore[arg-type]


@st.composite
def row_groups(draw: st.DrawFn) -> list[Group]:
    groups = []
    for line in range(1, draw(st.integers(0, 12)) + 1):
        texts = draw(st.lists(TEXTS, min_size=1, max_size=4))
        places = st.integers(0, len(texts) - 1)
        source = Source("f.jsonl", line)
        comparisons = draw(
            st.lists(
                st.builds(
                    Comparison,
                    places,
                    places,
                    st.sampled_from(["a", "b", "tie"]),
                    margin=st.sampled_from([None, 0.0, 1.0]),
                    row=st.just(source),
                ),
                max_size=4,
            )
        )
        groups.append(
            Group(
                id=str(line),
                source=source,
                prompt=prompt_of(draw(TEXTS)),
                responses=tuple(map(response, texts)),
                comparisons=tuple(comparisons),
                tools=draw(TOOLS),
                rankings=draw(st.lists(st.tuples(st.tuples(places)), max_size=2).map(tuple)),
            )
        )
    return groups


def key(group: Group) -> str:
    return prompt_key(group.prompt, group.tools, group.template_kwargs)


def spelt_out(groups: list[Group]) -> list[tuple[object, ...]]:
    """Every comparison with the messages that it names, in the order of the rows."""
    return sorted(
        (
            (
                str(c.row),
                key(g),
                g.responses[c.a].messages,
                g.responses[c.b].messages,
                c.outcome,
                c.margin,
            )
            for g in groups
            for c in g.comparisons
        ),
        key=repr,
    )


def spelt_out_rankings(groups: list[Group]) -> list[str]:
    return sorted(
        repr((key(g), [[g.responses[i].messages for i in rank] for rank in ranking]))
        for g in groups
        for ranking in g.rankings
    )


@settings(deadline=None)
@given(row_groups())
def test_nothing_is_lost_and_nothing_stands_twice(rows: list[Group]) -> None:
    groups = group_by_prompt(rows)
    assert spelt_out(groups) == spelt_out(rows)
    assert spelt_out_rankings(groups) == spelt_out_rankings(rows)
    assert [g.id for g in groups] == list(dict.fromkeys(map(key, rows)))
    for group in groups:
        mine = [row for row in rows if key(row) == group.id]
        texts = [r.messages[0].content for row in mine for r in row.responses]
        assert [r.messages[0].content for r in group.responses] == list(dict.fromkeys(texts))
        assert group.source == mine[0].source
    assert group_by_prompt(groups) == groups


def test_three_rows_of_a_prompt_are_one_group_of_three_responses() -> None:
    def row(line: int, better: str, worse: str) -> Group:
        source = Source("f.jsonl", line)
        comparison = Comparison(0, 1, "a", margin=float(line), row=source)
        return Group(
            f"x#{line}", source, prompt_of("q"), (response(better), response(worse)), (comparison,)
        )

    (group,) = group_by_prompt([row(1, "a", "b"), row(2, "b", "c"), row(3, "c", "a")])
    assert group.responses == (response("a"), response("b"), response("c"))
    assert [(c.a, c.b, c.outcome, c.margin) for c in group.comparisons] == [
        (0, 1, "a", 1.0),
        (1, 2, "a", 2.0),
        (2, 0, "a", 3.0),
    ]
    assert [str(c.row) for c in group.comparisons] == ["f.jsonl:1", "f.jsonl:2", "f.jsonl:3"]


def test_the_first_ratings_tags_and_extra_fields_win() -> None:
    first = Group(
        "x",
        Source("f.jsonl", 1),
        prompt_of("q"),
        (response("a", ratings={"help": 1.0}, tags={"model": "m"}),),
        extra={"id": 1},
    )
    second = replace(
        first,
        responses=(response("a", ratings={"help": 2.0, "safe": 3.0}, tags={"lang": "en"}),),
        extra={"id": 2, "split": "s"},
    )
    (group,) = group_by_prompt([first, second])
    assert group.responses[0].ratings == {"help": 1.0, "safe": 3.0}
    assert group.responses[0].tags == {"model": "m", "lang": "en"}
    assert group.extra == {"id": 1, "split": "s"}


def test_tools_and_template_arguments_keep_prompts_apart() -> None:
    plain = Group("x", Source("f.jsonl", 1), prompt_of("q"), (response("a"),))
    with_tools = replace(plain, tools=({"name": "f"},))
    thinking = replace(plain, template_kwargs={"enable_thinking": True})
    assert len(group_by_prompt([plain, with_tools, thinking, plain])) == 3


def rated_row(line: int, text: str, prompt: str = "q", **ratings: float) -> Group:
    source = Source("f.jsonl", line)
    return Group(f"x#{line}", source, prompt_of(prompt), (response(text, ratings=ratings),))


def test_rated_responses_to_one_prompt_are_compared() -> None:
    rows = [
        rated_row(1, "a", help=4.0, safe=1.0),
        rated_row(2, "b", help=1.0),
        rated_row(3, "c", help=4.0, safe=0.0),
    ]
    (group,), skipped = compare_rated(rows, "help")
    assert skipped == []
    assert [r.messages[0].content for r in group.responses] == ["a", "b", "c"]
    assert [(c.a, c.b, c.outcome, c.margin) for c in group.comparisons] == [
        (0, 1, "a", 3.0),
        (0, 2, "tie", 0.0),
        (1, 2, "b", 3.0),
    ]
    assert {str(c.row) for c in group.comparisons} == {"f.jsonl:1"}
    assert group.responses[0].ratings == {"help": 4.0, "safe": 1.0}


def test_rated_rows_that_are_in_no_comparison_are_named() -> None:
    rows = [
        rated_row(1, "a", safe=1.0),
        rated_row(2, "b", help=1.0),
        rated_row(3, "b", help=2.0),
        rated_row(4, "c", help=3.0),
        rated_row(5, "a", "other", help=1.0),
        rated_row(6, "a", "other", help=1.0),
        rated_row(7, "a", "third", safe=1.0),
    ]
    (group,), skipped = compare_rated(rows, "help")
    assert [(c.a, c.b, c.outcome, c.margin) for c in group.comparisons] == [(0, 1, "b", 2.0)]
    assert group.source.line == 2
    assert sorted((source.line, reason) for source, reason in skipped) == [
        (1, UNRATED),
        (3, REPEATED),
        (5, ALONE),
        (6, REPEATED),
        (7, UNRATED),
    ]


def test_responses_without_the_rating_are_not_compared() -> None:
    group = Group(
        "x",
        Source("f.jsonl", 1),
        prompt_of("q"),
        (response("a", ratings={"help": 1.0}), response("b"), response("c", ratings={"help": 2.0})),
    )
    assert comparisons_from_ratings(group, "help") == (
        Comparison(0, 2, "b", margin=1.0, row=group.source),
    )
    assert comparisons_from_ratings(group, "safe") == ()


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(TEXTS, TEXTS, st.dictionaries(st.sampled_from(["x", "y"]), st.integers(0, 4))),
        max_size=12,
    )
)
def test_every_rated_row_is_compared_or_named(drawn: list[tuple[str, str, dict[str, int]]]) -> None:
    rows = [
        rated_row(line, text, prompt, **{name: float(value) for name, value in ratings.items()})
        for line, (prompt, text, ratings) in enumerate(drawn, start=1)
    ]
    groups, skipped = compare_rated(rows, "x")
    assert sum(len(g.responses) for g in groups) + len(skipped) == len(rows)
    first: dict[tuple[str, str], float] = {}
    for prompt, text, ratings in drawn:
        if "x" in ratings:
            first.setdefault((prompt, text), float(ratings["x"]))
    expected: Counter[tuple[str, str, str, float]] = Counter()
    for (prompt, a), (other, b) in combinations(first, 2):
        if prompt == other:
            better, worse = sorted((a, b), key=lambda text: -first[prompt, text])
            gap = abs(first[prompt, a] - first[prompt, b])
            if gap:
                expected[prompt, better, worse, gap] += 1
    found: Counter[tuple[str, str, str, float]] = Counter()
    for group in groups:
        for comparison in group.comparisons:
            texts = [group.responses[i].messages[0].content for i in (comparison.a, comparison.b)]
            of_prompt = group.prompt[0].content
            if comparison.outcome == "tie":
                assert first[of_prompt, texts[0]] == first[of_prompt, texts[1]]
                assert comparison.margin == 0
            else:
                ordered = texts if comparison.outcome == "a" else texts[::-1]
                found[of_prompt, ordered[0], ordered[1], comparison.margin or 0.0] += 1
    assert found == expected


def test_tools_that_differ_in_the_order_of_keys_are_the_same() -> None:
    def asking(line: int, tool: dict[str, object]) -> Group:
        prompt = (Message("user", "q"),)
        responses = (Response((Message("assistant", f"a {line}"),)),)
        return Group("x", Source("rows.jsonl", line), prompt, responses, tools=(tool,))

    first, second = {"type": "function", "name": "f"}, {"name": "f", "type": "function"}
    (merged,) = group_by_prompt([asking(1, first), asking(2, second)])
    assert merged.tools is not None
    assert list(merged.tools[0]) == ["type", "name"]  # As the first row writes it.
    assert len(merged.responses) == 2
    other = {"name": "g", "type": "function"}
    assert len(group_by_prompt([asking(1, first), asking(2, other)])) == 2
