"""Grouping keeps every comparison and every message, and merges exactly what is the same."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from assay.data.grouping import group_by_prompt
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
            (str(c.row), key(g), g.responses[c.a].messages, g.responses[c.b].messages, c.outcome)
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
