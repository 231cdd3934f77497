"""Property: what a writer writes, the format of its schema reads back, all but what it counts."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest
from group_strategies import HERE, groups, plain_groups
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay.data.formats import FormatOptions, detect_format
from assay.data.records import Comparison, Group, Message
from assay.data.strict_json import StrictDecoder
from assay.data.writers import Detail, LeftOut, get_writer

READ_AS = {
    "assay": "assay",
    "cvalues": "cvalues",
    "hh": "hh",
    "llamafactory": "llamafactory_sharegpt",
    "messages": "valued_messages",
    "ms-swift": "ms_swift",
    "nemo_rl": "nemo_rl",
    "openrlhf": "trl",
    "trl": "trl",
}
"""The format that reads the rows of each target."""
PAIRS = [name for name in READ_AS if name != "assay"]

thorough = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def read_back(target: str, row: object) -> Group:
    """The row as its file says it, read by the format that Assay finds by itself."""
    parsed = StrictDecoder().parse_all(json.dumps(row, ensure_ascii=False))
    assert parsed.flaw is None
    assert isinstance(parsed.value, dict)
    known = detect_format(parsed.value, HERE)
    assert known.name == READ_AS[target]
    group = known.read(parsed.value, HERE, FormatOptions())
    assert isinstance(group, Group)
    return group


def stripped(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    return tuple(replace(message, content=message.content.strip()) for message in messages)


def winner_first(group: Group, comparison: Comparison) -> list[tuple[Message, ...]]:
    """Both whole conversations, the better one first."""
    assert comparison.winner_loser is not None
    return [(*group.prompt, *group.responses[i].messages) for i in comparison.winner_loser]


@pytest.mark.parametrize("target", PAIRS)
def test_a_comparison_comes_back_or_is_counted(target: str) -> None:
    outcomes: Counter[str] = Counter()

    @thorough
    @given(st.one_of(groups(max_comparisons=1), plain_groups()))
    def check(group: Group) -> None:
        [comparison] = group.comparisons
        written = get_writer(target).write(group)
        assert len(written.rows) + written.left_out.total() == 1
        assert set(written.left_out) <= set(LeftOut)
        if not written.rows:
            assert not written.lost
            outcomes["left out"] += 1
            return
        outcomes["written"] += 1
        again = read_back(target, written.rows[0])
        [found] = again.comparisons
        exact = stripped if Detail.SPACE in written.lost else tuple
        conversations = [exact(turns) for turns in winner_first(group, comparison)]
        assert winner_first(again, found) == conversations
        if Detail.SEAM not in written.lost:
            assert again.prompt == exact(group.prompt)
        assert again.tools == group.tools
        assert again.template_kwargs == group.template_kwargs
        for detail, value, read in (
            (Detail.MARGIN, comparison.margin, found.margin),
            (Detail.TAGS, comparison.tags, found.tags),
        ):
            if detail not in written.lost:
                assert read == value
        assert Detail.WEIGHT in written.lost or (comparison.weight, group.weight) == (1, 1)
        assert Detail.FIELDS in written.lost or group.extra == {}
        assert Detail.RANKING in written.lost or group.rankings == ()

    check()
    assert outcomes["written"] >= 5  # The property must not hold by leaving everything out.


@pytest.mark.parametrize("target", PAIRS)
def test_every_comparison_of_a_group_is_accounted_for(target: str) -> None:
    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(groups())
    def check(group: Group) -> None:
        writer = get_writer(target)
        written = writer.write(group)
        alone = [writer.write(replace(group, comparisons=(c,))) for c in group.comparisons]
        assert written.rows == [row for one in alone for row in one.rows]
        assert len(written.rows) + written.left_out.total() == len(group.comparisons)
        assert written.lost == sum((one.lost for one in alone), Counter())

    check()


@thorough
@given(groups(), st.booleans())
def test_assays_own_rows_hold_everything(group: Group, with_comparisons: bool) -> None:
    if not with_comparisons:
        group = replace(group, comparisons=())
    written = get_writer("assay").write(group)
    assert (written.lost, written.left_out) == (Counter(), Counter())
    [row] = written.rows
    assert read_back("assay", row) == group
