"""What a request asks to have scored, whatever protocol it came by."""

from __future__ import annotations

from dataclasses import dataclass

from assay.data.records import Group
from assay.data.rendering import TokenIds

MESSAGES = "messages"
"""The field of a body that holds messages, one by one."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A prompt with responses as messages.

    Attributes:
        group: both.
        fields: how the body calls each response.
        prompt: how it calls the prompt; a list of messages where that is `messages`.
    """

    group: Group
    fields: tuple[str, ...]
    prompt: str = MESSAGES

    def field_of_turn(self, place: int) -> str:
        """How the body calls a message of the prompt."""
        return f"{self.prompt}[{place}]" if self.prompt == MESSAGES else self.prompt


@dataclass(frozen=True, slots=True)
class Text:
    """A text in somebody's template.

    Attributes:
        text: as it came.
        field: how the body calls it.
        begin: whether a begin token that the tokenizer adds to texts is wanted, once.
        prompt: what it shares with others, where the body says so.
    """

    text: str
    field: str
    begin: bool = False
    prompt: str | None = None


@dataclass(frozen=True, slots=True)
class Ids:
    """Token ids, read as they stand."""

    ids: TokenIds
    field: str


Item = Conversation | Text | Ids


@dataclass(frozen=True, slots=True)
class Asked:
    """All that one request wants.

    Attributes:
        items: in order; a conversation gives as many rewards as it has responses.
        input_template: the template that texts are in; None takes the server's.
        max_length: tokens of a sequence, where the body bounds them below the server's limit.
        cut: whether the body itself asks for what is longer to be cut.
    """

    items: tuple[Item, ...]
    input_template: str | None = None
    max_length: int | None = None
    cut: bool = False

    @property
    def num_rewards(self) -> int:
        """How many rewards there will be."""
        return sum(
            len(item.group.responses) if isinstance(item, Conversation) else 1
            for item in self.items
        )


@dataclass(frozen=True, slots=True)
class Reading:
    """A sequence as the model reads it.

    Attributes:
        ids: the tokens.
        family: equal for responses to one prompt, in whichever request.
        truncated: whether the prompt's beginning was left out.
        foreign: special tokens of other models that its text holds.
        untemplated: whether it is of a whole text that does not begin as the model's own template
            does, which no such tokens tell.
    """

    ids: TokenIds
    family: str | None
    truncated: bool = False
    foreign: tuple[str, ...] = ()
    untemplated: bool = False
