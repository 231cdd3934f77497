"""What is asked, as bodies of requests: equal prompts together, no body longer than it should be.

A request that is refused because of one item is asked again without it; one that is refused for
its size is asked again in two halves.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

from assay.client.failures import RewardError
from assay.errors import DataError

Message = Mapping[str, Any]
Prompt = str | Sequence[Message]
"""The user's words, or the messages up to the answer."""
Response = str | Message | Sequence[Message]
"""The answer's words, a message, or several."""

_ITEM = re.compile(r"(responses|texts)\[(\d+)\]")
_SIZES = ("max_body_bytes", "max_responses", "max_request_tokens")
_TOO_LARGE = 413


@dataclass(frozen=True, slots=True)
class Question:
    """One request.

    Attributes:
        about: the body without its items.
        field: what the body calls them: `responses` or `texts`.
        items: what wants a reward each.
        places: of the items in the call.
        label: what the caller calls the items.
    """

    about: Mapping[str, Any]
    field: str
    items: tuple[Any, ...]
    places: tuple[int, ...]
    label: str

    def body(self) -> bytes:
        """As JSON.

        Raises:
            RewardError: an item is none.
        """
        try:
            text = json.dumps(
                {**self.about, self.field: self.items}, ensure_ascii=False, allow_nan=False
            )
            return text.encode()
        except (TypeError, ValueError, RecursionError) as error:  # A lone surrogate is a ValueError
            raise RewardError(
                f"cannot be written as JSON ({type(error).__name__})",
                mend="give texts, and messages with texts",
            ) from None

    def part(self, first: int, behind: int) -> Question:
        """Some of its items."""
        return replace(self, items=self.items[first:behind], places=self.places[first:behind])

    def failed(self, error: RewardError, item: int = 0) -> RewardError:
        """An error of an item of this request, as the caller counts."""
        return error.at(self.label, self.places[item])


def after_refusal(question: Question, error: RewardError) -> tuple[list[Question], int | None]:
    """What to ask instead of a refused request, and the item that it was refused for.

    Without either, the request as a whole cannot be answered.
    """
    count = len(question.items)
    found = _ITEM.fullmatch(error.param or "")
    if found and found[1] == question.field and int(found[2]) < count:
        item = int(found[2])
        rest = replace(
            question,
            items=question.items[:item] + question.items[item + 1 :],
            places=question.places[:item] + question.places[item + 1 :],
        )
        return [rest] if rest.items else [], item
    large = error.status == _TOO_LARGE or any(f"({name})" in error.what for name in _SIZES)
    if large and count > 1:
        return [question.part(0, count // 2), question.part(count // 2, count)], None
    return [], None


def questions(
    prompts: Prompt | Sequence[Prompt],
    responses: Sequence[Response],
    about: Mapping[str, Any],
    size: int,
) -> list[Question]:
    """Requests for responses to one prompt, or to a prompt each.

    Args:
        prompts: one, or one for each response; equal ones are asked together.
        responses: in the order of the rewards.
        about: other fields of each body.
        size: responses of one request.

    Raises:
        DataError: they do not fit together.
    """
    single = _is_prompt(prompts)
    for name, value in (("responses", responses), *([] if single else [("prompts", prompts)])):
        if not _is_list(value):
            raise DataError(
                f"{name} is {_kind(value)}, not a list",
                mend="give a list of responses, and one prompt for all or a list with one for each",
            )
    # By their order: a column of a table that was sorted gives by number what stood there before.
    responses = list(responses)
    given: Sequence[Any] = [prompts] * len(responses) if single else list(prompts)
    if len(given) != len(responses):
        raise DataError(
            f"{len(responses)} responses for {len(given)} prompts",
            mend="give a prompt for each response, or one prompt for all",
        )
    label = "responses" if single else "prompts"
    together: dict[str, list[int]] = {}
    bodies: dict[str, dict[str, Any]] = {}
    for place, prompt in enumerate(given):
        body = _of_prompt(prompt, f"prompts[{place}]")
        name = json.dumps(body, sort_keys=True, default=repr)
        bodies.setdefault(name, body)
        together.setdefault(name, []).append(place)
    return [
        Question(
            {**about, **bodies[name]},
            "responses",
            tuple(_response(responses[place], f"responses[{place}]") for place in cut),
            cut,
            label,
        )
        for name, places in together.items()
        for cut in _cuts(places, size)
    ]


def questions_of_texts(texts: Sequence[str], about: Mapping[str, Any], size: int) -> list[Question]:
    """Requests for whole texts, prompt and response in a template.

    Raises:
        DataError: they are no texts.
    """
    if not _is_list(texts) or not all(isinstance(text, str) for text in texts):
        raise DataError("texts is no list of texts", mend="give a list")
    given = list(texts)
    return [
        Question(about, "texts", tuple(given[place] for place in cut), cut, "texts")
        for cut in _cuts(range(len(given)), size)
    ]


def _cuts(places: Sequence[int], size: int) -> Iterator[tuple[int, ...]]:
    for first in range(0, len(places), size):
        yield tuple(places[first : first + size])


def _is_list(value: object) -> bool:
    """Whether it has items by their number, as lists, arrays and columns of tables have."""
    return hasattr(value, "__len__") and not isinstance(value, str | bytes | Mapping | Set)


def _kind(value: object) -> str:
    if isinstance(value, str):
        return "one text"
    return "one message" if isinstance(value, Mapping) else f"of type {type(value).__name__}"


def _is_prompt(value: object) -> bool:
    return isinstance(value, str) or (
        isinstance(value, Sequence) and bool(value) and isinstance(value[0], Mapping)
    )


def _of_prompt(prompt: object, where: str) -> dict[str, Any]:
    if isinstance(prompt, str):
        return {"prompt": prompt}
    if not _is_prompt(prompt):
        raise DataError("is neither a text nor a list of messages", where=where, mend="mend it")
    assert isinstance(prompt, Sequence)
    return {"messages": [_message(message, where) for message in prompt]}


def _response(response: object, where: str) -> Any:
    if isinstance(response, str):
        return response
    if isinstance(response, Mapping):
        return _message(response, where)
    if isinstance(response, Sequence):
        return [_message(message, where) for message in response]
    raise DataError(
        "is neither a text, a message nor a list of messages", where=where, mend="mend it"
    )


def _message(message: object, where: str) -> dict[str, Any]:
    """Without fields that are None: tables give every row the fields of all rows."""
    if not isinstance(message, Mapping):
        raise DataError(
            "holds something that is no message",
            where=where,
            mend="of several responses to a prompt, give the prompt with each",
        )
    return {name: value for name, value in message.items() if value is not None}
