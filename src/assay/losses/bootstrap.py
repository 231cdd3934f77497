"""How often a bootstrap sample of the comparisons holds each: the online bootstrap.

A comparison's number in a sample drawn with replacement is binomial, and Poisson with mean 1 where
there are many (Oza and Russell, 2001, "Online Bagging and Boosting"). Drawn by a hash of what it
is, it depends on no batch, no order and no number of processes.
"""

from __future__ import annotations

import hashlib
import math
from itertools import accumulate

from assay.data.encoding import EncodedGroup
from assay.data.records import Comparison

_CUMULATED = tuple(accumulate(math.exp(-1) / math.factorial(count) for count in range(18)))


def bootstrap_count(seed: int, member: int, comparison_id: str) -> int:
    """How often the sample of a member holds a comparison; Poisson with mean 1."""
    text = f"{seed} {member} {comparison_id}"
    drawn = hashlib.blake2b(text.encode(), digest_size=8).digest()
    uniform = int.from_bytes(drawn, "big") / 2**64
    return next(
        (count for count, bound in enumerate(_CUMULATED) if uniform < bound), len(_CUMULATED)
    )


def comparison_id(group: EncodedGroup, comparison: Comparison) -> str:
    """What tells a comparison from all others: prompt, file name, line and the two responses.

    The file's directory is no part of it: data that were moved are drawn as before.
    """
    row = comparison.row or group.group.source
    name = row.file.rsplit("/", 1)[-1]
    return f"{group.group.key} {name}:{row.line} {comparison.a} {comparison.b}"
