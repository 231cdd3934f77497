"""`assay compare`: evaluations of several models on the same rows."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from assay.data.audit.texts import excerpt
from assay.errors import DataError
from assay.evaluate.intervals import Ints, accuracy_of, dense
from assay.evaluate.paired import RESAMPLES, difference

_SAME = {
    "input_sha256": "other rows",
    "split": "another split",
    "label": "another label",
}
"""What must be equal, and what is said where it is not."""

_MEND = "evaluate both on the same --input, --split and --label, and compare these results"

Key = tuple[str, str, int]
"""A comparison: its row, a hash of both answers, and which one of those that have both equal."""


@dataclass(frozen=True, slots=True)
class Line:
    """What is kept of a line of `comparisons.jsonl`."""

    row: str
    group: str
    won: bool
    result: str
    margin: float
    prompt: str
    chosen: str
    rejected: str


@dataclass(frozen=True, slots=True)
class Evaluated:
    """One `results.json` with its comparisons."""

    place: Path
    results: dict[str, Any]
    lines: dict[Key, Line]

    @property
    def name(self) -> str:
        """The model, as its evaluation called it."""
        return str(self.results.get("model", self.place))


def read_evaluated(place: Path) -> Evaluated:
    """Read a `results.json`, or the directory of one, and `comparisons.jsonl` beside it.

    Raises:
        DataError: one of them is missing or is something else.
    """
    file = place / "results.json" if place.is_dir() else place
    if not file.is_file():
        raise DataError("no results.json here", where=place, mend=_other_places(place))
    results = _json(file.read_bytes(), file)
    if not isinstance(results, dict) or not {"input_sha256", "accuracy"} <= results.keys():
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
    return Evaluated(place, results, _lines(beside, str(results.get("input", ""))))


def check_same(first: Evaluated, other: Evaluated) -> None:
    """See that two evaluations are of the same data.

    Raises:
        DataError: they are not.
    """
    for field, what in _SAME.items():
        ours, theirs = first.results.get(field), other.results.get(field)
        if ours != theirs:
            raise DataError(
                f"{what} than {first.place}: {field} is {_brief(theirs)} here and {_brief(ours)} "
                f"there (input {other.results.get('input')} and {first.results.get('input')})",
                where=other.place,
                mend=_MEND,
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
    return {
        "input": first.results.get("input"),
        **{field: first.results.get(field) for field in _SAME},
        "bootstrap": {"resamples": RESAMPLES, "seed": seed, "clustered_by": "prompt"},
        "first": _about(first),
        "others": [_against(first, other, seed) for other in others],
    }


def _about(evaluated: Evaluated) -> dict[str, Any]:
    fields = ("accuracy", "accuracy_ci95", "num_comparisons", "num_prompts")
    found = {field: evaluated.results.get(field) for field in fields}
    return {"model": evaluated.name, "results": str(evaluated.place)} | found


def _against(first: Evaluated, other: Evaluated, seed: int) -> dict[str, Any]:
    both = [key for key in first.lines if key in other.lines]
    if not both:
        raise DataError(
            f"no comparison was scored by both this and {first.place}",
            where=other.place,
            mend=_MEND,
        )
    pairs = [(first.lines[key], other.lines[key]) for key in both]
    cluster: Ints = dense(np.array([ours.group for ours, _ in pairs]))
    first_C, other_C = (
        np.array([pair[which].won for pair in pairs], dtype=np.float64) for which in (0, 1)
    )
    found = asdict(difference(first_C, other_C, cluster, seed=seed))
    return _about(other) | {
        "paired": {
            "num_comparisons": len(both),
            "num_prompts": int(cluster.max()) + 1,
            "first": accuracy_of(first_C, cluster)["accuracy"],
            "other": accuracy_of(other_C, cluster)["accuracy"],
            "difference": found["value"],
            "difference_ci95": list(found["interval"]),
            "gained": found["gained"],
            "lost": found["lost"],
            "mcnemar_p": found["mcnemar_p"],
        },
        "only_first": [line.row for key, line in first.lines.items() if key not in other.lines],
        "only_other": [line.row for key, line in other.lines.items() if key not in first.lines],
        "flipped": [_flip(*pair) for pair in pairs if pair[0].won != pair[1].won],
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


def _lines(file: Path, input: str) -> dict[Key, Line]:
    found: dict[Key, Line] = {}
    seen: Counter[tuple[str, str]] = Counter()
    with file.open("rb") as lines:
        for number, text in enumerate(lines, start=1):
            row = _json(text, f"{file}:{number}")
            try:
                # The place within the input: two evaluations may have named its path differently.
                place = row["row"].removeprefix(input)
                answers = json.dumps([row.get("chosen"), row.get("rejected")], ensure_ascii=False)
                digest = hashlib.blake2b(answers.encode(errors="surrogatepass")).hexdigest()[:24]
                line = Line(
                    row=row["row"],
                    group=row["group"],
                    won=row["result"] == "win",
                    result=row["result"],
                    margin=row["margin"],
                    prompt=_text(row.get("prompt")),
                    chosen=_text(row.get("chosen")),
                    rejected=_text(row.get("rejected")),
                )
            except (KeyError, TypeError, AttributeError):
                raise DataError(
                    "is no line of comparisons.jsonl",
                    where=f"{file}:{number}",
                    mend="evaluate again",
                ) from None
            found[place, digest, seen[place, digest]] = line
            seen[place, digest] += 1
    return found


def _text(messages: Any) -> str:
    """An excerpt of the last message."""
    return excerpt(str(messages[-1].get("content", ""))) if messages else ""


def _json(text: bytes, where: object) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise DataError("is not JSON", where=where, mend="evaluate again") from None


def _other_places(place: Path) -> str:
    """Where results.json may be meant: a run keeps them below eval/."""
    found = sorted(str(file.parent) for file in place.glob("eval/*/results.json"))
    if found:
        return f"name {' or '.join(found)}"
    return "name a results.json of assay eval --output, or its directory"


def _brief(value: Any) -> str:
    return f"{value[:12]}..." if isinstance(value, str) and len(value) > 20 else str(value)
