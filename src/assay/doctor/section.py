"""What the doctor says: facts, notes and problems, a section for each thing looked at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from assay.errors import AssayError, first_line


@dataclass(frozen=True, slots=True)
class Fact:
    """A name, a value that JSON can hold, and the words for people."""

    name: str
    value: object
    said: str


@dataclass
class Section:
    """One thing that was looked at.

    Attributes:
        key: its name for programs.
        title: its name for people.
        facts: what was found.
        notes: what should be known; nothing fails by it.
        problems: what will not work, a line each: place, what is wrong, mend.
    """

    key: str
    title: str = ""
    facts: list[Fact] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def say(self, name: str, value: object, said: str | None = None) -> None:
        """Add a fact; without words of its own its value stands for them."""
        self.facts.append(Fact(name, value, str(value) if said is None else said))

    def wrong(self, error: AssayError) -> None:
        """Add a mistake, and those that were found with it."""
        self.problems += [line for line in str(error).splitlines() if line not in self.problems]

    @contextmanager
    def asked(self) -> Iterator[None]:
        """What was asked for: a mistake in the block is a problem, and ends the block."""
        try:
            yield
        except AssayError as error:
            self.wrong(error)
        except Exception as error:  # Anything may come out of a broken installation.
            self.problems.append(
                f"{self.title}: cannot be looked at ({type(error).__name__}: {first_line(error)})"
            )

    @contextmanager
    def tried(self, what: str) -> Iterator[None]:
        """What nobody asked for and may be broken: a failure in the block is a note."""
        try:
            yield
        except Exception as error:
            self.notes.append(
                f"{what}: not found out ({type(error).__name__}: {first_line(error)})"
            )

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        facts = {fact.name: fact.value for fact in self.facts}
        return {"facts": facts, "notes": self.notes, "problems": self.problems}

    def as_text(self) -> str:
        """For people: a title, then lines."""
        width = max((len(fact.name) for fact in self.facts), default=0)
        lines = [f"  {fact.name:<{width}}  {fact.said}" for fact in self.facts]
        lines += [f"  note: {text}" for text in self.notes]
        lines += [f"  problem: {text}" for text in self.problems]
        return "\n".join([self.title or self.key, *lines])


def gib(count: float) -> str:
    """Bytes for people."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**29 else f"{count / 2**20:.1f} MiB"
