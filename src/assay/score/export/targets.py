"""The trainers that pairs are written for, by name. The row of each has a module of its own."""

from __future__ import annotations

from collections.abc import Callable

from assay.data.nearest import did_you_mean
from assay.data.records import Group
from assay.data.writers import Written, get_writer
from assay.errors import ConfigError
from assay.score.export.handbook import write_handbook

Target = Callable[[Group], Written]
"""Writes a group with one comparison, its answers rated by their rewards, the better one first."""

TARGETS: dict[str, Target] = {
    "trl": get_writer("trl").write,
    "llamafactory": get_writer("llamafactory").write,
    "openrlhf": get_writer("openrlhf").write,
    "ms-swift": get_writer("ms-swift").write,
    "handbook": write_handbook,
}


def get_target(name: str) -> Target:
    """The target of a name.

    Raises:
        ConfigError: there is none.
    """
    if name not in TARGETS:
        raise ConfigError(
            f"unknown trainer '{name}'",
            where="--for",
            mend=f"{did_you_mean(name, TARGETS)}known: {', '.join(TARGETS)}",
        )
    return TARGETS[name]
