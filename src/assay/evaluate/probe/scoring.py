"""Rewards of answers and of what transforms make of them: one tree a prompt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from assay.data.encoding import EncodedGroup, rendered_or_refused
from assay.data.loading import SkippedRow
from assay.data.records import Group, Message, Response, Source
from assay.data.rendering import Rendered, TokenIds
from assay.errors import AssayError
from assay.evaluate.probe.subjects import Base, Subject
from assay.evaluate.probe.transforms import Transform

if TYPE_CHECKING:
    from assay.model.reward_model import RewardModel

_WINDOW = 16
"""Prompts scored together; each brings a dozen answers or more."""


@dataclass(frozen=True, slots=True)
class Original:
    """An answer as it stands in the data.

    `prompt` numbers the probed prompts; `margins` are those over the responses that it beat.
    """

    row: Source
    prompt: int
    key: str
    text: str
    reward: float
    tokens: int
    margins: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Changed:
    """A transformed answer. `same` says that the model reads exactly what it read before."""

    original: Original
    transform: str
    text: str
    reward: float
    tokens: int
    same: bool

    @property
    def shift(self) -> float:
        """How far the reward moved; up is positive."""
        return self.reward - self.original.reward


@dataclass(slots=True)
class Probed:
    """What was scored, and what was not.

    Attributes:
        originals: in the order of the rows.
        changed: of each original, in the order of the transforms.
        left_out: of each transform, how many originals by the reason why it is not in `changed`.
        skipped: answers that are not among `originals`.
    """

    originals: list[Original] = field(default_factory=list)
    changed: list[Changed] = field(default_factory=list)
    left_out: dict[str, Counter[str]] = field(default_factory=dict)
    skipped: list[SkippedRow] = field(default_factory=list)


@dataclass(slots=True)
class _Places:
    """Where the answers that belong to a base stand in the group that is scored.

    `lacking` holds of each transform that could not be applied the reason.
    """

    base: Base
    original: int
    changed: dict[str, int] = field(default_factory=dict)
    lacking: dict[str, str] = field(default_factory=dict)
    beaten: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _Plan:
    """All responses of one prompt, those of the data and the transformed ones."""

    group: Group
    places: list[_Places]


def score_subjects(
    model: RewardModel,
    subjects: Sequence[Subject],
    transforms: Sequence[Transform],
    *,
    max_length: int,
    progress: Callable[[int], object] = lambda prompts: None,
) -> Probed:
    """Apply every transform to every answer and score all of them.

    What is over the length or refused by the template is counted; nothing is cut.

    Raises:
        ModelError: a reward is not finite.
        ResourceError: out of memory.
    """
    from assay.evaluate.evaluator import score_window
    from assay.evaluate.opening import say_what_was_read

    found = Probed(left_out={transform.name: Counter() for transform in transforms})
    specials = thoughts = 0
    for start in range(0, len(subjects), _WINDOW):
        window = subjects[start : start + _WINDOW]
        plans = [_plan(subject, transforms) for subject in window]
        pairs = [(p.group, place) for p in plans for place in range(len(p.group.responses))]
        rendered = iter(rendered_or_refused(model.renderer, pairs))
        read = [[next(rendered) for _ in plan.group.responses] for plan in plans]
        originals = [
            (plan.group.responses[places.original], text)
            for plan, row in zip(plans, read, strict=True)
            for places in plan.places
            if isinstance(text := row[places.original], Rendered)
        ]
        specials += sum(text.specials_in_content for _, text in originals)
        thoughts += sum(model.renderer.leaves_out_thoughts(x, t.text) for x, t in originals)
        fits = [[_ids_or_reason(text, max_length) for text in row] for row in read]
        scored = [
            EncodedGroup(plan.group, tuple(ids for ids in row if not isinstance(ids, str)))
            for plan, row in zip(plans, fits, strict=True)
        ]
        rewards = iter(score_window(model, scored, None))
        for number, (plan, row) in enumerate(zip(plans, fits, strict=True), start=start):
            values = [None if isinstance(ids, str) else next(rewards) for ids in row]
            _take(found, plan, row, values, number)
        progress(len(window))
    say_what_was_read(model, specials=specials, thoughts=thoughts)
    return found


def _plan(subject: Subject, transforms: Sequence[Transform]) -> _Plan:
    given = subject.group.responses
    responses: list[Response] = []
    plan = []
    for base in subject.bases:
        own = given[base.response]
        places = _Places(base, len(responses))
        responses.append(own)
        for transform in transforms:
            text = transform.apply(base.case)
            if text is None:
                places.lacking[transform.name] = transform.lacks
                continue
            places.changed[transform.name] = len(responses)
            responses.append(_saying(own, text))
        places.beaten = list(range(len(responses), len(responses) + len(base.beaten)))
        responses += [given[other] for other in base.beaten]
        plan.append(places)
    group = replace(subject.group, responses=tuple(responses), comparisons=(), rankings=())
    return _Plan(group, plan)


def _saying(response: Response, text: str) -> Response:
    """The response with other words in its last message."""
    last: Message = replace(response.messages[-1], content=text)
    return Response((*response.messages[:-1], last))


def _ids_or_reason(text: Rendered | AssayError, max_length: int) -> TokenIds | str:
    if isinstance(text, AssayError):
        return text.what
    return text.ids if len(text.ids) <= max_length else f"over {max_length} tokens"


def _take(
    found: Probed,
    plan: _Plan,
    fits: Sequence[TokenIds | str],
    values: Sequence[float | None],
    number: int,
) -> None:
    for places in plan.places:
        base, reward = places.base, values[places.original]
        before = fits[places.original]
        if reward is None:
            found.skipped.append(SkippedRow(base.row, str(before)))
            continue
        losers = [values[place] for place in places.beaten]
        original = Original(
            base.row,
            number,
            plan.group.key,
            base.case.answer,
            reward,
            len(before),
            tuple(reward - loser for loser in losers if loser is not None),
        )
        found.originals.append(original)
        for name, reason in places.lacking.items():
            found.left_out[name][reason] += 1
        for name, place in places.changed.items():
            value, ids = values[place], fits[place]
            if value is None:
                found.left_out[name][str(ids)] += 1
                continue
            text = plan.group.responses[place].messages[-1].content
            changed = Changed(original, name, text, value, len(ids), same=ids == before)
            found.changed.append(changed)
