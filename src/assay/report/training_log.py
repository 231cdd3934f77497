"""What a run logged: a number a step, and the evaluations on the way."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assay.errors import DataError
from assay.report.reading import object_lines, read_text

JSONL, TEXT = "train_log.jsonl", "train.log"
_NUMBERS = (
    "loss",
    "accuracy",
    "learning_rate",
    "grad_norm",
    "reward_mean",
    "num_comparisons",
    "num_tokens",
    "seconds",
    "peak_memory_bytes",
)
_COUNTED = re.compile(r"(?:Epoch|Eval):\[.*?\], step:\[\d+/(\d+)\]")
_BEGUN = re.compile(r"\d+ groups, \d+ comparisons, (\d+) steps")


@dataclass(frozen=True, slots=True)
class Evaluated:
    """An evaluation that was logged: after which step, its metrics, and whether of `model/`."""

    step: int
    metrics: Mapping[str, Any]
    final: bool


@dataclass
class TrainingLog:
    """The log of a run.

    Attributes:
        steps: that were logged.
        numbers: of each, by name; nan where a step has none.
        evaluations: by evaluation set.
        said: lines for people that tell of no step and no evaluation.
        num_steps: that the run has in all; None where its log does not say.
        begun: how often it was started or resumed.
        is_cut: its last line was not written to its end.
    """

    steps: list[int] = field(default_factory=list)
    numbers: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in _NUMBERS})
    evaluations: dict[str, list[Evaluated]] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    num_steps: int | None = None
    begun: int = 0
    is_cut: bool = False

    def total(self, name: str) -> float:
        """The sum of a number over all steps that have it."""
        return math.fsum(value for value in self.numbers[name] if math.isfinite(value))


def read_log(run: Path) -> TrainingLog:
    """Both logs of a run.

    Raises:
        DataError: a line is not what a run writes; names file and line.
    """
    log = TrainingLog()
    path = run / JSONL
    for number, _, entry in object_lines(path, last_may_be_cut=True):
        try:
            _add(log, entry)
        except (KeyError, TypeError, ValueError) as error:
            said = (
                f"lacks {error}" if isinstance(error, KeyError) else f"is not as logged ({error})"
            )
            raise DataError(
                said, where=f"{path}:{number}", mend="restore the file as the run wrote it"
            ) from None
    log.is_cut = not _ends_with_a_line(path)
    if (run / TEXT).exists():
        _add_said(log, read_text(run / TEXT))
    return log


def _add(log: TrainingLog, entry: Mapping[str, Any]) -> None:
    if entry["kind"] == "train":
        log.steps.append(int(entry["step"]))
        for name, values in log.numbers.items():
            value = entry.get(name)
            values.append(math.nan if value is None else float(value))
    elif entry["kind"] == "eval":
        made = Evaluated(int(entry["step"]), entry, bool(entry.get("final")))
        float(entry["accuracy"])
        log.evaluations.setdefault(str(entry["name"]), []).append(made)


def _add_said(log: TrainingLog, text: str) -> None:
    for line in text.splitlines():
        counted = _COUNTED.match(line)
        begun = _BEGUN.match(line)
        if begun is not None:
            log.begun += 1
        if counted is None:
            log.said.append(line)
        if found := counted or begun:
            log.num_steps = int(found[1])


def _ends_with_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(0, 2)
        if file.tell() == 0:
            return True
        file.seek(-1, 2)
        return file.read(1) == b"\n"
