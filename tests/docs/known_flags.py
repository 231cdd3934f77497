"""Whether a command that a page shows is one that `assay` takes; nothing is run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import typer

from assay.cli.entry import app
from assay.cli.flag_names import RECIPE_COMMANDS
from assay.recipe import recipe_fields

_FLAG = re.compile(r"(?<![\w-])--[A-Za-z][\w.-]*")
GROUP: Any = typer.main.get_command(app)
FIELDS = {f"--{field.path}" for field in recipe_fields()}
SECTIONS = {f"--{field.path.split('.')[0]}" for field in recipe_fields()}


def command_of(words: Sequence[str]) -> tuple[Any, list[str]] | None:
    """The command that words name, and the words behind it."""
    command, rest = GROUP, list(words)
    while rest and hasattr(command, "commands"):
        if rest[0] not in command.commands:
            return None
        command = command.commands[rest.pop(0)]
    return command, rest


def flags_of(command: Any) -> set[str]:
    """The flags of a command; of one that takes a recipe its fields, too."""
    flags = {name for parameter in command.params for name in parameter.opts if name[0] == "-"}
    if command.name in RECIPE_COMMANDS:
        flags |= FIELDS | SECTIONS | {"--section.field"}  # The last as a word for all of them.
    return flags | {"--help"}


def wrong_flags(text: str) -> list[str]:
    """Flags in a text that begins with a command's name and that this command does not have.

    For what is no command that could be given: `--seed N`, `[--limit 200]`, `...`.
    """
    found = command_of(re.findall(r"[a-z][a-z0-9-]*(?= |$)", text)[:2])
    found = found or command_of(text.split()[:1])
    if found is None:
        return []
    known = flags_of(found[0]) if not hasattr(found[0], "commands") else _all_flags(found[0])
    return [flag for flag in _FLAG.findall(text) if flag.rstrip(".") not in known]


def _all_flags(group: Any) -> set[str]:
    return set().union(*(flags_of(command) for command in group.commands.values()))


def what_is_wrong(words: Sequence[str]) -> str | None:
    """What `assay` would say of a command line before it does anything, or None."""
    try:
        _parse(GROUP, "assay", [word for word in words if word != "..."], None)
    except typer.exceptions.TyperException as error:
        return str(error.format_message())
    except typer.Exit:
        return None
    found = command_of(words)
    if found is not None and found[0].name in RECIPE_COMMANDS:
        given = {word.split("=")[0] for word in words if _FLAG.match(word)}
        unknown = given - flags_of(found[0])
        return f"no such option or field: {', '.join(sorted(unknown))}" if unknown else None
    return None


def _parse(command: Any, name: str, words: list[str], parent: Any) -> None:
    context = command.make_context(name, words, parent=parent)
    if hasattr(command, "commands") and (rest := [*context._protected_args, *context.args]):
        inner_name, inner, left = command.resolve_command(context, rest)
        _parse(inner, inner_name, left, context)
