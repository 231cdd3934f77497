"""What an audit says, as one value that can be written as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from assay.data.audit.findings import Finding
from assay.data.audit.lengths import Histogram, LengthRow
from assay.data.audit.shape import Composition
from assay.data.audit.shortcuts import Shortcut
from assay.data.records import Source

Answer = Literal["yes", "yes, with care", "no"]
Severity = Literal["stops", "care"]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why the verdict is not yes: how grave, what, and where (a few places)."""

    severity: Severity
    text: str
    places: list[str]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether it is safe to train on the rows; reasons stand in order of severity."""

    safe_to_train: Answer
    reasons: list[Reason]


@dataclass(frozen=True, slots=True)
class FileVerdict:
    """The verdict on one training file: what it contributes, by the limits for all together."""

    file: str
    rows: int
    safe_to_train: Answer
    reasons: list[Reason]


@dataclass(frozen=True, slots=True)
class Flaw:
    """Why rows are bad, the mend, how many they are, and the place of the first."""

    what: str
    mend: str
    count: int
    first: str


@dataclass(frozen=True, slots=True)
class FileAccount:
    """What was read: `role` is train, test or against; `sha256` is of the bytes read.

    `left_out` counts rows that are in no comparison, by reason. `used` are the others that are not
    bad: rows = used + bad_rows + left_out.
    """

    file: str
    role: Literal["train", "test", "against"]
    format: str
    rows: int
    comparisons: int
    bad_rows: int
    sha256: str
    left_out: dict[str, int] = field(default_factory=dict)
    used: int = field(init=False)

    def __post_init__(self) -> None:
        used = self.rows - self.bad_rows - sum(self.left_out.values())
        object.__setattr__(self, "used", used)


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """Special tokens of the model that stand written out in messages."""

    rows: int
    tokens: dict[str, int]
    places: list[str]


@dataclass(frozen=True, slots=True)
class AuditReport:
    """All that an audit found; lengths are in `unit`, of `model` where one was named.

    `by_file` judges each file of the training rows; `bad_rows` has the most frequent flaws.
    """

    verdict: Verdict
    by_file: list[FileVerdict]
    files: list[FileAccount]
    bad_rows: list[Flaw]
    unit: Literal["characters", "tokens"]
    model: str | None
    lengths: list[LengthRow]
    histograms: list[Histogram]
    findings: list[Finding]
    shortcuts: list[Shortcut]
    composition: Composition
    special_tokens: SpecialTokens | None

    def as_json(self) -> dict[str, Any]:
        """The report as plain values; keys are the fields' names."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Removal:
    """Why a cleaned file lacks a row: a reason that can be counted, and the particulars."""

    reason: str
    detail: str


@dataclass(slots=True)
class Audit:
    """A report, and the rows that a cleaned file leaves out, by their place."""

    report: AuditReport
    removals: dict[Source, Removal] = field(default_factory=dict)
