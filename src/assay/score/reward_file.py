"""Reading a reward file: YAML, then the strict schema; each error names its line."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from assay.errors import ConfigError
from assay.score.composite import CompositeReward, Condition, LengthPenalty, ModelPart, Rule

_Key = tuple[str, ...]
_KEYS: dict[str, type[BaseModel]] = {
    "": CompositeReward,
    "models": ModelPart,
    "length": LengthPenalty,
    "rules": Rule,
    "when": Condition,
    "unless": Condition,
}
"""By the last section that a key stands in, what is known there."""


def read_reward_file(path: Path) -> CompositeReward:
    """A composite reward from a YAML file.

    Raises:
        ConfigError: it cannot be read, a key is unknown, a value does not fit: with its line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError("no such reward file", where=path, mend="check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"cannot be read ({error})", where=path, mend="give a YAML file in UTF-8"
        ) from None
    values, lines = _parsed(text, path)
    try:
        return CompositeReward.model_validate(values)
    except ValidationError as error:
        raise _explained(error, path, lines) from None


def _parsed(text: str, path: Path) -> tuple[Any, dict[_Key, int]]:
    lines: dict[_Key, int] = {}
    try:
        _find_lines(yaml.compose(text, Loader=yaml.SafeLoader), (), lines, path)
        values = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(
            f"not valid YAML ({error.problem})",
            where=f"{path}{line}",
            mend="mend this line or the one above",
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"not valid YAML ({error})", where=path, mend="write it as the documentation shows"
        ) from None
    if not isinstance(values, dict):
        raise ConfigError(
            "holds no reward",
            where=path,
            mend="a reward file is a mapping with models and, if wanted, length and rules",
        )
    return values, lines


def _find_lines(node: Any, at: _Key, lines: dict[_Key, int], path: Path) -> None:
    """The line of each key and item, by its place."""
    inner: list[tuple[str, Any, Any]] = []
    if isinstance(node, yaml.MappingNode):
        inner = [(str(key.value), key, value) for key, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        inner = [(str(index), value, value) for index, value in enumerate(node.value)]
    for name, marked, value in inner:
        here, line = (*at, name), marked.start_mark.line + 1
        if here in lines:
            raise ConfigError(
                f"{'.'.join(here)} is given twice (first on line {lines[here]})",
                where=f"{path}:{line}",
                mend="keep one",
            )
        lines[here] = line
        _find_lines(value, here, lines, path)


def _explained(error: ValidationError, path: Path, lines: Mapping[_Key, int]) -> ConfigError:
    problems: dict[_Key, ConfigError] = {}
    for item in error.errors():
        key = tuple(map(str, item["loc"]))
        problems.setdefault(key, _problem(key, item, path, lines))
    if len(problems) == 1:
        return next(iter(problems.values()))
    return ConfigError(" | ".join(map(str, problems.values())))


def _problem(
    key: _Key, item: Mapping[str, Any], path: Path, lines: Mapping[_Key, int]
) -> ConfigError:
    dotted = ".".join(key)
    found = [key[:end] for end in range(len(key), 0, -1) if key[:end] in lines]
    where = f"{path}:{lines[found[0]]}" if found else str(path)
    if item["type"] == "extra_forbidden":
        return ConfigError(f"unknown key '{dotted}'", where=where, mend=_known_near(key))
    if item["type"] == "missing":
        return ConfigError(f"'{dotted}' is missing", where=where, mend="add it")
    said = str(item["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    said = said[0].lower() + said[1:]
    if item["type"] == "value_error" or isinstance(item["input"], dict | list):
        return ConfigError(f"{dotted or 'the file'}: {said}", where=where, mend="mend it there")
    return ConfigError(f"{dotted}: {said}, not {item['input']!r}", where=where, mend="mend it")


def _known_near(key: _Key) -> str:
    sections: Sequence[str] = [part for part in key[:-1] if not part.isdigit()]
    known = list(_KEYS[sections[-1] if sections else ""].model_fields)
    near = difflib.get_close_matches(key[-1], known, n=1)
    meant = f"did you mean '{near[0]}'? " if near else ""
    return f"{meant}known here: {', '.join(known)}"
