"""Mixing sources and holding prompts back: which groups a recipe takes, by seed.

Both are decided by group, never by row, and depend on nothing but the seed, the sizes and the
prompts: not on files that stand beside, nor on the number of processes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from assay.config import SourceConfig
from assay.errors import ConfigError


def mixed(sizes: Sequence[int], sources: Sequence[SourceConfig], seed: int) -> list[list[int]]:
    """The groups to take of each source, as ascending indices.

    All of them, unless the source says otherwise: `count` groups; a `proportion` of its groups; or
    a `weight`, its part of the mixture relative to the other weights, where all have one. A mixture
    by weights is as large as it can be without repeating a group.

    Args:
        sizes: groups of each source.
        sources: say what to take of them.
        seed: the draw of a source depends on it, on the source's place and on its size alone.

    Raises:
        ConfigError: a source has fewer groups than are asked for, or none to weigh.
    """
    weighted = any(source.weight is not None for source in sources)
    wanted = _by_weight(sizes, sources) if weighted else _wanted(sizes, sources)
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


def _wanted(sizes: Sequence[int], sources: Sequence[SourceConfig]) -> list[int]:
    wanted = []
    for size, source in zip(sizes, sources, strict=True):
        if source.count is not None and source.count > size:
            raise ConfigError(
                f"{source.key} has {size} groups, fewer than count: {source.count}",
                mend=f"lower count to {size} or less",
            )
        if source.count is not None:
            wanted.append(source.count)
        elif source.proportion is not None:
            wanted.append(max(round(source.proportion * size), min(size, 1)))
        else:
            wanted.append(size)
    return wanted


def _by_weight(sizes: Sequence[int], sources: Sequence[SourceConfig]) -> list[int]:
    for size, source in zip(sizes, sources, strict=True):
        if not size:
            raise ConfigError(
                f"{source.key} has no group, so that a mixture by weights would hold nothing",
                mend="leave the source out, or give counts instead of weights",
            )
    weights = [source.weight for source in sources if source.weight is not None]
    scale = min(size / weight for size, weight in zip(sizes, weights, strict=True))
    counts = [round(scale * weight) for weight in weights]
    # Rounding up must not ask for a group more than there is, nor down for none of a source.
    return [max(1, min(count, size)) for count, size in zip(counts, sizes, strict=True)]


def _drawn(size: int, count: int, generator: np.random.Generator) -> list[int]:
    if count == size:
        return list(range(size))
    return sorted(generator.permutation(size)[:count].tolist())
