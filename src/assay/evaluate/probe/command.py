"""`assay probe`: rows and a model to shifts, verdicts and files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.progress import Progress

from assay.data.grouping import group_by_prompt
from assay.data.loading import SkippedRow, SortedSource, bad_rows_error
from assay.data.records import Group
from assay.data.rows import BadRow
from assay.data.sources import DataSource, locate
from assay.data.template_classes import format_by_template
from assay.errors import DataError, OutputError
from assay.evaluate.command import length_to_read, put_aside
from assay.evaluate.probe.measuring import measure
from assay.evaluate.probe.report import print_probe, write_probe
from assay.evaluate.probe.scoring import score_subjects
from assay.evaluate.probe.subjects import subjects_of
from assay.evaluate.probe.transforms import Transform, get_transform, transforms
from assay.files import check_place
from assay.model.loading import load_reward_model
from assay.model.locate import locate_model
from assay.model.metadata import Metadata


@dataclass(frozen=True, slots=True)
class ProbeOptions:
    """How `assay probe` reads, changes and writes; each field is a flag of the command."""

    output: Path | None = None
    limit: int | None = 200
    transform: tuple[str, ...] = ()
    seed: int = 0
    template: str | None = None
    base: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    engine: str = "auto"
    max_length: int | None = None
    on_bad_row: Literal["error", "skip"] = "error"


@dataclass
class _Read:
    groups: list[Group]
    skipped: list[SkippedRow]
    bad_rows: list[BadRow]
    num_rows: int
    fingerprint: str
    format: str


def probe_command(model: str, source: DataSource, options: ProbeOptions) -> dict[str, Any]:
    """Probe a model on the best answers of some rows; returns the numbers of `probe.json`.

    Raises:
        AssayError: no such model, data or transform, too little to probe, an output that cannot be
            written.
    """
    chosen = _chosen(options.transform)
    if options.output is not None:
        _check_directory(options.output)
    locate(source)
    directory = locate_model(model).path
    read = _read(source, directory, options)
    subjects, wordless = subjects_of(read.groups, limit=options.limit, seed=options.seed)
    loaded = load_reward_model(
        str(directory),
        base=options.base,
        template=options.template,
        device=options.device,
        dtype=options.dtype,
        engine=options.engine,
    )
    max_length = length_to_read(loaded, options.max_length)
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("prompts", total=len(subjects))
        probed = score_subjects(
            loaded,
            subjects,
            chosen,
            max_length=max_length,
            progress=lambda prompts: bar.advance(task, prompts),
        )
    try:
        numbers = measure(probed, chosen)
    except DataError as error:
        raise DataError(error.what, where=source.path, mend=error.mend) from None
    skipped = [*read.skipped, *wordless, *probed.skipped]
    found = numbers | {
        "skipped": [{"row": str(row.source), "reason": row.reason} for row in skipped],
        "model": model,
        "input": source.path,
        "input_sha256": read.fingerprint,
        "format": read.format,
        "split": source.split,
        "label": source.label,
        "rows": read.num_rows,
        "bad_rows": len(read.bad_rows),
        "limit": options.limit,
        "seed": options.seed,
        "template_hash": loaded.renderer.template.hash,
        "max_length": max_length,
        "dtype": str(next(loaded.parameters()).dtype).removeprefix("torch."),
        "engine": loaded.engine.name,
    }
    print_probe(found)
    if options.output is not None:
        write_probe(found, probed, options.output)
        print(f"results: {options.output / 'probe.json'}")
    if read.bad_rows:
        put_aside(read.bad_rows, options.output)
    return found


def _chosen(names: Sequence[str]) -> tuple[Transform, ...]:
    """The named transforms, each once; all where none is named."""
    return tuple(map(get_transform, dict.fromkeys(names))) or transforms()


def _check_directory(output: Path) -> None:
    check_place(output)
    if output.exists() and not output.is_dir():
        raise OutputError("is a file", where=output, mend="name a directory for probe.json")


def _read(source: DataSource, model: Path, options: ProbeOptions) -> _Read:
    """All rows, with comparisons or without; one group of each prompt.

    Raises:
        DataError: bad rows and `on_bad_row` is `error`, texts without a prompt, or no answer.
    """
    metadata = Metadata.read(model)
    trained_with = "auto" if metadata is None else metadata.template_name
    format = format_by_template(source.format, options.template or trained_with)
    rows = SortedSource(replace(source, format=format), need_comparisons=False, usable_only=False)
    groups: list[Group] = []
    skipped: list[SkippedRow] = []
    bad_rows: list[BadRow] = []
    for row in rows:
        if isinstance(row, BadRow):
            bad_rows.append(row)
        elif isinstance(row, SkippedRow):
            skipped.append(row)
        else:
            groups.append(row)
    if bad_rows and options.on_bad_row == "error":
        raise bad_rows_error(bad_rows)
    if not groups:
        reasons = ", ".join(f"{n} {why}" for why, n in Counter(r.reason for r in skipped).items())
        raise DataError(
            f"holds no answer to probe ({reasons or f'{len(bad_rows)} bad rows'})",
            where=source.path,
            mend="give it rows with prompts and answers",
        )
    merged = group_by_prompt(groups)
    return _Read(merged, skipped, bad_rows, rows.num_rows, rows.fingerprint, rows.format)
