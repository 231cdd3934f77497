"""Reading a recipe: YAML, then flags, then the strict schema; each error names its place."""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from assay.config import Recipe, SourceConfig
from assay.errors import ConfigError, together
from assay.yaml_lines import Key, line_of, read_mapping

_ELSEWHERE = {
    "per_device_train_batch_size": "set train.global_batch_size to per_device_train_batch_size x "
    "gradient_accumulation_steps x devices (groups per optimizer step); memory is set by "
    "train.max_tokens_per_pack",
    "gradient_accumulation_steps": "set train.global_batch_size to per_device_train_batch_size x "
    "gradient_accumulation_steps x devices; a step is cut into packs of "
    "train.max_tokens_per_pack tokens by itself",
    "per_device_eval_batch_size": "leave it out: evaluation batches by train.max_tokens_per_pack",
    "bf16": "write model.dtype: bfloat16",
    "fp16": "write model.dtype: bfloat16 (float16 overflows in training)",
}

_SHORT = {
    "lr": "train.learning_rate",
    "epochs": "train.num_train_epochs",
    "batch_size": "train.global_batch_size",
    "model_name_or_path": "model.path",
}
"""What other tools call a field, where the letters do not tell."""

_ROWS = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow", ".gz", ".zst")
"""Endings of files that are never recipes; JSON is YAML, so that `.json` may be one."""

_UNION_OPTION = re.compile(r"int|(literal|list)\[.*\]")
"""How pydantic names an option of a union inside the place of an error."""


@dataclass(frozen=True)
class RecipeField:
    """One leaf of the schema, for help texts."""

    path: str
    type: str
    default: str
    bounds: str
    description: str


def load_recipe(
    path: str | None, flags: Sequence[str] = (), *, plugins: Sequence[str] = ()
) -> Recipe:
    """Read a recipe from a YAML file (or from flags alone) and check it.

    Args:
        path: YAML file, or None; what begins with `-` is the first flag.
        flags: `--section.field VALUE` or `--section.field=VALUE`, later ones win.
        plugins: Python files besides those that the recipe names.

    Raises:
        ConfigError: the file cannot be read, a key is unknown, a value does not fit.
    """
    if path is not None and path.startswith("-"):
        return load_recipe(None, [path, *flags], plugins=plugins)
    values: dict[str, Any] = {}
    lines: dict[Key, int] = {}
    if path is not None:
        values, lines = _read_yaml(path)
    flagged = set()
    for key, value in _parse_flags(flags):
        _assign(values, key, value)
        flagged.add(key)
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        raise _explain(error, path, lines, flagged) from None
    return recipe.model_copy(update={"plugins": [*recipe.plugins, *plugins]})


def recipe_fields() -> list[RecipeField]:
    """Every field of the schema in order, as dotted paths."""
    return list(_walk(Recipe, ()))


def source_fields() -> list[RecipeField]:
    """The fields of one file in `data.train` or `data.eval`."""
    return list(_walk(SourceConfig, ()))


def dump_recipe(recipe: Recipe) -> str:
    """The recipe as YAML, every field written out."""
    values = recipe.model_dump(mode="json")
    text: str = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    # PyYAML leaves the line break of EBCDIC as it is, and reads it back as a space.
    if "\x85" in text:
        text = yaml.safe_dump(values, sort_keys=False)
    return text


def _read_yaml(path: str) -> tuple[dict[str, Any], dict[Key, int]]:
    if path.lower().endswith(_ROWS):
        raise ConfigError(
            "is a file of rows, and what comes first is a recipe",
            where=path,
            mend=f"name a YAML file whose data.train names it, or give --data.train {path} "
            "--model.path MODEL",
        )
    return read_mapping(path, "recipe", "a recipe is a mapping with model, data, output_dir")


def _parse_flags(flags: Sequence[str]) -> Iterator[tuple[Key, Any]]:
    queue = list(flags)
    while queue:
        flag = queue.pop(0)
        if not flag.startswith("--") or flag == "--":
            raise ConfigError(
                f"unexpected argument '{flag}'",
                mend="a recipe comes first, then --section.field VALUE",
            )
        name, equals, text = flag[2:].partition("=")
        if not equals:
            if not queue or queue[0].startswith("--"):
                raise ConfigError(f"--{name} has no value", mend=f"write --{name} VALUE")
            text = queue.pop(0)
        yield tuple(name.split(".")), _flag_value(name, text)


def _flag_value(name: str, text: str) -> Any:
    types = {field.path: field.type for field in recipe_fields()}
    if types.get(name) == "str" or text == "-":  # To YAML that is a list with nothing in it.
        return text
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text
    # `0123` is a revision, not the number 83.
    return text if types.get(name) == "str|none" and value is not None else value


def _assign(values: dict[str, Any], key: Key, value: Any) -> None:
    at = values
    for depth, part in enumerate(key[:-1], start=1):
        inner = at.setdefault(part, {})
        if inner is None:
            inner = at[part] = {}
        if not isinstance(inner, dict) or key[depth].isdigit():
            name = ".".join(key[:depth])
            raise ConfigError(
                f"'{name}' is no section that a flag can reach into",
                where=f"--{'.'.join(key)}",
                mend=f"give all of it, as YAML: --{name} VALUE",
            )
        at = inner
    at[key[-1]] = value


def _explain(
    error: ValidationError, path: str | None, lines: Mapping[Key, int], flagged: set[Key]
) -> ConfigError:
    by_key = _by_key(error).items()
    return together([_problem(key, items, path, lines, flagged) for key, items in by_key])


def _by_key(error: ValidationError) -> dict[Key, list[dict[str, Any]]]:
    """What is wrong with each key: several things where each option of a union refuses it."""
    by_key: dict[Key, list[dict[str, Any]]] = {}
    for item in error.errors():
        parts = [str(part) for part in item["loc"]]
        option = [n for n, part in enumerate(parts) if _UNION_OPTION.fullmatch(part)]
        if option and item["type"] != "extra_forbidden":
            parts = parts[: option[0]]
        by_key.setdefault(tuple(parts), []).append(dict(item))
    return by_key


def _problem(
    key: Key,
    items: Sequence[dict[str, Any]],
    path: str | None,
    lines: Mapping[Key, int],
    flagged: set[Key],
) -> ConfigError:
    item = items[0]
    dotted = ".".join(key)
    where = _place(key, path, lines, flagged)
    if item["type"] == "extra_forbidden":
        return ConfigError(f"unknown key '{dotted}'", where=where, mend=_nearest(key))
    if item["type"] == "missing":
        flag = "" if any(part.isdigit() for part in key) else f"--{_required(dotted)} VALUE"
        mend = " or ".join(
            filter(None, [f"add it to {path}" if path else "", flag and f"give {flag}"])
        )
        return ConfigError(f"'{dotted}' is missing", where=where, mend=mend)
    if not key:
        return ConfigError(_message(item), where=where)
    message = " or ".join(dict.fromkeys(map(_message, items)))
    given = items[-1]["input"]
    if item["type"] == "value_error" and isinstance(given, dict | list):
        named = [flag for flag in flagged if flag[: len(key)] == key and ".".join(flag) in message]
        where = f"--{'.'.join(min(named))}" if named else where
        subject = "" if f"{dotted}." in message else f"'{dotted}': "
        return ConfigError(f"{subject}{message}", where=where)
    subject = "" if where == f"--{dotted}" else f"'{dotted}': "
    return ConfigError(f"{subject}{message}, not {given!r}", where=where)


def _required(dotted: str) -> str:
    """The field that a flag can set: itself, or the first one that a section must have."""
    inside = [field for field in recipe_fields() if field.path.startswith(f"{dotted}.")]
    return next((field.path for field in inside if field.default == "required"), dotted)


def _message(item: dict[str, Any]) -> str:
    if item["type"] == "model_type":
        return "should be a mapping of fields"
    if item["type"] == "too_short":
        return "should name at least one file"
    message: str = item["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return message[0].lower() + message[1:] if item["loc"] else message


def _place(key: Key, path: str | None, lines: Mapping[Key, int], flagged: set[Key]) -> str:
    if any(key[: len(flag)] == flag for flag in flagged):
        return f"--{'.'.join(key)}"
    inside = [flag for flag in flagged if flag[: len(key)] == key]
    if inside and key and key not in lines:
        return f"--{'.'.join(min(inside))}"
    if path is None:
        return "recipe"
    return line_of(key, path, lines)


def _nearest(key: Key) -> str | None:
    if key[-1] in _ELSEWHERE:
        return _ELSEWHERE[key[-1]]
    if any(part.isdigit() for part in key):
        known, dotted = list(SourceConfig.model_fields), key[-1]
    else:
        known, dotted = [field.path for field in recipe_fields()], ".".join(key)
    if len(key) == 1:
        known += Recipe.model_fields
    if key[-1] in _SHORT:
        return f"did you mean '{_SHORT[key[-1]]}'?"
    same_name = [path for path in known if path.rsplit(".", 1)[-1] == key[-1]]
    near = same_name or difflib.get_close_matches(dotted, known, n=1, cutoff=0.5)
    if not near:
        leaves = {path.rsplit(".", 1)[-1]: path for path in known}
        near = [leaves[leaf] for leaf in difflib.get_close_matches(key[-1], leaves, n=1)]
    return f"did you mean '{near[0]}'?" if near else "see assay train --help"


def _walk(schema: type[BaseModel], at: Key) -> Iterator[RecipeField]:
    for name, field in schema.model_fields.items():
        inner = inner_schema(field.annotation)
        if inner is not None:
            yield from _walk(inner, (*at, name))
        else:
            yield RecipeField(
                path=".".join((*at, name)),
                type=_name_of(field.annotation),
                default="required" if field.is_required() else str(field.default),
                bounds=_bounds_of(field),
                description=field.description or "",
            )


def inner_schema(annotation: Any) -> type[BaseModel] | None:
    """The nested model of a field: itself, in `X | None`, or as a list's element."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        for option in typing.get_args(annotation):
            if (inner := inner_schema(option)) is not None:
                return inner
    return None


_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def _bounds_of(field: FieldInfo) -> str:
    said = [
        f"{words} {getattr(limit, name):g}"
        for limit in field.metadata
        for name, words in _BOUNDS.items()
        if hasattr(limit, name)
    ]
    return ", ".join(said)


def _name_of(annotation: Any) -> str:
    origin, options = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return "|".join(map(str, options))
    if origin in (typing.Union, types.UnionType):
        return "|".join(_name_of(option) for option in options)
    if origin is typing.Annotated:
        return _name_of(options[0])
    if origin is list:
        return "files" if "SourceConfig" in str(annotation) else f"list of {_name_of(options[0])}"
    return "none" if annotation is type(None) else str(annotation.__name__)
