"""Mixing sources and holding prompts back: which groups a recipe takes, by seed.

Both are decided by group, never by row, and depend on nothing but the seed, the sizes and the
prompts: not on files that stand beside, nor on the number of processes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from assay.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Share:
    """How much of a source to take: at most one of the three; all of it where none is given.

    `count` groups; a `proportion` of its groups; or a `weight`, its part of the mixture relative
    to the other weights, where all have one. A mixture by weights is as large as it can be without
    repeating a group.
    """

    name: str
    count: int | None = None
    proportion: float | None = None
    weight: float | None = None


def mixed(sizes: Sequence[int], shares: Sequence[Share], seed: int) -> list[list[int]]:
    """The groups to take of each source, as ascending indices.

    Args:
        sizes: groups of each source.
        shares: what to take of them.
        seed: the draw of a source depends on it, on the source's place and on its size alone.

    Raises:
        ConfigError: a source has fewer groups than are asked for, or none to weigh.
    """
    weighted = any(share.weight is not None for share in shares)
    wanted = _by_weight(sizes, shares) if weighted else _wanted(sizes, shares)
    return [
        _drawn(size, count, np.random.default_rng([seed, place]))
        for place, (size, count) in enumerate(zip(sizes, wanted, strict=True))
    ]


def is_held_out(prompt_hash: bytes, seed: int, fraction: float) -> bool:
    """Whether a prompt is held back for evaluation.

    Args:
        prompt_hash: of the normalised prompt, so that prompts that differ in case, width or white
            space fall on one side.
        seed: another seed holds other prompts back.
        fraction: of all prompts, to be expected.
    """
    digest = hashlib.blake2b(prompt_hash, key=str(seed).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < fraction * 2**64


def _wanted(sizes: Sequence[int], shares: Sequence[Share]) -> list[int]:
    wanted = []
    for size, share in zip(sizes, shares, strict=True):
        if share.count is not None and share.count > size:
            raise ConfigError(
                f"{share.name} has {size} groups, fewer than count: {share.count}",
                mend=f"lower count to {size} or less",
            )
        if share.count is not None:
            wanted.append(share.count)
        elif share.proportion is not None:
            wanted.append(max(round(share.proportion * size), min(size, 1)))
        else:
            wanted.append(size)
    return wanted


def _by_weight(sizes: Sequence[int], shares: Sequence[Share]) -> list[int]:
    empty = next((share.name for share, size in zip(shares, sizes, strict=True) if not size), None)
    if empty is not None:
        raise ConfigError(
            f"{empty} has no group, so that a mixture by weights would hold nothing",
            mend="leave the source out, or give counts instead of weights",
        )
    weights = [share.weight for share in shares if share.weight is not None]
    scale = min(size / weight for size, weight in zip(sizes, weights, strict=True))
    counts = [round(scale * weight) for weight in weights]
    # Rounding up must not ask for a group more than there is, nor down for none of a source.
    return [max(1, min(count, size)) for count, size in zip(counts, sizes, strict=True)]


def _drawn(size: int, count: int, generator: np.random.Generator) -> list[int]:
    if count == size:
        return list(range(size))
    return sorted(generator.permutation(size)[:count].tolist())
