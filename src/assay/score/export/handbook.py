"""alignment-handbook: two whole conversations, and the reward of each."""

from __future__ import annotations

from dataclasses import replace

from assay.data.records import Group
from assay.data.writers import Written, get_writer

REWARD = "reward"
"""The rating of an answer that holds its reward."""


def write_handbook(group: Group) -> Written:
    """The rows of a group whose answers are rated by their rewards, the better one first.

    They hold what OpenRLHF's do, with `score_chosen` and `score_rejected` for the margin.
    """
    written = get_writer("openrlhf").write(group)
    chosen, rejected = (response.ratings[REWARD] for response in group.responses)
    rows = [
        {"chosen": row["chosen"], "rejected": row["rejected"]}
        | {"score_chosen": chosen, "score_rejected": rejected}
        for row in written.rows
    ]
    return replace(written, rows=rows)
