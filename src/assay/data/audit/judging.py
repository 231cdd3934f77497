"""From the facts of all rows to findings, and to the rows that a cleaned file leaves out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain

from assay.data.audit.collecting import Collector, RowFacts
from assay.data.audit.duplicates import contradictions, cycles, repeated_rows, rows_by_prompt
from assay.data.audit.findings import Example, Finding, counted, example, finding
from assay.data.audit.leaks import Benchmark, ExactPrompts, Match
from assay.data.audit.report import Removal
from assay.data.audit.thresholds import NEAR_THRESHOLD
from assay.data.records import Source
from assay.data.rows import BadRow


class Met:
    """Which rows' prompts stand in the test split or in a benchmark."""

    def __init__(
        self, test: ExactPrompts | None, benchmarks: Sequence[tuple[str, Benchmark]]
    ) -> None:
        self.test = test
        self.benchmarks = benchmarks
        self.in_test: dict[int, Match] = {}
        self.contaminated: dict[int, list[Match]] = {}
        self._found: list[dict[int, set[int]]] = [{} for _ in benchmarks]
        """Of each benchmark, by row, the numbers of its texts."""

    def look_for(self, row: int, prompt: str, normal: str) -> None:
        """Compare one row's prompt with all that training must not hold."""
        match = self.test.find(normal) if self.test is not None else None
        if match is not None:
            self.in_test[row] = match
        for (_, texts), found in zip(self.benchmarks, self._found, strict=True):
            matches = texts.find(prompt, normal)
            if matches:
                self.contaminated.setdefault(row, []).extend(matches)
                found[row] = {match.number for match in matches}

    def judged_shares(self, rows: Collection[int] | None = None) -> dict[str, float]:
        """Shares of the test prompts, and of the benchmark hit most, that these rows hold."""
        shares = [
            len(_numbers(found, rows)) / len(texts)
            for (_, texts), found in zip(self.benchmarks, self._found, strict=True)
            if len(texts)
        ]
        judged = {"contaminated": max(shares, default=0.0)}
        if self.test is not None and self.test.places:
            judged["prompts in the test split"] = self._test_prompts(rows) / len(self.test.places)
        return judged

    def told(self) -> tuple[str, str]:
        """The same in words: of the test split, and of the benchmarks."""
        test = ""
        if self.test is not None:
            test = f"{self._test_prompts()} of {len(self.test.places)} test prompts"
        benchmarks = ", ".join(
            f"{len(_numbers(found))} of {len(texts)} texts of {name}"
            for (name, texts), found in zip(self.benchmarks, self._found, strict=True)
        )
        return test, benchmarks

    def _test_prompts(self, rows: Collection[int] | None = None) -> int:
        return len(_numbers({row: {match.number} for row, match in self.in_test.items()}, rows))


def _numbers(found: Mapping[int, set[int]], rows: Collection[int] | None = None) -> set[int]:
    """The numbers of the texts that some rows meet, or all."""
    among = found if rows is None else found.keys() & rows
    return set().union(*(found[row] for row in among))


def findings_of(
    collector: Collector, met: Met, bad_rows: Sequence[BadRow], num_rows: int
) -> list[Finding]:
    """All findings, those that weigh most first; split and benchmark ones where files are named.

    Bad rows are among all `num_rows`, which are more than those collected.
    """
    rows = collector.rows
    of_rows = len(rows)
    bad = (Example([str(row.source)], f"{row.what}; {row.mend}") for row in bad_rows)
    found = [
        *_met_findings(rows, met),
        finding("bad rows", "cannot be read", [row.source for row in bad_rows], num_rows, bad),
    ]
    denied = contradictions(rows)
    pairs = counted(len(denied), "pair of answers", "pairs of answers")
    title = "prefer A to B where others prefer B to A"
    found.append(_of_sets("contradictory pairs", title, rows, denied, pairs))
    circles = cycles(rows)
    told = counted(len(circles), "circle")
    found.append(_of_sets("preference cycles", "prefer answers in a circle", rows, circles, told))
    repeats = repeated_rows(rows, range(of_rows))
    found.append(
        finding(
            "exact duplicates",
            "repeat earlier ones",
            _places(rows, repeats),
            of_rows,
            (example(rows, [number, earlier]) for number, earlier in repeats.items()),
        )
    )
    found += _answer_findings(rows)
    found += _same_prompts(rows)
    found += _near(collector)
    return found


def removals_of(
    rows: Sequence[RowFacts], met: Met, bad_rows: Sequence[BadRow]
) -> dict[Source, Removal]:
    """The rows that a cleaned file leaves out; each has the first reason of its several.

    Repeats are looked for last, among the rows that are left: the first one stays.
    """
    gone: dict[int, Removal] = {}
    for number, row in enumerate(rows):
        if row.identical:
            gone[number] = Removal("identical answers", "")
    for numbers in contradictions(rows):
        for number in numbers:
            others = ", ".join(str(rows[other].source) for other in numbers if other != number)
            detail = f"prefers what {others} rejects" if others else "contradicts itself"
            gone.setdefault(number, Removal("contradictory pairs", detail))
    for number, match in met.in_test.items():
        gone.setdefault(number, Removal("prompts in the test split", match.place))
    for number, matches in met.contaminated.items():
        detail = ", ".join(f"{match.place} ({match.how})" for match in matches)
        gone.setdefault(number, Removal("contaminated", detail))
    left = (number for number in range(len(rows)) if number not in gone)
    for number, earlier in repeated_rows(rows, left).items():
        gone[number] = Removal("exact duplicates", f"of {rows[earlier].source}")
    removals = {rows[number].source: removal for number, removal in gone.items()}
    return removals | {row.source: Removal("bad rows", row.what) for row in bad_rows}


def _met_findings(rows: Sequence[RowFacts], met: Met) -> Iterator[Finding]:
    test, benchmarks = met.told()
    if met.test is not None:
        yield finding(
            "prompts in the test split",
            "have a prompt of the test split",
            _places(rows, met.in_test),
            len(rows),
            (
                Example([str(rows[number].source), match.place], rows[number].excerpt)
                for number, match in met.in_test.items()
            ),
            detail=test,
        )
    if met.benchmarks:
        yield finding(
            "contaminated",
            "hold texts of the files to keep apart",
            _places(rows, met.contaminated),
            len(rows),
            (
                Example(
                    [str(rows[number].source), *(match.place for match in matches[:8])],
                    f"{matches[0].how}: {rows[number].excerpt}",
                )
                for number, matches in met.contaminated.items()
            ),
            detail=benchmarks,
        )


def _of_sets(
    name: str, title: str, rows: Sequence[RowFacts], sets: Sequence[list[int]], detail: str
) -> Finding:
    """A finding of rows that belong together in sets; a row may be in several."""
    places = _places(rows, {number for numbers in sets for number in numbers})
    examples = (example(rows, numbers) for numbers in sets)
    return finding(name, title, places, len(rows), examples, detail=detail)


def _answer_findings(rows: Sequence[RowFacts]) -> Iterator[Finding]:
    flawed = {
        "identical answers": ("have two equal answers", [r.identical for r in rows]),
        "empty answers": ("have an empty answer", [bool(r.empty) for r in rows]),
    }
    for name, (title, has) in flawed.items():
        numbers = [number for number, flag in enumerate(has) if flag]
        examples = (example(rows, [number]) for number in numbers)
        yield finding(name, title, _places(rows, numbers), len(rows), examples)


def _same_prompts(rows: Sequence[RowFacts]) -> Iterator[Finding]:
    shared = rows_by_prompt(rows)
    yield finding(
        "duplicate prompts",
        "share their prompt with others",
        _places(rows, chain.from_iterable(shared.values())),
        len(rows),
        (example(rows, numbers) for numbers in shared.values()),
        detail=f"{counted(len(shared), 'prompt')}; normal where prompts have several comparisons",
    )


def _near(collector: Collector) -> Iterator[Finding]:
    rows = collector.rows
    prompts, answers = collector.prompts, collector.answers
    alike = prompts.near()
    near = {number for cluster in alike for number in cluster}
    yield finding(
        "near-duplicate prompts",
        "have nearly the prompt of others",
        [row.source for row in rows if row.prompt in near],
        len(rows),
        (example(rows, [prompts.first_rows[number] for number in cluster]) for cluster in alike),
        detail=f"{_families(len(alike))}, similarity at least {NEAR_THRESHOLD}",
    )
    alike = answers.near()
    yield finding(
        "near-duplicate answers",
        "are nearly those of others",
        _places(rows, (answers.first_rows[number] for number in chain.from_iterable(alike))),
        len(answers),
        (example(rows, _unique(answers.first_rows, cluster)) for cluster in alike),
        detail=f"{_families(len(alike))} among {len(answers)} distinct answers",
        unit="answers",
    )


def _places(rows: Sequence[RowFacts], numbers: Iterable[int]) -> list[Source]:
    return [rows[number].source for number in numbers]


def _families(number: int) -> str:
    return counted(number, "family", "families")


def _unique(first_rows: Sequence[int], cluster: Sequence[int]) -> list[int]:
    return list(dict.fromkeys(first_rows[number] for number in cluster))
