"""The answers that are probed: the best ones of some prompts, and what is put in their place."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from assay.data.audit.texts import script_of
from assay.data.loading import SkippedRow
from assay.data.prompts import normalised_prompt_hash
from assay.data.records import Group, Response, Source
from assay.data.rendering import row_of
from assay.evaluate.probe.transforms import Case

NO_TEXT = "an answer without text"


@dataclass(frozen=True, slots=True)
class Base:
    """An answer that is transformed.

    Attributes:
        row: where it stands.
        response: its place in the group.
        case: what transforms are given.
        beaten: the responses that it is preferred to, by a comparison of the data.
    """

    row: Source
    response: int
    case: Case
    beaten: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Subject:
    """A prompt and its answers that are probed."""

    group: Group
    bases: tuple[Base, ...]


@dataclass(frozen=True, slots=True)
class _Answer:
    prompt: bytes
    key: str
    text: str


@dataclass(slots=True)
class _Answers:
    """All best answers of the data by script, in their order."""

    by_script: dict[str, list[_Answer]] = field(default_factory=dict)

    def elsewhere(self, own: _Answer, script: str, seed: int) -> str | None:
        """An answer to a prompt that asks something else, in the same script."""
        return _drawn(self.by_script.get(script, ()), own, seed, own_prompt=False)

    def foreign(self, own: _Answer, script: str, seed: int) -> str | None:
        """An answer in another script: to the same prompt if there is one, else to any."""
        others = [
            answer
            for name in sorted(self.by_script)
            if name not in (script, "none", "mixed")
            for answer in self.by_script[name]
        ]
        if script in ("none", "mixed"):
            return None
        same = next((other.text for other in others if other.prompt == own.prompt), None)
        return same if same is not None else _drawn(others, own, seed, own_prompt=True)


def best_responses(group: Group) -> list[int]:
    """The response with most wins less losses; each response where no comparison is decided."""
    net: dict[int, int] = {}
    for comparison in group.comparisons:
        if comparison.winner_loser is not None:
            winner, loser = comparison.winner_loser
            net[winner] = net.get(winner, 0) + 1
            net[loser] = net.get(loser, 0) - 1
    if not net:
        return list(range(len(group.responses)))
    return [max(sorted(net), key=lambda response: net[response])]


def subjects_of(
    groups: Sequence[Group], *, limit: int | None, seed: int
) -> tuple[list[Subject], list[SkippedRow]]:
    """What is probed, in the order of the groups, and the prompts without an answer in words.

    The prompts are drawn by the seed, and so is what stands in for an answer; which prompts and
    answers are drawn depends on nothing else but the groups.

    Args:
        groups: one of each prompt.
        limit: the number of prompts; None takes all.
        seed: draws them.
    """
    answers = _Answers()
    found: list[tuple[Group, list[tuple[int, _Answer, str]]]] = []
    skipped: list[SkippedRow] = []
    for group in groups:
        prompt = normalised_prompt_hash(group.prompt)
        own = [
            (number, _Answer(prompt, f"{group.key} {number}", text), script_of(text))
            for number in best_responses(group)
            if (text := _text(group.responses[number])) is not None
        ]
        if not own:
            skipped.append(SkippedRow(group.source, NO_TEXT))
            continue
        for _, answer, script in own:
            answers.by_script.setdefault(script, []).append(answer)
        found.append((group, own))
    drawn = sorted(range(len(found)), key=lambda place: _draw(seed, found[place][0].key))
    kept = sorted(drawn[:limit])
    return [_subject(*found[place], answers, seed) for place in kept], skipped


def _subject(
    group: Group, own: Sequence[tuple[int, _Answer, str]], answers: _Answers, seed: int
) -> Subject:
    bases = []
    for number, answer, script in own:
        case = Case(
            group.prompt,
            answer.text,
            elsewhere=answers.elsewhere(answer, script, seed),
            foreign=answers.foreign(answer, script, seed),
        )
        won = [c.winner_loser for c in group.comparisons if c.winner_loser is not None]
        beaten = tuple(dict.fromkeys(loser for winner, loser in won if winner == number))
        bases.append(Base(row_of(group, number), number, case, beaten))
    return Subject(group, tuple(bases))


def _text(response: Response) -> str | None:
    """The words of a response; None where it has none (a call of a tool, say)."""
    text = response.messages[-1].content
    return text if text.strip() else None


def _drawn(answers: Sequence[_Answer], own: _Answer, seed: int, *, own_prompt: bool) -> str | None:
    """One of some answers that is not the own one, by the seed."""
    start = _draw(seed, own.key) % max(1, len(answers))
    for step in range(len(answers)):
        other = answers[(start + step) % len(answers)]
        if other.text.strip() != own.text.strip() and (own_prompt or other.prompt != own.prompt):
            return other.text
    return None


def _draw(seed: int, key: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed} {key}".encode(), digest_size=8).digest())
