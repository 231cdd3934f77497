"""Reading a reward file: YAML, then the strict schema; each error names its line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from assay.data.nearest import did_you_mean
from assay.errors import ConfigError, together
from assay.score.composite import (
    CompositeReward,
    Condition,
    LengthPenalty,
    ModelPart,
    NameTwice,
    Rule,
)
from assay.yaml_lines import Key, line_of, read_mapping

_KEYS: dict[str, type[BaseModel]] = {
    "": CompositeReward,
    "models": ModelPart,
    "length": LengthPenalty,
    "rules": Rule,
    "when": Condition,
    "unless": Condition,
}
"""By the last section that a key stands in, what is known there."""


@dataclass(frozen=True, slots=True)
class RewardFile:
    """A composite reward as a file says it; `lines` is the line of each of its keys."""

    path: Path
    spec: CompositeReward
    lines: Mapping[Key, int]

    def place(self, part: ModelPart, key: str) -> str:
        """`file:line` of a key of a model part, for messages."""
        number = self.spec.models.index(part)
        return line_of(("models", str(number), key), self.path, self.lines)


def read_reward_file(path: Path) -> RewardFile:
    """A composite reward from a YAML file.

    Raises:
        ConfigError: it cannot be read, a key is unknown, a value does not fit: with its line.
    """
    about = "a reward file is a mapping with models and, if wanted, length and rules"
    values, lines = read_mapping(path, "reward file", about)
    try:
        return RewardFile(path, CompositeReward.model_validate(values), lines)
    except ValidationError as error:
        raise _explained(error, path, lines) from None


def _explained(error: ValidationError, path: Path, lines: Mapping[Key, int]) -> ConfigError:
    problems: dict[Key, ConfigError] = {}
    for item in error.errors():
        cause = item.get("ctx", {}).get("error")
        key = cause.place if isinstance(cause, NameTwice) else tuple(map(str, item["loc"]))
        problems.setdefault(key, _problem(key, item, path, lines))
    return together(list(problems.values()))


def _problem(
    key: Key, item: Mapping[str, Any], path: Path, lines: Mapping[Key, int]
) -> ConfigError:
    dotted = ".".join(key)
    where = line_of(key, path, lines)
    if item["type"] == "extra_forbidden":
        return ConfigError(f"unknown key '{dotted}'", where=where, mend=_known_near(key))
    if item["type"] == "missing":
        return ConfigError(f"'{dotted}' is missing", where=where, mend="add it")
    if item["type"] == "too_short":
        return ConfigError(f"'{dotted}' is empty", where=where, mend="name one or more")
    said = str(item["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    said = said[0].lower() + said[1:]
    if isinstance(item.get("ctx", {}).get("error"), NameTwice):
        return ConfigError(said, where=where, mend="give each a name of its own")
    if item["type"] == "value_error" or isinstance(item["input"], dict | list):
        return ConfigError(f"{dotted or 'the file'}: {said}", where=where, mend="mend it there")
    return ConfigError(f"{dotted}: {said}, not {item['input']!r}", where=where, mend="mend it")


def _known_near(key: Key) -> str:
    sections: Sequence[str] = [part for part in key[:-1] if not part.isdigit()]
    known = list(_KEYS[sections[-1] if sections else ""].model_fields)
    return f"{did_you_mean(key[-1], known)}known here: {', '.join(known)}"
