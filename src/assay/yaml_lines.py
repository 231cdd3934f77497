"""YAML files that people write: their values, and the line of each key for messages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from assay.errors import ConfigError

Key = tuple[str, ...]
"""A place in a file: the keys, and the numbers of list items, on the way to it."""


def read_mapping(path: str | Path, what: str, about: str) -> tuple[dict[str, Any], dict[Key, int]]:
    """The values of a YAML file, and the line (from 1) of each key and item.

    Args:
        path: the file.
        what: it is called in messages: a recipe, a reward file.
        about: says what such a file is.

    Raises:
        ConfigError: it cannot be read, is no YAML, no mapping, or has a key twice.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"no such {what}", where=path, mend="check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"cannot be read ({error})", where=path, mend="give a YAML file in UTF-8"
        ) from None
    lines: dict[Key, int] = {}
    try:
        _record_lines(yaml.compose(text, Loader=yaml.SafeLoader), (), lines, path)
        values = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path}:{mark.line + 1}" if mark else path
        raise ConfigError(
            f"not valid YAML ({error.problem})", where=where, mend="mend this line or the one above"
        ) from None
    except yaml.YAMLError as error:
        raise ConfigError(
            f"not valid YAML ({error})", where=path, mend="give a YAML file in UTF-8"
        ) from None
    except ValueError as error:  # a value that only looks like a date or a number
        raise ConfigError(f"not valid YAML ({error})", where=path, mend="quote it") from None
    except RecursionError:
        raise ConfigError("nested too deeply, or within itself", where=path, mend=about) from None
    if not isinstance(values, dict):
        raise ConfigError(f"holds no {what}", where=path, mend=about)
    return values, lines


def line_of(key: Key, path: str | Path, lines: Mapping[Key, int]) -> str:
    """`file:line` of a key, or of the nearest one around it that stands in the file."""
    for end in range(len(key), 0, -1):
        if key[:end] in lines:
            return f"{path}:{lines[key[:end]]}"
    return str(path)


def _record_lines(node: Any, at: Key, lines: dict[Key, int], path: str | Path) -> None:
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
        _record_lines(value, here, lines, path)
