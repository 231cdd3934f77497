"""`assay probe`: rows and a model to shifts, verdicts and files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from assay.consoles import counting
from assay.data.loading import SkippedRow
from assay.data.sources import DataSource, locate
from assay.errors import DataError
from assay.evaluate.opening import Reading, about_model, open_model
from assay.evaluate.outputs import PROBE, check_output_directory, listed, put_aside, remove_earlier
from assay.evaluate.probe.measuring import measure
from assay.evaluate.probe.report import print_probe, write_probe
from assay.evaluate.probe.scoring import score_subjects
from assay.evaluate.probe.subjects import subjects_of
from assay.evaluate.probe.transforms import Transform, get_transform, transforms
from assay.evaluate.rows import load_answers
from assay.model.locate import locate_model
from assay.model.metadata import Metadata


@dataclass(frozen=True, slots=True)
class ProbeOptions(Reading):
    """How `assay probe` reads, changes and writes; each field is a flag of the command."""

    limit: int | None = 200
    transform: tuple[str, ...] = ()
    seed: int = 0


def probe_command(model: str, source: DataSource, options: ProbeOptions) -> dict[str, Any]:
    """Probe a model on the best answers of some rows; returns the numbers of `probe.json`.

    Raises:
        AssayError: no such model, data or transform, too little to probe, an output that cannot be
            written.
    """
    chosen = _chosen(options.transform)
    output = options.output
    check_output_directory(output, PROBE, overwrite=options.overwrite)
    locate(source)
    directory = locate_model(model).path
    read = load_answers(
        source,
        Metadata.read(directory),
        template=options.template,
        on_bad_row=options.on_bad_row,
    )
    subjects, wordless = subjects_of(read.groups, limit=options.limit, seed=options.seed)
    loaded, max_length = open_model(directory, options)
    with counting("prompts", len(subjects)) as progress:
        probed = score_subjects(loaded, subjects, chosen, max_length=max_length, progress=progress)
    try:
        numbers = measure(probed, chosen)
    except DataError as error:
        raise DataError(error.what, where=source.path, mend=error.mend) from None
    skipped: list[SkippedRow] = [*read.skipped, *wordless, *probed.skipped]
    found = numbers | {
        "prompts_not_drawn": len(read.groups) - len(wordless) - len(subjects),
        "skipped": listed(skipped),
        "model": model,
        "input": source.path,
        "input_sha256": read.fingerprints[0],
        "format": read.formats[0],
        "split": source.split,
        "label": source.label,
        "rows": read.num_rows,
        "bad_rows": len(read.bad_rows),
        "limit": options.limit,
        "seed": options.seed,
        **about_model(loaded, max_length),
    }
    print_probe(found)
    if output is not None:
        write_probe(found, probed, output)
        if options.overwrite:
            remove_earlier(output, PROBE, ("probe.json", "probe.jsonl"))
        print(f"results: {output / 'probe.json'}")
    put_aside(read.bad_rows, output)
    return found


def _chosen(names: Sequence[str]) -> tuple[Transform, ...]:
    """The named transforms, each once; all where none is named."""
    return tuple(map(get_transform, dict.fromkeys(names))) or transforms()
