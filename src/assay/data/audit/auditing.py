"""The audit: one pass over every file, then one report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from assay.data.audit.collecting import Collector
from assay.data.audit.duplicates import answers_per_prompt
from assay.data.audit.judging import Met, findings_of, removals_of
from assay.data.audit.leaks import Benchmark, ExactPrompts
from assay.data.audit.lengths import Lengths, characters, tokens_of
from assay.data.audit.reading import check_places, read_benchmark, read_preferences, read_test
from assay.data.audit.report import Audit, AuditReport, FileAccount, SpecialTokens
from assay.data.audit.shortcuts import Shortcut, shortcut
from assay.data.audit.signals import POSITION, RULES, TOKENS
from assay.data.audit.verdict import judge
from assay.data.formats import get_format
from assay.data.rows import BadRow
from assay.data.sources import DataSource
from assay.data.special_tokens import SpecialTokenGuard

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PLACES = 20


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
    for source in test:
        files.append(read_test(source, measure, test_lengths, test_prompts, []))
    benchmarks = [(source.path, Benchmark()) for source in against]
    for source, (_, texts) in zip(against, benchmarks, strict=True):
        files.append(read_benchmark(source, texts))
        texts.close()
    met = Met(test_prompts if test else None, benchmarks)
    guard = SpecialTokenGuard(tokenizer) if tokenizer is not None else None
    collector = Collector(measure, met.look_for, in_tokens=tokenizer is not None, guard=guard)
    accounts = [read_preferences(source, "train", collector.add, bad_rows) for source in train]
    report = _report(collector, met, bad_rows, [*accounts, *files], test_lengths, model)
    return Audit(report, removals_of(collector.rows, met, bad_rows))


def _report(
    collector: Collector,
    met: Met,
    bad_rows: Sequence[BadRow],
    files: list[FileAccount],
    test_lengths: dict[str, Lengths],
    model: str | None,
) -> AuditReport:
    findings = findings_of(collector, met, bad_rows)
    rules = _shortcuts(collector)
    specials = _special_tokens(collector) if model is not None else None
    lengths = [*collector.lengths.items(), *test_lengths.items()]
    comparisons = len(collector.prompt_of_comparison)
    return AuditReport(
        verdict=judge(findings, rules, comparisons, specials, met.judged_shares()),
        files=files,
        unit="characters" if model is None else "tokens",
        model=model,
        lengths=[entry.row(name) for name, entry in lengths],
        histograms=[entry.histogram(name) for name, entry in lengths],
        findings=findings,
        shortcuts=rules,
        composition=collector.shape.composition(answers_per_prompt(collector.rows)),
        special_tokens=specials,
    )


def _shortcuts(collector: Collector) -> list[Shortcut]:
    if not collector.prompt_of_comparison:
        return []
    prompts = np.array(collector.prompt_of_comparison)
    names = {rule.name: (rule.name, rule.more, rule.less) for rule in RULES}
    names[TOKENS[0]] = TOKENS
    found = [
        shortcut(names[name], np.array(signs, dtype=np.int8), prompts)
        for name, signs in collector.signs.items()
    ]
    used = [
        positions
        for (_, name), positions in collector.positions.items()
        # Formats whose fields are called chosen and rejected count where a first answer loses.
        if positions.signs and (get_format(name).two_way or min(positions.signs) < 0)
    ]
    if used:
        signs = np.concatenate([np.array(entry.signs, dtype=np.int8) for entry in used])
        prompts = np.concatenate([np.array(entry.prompts) for entry in used])
        found.append(shortcut(POSITION, signs, prompts))
    return found


def _special_tokens(collector: Collector) -> SpecialTokens:
    rows = collector.rows_with_specials
    places = [str(collector.rows[number].source) for number in rows[:_PLACES]]
    return SpecialTokens(len(rows), dict(collector.specials.most_common()), places)
