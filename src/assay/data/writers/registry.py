"""The registry of writers: each one turns a comparison of a group into a row of its schema.

What the model would read (prompt, answers, tools, template arguments) and which answer is better
is written exactly or not at all: such a comparison is left out under a reason. What is only said
about a comparison (margin, weight, tags, ...) is dropped where the schema has no place for it.
Both are counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from assay.data.nearest import did_you_mean
from assay.data.records import Comparison, Group, Response
from assay.data.strict_json import JsonObject
from assay.errors import ConfigError


class Detail(StrEnum):
    """What a schema may have no place for, though the comparison can be written."""

    MARGIN = "margin"
    WEIGHT = "weight"
    TAGS = "tags"
    RESPONSE_TAGS = "tags of answers"
    RATINGS = "ratings of answers"
    RANKING = "ranking (flattened to pairs)"
    FIELDS = "other fields of the row"
    SPACE = "space around texts (readers of this schema strip it)"
    UNUSED = "answers in no comparison"
    SEAM = "where the prompt ends (both answers begin alike)"


class LeftOut(StrEnum):
    """Why a comparison cannot be written truthfully."""

    TIE = "tie"
    NONE = "row without a comparison"
    SYSTEM = "system message"
    EMPTY_SYSTEM = "empty system message"
    TURNS = "prompt of several turns"
    ROLE = "role that the schema does not know"
    ALTERNATION = "turns that do not alternate"
    ANSWER = "answer that is not one plain assistant message"
    OPENING = "answer that begins with another role than the assistant's or a tool's"
    REPEATED = "answer that repeats the prompt"
    PARTS = "message with tool calls, reasoning or further keys"
    TOOLS = "tools"
    BARE_TOOLS = "tools that readers of this schema wrap (without a 'function')"
    ARGUMENTS = "template arguments"
    IDENTICAL = "identical answers"
    BLANK = "prompt of white space"
    MARKS = "message that holds the mark of a turn"


Row = Callable[[Group, Comparison], JsonObject]
"""Writes a comparison that has a winner and is not refused."""

Refusal = Callable[[Group, Comparison], LeftOut | None]
"""Why the schema cannot hold a comparison that has a winner; None where it can."""

MoreLosses = Callable[[Group, Comparison], Iterable[Detail]]


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a group: rows, and an account of its comparisons.

    `left_out` counts comparisons that no row holds, `lost` the written ones that lack a detail.
    """

    rows: list[JsonObject] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Writer:
    """One target schema; with `whole_groups` a group is one row, and needs no comparison."""

    name: str
    write: Callable[[Group], Written]
    whole_groups: bool = False


_REGISTRY: dict[str, Writer] = {}


def register_writer(
    name: str,
    *,
    keeps: Iterable[Detail] = (),
    refuses: Refusal,
    also_loses: MoreLosses = lambda group, comparison: (),
) -> Callable[[Row], Row]:
    """Make the decorated function, which writes one comparison as one row, known as a target.

    Args:
        name: what `--to` calls it.
        keeps: what it holds besides prompt, answers and outcome.
        refuses: why it cannot hold a comparison; ties are never asked about.
        also_loses: what it loses of a comparison beyond all that it does not keep.
    """
    kept = frozenset(keeps)

    def register(row: Row) -> Row:
        def write(group: Group) -> Written:
            written = Written()
            if not group.comparisons:
                written.left_out[LeftOut.NONE] += 1
            for comparison in group.comparisons:
                tied = comparison.winner_loser is None
                reason = LeftOut.TIE if tied else refuses(group, comparison)
                if reason is not None:
                    written.left_out[reason] += 1
                    continue
                written.rows.append(row(group, comparison))
                gone = (details(group, comparison) - kept) | set(also_loses(group, comparison))
                written.lost.update(detail.value for detail in gone)
            return written

        _REGISTRY[name] = Writer(name, write)
        return row

    return register


def register_group_writer(
    name: str,
) -> Callable[[Callable[[Group], JsonObject]], Callable[[Group], JsonObject]]:
    """Make the decorated function, which writes a whole group as one row, known as a target."""

    def register(row: Callable[[Group], JsonObject]) -> Callable[[Group], JsonObject]:
        def write(group: Group) -> Written:
            return Written([row(group)])

        _REGISTRY[name] = Writer(name, write, whole_groups=True)
        return row

    return register


def get_writer(name: str, others: Iterable[str] = ()) -> Writer:
    """The writer of a name.

    Args:
        name: what the user asks for.
        others: further names that the command knows, for the message.

    Raises:
        ConfigError: there is none.
    """
    if name not in _REGISTRY:
        names = sorted([*_REGISTRY, *others])
        raise ConfigError(
            f"unknown target '{name}'",
            where="--to",
            mend=f"{did_you_mean(name, names)}known: {', '.join(names)}",
        )
    return _REGISTRY[name]


def answers(group: Group, comparison: Comparison) -> tuple[Response, Response]:
    """The better and the worse answer of a comparison that has a winner.

    Raises:
        ValueError: it is a tie.
    """
    pair = comparison.winner_loser
    if pair is None:
        raise ValueError("a tie has no better answer")
    return group.responses[pair[0]], group.responses[pair[1]]


def details(group: Group, comparison: Comparison) -> frozenset[Detail]:
    """What is said about a comparison besides prompt, answers and outcome."""
    pair = [group.responses[index] for index in (comparison.a, comparison.b)]
    said = {
        Detail.MARGIN: comparison.margin is not None,
        Detail.WEIGHT: comparison.weight != 1 or group.weight != 1,
        Detail.TAGS: bool(comparison.tags),
        Detail.RESPONSE_TAGS: any(response.tags for response in pair),
        Detail.RATINGS: any(response.ratings for response in pair),
        Detail.RANKING: bool(group.rankings),
        Detail.FIELDS: bool(group.extra),
    }
    return frozenset(detail for detail, is_said in said.items() if is_said)


def unused_answers(group: Group) -> int:
    """How many answers of a group are in none of its comparisons."""
    used = {index for comparison in group.comparisons for index in (comparison.a, comparison.b)}
    return len(group.responses) - len(used)
