"""The report for a terminal: the verdict on one screen, then the tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from assay import consoles
from assay.data.audit.findings import counted
from assay.data.audit.places import without_directory
from assay.data.audit.report import AuditReport
from assay.data.audit.shape import Composition

_REASONS = 12
_EXAMPLES = 3
_FILES = 20
_FLAWS = 5
_WIDTH = 140
_WIDE = 110
"""Columns from which the lengths of a file stand in one row."""
_PARTS = ("prompt", "chosen", "reject")
_STYLES = {"yes": "bold green", "yes, with care": "bold yellow", "no": "bold red"}


def print_report(report: AuditReport) -> None:
    """Print all of a report; files without the directory that all of them lie in."""
    console = consoles.console(_WIDTH)
    report = without_directory(report)
    print_verdict(report, console)
    _print_by_file(report, console)
    _print_accounts(report, console)
    _print_flaws(report, console)
    _print_lengths(report, console)
    _print_findings(report, console)
    _print_shortcuts(report, console)
    _print_composition(report.composition, console)
    if report.special_tokens is not None:
        found = report.special_tokens
        names = ", ".join(f"{name} {count}" for name, count in found.tokens.items()) or "none"
        _say(
            console,
            f"special tokens written out in messages: {counted(found.rows, 'row')} ({names})",
        )


def verdict_line(report: AuditReport) -> str:
    """The verdict with its gravest reason, in one line."""
    verdict = report.verdict
    if not verdict.reasons:
        return "safe to train: yes"
    return f"safe to train: {verdict.safe_to_train}, because {verdict.reasons[0].text}"


def print_verdict(report: AuditReport, console: Console) -> None:
    """Print the verdict and its reasons, gravest first."""
    verdict = report.verdict
    console.print(Text(verdict_line(report), style=_STYLES[verdict.safe_to_train]))
    for number, reason in enumerate(verdict.reasons[:_REASONS], start=1):
        mark = "stop" if reason.severity == "stops" else "care"
        _say(console, f"  {number}. [{mark}] {reason.text}")
        if reason.places:
            _say(console, f"       {', '.join(reason.places)}")
    if len(verdict.reasons) > _REASONS:
        _say(console, f"  and {len(verdict.reasons) - _REASONS} more (--json has all)")


def _print_by_file(report: AuditReport, console: Console) -> None:
    """Which file it is, where there are several."""
    if len(report.by_file) < 2:
        return
    order = ["no", "yes, with care", "yes"]
    files = sorted(report.by_file, key=lambda file: order.index(file.safe_to_train))
    _table(
        console,
        "safe to train, file by file",
        ["", "file", "rows", "because"],
        (
            [
                file.safe_to_train,
                file.file,
                str(file.rows),
                "\n".join(reason.text for reason in file.reasons[:_EXAMPLES]),
            ]
            for file in files[:_FILES]
        ),
        left=(0, 1, 3),
    )
    if len(files) > _FILES:
        _say(console, f"and {counted(len(files) - _FILES, 'file')} more (--json has all)")


def _print_accounts(report: AuditReport, console: Console) -> None:
    """What became of every row that was read."""
    _table(
        console,
        "rows = used + bad + left out",
        ["file", "role", "rows", "used", "bad", "left out"],
        (
            [
                file.file,
                file.role,
                *map(str, (file.rows, file.used, file.bad_rows, sum(file.left_out.values()))),
            ]
            for file in report.files
        ),
        left=(0, 1),
    )
    for file in report.files:
        for why, count in file.left_out.items():
            _say(console, f"{file.file}: left out {counted(count, 'row')} ({why})")


def _print_flaws(report: AuditReport, console: Console) -> None:
    flaws = report.bad_rows
    if not flaws:
        return
    _table(
        console,
        "why rows are bad",
        ["rows", "first", "reason and mend"],
        ([str(flaw.count), flaw.first, f"{flaw.what}; {flaw.mend}"] for flaw in flaws[:_FLAWS]),
        left=(1, 2),
    )
    if len(flaws) > _FLAWS:
        _say(console, f"and {counted(len(flaws) - _FLAWS, 'flaw')} more (--json has more)")


def _print_lengths(report: AuditReport, console: Console) -> None:
    of = f" of {report.model}" if report.model is not None else ""
    caption = f"lengths in {report.unit}{of}, raw fields"
    if console.width < _WIDE:
        _print_lengths_by_part(report, caption, console)
        return
    for title, first, measures in (
        (caption, ["file", "count"], ("max", "avg")),
        ("the same, median and 99th percentile", ["file"], ("p50", "p99")),
    ):
        columns = first + [f"{part}_{measure}" for part in _PARTS for measure in measures]
        _table(console, title, columns, (row.shown(*columns) for row in report.lengths))


def _print_lengths_by_part(report: AuditReport, caption: str, console: Console) -> None:
    """The same in few columns: prompt, chosen and rejected one below the other."""
    measures = ("max", "avg", "p50", "p99")
    rows = []
    for row in report.lengths:
        for part in _PARTS:
            named = (row.file, str(row.count)) if part == _PARTS[0] else ("", "")
            rows.append([*named, part, *row.shown(*(f"{part}_{measure}" for measure in measures))])
    _table(console, caption, ["file", "count", "", *measures], rows, left=(0, 2))


def _print_findings(report: AuditReport, console: Console) -> None:
    rows = []
    for finding in report.findings:
        if not finding.count:
            continue
        places = [place for example in finding.examples for place in example.places]
        more = ", ..." if len(places) > _EXAMPLES else ""
        where = ", ".join(places[:_EXAMPLES]) + more
        count = f"{finding.count} of {finding.of} {finding.unit}"
        named = f"{finding.name}\n{finding.detail}" if finding.detail else finding.name
        rows.append([named, count, f"{finding.share:.1%}", where])
    if rows:
        _table(console, "findings", ["", "how many", "share", "where"], rows, left=(0, 3))
    clean = [finding.name for finding in report.findings if not finding.count]
    if clean:
        _say(console, f"\nnone: {', '.join(clean)}")


def _print_shortcuts(report: AuditReport, console: Console) -> None:
    _table(
        console,
        "rules that read no meaning",
        ["rule", "accuracy", "95% interval", "decides", "accuracy\nthere"],
        (rule.shown() for rule in report.shortcuts),
    )


def _print_composition(made: Composition, console: Console) -> None:
    _say(console, "")
    _say(console, f"scripts of prompts: {_counts(made.prompt_scripts)}")
    _say(
        console,
        f"scripts of answers: {_counts(made.answer_scripts)}; "
        f"rows whose preferred answer changes script: {made.script_changes}",
    )
    _say(console, f"user turns in a prompt: {_counts(made.user_turns)}")
    system = f"system prompts: {counted(made.with_system, 'row')}, {made.system_prompts} distinct"
    if made.most_common_system is not None:
        system += f", most often: {made.most_common_system}"
    _say(console, system)
    _say(console, f"distinct answers of a prompt: {_counts(made.responses_per_prompt)}")
    _say(console, f"ties: {made.ties}")
    margins = made.margins
    if margins.stated:
        _say(
            console,
            f"margins: {margins.stated} stated, {margins.missing} missing; {margins.low:g} to "
            f"{margins.high:g}, mean {margins.mean:.3g}; not positive: {margins.not_positive}",
        )
    if made.tags:
        _table(
            console,
            "tags (of answers: share of wins against another value)",
            ["tag", "value", "of", "count", "wins"],
            (tag.shown() for tag in made.tags),
            left=(0, 1, 2),
        )
    if made.tags_left_out:
        _say(console, f"tags with too many values to show: {', '.join(made.tags_left_out)}")


def _counts(counts: Mapping[str, int] | Mapping[int, int]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in counts.items()) or "none"


def _table(
    console: Console,
    title: str,
    columns: Iterable[str],
    rows: Iterable[Iterable[str]],
    left: tuple[int, ...] = (0,),
) -> None:
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    for number, column in enumerate(columns):
        # Texts may be folded, numbers never.
        if number in left:
            table.add_column(column, overflow="fold")
        else:
            table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print()
    console.print(table)


def _say(console: Console, text: str) -> None:
    console.print(Text(text))
