"""Where the numbers come from: data, recipe, versions and machine, what the run said."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from assay.pages.document import table
from assay.pages.escaping import text
from assay.report.found import EvaluatedSet, Found
from assay.report.parts import count, duration, heading, many, paragraph, section
from assay.report.training_log import TrainingLog

_MOST_ROWS = 50
"""Rows that were left out and are listed."""
Row = Mapping[str, Any]


def data_section(found: Found) -> str:
    """Rows in, used and left out with reasons, and fingerprints; of the run and of evaluations."""
    parts = []
    if found.described.get("train"):
        described = [("train", found.described["train"])]
        described += list((found.described.get("eval") or {}).items())
        parts += [
            heading("What training prepared"),
            _prepared(described),
            _prints(found.described),
            _left_out([(name, row.get("dropped_rows") or []) for name, row in described]),
            _leaks(described),
        ]
    own = [one for one in found.sets if "input" in one.results or "scores" in one.results]
    if own:
        parts += [heading("What was evaluated"), _evaluated(own)]
        skipped = [(one.name, (one.results.get("skipped") or {}).get("rows") or []) for one in own]
        parts.append(_left_out(skipped))
    parts += [
        paragraph(f"{many(number, 'bad row')} could not be read: {name}.")
        for name, number in found.bad_rows.items()
    ]
    if parts:
        parts.append(
            paragraph(
                "Whether the rows are sound (duplicates, contradictions, leaks, shortcuts) stands "
                "in another report. How to get it: assay audit ROWS --output DIR.",
                "absent",
            )
        )
    return section("data", "Data", parts)


def _prepared(described: Sequence[tuple[str, Row]]) -> str:
    names = ("rows", "groups", "comparisons", "tokens", "cut_prompts", "specials_in_content")
    rows = [
        [name, _reasons(row.get("dropped") or {}), *(count(row.get(name)) for name in names)]
        for name, row in described
    ]
    columns = ["set", "left out", "rows", "prompts", "comparisons", "tokens", "cut prompts"]
    columns.append("special tokens in texts")
    return table(columns, rows, "Rows read, used and left out", left=2)


def _prints(described: Row) -> str:
    rows = [[name, digest] for name, digest in (described.get("data") or {}).items()]
    for name, row in (described.get("eval") or {}).items():
        rows += [[name, digest] for digest in row.get("sha256") or []]
    return table(["source", "SHA-256"], rows, "Fingerprints", left=2) if rows else ""


def _leaks(described: Sequence[tuple[str, Row]]) -> str:
    return "".join(
        paragraph(
            f"{many(row['prompts_in_training'], 'prompt')} of {name} were trained on, too: its "
            "accuracy is flattering."
        )
        for name, row in described
        if row.get("prompts_in_training")
    )


def _evaluated(sets: Sequence[EvaluatedSet]) -> str:
    rows = []
    for one in sets:
        results = one.results
        skipped = results.get("skipped") or {}
        rows.append(
            [
                one.name,
                results.get("input") or results.get("scores") or "–",
                _reasons(skipped.get("reasons") or {}),
                results.get("format") or "–",
                results.get("split") or "–",
                str(results.get("input_sha256") or "–")[:16],
                count(results.get("rows")),
                count(results["num_comparisons"]),
                count(skipped.get("count", 0)),
                count(results.get("bad_rows")),
            ]
        )
    columns = ["set", "input", "left out", "format", "split", "SHA-256", "rows", "comparisons"]
    columns += ["skipped", "bad"]
    caption = "Rows read, compared and left out; of SHA-256 the first 16 digits"
    return table(columns, rows, caption, left=3)


def _left_out(lists: Sequence[tuple[str, Sequence[Row]]]) -> str:
    """Each row that was left out, as far as a page can hold them."""
    rows = [
        [name, str(row.get("row", "?")), str(row.get("reason", ""))]
        for name, dropped in lists
        for row in dropped
    ]
    if not rows:
        return ""
    more = len(rows) - _MOST_ROWS
    note = paragraph(f"and {many(more, 'row')} more", "absent") if more > 0 else ""
    listed = table(["set", "row", "reason"], rows[:_MOST_ROWS], "Rows left out", left=3)
    return f"<details><summary>{many(len(rows), 'row')} left out</summary>{listed}{note}</details>"


def _reasons(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {why}" for why, number in reasons.items()) or "none"


def recipe_section(found: Found) -> str:
    """What people ask of a recipe first, then every field."""
    if found.recipe_text is None:
        words = (
            "This is an evaluation and not a run: recipe and curves are not here. How to get them: "
            "assay report RUN, with the run that trained the model."
        )
        return section("recipe", "Recipe", [paragraph(words, "absent")])
    recipe = found.recipe
    model, train, loss = (recipe.get(name) or {} for name in ("model", "train", "loss"))
    lora = recipe.get("lora") or None
    facts = [
        ("base model", model.get("path")),
        ("loss", loss.get("kind")),
        ("trained", _trained(train, lora)),
        ("learning rate", f"{train.get('learning_rate')}, {train.get('lr_scheduler_type')}"),
        ("prompts a step", train.get("global_batch_size")),
        ("epochs", train.get("num_train_epochs")),
        ("tokens, at most", train.get("max_length")),
        ("dtype", model.get("dtype")),
        ("template", model.get("template")),
        ("seed", train.get("seed")),
    ]
    whole = f"<pre>{text(found.recipe_text)}</pre>"
    return section(
        "recipe",
        "Recipe",
        [
            facts_list(facts),
            f"<details><summary>Every field, defaults written out</summary>{whole}</details>",
        ],
    )


def _trained(train: Row, lora: Row | None) -> str:
    if lora:
        return f"LoRA of rank {lora.get('r')}, alpha {lora.get('alpha')}, and the head"
    if train.get("freeze") == "backbone":
        return "the head"
    layers = train.get("top_layers")
    return "all weights" if layers is None else f"the last {layers} layers and the head"


def facts_list(facts: Sequence[tuple[str, object]]) -> str:
    """Names and values; those that are not known are left out."""
    body = "".join(
        f'<dt>{text(name)}</dt><dd dir="auto">{text(value)}</dd>'
        for name, value in facts
        if value is not None and value != ""
    )
    return f"<dl>{body}</dl>" if body else ""


def machine_section(found: Found) -> str:
    """Versions, machine, engine; time and memory of the training."""
    described, log = found.described, found.log
    facts: list[tuple[str, object]] = []
    if described:
        versions = {"assay": described.get("assay_version"), "python": described.get("python")}
        versions |= described.get("versions") or {}
        facts += [
            ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
            ("machine", f"{described.get('machine')}, {described.get('cpu_capability')}"),
            ("threads", described.get("num_threads")),
            ("engine", described.get("engine")),
            ("why this engine", described.get("engine_reason")),
            ("strategy", described.get("strategy")),
            ("processes", described.get("num_processes")),
        ]
    if log is not None and log.steps:
        facts += _costs(log)
    for one in found.sets:
        names = ("model", "engine", "dtype", "max_length", "template_hash")
        known = [f"{name} {one.results[name]}" for name in names if one.results.get(name)]
        if known:
            facts.append((f"evaluation {one.name}", ", ".join(known)))
    if not described:
        words = (
            "Versions and machine of the training are not here. How to get them: assay report RUN."
        )
        return section(
            "machine", "Versions and machine", [facts_list(facts), paragraph(words, "absent")]
        )
    return section("machine", "Versions and machine", [facts_list(facts)])


def _costs(log: TrainingLog) -> list[tuple[str, object]]:
    seconds, pairs = log.total("seconds"), log.total("num_comparisons")
    peaks = [peak for peak in log.numbers["peak_memory_bytes"] if math.isfinite(peak)]
    return [
        ("time of all steps", duration(seconds)),
        ("comparisons a second", f"{pairs / seconds:.2f}" if seconds else None),
        ("peak memory", f"{max(peaks) / 2**30:.1f} GiB" if peaks else None),
    ]


def log_section(found: Found) -> str:
    """What the run said besides its steps: starts, resumes, stops."""
    log = found.log
    if log is None:
        return ""
    parts = []
    if log.begun > 1:
        parts.append(paragraph(f"Started once and resumed {_times(log.begun - 1)}."))
    if log.is_cut:
        parts.append(
            paragraph(
                "The last line of train_log.jsonl is not whole: the run is being written, or was "
                "killed. It is left out."
            )
        )
    repeated = Counter(log.said)
    lines = "".join(
        f"<li>{text(line)}{f' ({number} times)' if number > 1 else ''}</li>"
        for line, number in repeated.items()
        if line.strip()
    )
    parts.append(f"<ul>{lines}</ul>" if lines else "")
    words = (
        "Warnings go to the terminal and are not kept in the run. How to keep them: "
        "assay train ... 2> warnings.log."
    )
    return section("log", "Log", [*parts, paragraph(words, "absent")])


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
