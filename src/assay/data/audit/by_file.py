"""The verdict on each training file: which one it is that training should not read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from assay.data.audit.collecting import Collector
from assay.data.audit.findings import Finding
from assay.data.audit.judging import Met
from assay.data.audit.report import FileVerdict, SpecialTokens
from assay.data.audit.rules import rules_by_file
from assay.data.audit.verdict import judge

_PLACES = 20


def verdicts_by_file(
    collector: Collector, met: Met, findings: Sequence[Finding], rows: Counter[str]
) -> list[FileVerdict]:
    """Judge what each file contributes by the limits that hold for all files together.

    A row counts for a finding of its file where it does for that of all: two files that contradict
    each other both have contradictory rows. Too few comparisons are no reason here.

    Args:
        collector: the facts of all rows.
        met: which of them meet test prompts and benchmarks.
        findings: of all files.
        rows: of each file, its rows, bad ones and those left out too.
    """
    rules = rules_by_file(collector)
    numbers: dict[str, set[int]] = {file: set() for file in rows}
    for number, row in enumerate(collector.rows):
        numbers.setdefault(row.source.file, set()).add(number)
    with_specials: dict[str, list[int]] = {}
    for number in collector.rows_with_specials:
        with_specials.setdefault(collector.rows[number].source.file, []).append(number)
    verdicts = []
    for file, own in numbers.items():
        found = [_of_file(one, file, len(own), rows[file]) for one in findings]
        specials = special_tokens(collector, [file], with_specials.get(file, []))
        verdict = judge(found, rules.get(file, []), None, specials, met.judged_shares(own))
        verdicts.append(FileVerdict(file, rows[file], verdict.safe_to_train, verdict.reasons))
    return verdicts


def _of_file(finding: Finding, file: str, own: int, rows: int) -> Finding:
    """What a finding says of one file; its examples are those of the whole that lie there."""
    count = finding.by_file.get(file, 0)
    of = rows if finding.name == "bad rows" else own
    examples = [
        replace(example, places=places)
        for example in finding.examples
        if (places := [place for place in example.places if place.rpartition(":")[0] == file])
    ]
    share = count / of if of else 0.0
    return replace(finding, count=count, of=of, share=share, detail="", examples=examples)


def special_tokens(
    collector: Collector, files: Iterable[str], numbers: Sequence[int]
) -> SpecialTokens:
    """Those that stand written out in messages of some files, in the rows of these numbers."""
    tokens: Counter[str] = Counter()
    for file in files:
        tokens.update(collector.specials.get(file, {}))
    places = [str(collector.rows[number].source) for number in numbers[:_PLACES]]
    return SpecialTokens(len(numbers), dict(tokens.most_common()), places)
