"""From numbers to one answer: is it safe to train on these rows?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from assay.data.audit import thresholds as limit
from assay.data.audit.findings import Finding, counted
from assay.data.audit.report import FileVerdict, Reason, SpecialTokens, Verdict
from assay.data.audit.shortcuts import Shortcut

_PLACES = 3

_STOPS_AND_CARE = {
    "prompts in the test split": (limit.LEAK_STOP, 0.0),
    "contaminated": (limit.CONTAMINATION_STOP, 0.0),
    "bad rows": (limit.BAD_ROWS_STOP, 0.0),
    "contradictory pairs": (limit.CONTRADICTIONS_STOP, limit.CONTRADICTIONS_CARE),
    "exact duplicates": (limit.DUPLICATES_STOP, limit.DUPLICATES_CARE),
    "identical answers": (limit.IDENTICAL_STOP, limit.IDENTICAL_CARE),
    "preference cycles": (None, limit.CYCLES_CARE),
    "empty answers": (None, limit.EMPTY_CARE),
    "near-duplicate prompts": (None, limit.NEAR_PROMPTS_CARE),
}
"""By finding, in order of weight: the share from which it stops, and the one above which it asks
for care. Other findings are told and judge nothing."""


def judge(
    findings: Sequence[Finding],
    shortcuts: Sequence[Shortcut],
    comparisons: int | None,
    special_tokens: SpecialTokens | None,
    judged_shares: dict[str, float],
) -> Verdict:
    """The verdict with its reasons.

    Args:
        findings: all findings.
        shortcuts: all shortcut rules.
        comparisons: decided comparisons between two different answers; None judges none of that.
        special_tokens: those written out in messages, where a model was named.
        judged_shares: by finding, the share that is judged where it is not the one of rows.
    """
    reasons = [] if comparisons is None else [*_of_count(comparisons)]
    by_name = {finding.name: finding for finding in findings}
    for name, (stop, care) in _STOPS_AND_CARE.items():
        if name in by_name:
            share = judged_shares.get(name, by_name[name].share)
            reasons += _of_finding(by_name[name], share, stop, care)
    if comparisons != 0:
        reasons += _of_shortcuts(shortcuts)
    if special_tokens is not None and special_tokens.rows:
        names = ", ".join(special_tokens.tokens)
        rows = counted(special_tokens.rows, "row")
        text = f"special tokens are written out in messages of {rows} ({names})"
        reasons.append(Reason("care", text, special_tokens.places[:_PLACES]))
    reasons.sort(key=lambda reason: reason.severity != "stops")
    if not reasons:
        return Verdict("yes", [])
    return Verdict("no" if reasons[0].severity == "stops" else "yes, with care", reasons)


def judge_files(verdict: Verdict, by_file: Sequence[FileVerdict]) -> Verdict:
    """The verdict, with care where all files together hide one that says no."""
    unsafe = [file.file for file in by_file if file.safe_to_train == "no"]
    if verdict.safe_to_train == "no" or not unsafe:
        return verdict
    more = f" and {len(unsafe) - _PLACES} more" if len(unsafe) > _PLACES else ""
    text = f"by itself no: {', '.join(unsafe[:_PLACES])}{more}"
    return Verdict("yes, with care", [*verdict.reasons, Reason("care", text, [])])


def _of_count(comparisons: int) -> Iterator[Reason]:
    if not comparisons:
        yield Reason("stops", "no comparison has a winner and two different answers", [])
    elif comparisons < limit.FEW_COMPARISONS:
        yield Reason(
            "care",
            f"only {counted(comparisons, 'decided comparison')}: too few to judge by",
            [],
        )


def _of_finding(
    finding: Finding, share: float, stop: float | None, care: float
) -> Iterator[Reason]:
    if not finding.count:
        return
    places = [place for example in finding.examples for place in example.places][:_PLACES]
    told = f"{finding.share:.1%}; {finding.detail}" if finding.detail else f"{finding.share:.1%}"
    text = f"{finding.count} of {finding.of} {finding.unit} {finding.title} ({told})"
    if stop is not None and share >= stop:
        yield Reason("stops", text, places)
    elif share > care:
        yield Reason("care", text, places)


def _of_shortcuts(shortcuts: Sequence[Shortcut]) -> Iterator[Reason]:
    for rule in sorted(shortcuts, key=lambda rule: -rule.accuracy):
        if rule.accuracy >= limit.SHORTCUT_CARE and rule.low > 0.5:
            text = (
                f"'{rule.direction}' alone is right on {rule.accuracy:.1%} of comparisons "
                f"(95% interval {rule.low:.1%} to {rule.high:.1%})"
            )
            yield Reason("stops" if rule.low > limit.SHORTCUT_STOP else "care", text, [])
