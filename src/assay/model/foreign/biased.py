"""A `ForSequenceClassification` directory whose row has a bias, for which its class has no place.

Written by scripts that put a `torch.nn.Linear` in place of the head: transformers loads the row
and drops the bias with a remark.
"""

from __future__ import annotations

from assay.model.foreign.directory import ForeignDirectory
from assay.model.foreign.head import ForeignHead, folded

ORIGIN = "a linear layer with a bias"
_WEIGHT, _BIAS = "score.weight", "score.bias"


def read(directory: ForeignDirectory) -> ForeignHead | None:
    """The head where `score.bias` stands beside `score.weight`; else None."""
    weight_1D, bias_1 = directory.tensor(_WEIGHT), directory.tensor(_BIAS)
    if weight_1D is None or bias_1 is None:
        return None
    return folded(ORIGIN, directory.path, weight_1D, bias_1=bias_1)
