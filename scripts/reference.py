"""Writes docs/reference/ from the code: every command with its options, every field of a recipe."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel

from assay.cli.entry import app
from assay.config import Recipe, SourceConfig
from assay.recipe import RecipeField, inner_schema, recipe_fields, source_fields

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
_GROUP: Any = typer.main.get_command(app)
_CONTEXT = typer.Context(_GROUP)
MADE = "<!-- Written by scripts/reference.py (make reference); edit the source, not this page. -->"


def cli_page() -> str:
    """All commands, in the order of the help."""
    commands = list(_commands(_GROUP, "assay"))
    listed = [f"- [`{name}`](#{name.replace(' ', '-')}): {_first(c.help)}" for name, c in commands]
    lines = [
        "# Commands",
        "",
        MADE,
        "",
        "`assay COMMAND --help` says the same. Mistakes in what is given are exit code 2, Ctrl-C",
        "is 130; what an error message means stands in [troubleshooting](../troubleshooting.md).",
        "",
        *listed,
    ]
    for name, command in commands:
        lines += ["", *_command(name, command)]
    return "\n".join(lines) + "\n"


def recipe_page() -> str:
    """All fields of a recipe, section by section."""
    lines = [
        "# Recipe",
        "",
        MADE,
        "",
        "`assay train RECIPE.yaml` and `assay prepare RECIPE.yaml` read a recipe. Each field is",
        "also a flag, `--section.field VALUE`, which wins over the file. An unknown key is an",
        "error that names the nearest known one.",
    ]
    for name, schema in _sections():
        fields = [f for f in recipe_fields() if _section_of(f) == name]
        lines += ["", f"## {name}" if name else "## Without a section", ""]
        lines += [_about(name, schema)] if name else ["What belongs to the whole run."]
        lines += ["", *_fields(fields, f"{name}." if name else "")]
    lines += [
        "",
        "## A source",
        "",
        f"{_said(SourceConfig.__doc__)} `data.train` and `data.eval` take a path, or a mapping of "
        "these fields, or a list of either.",
        "",
        *_fields(source_fields(), ""),
    ]
    return "\n".join(lines) + "\n"


PAGES = {"cli.md": cli_page, "recipe.md": recipe_page}


def main() -> None:
    """Write both pages."""
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (REFERENCE / name).write_text(page(), encoding="utf-8")
        print(f"docs/reference/{name}")


def _commands(group: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name in group.list_commands(_CONTEXT):
        command = group.commands[name]
        if hasattr(command, "commands"):
            yield from _commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def _command(name: str, command: Any) -> Iterator[str]:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option"]
    needed = [_needed(p) for p in options if p.required]
    shown = [_argument(p) for p in arguments]
    fields = ["[--section.field VALUE ...]"] if _takes_a_recipe(command) else []
    yield f"## {name}"
    yield ""
    yield from _prose(command.help)
    yield ""
    yield "```text"
    yield " ".join([name, *shown, *needed, *fields, "[OPTIONS]"])
    yield "```"
    yield ""
    if fields:
        yield "Every field of a [recipe](recipe.md) is an option, too."
        yield ""
    if arguments:
        yield from _table(
            ("argument", "what it is"), [(f"`{_argument(p)}`", _said(p.help)) for p in arguments]
        )
        yield ""
    yield from _table(
        ("option", "value", "default", "what it does"),
        [(_names(p), _kind(p), _default_of(p), _said(p.help)) for p in options],
    )


def _takes_a_recipe(command: Any) -> bool:
    return bool(command.context_settings.get("ignore_unknown_options"))


def _argument(parameter: Any) -> str:
    name = parameter.metavar or str(parameter.name).upper()
    if parameter.nargs == -1 and not name.endswith("..."):
        name += "..."
    return name if parameter.required or name.startswith("[") else f"[{name}]"


def _names(parameter: Any) -> str:
    return ", ".join(f"`{name}`" for name in parameter.opts)


def _needed(parameter: Any) -> str:
    return f"{parameter.opts[0]} {_type(parameter).upper().replace(', ', '|')}"


def _kind(parameter: Any) -> str:
    if parameter.is_flag:
        return ""
    kind = _type(parameter)
    choices = ", ".join(f"`{choice}`" for choice in kind.split(", "))
    often = "repeatable" if parameter.multiple else ""
    return "; ".join(filter(None, (choices if ", " in kind else kind, _range(parameter), often)))


def _type(parameter: Any) -> str:
    shown: str = parameter.display_type(_CONTEXT)
    return re.sub(r"^<|>$| range|list\[|\]", "", shown).replace("|", ", ")


def _range(parameter: Any) -> str:
    if parameter.min is not None and parameter.max is not None:
        return f"{parameter.min} to {parameter.max}"
    return "" if parameter.min is None else f"at least {parameter.min}"


def _default_of(parameter: Any) -> str:
    if parameter.required:
        return "required"
    if parameter.is_flag or parameter.default is None or callable(parameter.default):
        return ""
    return f"`{parameter.default}`"


def _sections() -> Iterator[tuple[str, type[BaseModel]]]:
    """Sections in the recipe's order, then what stands in none."""
    for name, field in Recipe.model_fields.items():
        schema = inner_schema(field.annotation)
        if schema is not None:
            yield name, schema
    yield "", Recipe


def _about(name: str, schema: type[BaseModel]) -> str:
    """What a section is, and when it is left out."""
    beside = Recipe.model_fields[name].description
    return " ".join(filter(None, (_said(schema.__doc__), beside and f"{beside.capitalize()}.")))


def _section_of(field: RecipeField) -> str:
    return field.path.partition(".")[0] if "." in field.path else ""


def _fields(fields: list[RecipeField], prefix: str) -> Iterator[str]:
    rows = [
        (
            f"`{field.path.removeprefix(prefix)}`",
            ", ".join(filter(None, (_alternatives(field), field.bounds))),
            _yaml(field.default),
            _said(field.description),
        )
        for field in fields
    ]
    yield from _table(("field", "type", "default", "what it is"), rows)


def _alternatives(field: RecipeField) -> str:
    """The type; where it is a choice of words, these as code."""
    kind = field.type.removesuffix("|none") if field.default == "None" else field.type
    if kind == "files":
        return "[files](#a-source)"
    if optional := re.fullmatch(r"(int|float|str)\|none", kind):
        return f"{optional[1]} or `null`"
    many, of, one = kind.rpartition("list of ")
    words = ", ".join(f"`{word}`" if "|" in one else word for word in one.split("|"))
    return many + of + words


def _yaml(default: str) -> str:
    if default == "required":
        return default
    return f"`{ {'None': 'null', 'True': 'true', 'False': 'false'}.get(default, default) }`"


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    """Columns that say nothing in any row are left out."""
    used = [n for n in range(len(heads)) if any(row[n] for row in rows)]
    yield "| " + " | ".join(heads[n] for n in used) + " |"
    yield "|" + "---|" * len(used)
    for row in rows:
        yield "| " + " | ".join(row[n] for n in used) + " |"


def _prose(text: str | None) -> Iterator[str]:
    """Paragraphs, their lines as they stand."""
    yield from (text or "").strip().splitlines()


def _first(text: str | None) -> str:
    return _said((text or "").strip().split("\n\n")[0])


def _said(text: str | None) -> str:
    """A description in a cell: bars and stars, and what looks like a tag, made harmless."""
    words = " ".join((text or "").split())
    return re.sub(r"<(?=\w)", "&lt;", words).replace("|", "\\|").replace("*", "\\*")


if __name__ == "__main__":
    main()
