"""The log that `assay serve --monitor-log` wrote: steps of runs, their lines put together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.errors import DataError
from assay.report.reading import object_lines
from assay.serve.monitor.baseline import Baseline
from assay.serve.monitor.bins import Bins
from assay.serve.monitor.log import MIXED, SHARES, is_line
from assay.serve.monitor.moments import Moments

_MEND = "give the file as the server wrote it"


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a run.

    Attributes:
        number: None for requests that named none.
        pairs: moments of reward (x) and length (y).
        quantiles: of the rewards, at `SHARES`.
        bins: of the rewards that were kept for it.
        unit: what lengths count; `MIXED` where they count several things.
        duplicates: answers that equal an earlier one of the step.
        below: rewards below the range; None without a range.
        above: rewards above it.
        lines: of the log that it is made of.
    """

    number: int | None
    pairs: Moments
    quantiles: tuple[float, ...]
    bins: Bins
    unit: str
    requests: int
    duplicates: int
    truncated: int
    below: int | None
    above: int | None
    reference: Baseline | None
    lines: int = 1

    @property
    def responses(self) -> int:
        """How many rewards there were."""
        return self.pairs.count

    @property
    def mean(self) -> float:
        """The mean reward."""
        return self.pairs.mean_x

    @property
    def std(self) -> float | None:
        """Of the rewards."""
        return self.pairs.std_x

    @property
    def length(self) -> float | None:
        """The mean length."""
        return None if self.unit == MIXED else self.pairs.mean_y

    @property
    def correlation(self) -> float | None:
        """Of reward and length."""
        return None if self.unit == MIXED else self.pairs.correlation

    @property
    def distance(self) -> float | None:
        """From the reference's mean, in its standard deviations."""
        return None if self.reference is None else self.reference.distance(self.mean)

    @property
    def beyond(self) -> float | None:
        """The share of rewards beyond the range."""
        if self.below is None or self.above is None:
            return None
        return (self.below + self.above) / self.responses

    @property
    def duplicate_share(self) -> float:
        """The share of answers that equal an earlier one."""
        return self.duplicates / self.responses

    def merge(self, other: Step) -> Step:
        """This step and what came for it later; quantiles are then those of the bins."""
        bins = self.bins.merge(other.bins)
        known = None not in (self.below, self.above, other.below, other.above)
        return Step(
            self.number,
            self.pairs.merge(other.pairs),
            tuple(bins.quantile(share) for share in SHARES),
            bins,
            self.unit if self.unit == other.unit else MIXED,
            self.requests + other.requests,
            self.duplicates + other.duplicates,
            self.truncated + other.truncated,
            (self.below or 0) + (other.below or 0) if known else None,
            (self.above or 0) + (other.above or 0) if known else None,
            other.reference if known else None,
            self.lines + other.lines,
        )


@dataclass(frozen=True, slots=True)
class Run:
    """The steps of a run that one model scored, by their number; `untold` named none."""

    name: str
    model: str
    steps: list[Step]
    untold: Step | None = None


def is_monitor_log(path: Path) -> bool:
    """Whether a file's first line is one of such a log, or it has none yet.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            first = file.readline(2**20)
    except OSError as error:
        raise DataError(
            f"cannot be read ({error.strerror or error})", where=path, mend="check path and rights"
        ) from None
    return not first or is_line(first)


def read_monitor_log(path: Path) -> list[Run]:
    """The runs of a log, in the order in which they began.

    Raises:
        DataError: a line is not of such a log, or there is none; names file and line.
    """
    found: dict[tuple[str, str], dict[int | None, Step]] = {}
    for number, _, line in object_lines(path, last_may_be_cut=True):
        try:
            key, step = _step(line)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            said = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            raise DataError(
                f"is no line of a monitor's log ({said})", where=f"{path}:{number}", mend=_MEND
            ) from None
        steps = found.setdefault(key, {})
        known = steps.get(step.number)
        steps[step.number] = step if known is None else known.merge(step)
    if not found:
        raise DataError("holds no step yet", where=path, mend="wait for one that is over")
    return [
        Run(
            name,
            model,
            [steps[number] for number in sorted(n for n in steps if n is not None)],
            steps.get(None),
        )
        for (name, model), steps in found.items()
    ]


def _step(line: Mapping[str, Any]) -> tuple[tuple[str, str], Step]:
    count = int(line["responses"])
    if count < 1:
        raise ValueError(f"it is of {count} responses")
    width = float(line["histogram"]["width"])
    bins = Bins(width, {int(place): int(n) for place, n in line["histogram"]["counts"]})
    quantiles = tuple(map(float, line["reward_quantiles"]))
    if len(quantiles) != len(SHARES) or not width > 0 or not bins.counts:
        raise ValueError("its quantiles or its histogram are not whole")
    reference = line["reference"]
    pairs = Moments.known(
        count,
        (float(line["reward_mean"]), line["reward_std"]),
        (float(line["length_mean"] or 0.0), line["length_std"]),
        line["correlation"],
    )
    step = Step(
        None if line["step"] is None else int(line["step"]),
        pairs,
        quantiles,
        bins,
        str(line["length_unit"]),
        int(line["requests"]),
        int(line["duplicates"]),
        int(line["truncated"]),
        _whole(line["below"]),
        _whole(line["above"]),
        None if reference is None else _baseline(reference),
    )
    return (str(line["run"]), str(line["model"])), step


def _whole(value: object) -> int | None:
    return None if value is None else int(str(value))


def _baseline(reference: Mapping[str, Any]) -> Baseline:
    mean, std, low, high = (float(reference[name]) for name in ("mean", "std", "low", "high"))
    if not std > 0:
        raise ValueError("its reference has no spread")
    return Baseline(mean, std, low, high, int(reference["rewards"]), str(reference["source"]))
