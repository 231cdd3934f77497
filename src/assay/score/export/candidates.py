"""Scored rows by prompt: each answer with its reward, and which was said to be better."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from assay.data.formats import VerbatimText
from assay.data.records import Group, Response, Source, prompt_key
from assay.data.rows import BadRow
from assay.data.scorable import ScorableRow, SourceReader
from assay.data.sources import DataSource
from assay.data.strict_json import JsonObject
from assay.errors import DataError
from assay.evaluate.stored_numbers import scores


@dataclass(slots=True)
class Candidates:
    """A prompt with all its distinct answers, in the order in which the rows name them.

    Attributes:
        group: the first row of the prompt; says what stands before an answer.
        responses: the answers.
        rewards: of each answer.
        labels: comparisons that the rows hold, as places of the better and the worse answer.
    """

    group: Group
    responses: list[Response] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    labels: list[tuple[int, int]] = field(default_factory=list)
    _place: dict[str, int] = field(default_factory=dict)

    def add(self, group: Group, rewards: list[float]) -> None:
        """Take in a row of the same prompt."""
        at = [self._add(*one) for one in zip(group.responses, rewards, strict=True)]
        for comparison in group.comparisons:
            pair = comparison.winner_loser
            if pair is not None and at[pair[0]] != at[pair[1]]:
                self.labels.append((at[pair[0]], at[pair[1]]))

    def _add(self, response: Response, reward: float) -> int:
        key = prompt_key(response.messages)
        if key not in self._place:
            self._place[key] = len(self.responses)
            self.responses.append(response)
            self.rewards.append(reward)
        return self._place[key]


def read_candidates(source: DataSource) -> list[Candidates]:
    """The prompts of a file that `assay score` wrote, in the order of their first rows.

    Raises:
        DataError: a row cannot be read, has no scores, or other ones than its answers need.
    """
    found: dict[str, Candidates] = {}
    for group, rewards in rewards_by_row(SourceReader(source)):
        found.setdefault(group.key, Candidates(group)).add(group, rewards)
    return list(found.values())


def rewards_by_row(
    rows: Iterable[ScorableRow | BadRow],
) -> Iterator[tuple[Group, list[float]]]:
    """Each row of a file that `assay score` wrote, and the rewards of its answers.

    Raises:
        DataError: as `read_candidates`.
    """
    for row in rows:
        if isinstance(row, BadRow):
            raise DataError(row.what, where=row.source, mend=row.mend)
        place, fields, item = row
        if isinstance(item, VerbatimText):
            raise DataError(
                "is a verbatim text, which has no prompt apart from its answer",
                where=place,
                mend="score rows with prompts and answers",
            )
        yield item, _rewards(fields, place, len(item.responses))


def _rewards(fields: JsonObject, place: Source, count: int) -> list[float]:
    scored = fields.get("assay")
    if not isinstance(scored, dict) or "scores" not in scored:
        raise DataError(
            "the row has no rewards under assay.scores",
            where=place,
            mend="give a file that `assay score` wrote, without --style messages",
        )
    try:
        return [*scores(scored, "scores", count)]
    except DataError as error:
        mend = "score it again, and export with the same --format"
        raise DataError(error.what, where=place, mend=mend) from None
