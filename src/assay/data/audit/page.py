"""The report as one HTML page that needs nothing else: no scripts, no fonts, no network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from html import escape

from assay.data.audit.charts import Counts, bars, histogram, intervals
from assay.data.audit.findings import Finding, counted
from assay.data.audit.lengths import LengthRow
from assay.data.audit.places import without_directory
from assay.data.audit.report import AuditReport
from assay.data.audit.shape import Composition
from assay.data.audit.thresholds import SHORTCUT_CARE

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6675; --line: #d9dee5;
  --paper: #ffffff; --tint: #f4f6f8; --chosen: #2a78b8; --rejected: #d9822b; --yes: #1a7f45;
  --care: #a86400; --no: #b42318; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --soft: #9aa6b5; --line: #343d49;
  --paper: #151a21; --tint: #1e252e; --chosen: #5aa9e6; --rejected: #f0a35e; --yes: #4ec583;
  --care: #e0a53a; --no: #f2776b; } }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
main { max-width: 72rem; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.15rem; color: var(--soft); font-weight: 600; margin: 0 0 .5rem; }
h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
.verdict { border-left: .4rem solid; padding: .8rem 1.2rem; background: var(--tint); }
.verdict p { font-size: 1.35rem; font-weight: 650; margin: 0; }
.yes { border-color: var(--yes); } .care { border-color: var(--care); }
.no { border-color: var(--no); }
ol { padding-left: 1.4rem; } li { margin: .35rem 0; }
.mark { display: inline-block; min-width: 2.6rem; text-align: center; border-radius: .25rem;
  padding: 0 .35rem; margin-right: .4rem; font-size: .8rem; font-weight: 650; color: #fff; }
.mark.stops { background: var(--no); } .mark.care { background: var(--care); }
@media (prefers-color-scheme: dark) { .mark { color: #151a21; } }
.places, small, caption { color: var(--soft); } .places { font-size: .85rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100%; }
th, td { text-align: right; padding: .3rem .6rem; border-bottom: 1px solid var(--line);
  white-space: nowrap; vertical-align: top; }
th.left, td.left { text-align: left; white-space: pre-line; min-width: 9rem; }
caption { text-align: left; padding-bottom: .3rem; }
.charts { display: grid; gap: 1.2rem 2rem;
  grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); }
figure { margin: 0; min-width: 0; } figcaption { color: var(--soft); font-size: .9rem; }
svg { width: 100%; height: auto; max-width: 46rem; }
svg text { fill: var(--soft); font-size: 12px; }
svg .grid { stroke: var(--line); } svg .half { stroke: var(--soft); }
svg .limit { stroke: var(--care); stroke-dasharray: 4 3; }
svg .chosen, .key.chosen { fill: var(--chosen); background: var(--chosen); }
svg .rejected, .key.rejected { fill: var(--rejected); background: var(--rejected); }
svg .bar { fill: var(--chosen); }
svg line.loud { stroke: var(--no); stroke-width: 2; } svg circle.loud { fill: var(--no); }
svg line.quiet { stroke: var(--chosen); stroke-width: 2; }
svg circle.quiet { fill: var(--chosen); }
.key { display: inline-block; width: .8rem; height: .8rem; margin: 0 .3rem 0 .8rem; }
details { border-bottom: 1px solid var(--line); padding: .45rem 0; }
summary { cursor: pointer; } summary b { margin-right: .5rem; }
.clean summary { color: var(--soft); }
"""


def html_page(report: AuditReport) -> str:
    """The page; every text of the data is escaped."""
    files = _files(report)
    title = escape(f"audit: {', '.join(_trained(report))}")
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
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"{''.join(parts)}\n</main>\n</body>\n</html>\n"
    )


def _trained(report: AuditReport) -> list[str]:
    return [file.file for file in report.files if file.role == "train"]


def _verdict(report: AuditReport) -> str:
    verdict = report.verdict
    kind = {"yes": "yes", "yes, with care": "care", "no": "no"}[verdict.safe_to_train]
    reasons = "".join(
        f'<li><span class="mark {reason.severity}">'
        f"{'stop' if reason.severity == 'stops' else 'care'}</span>{escape(reason.text)}"
        f'<div class="places">{escape(", ".join(reason.places))}</div></li>'
        for reason in verdict.reasons
    )
    because = ", because" if verdict.reasons else ""
    return (
        f"<h1>audit of {escape(', '.join(_trained(report)))}</h1>"
        f'<section class="verdict {kind}"><p>safe to train: '
        f"{escape(verdict.safe_to_train)}{because}</p>"
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
    return f"<h2>File by file</h2>{_table(columns, rows, left=3)}"


def _flaws(report: AuditReport) -> str:
    if not report.bad_rows:
        return ""
    rows = [[flaw.what, flaw.mend, flaw.first, str(flaw.count)] for flaw in report.bad_rows]
    return f"<h2>Why rows are bad</h2>{_table(['why', 'mend', 'first', 'rows'], rows, left=3)}"


def _lengths(report: AuditReport) -> str:
    of = f" of {report.model}" if report.model is not None else ""
    names = [field.name for field in fields(LengthRow)]
    rows = [
        [
            f"{value:.2f}" if isinstance(value, float) else str(value)
            for value in (getattr(row, name) for name in names)
        ]
        for row in report.lengths
    ]
    charts = "".join(
        f"<figure>{histogram(bins, report.unit)}<figcaption>{escape(bins.file)}"
        '<span class="key chosen"></span>chosen<span class="key rejected"></span>rejected'
        "</figcaption></figure>"
        for bins in report.histograms
    )
    caption = f"{report.unit}{of}; the raw fields, without a template"
    return f"<h2>Lengths</h2>{_table(names, rows, caption)}" + f'<div class="charts">{charts}</div>'


def _shortcuts(report: AuditReport) -> str:
    if not report.shortcuts:
        return ""
    rows = [
        [
            rule.direction,
            f"{rule.accuracy:.3f}",
            f"{rule.low:.3f} to {rule.high:.3f}",
            f"{rule.decided} of {rule.comparisons}",
            "" if rule.accuracy_where_decided is None else f"{rule.accuracy_where_decided:.3f}",
        ]
        for rule in report.shortcuts
    ]
    columns = ["rule", "accuracy", "95% interval", "decides", "accuracy there"]
    return (
        "<h2>Rules that read no meaning</h2>"
        f"<figure>{intervals(report.shortcuts)}<figcaption>dot: how often the rule is right, equal "
        "measures counting one half; line: 95% interval, clustered by prompt; dashed: "
        f"{SHORTCUT_CARE}, from which it is a warning</figcaption></figure>"
        f"{_table(columns, rows)}"
    )


def _findings(findings: Sequence[Finding]) -> str:
    parts = ["<h2>Findings</h2>"]
    for finding in findings:
        detail = f" · {finding.detail}" if finding.detail else ""
        head = (
            f"<b>{escape(finding.name)}</b>{finding.count} of {finding.of} {finding.unit} "
            f"({finding.share:.1%}){escape(detail)}"
        )
        items = "".join(
            f'<li>{escape(example.text)}<div class="places">{escape(", ".join(example.places))}'
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
    tags = [
        [
            tag.tag,
            tag.value,
            tag.of,
            str(tag.count),
            "" if tag.win_rate is None else f"{tag.win_rate:.3f}",
        ]
        for tag in made.tags
    ]
    columns = ["tag", "value", "of", "count", "wins against another value"]
    return (
        f'<h2>What it is made of</h2><div class="charts">{figures}</div>'
        + _table(["", ""], facts)
        + (f"<h2>Tags</h2>{_table(columns, tags, left=3)}" if tags else "")
        + (
            f"<p>too many values to show: {escape(', '.join(made.tags_left_out))}</p>"
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
        f'<span class="places">{escape(", ".join(found.places))}</span></p>'
        + (_table(["token", "times"], rows) if rows else "")
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
    return f"<h2>Files</h2>{_table(columns, rows, caption, left=4)}"


def _table(
    columns: Iterable[str], rows: Iterable[Iterable[str]], caption: str = "", *, left: int = 1
) -> str:
    def line(cells: Iterable[str], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=' + chr(34) + 'left' + chr(34) if number < left else ''}>"
            f"{escape(cell)}</{tag}>"
            for number, cell in enumerate(cells)
        )

    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    told = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="scroll"><table>{told}<thead><tr>{line(columns, "th")}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
