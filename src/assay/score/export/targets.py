"""The trainers that pairs are written for, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from assay.data.nearest import did_you_mean
from assay.data.records import Group
from assay.data.writers import Written, get_writer
from assay.errors import ConfigError

REWARD = "reward"
"""The rating of an answer that holds its reward."""

Target = Callable[[Group], Written]
"""Writes a group with one comparison, its answers rated by their rewards, the better one first."""


def _handbook(group: Group) -> Written:
    """alignment-handbook: what OpenRLHF reads, with the reward of each answer for the margin."""
    written = get_writer("openrlhf").write(group)
    chosen, rejected = (response.ratings[REWARD] for response in group.responses)
    rows = [
        {"chosen": row["chosen"], "rejected": row["rejected"]}
        | {"score_chosen": chosen, "score_rejected": rejected}
        for row in written.rows
    ]
    return replace(written, rows=rows)


TARGETS: dict[str, Target] = {
    "trl": get_writer("trl").write,
    "llamafactory": get_writer("llamafactory").write,
    "openrlhf": get_writer("openrlhf").write,
    "ms-swift": get_writer("ms-swift").write,
    "handbook": _handbook,
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
