"""Groups as token ids: what goes is counted under its reason, what stays is as it was."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.data.encoding import EncodedData, encode_groups
from assay.data.records import Comparison, Group, Message, Response, Source
from assay.data.rendering import Renderer
from assay.data.templates import ResolvedTemplate
from assay.errors import DataError

END = "<|im_end|>"
TEMPLATE = "{{ messages[0].content }}:{{ messages[1].content | trim }}{{ eos_token }}"
"""One byte is one token in these tests' letters; with the colon and the end, 2 tokens more.

It trims the answer, as many chat templates do: two different answers can become one sequence.
"""


def row(line: int) -> Source:
    return Source("rows.jsonl", line)


def group_of(
    responses: list[str],
    pairs: list[tuple[int, int]],
    *,
    prompt: str = "p",
    **parts: Any,
) -> Group:
    """Comparisons stand on lines 1, 2, ... in the order of `pairs`."""
    return Group(
        id="1",
        source=row(1),
        prompt=(Message("user", prompt),),
        responses=tuple(Response((Message("assistant", text),)) for text in responses),
        comparisons=tuple(Comparison(a, b, "a", row=row(n)) for n, (a, b) in enumerate(pairs, 1)),
        **parts,
    )


def encode(
    tokenizer: Any,
    groups: list[Group],
    *,
    max_length: int = 8,
    over_length: Literal["drop", "error"] = "drop",
) -> EncodedData:
    renderer = Renderer(tokenizer, ResolvedTemplate("test", TEMPLATE))
    return encode_groups(groups, renderer, max_length=max_length, over_length=over_length)


def skipped(data: EncodedData) -> list[tuple[str, str]]:
    return [(str(row.source), row.reason) for row in data.skipped]


def texts(group: Group) -> list[str]:
    return [response.messages[0].content for response in group.responses]


def test_a_sequence_is_the_rendered_prompt_and_response(tiny_tokenizer: Any) -> None:
    data = encode(tiny_tokenizer, [group_of(["x", "zz"], [(0, 1)])])
    expected = [tiny_tokenizer(f"p:{text}{END}")["input_ids"] for text in ("x", "zz")]
    assert [list(ids) for ids in data.groups[0].sequences] == expected
    assert data.groups[0].num_tokens == sum(map(len, expected)) == 9  # 1 + 1 + 1 + 1, and one more
    assert data.groups[0].comparisons == data.groups[0].group.comparisons
    assert (data.num_comparisons, data.skipped) == (1, [])


@pytest.mark.parametrize(("max_length", "kept"), [(8, 1), (7, 0)])
def test_the_limit_is_reached_exactly(tiny_tokenizer: Any, max_length: int, kept: int) -> None:
    # p : + 5 letters + end = 8 tokens
    data = encode(tiny_tokenizer, [group_of(["xxxxx", "z"], [(0, 1)])], max_length=max_length)
    assert data.num_comparisons == kept
    assert skipped(data) == ([] if kept else [("rows.jsonl:1", "over 7 tokens")])


def test_over_length_error_names_the_row_the_length_and_the_mend(tiny_tokenizer: Any) -> None:
    # The row with the long answer is the second of two that share the prompt.
    group = group_of(["x", "z", "y" * 6], [(0, 1), (0, 2)])
    with pytest.raises(DataError) as caught:
        encode(tiny_tokenizer, [group], over_length="error")
    assert str(caught.value) == (
        "rows.jsonl:2: a response has 9 tokens with its prompt, more than max_length 8; "
        "raise max_length, or set over_length to drop"
    )
    assert encode(tiny_tokenizer, [group], max_length=9, over_length="error").num_comparisons == 2


# T15: a pair that is one sequence teaches nothing (loss ln 2, gradient 0).
def test_pairs_that_are_identical_after_rendering_go_and_are_counted(tiny_tokenizer: Any) -> None:
    group = group_of(["x", " x\n", "z"], [(0, 1), (0, 2), (1, 2)])
    data = encode(tiny_tokenizer, [group])
    assert skipped(data) == [("rows.jsonl:1", "identical after rendering")]
    assert [(c.a, c.b) for c in data.groups[0].comparisons] == [(0, 2), (1, 2)]


# T15 and T21: also the only pair of a group, which then goes as a whole.
def test_a_group_goes_with_its_last_comparison(tiny_tokenizer: Any) -> None:
    data = encode(tiny_tokenizer, [group_of(["x", "x "], [(0, 1)]), group_of(["x", "z"], [(0, 1)])])
    assert len(data.groups) == 1
    assert skipped(data) == [("rows.jsonl:1", "identical after rendering")]


# T15: where both hold, the length comes first, because nothing was cut to make them equal.
def test_identical_and_too_long_is_counted_once(tiny_tokenizer: Any) -> None:
    data = encode(tiny_tokenizer, [group_of(["x" * 9, "x" * 9 + " "], [(0, 1)])])
    assert skipped(data) == [("rows.jsonl:1", "over 8 tokens")]


# T16 and T18: nothing is cut; what does not fit goes, and others of the group stay.
def test_a_group_loses_a_response_and_keeps_the_others(tiny_tokenizer: Any) -> None:
    group = group_of(
        ["a", "b" * 9, "c", "d"],
        [(3, 0), (1, 2), (2, 3), (0, 1)],
        rankings=(((3,), (1, 2), (0,)), ((1,), (0, 2))),
        weight=0.5,
        extra={"k": 1},
    )
    data = encode(tiny_tokenizer, [group])
    (kept,) = data.groups
    assert texts(kept.group) == ["a", "c", "d"]  # old indices 0, 2, 3 are now 0, 1, 2
    assert [(c.a, c.b, c.row) for c in kept.comparisons] == [(2, 0, row(1)), (1, 2, row(3))]
    assert kept.group.rankings == (((2,), (1,), (0,)), ((0, 1),))
    assert (kept.group.weight, kept.group.extra) == (0.5, {"k": 1})
    assert skipped(data) == [("rows.jsonl:2", "over 8 tokens"), ("rows.jsonl:4", "over 8 tokens")]


def test_a_response_in_no_comparison_that_is_left_goes(tiny_tokenizer: Any) -> None:
    data = encode(tiny_tokenizer, [group_of(["a", "b", "c" * 9], [(0, 1), (1, 2)])])
    unused = encode(tiny_tokenizer, [group_of(["a", "b", "c"], [(2, 0)])])
    assert texts(data.groups[0].group) == ["a", "b"]
    assert texts(unused.groups[0].group) == ["a", "c"]


def test_a_group_without_comparisons_goes_with_a_number(tiny_tokenizer: Any) -> None:
    data = encode(tiny_tokenizer, [group_of(["a", "b"], [])])
    assert (data.groups, skipped(data)) == ([], [("rows.jsonl:1", "no comparison")])


def test_a_comparison_without_a_row_is_counted_at_its_group(tiny_tokenizer: Any) -> None:
    group = group_of(["a", "b" * 9], [(0, 1)])
    group = replace(group, comparisons=(replace(group.comparisons[0], row=None),), source=row(77))
    assert skipped(encode(tiny_tokenizer, [group])) == [("rows.jsonl:77", "over 8 tokens")]


# T11: the last tokens of all that is kept, so that a wrong end shows.
def test_last_tokens_and_written_out_specials_are_counted(tiny_tokenizer: Any) -> None:
    groups = [
        group_of(["a", f"b{END}"], [(0, 1)]),
        group_of(["c", "d"], [(0, 1)]),
        group_of(["e", "f" * 99], [(0, 1)]),
    ]
    data = encode(tiny_tokenizer, groups, max_length=20)
    assert data.last_tokens == Counter({tiny_tokenizer.eos_token_id: 4})
    assert data.specials_in_content == 1


def test_all_rows_that_the_template_refuses_are_found_in_one_pass(tiny_tokenizer: Any) -> None:
    refuses = "{%- if 'no' in messages[1].content -%}{{ raise_exception('no') }}{%- endif -%}"
    renderer = Renderer(tiny_tokenizer, ResolvedTemplate("test", refuses + TEMPLATE))
    groups = [
        group_of(["x", "z", "no"], [(0, 1), (0, 2)]),
        group_of(["x", "no"], [(0, 1)]),
        group_of(["x", "z"], [(0, 1)]),
    ]
    with pytest.raises(DataError, match=r"2 bad rows: rows\.jsonl:2, rows\.jsonl:1: "):
        encode_groups(groups, renderer, max_length=50)
    data = encode_groups(groups, renderer, max_length=50, on_bad_row="skip")
    assert [str(row.source) for row in data.bad_rows] == ["rows.jsonl:2", "rows.jsonl:1"]
    assert [len(group.sequences) for group in data.groups] == [2, 2]


ANSWERS = st.sampled_from(["", "a", "a ", " a", "b", "bb", "b" * 5, "b" * 6, "c" * 9, f"d{END}"])


@st.composite
def any_groups(draw: st.DrawFn) -> list[Group]:
    groups = []
    for line in range(1, draw(st.integers(0, 5)) + 1):
        answers = draw(st.lists(ANSWERS, min_size=1, max_size=4))
        place = st.integers(0, len(answers) - 1)
        ranks = st.lists(st.permutations(range(len(answers))), max_size=2)
        groups.append(
            Group(
                id=str(line),
                source=Source("groups", line),
                prompt=(Message("user", draw(st.sampled_from(["p", "pppp"]))),),
                responses=tuple(Response((Message("assistant", text),)) for text in answers),
                comparisons=tuple(
                    Comparison(
                        draw(place), draw(place), draw(st.sampled_from(["a", "b", "tie"])),
                        tags={"n": str(number)}, row=Source(f"group{line}", number),
                    )
                    for number in range(draw(st.integers(0, 4)))
                ),
                rankings=tuple(tuple((i,) for i in order) for order in draw(ranks)),
            )
        )  # fmt: skip
    return groups


@settings(max_examples=150, deadline=None)
@given(groups=any_groups())
def test_every_comparison_is_kept_as_it_was_or_counted(
    tiny_tokenizer: Any, groups: list[Group]
) -> None:
    data = encode(tiny_tokenizer, groups)
    # Each comparison stands on a row of its own, so rows tell them apart.
    before = {
        c.row: (texts(g)[c.a], texts(g)[c.b], c.outcome, c.tags)
        for g in groups
        for c in g.comparisons
    }
    after = {
        c.row: (texts(g.group)[c.a], texts(g.group)[c.b], c.outcome, c.tags)
        for g in data.groups
        for c in g.comparisons
    }
    gone = Counter(item.source for item in data.skipped if item.reason != "no comparison")
    assert Counter(list(after)) + gone == Counter(list(before))
    assert all(before[row] == what for row, what in after.items())
    assert data.num_comparisons == len(after)
    without = [item.source for item in data.skipped if item.reason == "no comparison"]
    assert without == [g.source for g in groups if not g.comparisons]
    assert [g.group.id for g in data.groups] == [
        g.id for g in groups if any(c.row in after for c in g.comparisons)
    ]
    rendering = Renderer(tiny_tokenizer, ResolvedTemplate("test", TEMPLATE))
    originals = {g.id: g for g in groups}
    for encoded in data.groups:
        assert len(encoded.sequences) == len(encoded.group.responses)
        assert all(len(ids) <= 8 for ids in encoded.sequences)
        for index, ids in enumerate(encoded.sequences):
            assert ids == rendering.render(encoded.group, index).ids
        for c in encoded.comparisons:
            assert encoded.sequences[c.a] != encoded.sequences[c.b]
        check_rankings(originals[encoded.group.id], encoded.group)
    assert sum(data.last_tokens.values()) == sum(len(g.sequences) for g in data.groups)


def check_rankings(before: Group, after: Group) -> None:
    """A kept ranking is the old one, without the responses that went, in the same order."""
    kept = {id(response) for response in after.responses}
    for old, new in zip(before.rankings, after.rankings, strict=True):
        expected = [before.responses[i] for rank in old for i in rank]
        expected = [response for response in expected if id(response) in kept]
        assert [after.responses[i] for rank in new for i in rank] == expected
        assert all(new)
