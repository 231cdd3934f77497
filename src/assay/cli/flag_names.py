"""What messages about settings say where the user gave flags, not a recipe."""

from __future__ import annotations

from collections.abc import Sequence

RECIPE_COMMANDS = ("train", "prepare")

FLAG_NAMES = {
    "correct columns": "correct --columns",
    "set data.on_bad_row to skip": "give --on-bad-row skip",
    "leave label out": "leave --label out",
    "as in split: ": "as in --split ",
    "leave the revision out": "leave --revision out",
    "leave the split out": "leave --split out",
    "name another format": "name another with --format",
}
"""How the readers of rows name a setting, which is a recipe's field, and its flag."""


def by_flags(text: str, argv: Sequence[str]) -> str:
    """A message with the flags of the command, unless that takes a recipe."""
    if argv[:1] and argv[0] in RECIPE_COMMANDS:
        return text
    for field, flag in FLAG_NAMES.items():
        text = text.replace(field, flag)
    return text
