"""A part of the training prompts, for a learning curve: a smaller part lies within a larger one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from assay.data.store.opening import StoredGroups


def part_of(groups: Sequence[StoredGroups], part: float, seed: int) -> list[StoredGroups]:
    """The groups of a part of all prompts, in their order.

    Prompts stand in an order of their own that seed and prompt alone decide; a part is its
    beginning. All groups of a prompt are in or out together.

    Args:
        groups: of each source.
        part: from 0, not included, to 1; at least one prompt is taken.
        seed: another seed gives another order.
    """
    if part == 1:
        return list(groups)
    hashes = [[bytes(value) for value in each.column("prompt_hash")] for each in groups]
    prompts = sorted({value for each in hashes for value in each}, key=lambda v: _place(v, seed))
    taken = set(prompts[: max(1, round(part * len(prompts)))])
    return [
        each.take(np.flatnonzero([value in taken for value in values]))
        for each, values in zip(groups, hashes, strict=True)
    ]


def _place(prompt_hash: bytes, seed: int) -> bytes:
    key = f"part {seed}".encode()
    return hashlib.blake2b(prompt_hash, key=key, digest_size=16).digest()
