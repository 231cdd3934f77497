"""What a transform is, and the transforms by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from assay.data.audit.texts import script_of
from assay.data.prompts import asked
from assay.data.records import Message
from assay.errors import ConfigError

Expected = Literal["down", "not_up", "none"]
"""What a sound reward does: it falls, it does not rise, it stays."""


@dataclass(frozen=True)
class Case:
    """An answer, and what a transform may make another of.

    Attributes:
        prompt: the messages before the answer.
        answer: the text of its last message.
        elsewhere: an answer to another prompt, in the same script; None where there is none.
        foreign: an answer in another script; None where there is none.
    """

    prompt: tuple[Message, ...]
    answer: str
    elsewhere: str | None = None
    foreign: str | None = None

    @cached_property
    def is_chinese(self) -> bool:
        """Whether to add Chinese words: by the answer's script, or the prompt's if unclear."""
        script = script_of(self.answer)
        if script in ("none", "mixed"):
            script = script_of(asked(self.prompt))
        return script == "han"

    def words(self, english: str, chinese: str) -> str:
        """What to say in this answer's language; English wherever it is not Chinese."""
        return chinese if self.is_chinese else english


@dataclass(frozen=True, slots=True)
class Transform:
    """A change of an answer.

    Attributes:
        name: how the command line names it.
        expected: what a sound reward does.
        says: the change in one line.
        apply: the new text; None where the change cannot be made.
        lacks: why it cannot, where it cannot.
    """

    name: str
    expected: Expected
    says: str
    apply: Callable[[Case], str | None]
    lacks: str = "cannot be applied"


_REGISTRY: dict[str, Transform] = {}


def register_transform(transform: Transform) -> None:
    """Make a transform known.

    Raises:
        ConfigError: its name is taken.
    """
    if transform.name in _REGISTRY:
        raise ConfigError(
            f"there is already a transform named '{transform.name}'", mend="give it another name"
        )
    _REGISTRY[transform.name] = transform


def transforms() -> tuple[Transform, ...]:
    """All transforms, in the order in which they were registered."""
    return tuple(_REGISTRY.values())


def get_transform(name: str) -> Transform:
    """The transform of a name.

    Raises:
        ConfigError: there is none.
    """
    if name not in _REGISTRY:
        raise ConfigError(
            f"there is no transform '{name}'", mend=f"choose among: {', '.join(_REGISTRY)}"
        )
    return _REGISTRY[name]
