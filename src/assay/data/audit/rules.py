"""The rules that read no meaning, measured on all comparisons or on those of one file."""

from __future__ import annotations

from collections.abc import Container, Sequence

import numpy as np
from numpy.typing import NDArray

from assay.data.audit.collecting import Collector
from assay.data.audit.shortcuts import Shortcut, shortcut
from assay.data.audit.signals import POSITION, RULES, TOKENS
from assay.data.formats import get_format

_NAMES = {rule.name: (rule.name, rule.more, rule.less) for rule in RULES} | {TOKENS[0]: TOKENS}


def rules_of(collector: Collector) -> list[Shortcut]:
    """Each rule on all comparisons."""
    every = np.arange(len(collector.prompt_of_comparison))
    return _rules(collector, every, collector.files)


def rules_by_file(collector: Collector) -> dict[str, list[Shortcut]]:
    """Each rule on the comparisons of each file that has some."""
    of_file = np.array(collector.file_of_comparison, dtype=np.int64)
    order = np.argsort(of_file, kind="stable")
    starts = np.searchsorted(of_file[order], np.arange(len(collector.files) + 1))
    return {
        file: _rules(collector, order[starts[number] : starts[number + 1]], [file])
        for file, number in collector.files.items()
    }


def _rules(collector: Collector, which: NDArray[np.int64], files: Container[str]) -> list[Shortcut]:
    if not len(which):
        return []
    prompts = np.array(collector.prompt_of_comparison)[which]
    found = [
        shortcut(_NAMES[name], np.array(signs, dtype=np.int8)[which], prompts)
        for name, signs in collector.signs.items()
    ]
    position = _position(collector, files)
    return found if position is None else [*found, position]


def _position(collector: Collector, files: Container[str]) -> Shortcut | None:
    used: Sequence[tuple[Sequence[int], Sequence[int]]] = [
        (positions.signs, positions.prompts)
        for (file, name), positions in collector.positions.items()
        # Formats whose fields are called chosen and rejected count where a first answer loses.
        if file in files
        and positions.signs
        and (get_format(name).two_way or min(positions.signs) < 0)
    ]
    if not used:
        return None
    signs = np.concatenate([np.array(entry, dtype=np.int8) for entry, _ in used])
    return shortcut(POSITION, signs, np.concatenate([np.array(entry) for _, entry in used]))
