"""The report as one HTML page that needs nothing else: no scripts, no fonts, no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from assay.data.audit.charts import Counts, bars, histogram, intervals
from assay.data.audit.findings import Finding, counted
from assay.data.audit.lengths import LengthRow
from assay.data.audit.places import without_directory
from assay.data.audit.report import AuditReport
from assay.data.audit.shape import Composition
from assay.data.audit.thresholds import SHORTCUT_CARE
from assay.pages.document import document, table
from assay.pages.escaping import text

_STYLE = ".clean summary { color: var(--soft); }\n"


def html_page(report: AuditReport) -> str:
    """The page; every text of the data is escaped."""
    files = _files(report)
    title = f"audit: {', '.join(_trained(report))}"
    report = without_directory(report)
    parts = [
        _verdict(report),
        _by_file(report),
        _flaws(report),
        _lengths(report),
        _shortcuts(report),
        _findings(report.findings),
        _composition(report.composition),
        _specials(report),
        files,
    ]
    return document(title, f"<main>\n{''.join(parts)}\n</main>", style=_STYLE)


def _trained(report: AuditReport) -> list[str]:
    return [file.file for file in report.files if file.role == "train"]


def _verdict(report: AuditReport) -> str:
    verdict = report.verdict
    kind = {"yes": "yes", "yes, with care": "care", "no": "no"}[verdict.safe_to_train]
    reasons = "".join(
        f'<li><span class="mark {reason.severity}">'
        f"{'stop' if reason.severity == 'stops' else 'care'}</span>{text(reason.text)}"
        f'<div class="places">{text(", ".join(reason.places))}</div></li>'
        for reason in verdict.reasons
    )
    because = ", because" if verdict.reasons else ""
    return (
        f"<h1>audit of {text(', '.join(_trained(report)))}</h1>"
        f'<section class="verdict {kind}"><p>safe to train: '
        f"{text(verdict.safe_to_train)}{because}</p>"
        + (f"<ol>{reasons}</ol>" if reasons else "")
        + "</section>"
    )


def _by_file(report: AuditReport) -> str:
    """Which file it is, where there are several."""
    if len(report.by_file) < 2:
        return ""
    rows = [
        [
            file.file,
            file.safe_to_train,
            "\n".join(reason.text for reason in file.reasons),
            str(file.rows),
        ]
        for file in report.by_file
    ]
    columns = ["file", "safe to train", "because", "rows"]
    return f"<h2>File by file</h2>{table(columns, rows, left=3)}"


def _flaws(report: AuditReport) -> str:
    if not report.bad_rows:
        return ""
    rows = [[flaw.what, flaw.mend, flaw.first, str(flaw.count)] for flaw in report.bad_rows]
    return f"<h2>Why rows are bad</h2>{table(['why', 'mend', 'first', 'rows'], rows, left=3)}"


def _lengths(report: AuditReport) -> str:
    of = f" of {report.model}" if report.model is not None else ""
    names = [field.name for field in fields(LengthRow)]
    rows = [row.shown(*names) for row in report.lengths]
    charts = "".join(
        f"<figure>{histogram(bins, report.unit)}<figcaption>{text(bins.file)}"
        '<span class="key chosen"></span>chosen<span class="key rejected"></span>rejected'
        "</figcaption></figure>"
        for bins in report.histograms
    )
    caption = f"{report.unit}{of}; the raw fields, without a template"
    return f"<h2>Lengths</h2>{table(names, rows, caption)}" + f'<div class="charts">{charts}</div>'


def _shortcuts(report: AuditReport) -> str:
    if not report.shortcuts:
        return ""
    rows = [rule.shown() for rule in report.shortcuts]
    columns = ["rule", "accuracy", "95% interval", "decides", "accuracy there"]
    return (
        "<h2>Rules that read no meaning</h2>"
        f"<figure>{intervals(report.shortcuts)}<figcaption>dot: how often the rule is right, equal "
        "measures counting one half; line: 95% interval, clustered by prompt; dashed: "
        f"{SHORTCUT_CARE}, from which it is a warning</figcaption></figure>"
        f"{table(columns, rows)}"
    )


def _findings(findings: Sequence[Finding]) -> str:
    parts = ["<h2>Findings</h2>"]
    for finding in findings:
        detail = f" · {finding.detail}" if finding.detail else ""
        head = (
            f"<b>{text(finding.name)}</b>{finding.count} of {finding.of} {finding.unit} "
            f"({finding.share:.1%}){text(detail)}"
        )
        items = "".join(
            f'<li>{text(example.text)}<div class="places">{text(", ".join(example.places))}'
            "</div></li>"
            for example in finding.examples
        )
        if items:
            parts.append(f"<details><summary>{head}</summary><ul>{items}</ul></details>")
        else:
            parts.append(f'<details class="clean"><summary>{head}</summary></details>')
    return "".join(parts)


def _composition(made: Composition) -> str:
    margins = made.margins
    facts = [
        ["rows whose preferred answer changes script", str(made.script_changes)],
        ["rows with a system prompt", str(made.with_system)],
        ["distinct system prompts", str(made.system_prompts)],
        ["most common system prompt", made.most_common_system or ""],
        ["ties", str(made.ties)],
        ["margins stated / missing", f"{margins.stated} / {margins.missing}"],
    ]
    if margins.low is not None:
        spread = f"{margins.low:g} / {margins.mean:.3g} / {margins.high:g}"
        facts.append(["margins: lowest / mean / highest", spread])
        facts.append(["margins not positive", str(margins.not_positive)])
    charts: dict[str, Counts] = {
        "scripts of prompts": made.prompt_scripts,
        "scripts of answers": made.answer_scripts,
        "user turns in a prompt": made.user_turns,
        "distinct answers of a prompt": made.responses_per_prompt,
    }
    figures = "".join(
        f"<figure><figcaption>{title}</figcaption>{bars(counts, title)}</figure>"
        for title, counts in charts.items()
    )
    tags = [tag.shown() for tag in made.tags]
    columns = ["tag", "value", "of", "count", "wins against another value"]
    return (
        f'<h2>What it is made of</h2><div class="charts">{figures}</div>'
        + table(["", ""], facts)
        + (f"<h2>Tags</h2>{table(columns, tags, left=3)}" if tags else "")
        + (
            f"<p>too many values to show: {text(', '.join(made.tags_left_out))}</p>"
            if made.tags_left_out
            else ""
        )
    )


def _specials(report: AuditReport) -> str:
    if report.special_tokens is None:
        return ""
    found = report.special_tokens
    rows = [[name, str(count)] for name, count in found.tokens.items()]
    return (
        f"<h2>Special tokens written out in messages</h2><p>{counted(found.rows, 'row')} "
        f'<span class="places">{text(", ".join(found.places))}</span></p>'
        + (table(["token", "times"], rows) if rows else "")
    )


def _files(report: AuditReport) -> str:
    rows = [
        [
            file.file,
            file.role,
            file.format,
            "\n".join(f"{count} {why}" for why, count in file.left_out.items()) or "0",
            str(file.rows),
            str(file.used),
            str(file.bad_rows),
            str(sum(file.left_out.values())),
            str(file.comparisons),
            file.sha256[:16],
        ]
        for file in report.files
    ]
    columns = ["file", "role", "format", "why left out"]
    columns += ["rows", "used", "bad", "left out", "comparisons", "SHA-256"]
    caption = "rows = used + bad + left out"
    return f"<h2>Files</h2>{table(columns, rows, caption, left=4)}"
