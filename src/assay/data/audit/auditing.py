"""The audit: one pass over every file, then one report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from assay.data.audit.by_file import special_tokens, verdicts_by_file
from assay.data.audit.collecting import Collector
from assay.data.audit.duplicates import answers_per_prompt
from assay.data.audit.findings import Finding
from assay.data.audit.judging import Met, findings_of, removals_of
from assay.data.audit.leaks import Benchmark, ExactPrompts
from assay.data.audit.lengths import Lengths, characters, tokens_of
from assay.data.audit.reading import (
    check_places,
    flaws_of,
    read_benchmark,
    read_preferences,
    read_test,
)
from assay.data.audit.report import Audit, AuditReport, FileAccount, FileVerdict, Flaw
from assay.data.audit.rules import rules_of
from assay.data.audit.verdict import judge, judge_files
from assay.data.rows import BadRow
from assay.data.sources import DataSource
from assay.data.special_tokens import SpecialTokenGuard

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def audit(
    train: Sequence[DataSource],
    *,
    test: Sequence[DataSource] = (),
    against: Sequence[DataSource] = (),
    tokenizer: PreTrainedTokenizerBase | None = None,
    model: str | None = None,
) -> Audit:
    """Audit preference rows.

    Args:
        train: the rows that would be trained on; findings are about these.
        test: rows that training must not share a prompt with.
        against: texts (benchmarks) that must not stand in training: rows of any known format or
            with a field that asks something (`benchmarks.ASKING`), or lines of `.txt` files.
        tokenizer: lengths are in its tokens, and its special tokens are looked for in messages;
            without one lengths are in characters.
        model: how the report calls the tokenizer.

    Raises:
        DataError: a source is not there, cannot be read, or has no comparisons.
    """
    check_places(train, [*test, *against])
    measure = characters if tokenizer is None else tokens_of(tokenizer)
    files: list[FileAccount] = []
    test_lengths: dict[str, Lengths] = {}
    test_prompts = ExactPrompts()
    bad_rows: list[BadRow] = []
    bad_test_rows: list[BadRow] = []
    for source in test:
        files.append(read_test(source, measure, test_lengths, test_prompts, bad_test_rows))
    benchmarks = [(source.path, Benchmark()) for source in against]
    for source, (_, texts) in zip(against, benchmarks, strict=True):
        files.append(read_benchmark(source, texts))
        texts.close()
    met = Met(test_prompts if test else None, benchmarks)
    guard = SpecialTokenGuard(tokenizer) if tokenizer is not None else None
    collector = Collector(measure, met.look_for, in_tokens=tokenizer is not None, guard=guard)
    rows_of_files: Counter[str] = Counter()
    accounts = [
        read_preferences(source, "train", collector.add, bad_rows, rows_of_files)
        for source in train
    ]
    findings = findings_of(collector, met, bad_rows, sum(file.rows for file in accounts))
    report = _report(
        collector,
        findings,
        met.judged_shares(),
        verdicts_by_file(collector, met, findings, rows_of_files),
        flaws_of([*bad_rows, *bad_test_rows]),
        [*accounts, *files],
        test_lengths,
        model,
    )
    return Audit(report, removals_of(collector.rows, met, bad_rows))


def _report(
    collector: Collector,
    findings: list[Finding],
    judged_shares: dict[str, float],
    by_file: list[FileVerdict],
    flaws: list[Flaw],
    files: list[FileAccount],
    test_lengths: dict[str, Lengths],
    model: str | None,
) -> AuditReport:
    rules = rules_of(collector)
    specials = None
    if model is not None:
        specials = special_tokens(collector, collector.specials, collector.rows_with_specials)
    lengths = [*collector.lengths.items(), *test_lengths.items()]
    comparisons = len(collector.prompt_of_comparison)
    verdict = judge(findings, rules, comparisons, specials, judged_shares)
    return AuditReport(
        verdict=judge_files(verdict, by_file),
        by_file=by_file,
        files=files,
        bad_rows=flaws,
        unit="characters" if model is None else "tokens",
        model=model,
        lengths=[entry.row(name) for name, entry in lengths],
        histograms=[entry.histogram(name) for name, entry in lengths],
        findings=findings,
        shortcuts=rules,
        composition=collector.shape.composition(answers_per_prompt(collector.rows)),
        special_tokens=specials,
    )
