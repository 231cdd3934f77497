"""What rules that read no meaning reach on the same comparisons, and the model where they fail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.data.audit.shortcuts import shortcut
from assay.data.audit.signals import POSITION, RULES, TOKENS
from assay.evaluate.intervals import Ints
from assay.evaluate.metrics import Floats
from assay.evaluate.slices import part_of

Signs = NDArray[np.int8]

NAMES = {rule.name: (rule.name, rule.more, rule.less) for rule in RULES} | {
    TOKENS[0]: TOKENS,
    POSITION[0]: POSITION,
}


def shortcut_tables(
    signs: Mapping[str, Signs], margin_C: Floats, cluster_C: Ints
) -> dict[str, dict[str, Any]]:
    """Each rule of the audit, in the direction that wins more often here; the strongest first.

    `accuracy` counts comparisons on which the rule says nothing one half. `model` is the model's
    accuracy where the rule is `right`, `wrong`, and says nothing (`undecided`).

    Args:
        signs: of each rule, the sign of the better response's measure minus the worse one's.
        margin_C: of the model.
        cluster_C: the prompt of each comparison.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, sign_C in signs.items():
        rule = shortcut(NAMES[name], sign_C, cluster_C.astype(np.int64))
        toward_C = sign_C * (1 if rule.direction == NAMES[name][1] else -1)
        found[name] = {
            "direction": rule.direction,
            "accuracy": rule.accuracy,
            "accuracy_ci95": [rule.low, rule.high],
            "num_comparisons": rule.comparisons,
            "num_decided": rule.decided,
            "accuracy_where_decided": rule.accuracy_where_decided,
            "model": {
                "right": part_of(toward_C > 0, margin_C, cluster_C),
                "wrong": part_of(toward_C < 0, margin_C, cluster_C),
                "undecided": part_of(toward_C == 0, margin_C, cluster_C),
            },
        }
    return dict(sorted(found.items(), key=lambda entry: -entry[1]["accuracy"]))
