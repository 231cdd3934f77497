"""`assay compare`: evaluations of several models on the same rows."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from assay.data.audit.texts import excerpt
from assay.errors import DataError
from assay.evaluate.intervals import Ints, dense
from assay.evaluate.metrics import tag_of
from assay.evaluate.paired import RESAMPLES, difference

_SAME = {
    "input_sha256": "other rows",
    "split": "another split",
    "label": "another label",
}
"""What must be equal, and what is said where it is not."""

_MEND = "evaluate both on the same --input, --split and --label, and compare these results"

Key = tuple[str, str, int]
"""A comparison: its row, a hash of both answers, and which one of those that have both equal.

A pair of a benchmark has no hash: an item's pairs have an order. An item: its row, its prompt, 0.
"""


@dataclass(frozen=True, slots=True)
class Line:
    """What is kept of a line of `comparisons.jsonl`."""

    row: str
    group: str
    tag: str
    result: str
    margin: float
    prompt: str
    chosen: str
    rejected: str

    @property
    def won(self) -> bool:
        """Whether the better response has the higher reward."""
        return self.result == "win"


Pair = tuple[Line, Line]
"""The same comparison in two evaluations."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """One `results.json` with its comparisons.

    Attributes:
        place: as it was named.
        results: the contents of `results.json`.
        lines: what is paired: comparisons; of a benchmark its items.
        pairs: of a benchmark, every right response against every wrong one.
    """

    place: Path
    results: dict[str, Any]
    lines: dict[Key, Line]
    pairs: dict[Key, Line] = field(default_factory=dict)

    @property
    def benchmark(self) -> str | None:
        """The name of the benchmark; None of other rows."""
        found = self.results.get("benchmark")
        return None if found is None else str(found["name"])

    @property
    def name(self) -> str:
        """The model, as its evaluation called it; of stored scores, their file."""
        return str(self.results.get("model") or self.results.get("scores") or self.place)


def read_evaluated(place: Path) -> Evaluated:
    """Read a `results.json`, or the directory of one, and `comparisons.jsonl` beside it.

    Raises:
        DataError: one of them is missing or is something else.
    """
    file = place / "results.json" if place.is_dir() else place
    if not file.is_file():
        raise DataError("no results.json here", where=place, mend=_other_places(place))
    results = _json(file.read_bytes(), file)
    if not _is_of_eval(results):
        raise DataError(
            "is no results.json of assay eval", where=file, mend="name one, or its directory"
        )
    beside = file.with_name("comparisons.jsonl")
    if not beside.is_file():
        raise DataError(
            "comparisons.jsonl is missing beside it",
            where=file,
            mend="keep both files of an evaluation together, or evaluate again",
        )
    lines = _lines(beside, results)
    if len(lines) != results["num_comparisons"]:
        raise DataError(
            f"holds {len(lines)} comparisons, and results.json beside it "
            f"{results['num_comparisons']}",
            where=beside,
            mend="keep both files of one evaluation together, or evaluate again",
        )
    if "benchmark" in results:
        return Evaluated(place, results, _items(lines), lines)
    return Evaluated(place, results, lines)


def check_same(first: Evaluated, other: Evaluated) -> None:
    """See that two evaluations are of the same data.

    Raises:
        DataError: they are not.
    """
    if first.benchmark != other.benchmark:
        here, there = (each.benchmark or "no benchmark" for each in (other, first))
        raise DataError(
            f"another benchmark than {first.place}: {here} here and {there} there",
            where=other.place,
            mend="evaluate both with the same --benchmark, or both without",
        )
    # Files of scores differ by the scores: what else they hold decides.
    stored = all("rows_sha256" in each.results for each in (first, other))
    for name, what in _SAME.items():
        if stored and name == "input_sha256":
            name = "rows_sha256"
        ours, theirs = first.results.get(name), other.results.get(name)
        mend = _MEND
        if name == "input_sha256" and any("rows_sha256" in e.results for e in (first, other)):
            mend = "one of them is of stored scores: give `assay eval --scores` those of both"
        if ours != theirs:
            raise DataError(
                f"{what} than {first.place}: {name} is {_brief(theirs)} here and {_brief(ours)} "
                f"there (read from {_read_from(other)} and {_read_from(first)})",
                where=other.place,
                mend=mend,
            )


def compare(evaluated: Sequence[Evaluated], *, seed: int = 0) -> dict[str, Any]:
    """Each of the others against the first, on the comparisons that both scored.

    Args:
        evaluated: at least two.
        seed: of the bootstrap.

    Raises:
        DataError: they are of different data, or no comparison was scored by two.
    """
    first, *others = evaluated
    for other in others:
        check_same(first, other)
    names = _names(evaluated)
    return {
        "input": first.results.get("input"),
        **{name: first.results.get(name) for name in _SAME},
        "benchmark": first.benchmark,
        "unit": "comparisons" if first.benchmark is None else "items",
        "bootstrap": {"resamples": RESAMPLES, "seed": seed, "clustered_by": "prompt"},
        "first": _about(first, names[0]),
        "others": [
            _about(other, name) | _against(first, other, seed)
            for other, name in zip(others, names[1:], strict=True)
        ],
    }


def _about(evaluated: Evaluated, name: str) -> dict[str, Any]:
    results = evaluated.results
    if evaluated.benchmark is not None:
        strict = results["benchmark"]["strict"]
        results = results | strict | {"num_comparisons": strict["num_items"]}
    fields = ("accuracy", "accuracy_ci95", "num_comparisons", "num_prompts")
    found = {each: results.get(each) for each in fields}
    return {"model": name, "results": str(evaluated.place)} | found


def _names(evaluated: Sequence[Evaluated]) -> list[str]:
    """The models; where two are called the same, the places of their results, too."""
    counts = Counter(each.name for each in evaluated)
    return [
        each.name if counts[each.name] == 1 else f"{each.name} ({each.place})" for each in evaluated
    ]


def _against(first: Evaluated, other: Evaluated, seed: int) -> dict[str, Any]:
    pairs = _of_both(first.lines, other.lines)
    if not pairs:
        raise DataError(
            f"no comparison was scored by both this and {first.place}",
            where=other.place,
            mend=_MEND,
        )
    by_tag: dict[str, list[Pair]] = {}
    for pair in pairs:
        if pair[0].tag:
            by_tag.setdefault(pair[0].tag, []).append(pair)
    of_benchmark = {} if first.benchmark is None else _of_benchmark(first, other, seed)
    return of_benchmark | {
        "paired": _paired(pairs, seed),
        "by_tag": {tag: _paired(part, seed) for tag, part in sorted(by_tag.items())},
        "only_first": [line.row for key, line in first.lines.items() if key not in other.lines],
        "only_other": [line.row for key, line in other.lines.items() if key not in first.lines],
        "flipped": [_flip(*pair) for pair in pairs if pair[0].won != pair[1].won],
    }


def _of_both(first: dict[Key, Line], other: dict[Key, Line]) -> list[Pair]:
    return [(line, other[key]) for key, line in first.items() if key in other]


def _of_benchmark(first: Evaluated, other: Evaluated, seed: int) -> dict[str, Any]:
    """The authors' number of both, and the difference on pairs, which is finer than that on items.

    An item of RM-Bench is right where nine pairs are: two models may both have none.
    """
    ours, theirs = (each.results["benchmark"]["headline"] for each in (first, other))
    return {
        "headline": {"name": ours["name"], "first": ours["value"], "other": theirs["value"]},
        "pairs": _paired(_of_both(first.pairs, other.pairs), seed),
    }


def _paired(pairs: Sequence[Pair], seed: int) -> dict[str, Any]:
    """The difference on some of the comparisons that both scored."""
    cluster: Ints = dense(np.array([ours.group for ours, _ in pairs]))
    first_C, other_C = (
        np.array([pair[which].won for pair in pairs], dtype=np.float64) for which in (0, 1)
    )
    found = difference(first_C, other_C, cluster, seed=seed)
    return {
        "num_comparisons": len(pairs),
        "num_prompts": int(cluster.max()) + 1,
        "first": float(first_C.mean()),
        "other": float(other_C.mean()),
        "difference": found.value,
        "difference_ci95": list(found.interval),
        "gained": found.gained,
        "lost": found.lost,
        "mcnemar_p": found.mcnemar_p,
    }


def _flip(ours: Line, theirs: Line) -> dict[str, Any]:
    return {
        "row": ours.row,
        "flip": "gained" if theirs.won else "lost",
        "results": [ours.result, theirs.result],
        "margins": [ours.margin, theirs.margin],
        "prompt": ours.prompt,
        "chosen": ours.chosen,
        "rejected": ours.rejected,
    }


def _lines(file: Path, results: dict[str, Any]) -> dict[Key, Line]:
    """The lines of `comparisons.jsonl`, each under what makes it the same in two evaluations."""
    found: dict[Key, Line] = {}
    seen: Counter[tuple[str, str]] = Counter()
    input = str(results.get("input") or results.get("scores") or "")
    by_subset = "benchmark" in results
    with file.open("rb") as lines:
        for number, text in enumerate(lines, start=1):
            row = _json(text, f"{file}:{number}")
            try:
                line = _line(row, by_subset=by_subset)
                # The place within the input: two evaluations may have named its path differently.
                place = line.row.removeprefix(input)
                answers = "" if by_subset else _answers(row)
            except (KeyError, TypeError, AttributeError, ValueError):
                raise DataError(
                    "is no line of comparisons.jsonl",
                    where=f"{file}:{number}",
                    mend="evaluate again",
                ) from None
            digest = hashlib.blake2b(answers.encode(errors="surrogatepass")).hexdigest()[:24]
            found[place, digest, seen[place, digest]] = line
            seen[place, digest] += 1
    return found


def _answers(row: Any) -> str:
    return json.dumps([row.get("chosen"), row.get("rejected")], ensure_ascii=False)


def _items(lines: dict[Key, Line]) -> dict[Key, Line]:
    """The items of a benchmark, each by its worst pair: right where every pair is won."""
    found: dict[Key, Line] = {}
    for (place, _, _), line in lines.items():
        key = (place, line.group, 0)
        if key not in found or line.margin < found[key].margin:
            found[key] = line
    return found


def _line(row: Any, *, by_subset: bool) -> Line:
    """A line as it was written.

    Raises:
        KeyError, TypeError, AttributeError, ValueError: it was not written by `assay eval`.
    """
    if row["result"] not in ("win", "tie", "loss") or not isinstance(row["group"], str):
        raise ValueError
    margin = float(row["margin"])
    if not math.isfinite(margin):
        raise ValueError
    tags = row.get("tags") or {}
    return Line(
        row=row["row"],
        group=row["group"],
        tag=str(tags["subset"]) if by_subset else tag_of(tags),
        result=row["result"],
        margin=margin,
        prompt=_text(row.get("prompt")),
        chosen=_text(row.get("chosen")),
        rejected=_text(row.get("rejected")),
    )


def _text(messages: Any) -> str:
    """An excerpt of the last message."""
    return excerpt(str(messages[-1].get("content", ""))) if messages else ""


def _is_of_eval(results: Any) -> bool:
    """Whether what was read has the fields that a comparison needs, as `assay eval` writes them."""
    if not isinstance(results, dict) or "input_sha256" not in results:
        return False
    if type(results.get("num_comparisons")) is not int or not _has_accuracy(results):
        return False
    if "benchmark" not in results:
        return True
    found = results["benchmark"]
    if not isinstance(found, dict) or not isinstance(found.get("name"), str):
        return False
    strict, headline = found.get("strict"), found.get("headline")
    return (
        isinstance(strict, dict)
        and type(strict.get("num_items")) is int
        and _has_accuracy(strict)
        and isinstance(headline, dict)
        and {"name", "value"} <= headline.keys()
    )


def _has_accuracy(results: dict[str, Any]) -> bool:
    ends = results.get("accuracy_ci95")
    numbers = (results.get("accuracy"), *(ends if isinstance(ends, list) else ()))
    return len(numbers) == 3 and all(isinstance(number, int | float) for number in numbers)


def _json(text: bytes, where: object) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise DataError("is not JSON", where=where, mend="evaluate again") from None


def _other_places(place: Path) -> str:
    """Where results.json may be meant: a run keeps them below eval/."""
    found = sorted(str(file.parent) for file in place.glob("eval/*/results.json"))
    if found:
        return f"name {' or '.join(found)}"
    return "name a results.json of assay eval --output, or its directory"


def _read_from(evaluated: Evaluated) -> str:
    return str(evaluated.results.get("input") or evaluated.results.get("scores"))


def _brief(value: Any) -> str:
    return f"{value[:12]}..." if isinstance(value, str) and len(value) > 20 else str(value)
