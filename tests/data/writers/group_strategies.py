"""Groups of every kind that the formats give, for property tests."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from assay.data.records import Comparison, Group, Message, Ranking, Response, Source, prompt_key

HERE = Source("rows.jsonl", 7)

texts = st.one_of(
    st.sampled_from(["", "q", "a", " a", "a\n", "b", "\n\nHuman: x", "\n\nAssistant:", "\n", "问"]),
    st.text(st.characters(codec="utf-8"), max_size=8),
)
names = st.text("abc", min_size=1, max_size=3)
numbers = st.floats(-5, 5, allow_nan=False)
tool: dict[str, Any] = {"type": "function", "function": {"name": "add"}}
call: dict[str, Any] = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}


def rarely(value: Any, otherwise: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from([otherwise] * 5 + [value])


def messages(*roles: str) -> st.SearchStrategy[Message]:
    return st.builds(
        Message,
        st.sampled_from(roles),
        texts,
        tool_calls=rarely((call,), ()),
        reasoning_content=rarely("hm", None),
        extra=rarely({"name": "n"}, {}),
    )


last = messages("assistant")
plain_answers = st.builds(lambda text: (Message("assistant", text),), texts)
long_answers = st.builds(
    lambda first, end: (*first, end),
    st.lists(messages("assistant", "tool", "user"), max_size=2),
    last,
)
responses = st.builds(
    Response,
    st.one_of(plain_answers, plain_answers, long_answers),
    ratings=rarely({"helpful": 2.0}, {}),
    tags=rarely({"model": "m"}, {}),
)
plain_prompts = st.builds(
    lambda system, turns, end: (*system, *turns, end),
    rarely((Message("system", "be kind"),), ()),
    st.one_of(
        st.just(()),
        st.builds(lambda q, a: (Message("user", q), Message("assistant", a)), texts, texts),
    ),
    st.builds(Message, st.just("user"), texts),
)
free_prompts = st.lists(
    messages("system", "developer", "user", "assistant", "tool"), min_size=1, max_size=3
).map(tuple)
prompts = st.one_of(plain_prompts, plain_prompts, free_prompts).filter(
    lambda turns: any(turn.content.strip() or turn.tool_calls for turn in turns)
)
tags = st.one_of(
    st.just({}),
    st.dictionaries(st.sampled_from(["pos_type", "neg_type", "source"]), names, max_size=2),
    st.just({"pos_type": " x"}),
)


@st.composite
def groups(draw: st.DrawFn, max_comparisons: int = 3) -> Group:
    """A group as a format could have read it."""
    answers = tuple(draw(st.lists(responses, min_size=2, max_size=3)))
    places = st.permutations(range(len(answers)))
    comparisons = []
    for _ in range(draw(st.integers(min(1, max_comparisons), max_comparisons))):
        a, b, *_ = draw(places)
        comparisons.append(
            Comparison(
                a,
                b,
                draw(st.sampled_from(["a", "b", "a", "b", "tie"])),
                margin=draw(st.one_of(st.none(), numbers)),
                weight=draw(rarely(0.5, 1.0)),
                tags=draw(tags),
                row=HERE,
            )
        )
    prompt = draw(prompts)
    tools = draw(st.sampled_from([None] * 5 + [(tool,), (tool, {"name": "bare"})]))
    arguments = draw(rarely({"enable_thinking": False}, {}))
    ranking: tuple[Ranking, ...] = (tuple((index,) for index in range(len(answers))),)
    return Group(
        id=f"{prompt_key(prompt, tools, arguments)}#7",
        source=HERE,
        prompt=prompt,
        responses=answers,
        comparisons=tuple(comparisons),
        tools=tools,
        template_kwargs=arguments,
        rankings=draw(rarely(ranking, ())),
        weight=draw(rarely(2.0, 1.0)),
        extra=draw(rarely({"id": 3, "note": None}, {})),
    )


@st.composite
def plain_groups(draw: st.DrawFn) -> Group:
    """A question, two plain answers and which is better: what every schema holds."""
    question = draw(texts.filter(str.strip))
    better, worse = draw(st.lists(texts, min_size=2, max_size=2, unique_by=str.strip))
    prompt = (Message("user", question),)
    return Group(
        id=f"{prompt_key(prompt)}#7",
        source=HERE,
        prompt=prompt,
        responses=tuple(Response((Message("assistant", text),)) for text in (better, worse)),
        comparisons=(Comparison(0, 1, draw(st.sampled_from(["a", "b"])), row=HERE),),
    )
