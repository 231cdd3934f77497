"""The one record type: a group is one prompt, its responses, and what is known about them.

Everything that Assay reads becomes a `Group`; training, evaluation and scoring start from it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Literal

Outcome = Literal["a", "b", "tie"]

ROLES = ("system", "developer", "user", "assistant", "tool")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a row came from: the file as the user named it and the 1-based line (or row) in it."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"

    @classmethod
    def read(cls, text: str) -> Source:
        """What `str` gave."""
        file, _, line = text.rpartition(":")
        return cls(file, int(line))


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation, in OpenAI's words."""

    role: str
    content: str
    tool_calls: tuple[dict[str, Any], ...] = ()
    reasoning_content: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    """Further keys that chat templates read (`name`, `tool_call_id`, ...)."""

    @property
    def is_plain(self) -> bool:
        """Whether it is a role and a text and nothing else, as nearly all are."""
        return not (self.tool_calls or self.extra) and self.reasoning_content is None

    def as_dict(self) -> dict[str, Any]:
        """The message as chat templates and JSON files hold it; absent parts are left out."""
        message: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.is_plain:
            return message
        if self.tool_calls:
            message["tool_calls"] = list(self.tool_calls)
        if self.reasoning_content is not None:
            message["reasoning_content"] = self.reasoning_content
        return message | self.extra


@dataclass(frozen=True, slots=True)
class Response:
    """What follows the prompt: one or more messages, usually one assistant turn."""

    messages: tuple[Message, ...]
    ratings: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two responses of a group, as indices into `Group.responses`, and the outcome.

    `margin` is the stated strength of the preference, in the units of the data set.
    `row` is the row that the comparison came from; it survives grouping by prompt.
    """

    a: int
    b: int
    outcome: Outcome
    margin: float | None = None
    weight: float = 1.0
    tags: dict[str, str] = field(default_factory=dict)
    row: Source | None = None

    @property
    def winner_loser(self) -> tuple[int, int] | None:
        """Indices of the better and the worse response, or None for a tie."""
        if self.outcome == "tie":
            return None
        return (self.a, self.b) if self.outcome == "a" else (self.b, self.a)


Ranking = tuple[tuple[int, ...], ...]
"""Best first; responses of equal rank stand in one inner tuple."""


@dataclass(frozen=True, slots=True)
class Group:
    """One prompt (messages, optional tools), its responses, and the comparisons between them.

    `id` is stable: a hash of the prompt and tools, or the one that the data gives.
    `extra` keeps the fields of the row that no format needed.
    """

    id: str
    source: Source
    prompt: tuple[Message, ...]
    responses: tuple[Response, ...]
    comparisons: tuple[Comparison, ...] = ()
    tools: tuple[dict[str, Any], ...] | None = None
    template_kwargs: dict[str, Any] = field(default_factory=dict)
    rankings: tuple[Ranking, ...] = ()
    weight: float = 1.0
    extra: dict[str, Any] = field(default_factory=dict)
    left_out: str | None = None
    """Why training and evaluation leave the row out, where its format says so."""
    _key: str | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def key(self) -> str:
        """`prompt_key` of the group; computed once."""
        return (
            self._key
            or self.with_key(prompt_key(self.prompt, self.tools, self.template_kwargs)).key
        )

    def with_key(self, key: str) -> Group:
        """This group, its `key` known from elsewhere."""
        object.__setattr__(self, "_key", key)
        return self

    def __post_init__(self) -> None:
        count = len(self.responses)
        for comparison in self.comparisons:
            if not (0 <= comparison.a < count and 0 <= comparison.b < count):
                raise ValueError(f"{self.source}: a comparison names a response out of {count}")


_encode = json.JSONEncoder(sort_keys=True, ensure_ascii=False, default=str).encode


def prompt_key(
    prompt: tuple[Message, ...],
    tools: tuple[dict[str, Any], ...] | None = None,
    template_kwargs: dict[str, Any] | None = None,
) -> str:
    """A 128-bit hash of all that the model reads before a response."""
    if not tools and not template_kwargs and all(message.is_plain for message in prompt):
        # Lengths first, so that no content looks like two messages.
        text = "".join(f"{len(m.role)} {len(m.content)} {m.role}{m.content}" for m in prompt)
    else:
        shown = [message.as_dict() for message in prompt]
        text = _encode([shown, list(tools or ()), template_kwargs or {}])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
