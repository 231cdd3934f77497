"""`assay eval --benchmark`: from rows and a model, or from stored scores, to results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from assay.consoles import counting
from assay.data.loading import SkippedRow, bad_rows_error
from assay.data.rows import BadRow
from assay.data.sources import DataSource, locate
from assay.errors import DataError
from assay.evaluate.benchmarks import Benchmark, ModelNote, ScoredItem, get_benchmark
from assay.evaluate.benchmarks.measuring import comparison_rows, measure
from assay.evaluate.benchmarks.reading import read_items
from assay.evaluate.benchmarks.report import print_benchmark
from assay.evaluate.benchmarks.scoring import ScoredItems, score_benchmark
from assay.evaluate.benchmarks.stored import InputRead, lines_of, read_scores
from assay.evaluate.command import EvalOptions, finish
from assay.evaluate.evaluator import Evaluation
from assay.evaluate.opening import about_model, open_model
from assay.evaluate.outputs import (
    EVALUATION,
    check_output_directory,
    counts_of,
    put_aside,
    reasons_told,
)


def benchmark_command(
    name: str, model: str, source: DataSource, options: EvalOptions
) -> dict[str, Any]:
    """Evaluate a model on a benchmark; returns the contents of `results.json`.

    Raises:
        AssayError: no such benchmark, model or data, nothing to evaluate, an output that cannot be
            written.
    """
    benchmark = get_benchmark(name)
    check_output_directory(options.output, EVALUATION, overwrite=options.overwrite)
    locate(source)
    read = read_items(benchmark, source, limit=options.limit, on_bad_row=options.on_bad_row)
    loaded, max_length = open_model(model, options)
    with counting("items", len(read.good)) as progress:
        found = score_benchmark(
            loaded,
            read.good,
            max_length=max_length,
            over_length=options.over_length,
            progress=progress,
        )
    if found.bad_rows and options.on_bad_row == "error":
        raise bad_rows_error(found.bad_rows)
    bad_rows = [*read.bad_rows, *found.bad_rows]
    about = {
        "model": model,
        "scores": None,
        "input": source.path,
        "input_sha256": read.fingerprint,
        "format": benchmark.name,
        "split": source.split,
        "label": None,
        "rows": read.num_rows,
        "bad_rows": len(bad_rows),
        "limit": options.limit,
        **about_model(loaded, max_length),
    }
    note = ModelNote(model)
    return _results(benchmark, found, bad_rows, about, options, note, read.is_partial)


def scores_command(name: str, scores: str, options: EvalOptions) -> dict[str, Any]:
    """Compute a benchmark's numbers from stored scores; returns the contents of `results.json`.

    Raises:
        AssayError: no such benchmark or file, a reward that is not finite, nothing to evaluate, an
            output that cannot be written.
    """
    benchmark = get_benchmark(name)
    check_output_directory(options.output, EVALUATION, overwrite=options.overwrite)
    stored = read_scores(benchmark, scores, limit=options.limit, on_bad_row=options.on_bad_row)
    found = ScoredItems(
        [row for row in stored.good if isinstance(row, ScoredItem)],
        [row for row in stored.good if isinstance(row, SkippedRow)],
    )
    read = stored.read
    about = {
        "model": None,
        "scores": scores,
        "scores_sha256": stored.fingerprint,
        "input": None if read is None else read.input,
        "input_sha256": stored.fingerprint if read is None else read.input_sha256,
        **({"rows_sha256": stored.rows_fingerprint} if read is None else {}),
        "format": benchmark.name,
        "split": None if read is None else read.split,
        "label": None,
        "rows": stored.num_rows,
        "bad_rows": len(stored.bad_rows),
        "limit": options.limit,
    }
    path = Path(scores)
    # Of our own file the directory is the telling name.
    note = ModelNote(path.absolute().parent.name if path.stem == "items" else path.stem)
    bad_rows, is_partial = stored.bad_rows, stored.is_partial
    return _results(benchmark, found, bad_rows, about, options, note, is_partial)


def _results(
    benchmark: Benchmark,
    found: ScoredItems,
    bad_rows: Sequence[BadRow],
    about: dict[str, Any],
    options: EvalOptions,
    model: ModelNote,
    is_partial: bool,
) -> dict[str, Any]:
    scored = found.scored
    if not scored:
        reasons = reasons_told(counts_of(found.skipped))
        raise DataError(
            f"no item is left to evaluate ({reasons or 'no rows'})",
            mend="raise --max-length, or look at the rows",
        )
    evaluation = Evaluation(
        measure(benchmark, scored, is_partial=is_partial),
        [row for each in scored for row in comparison_rows(each)],
        found.skipped,
    )
    read = None
    if about["input"] is not None:
        read = InputRead(about["input"], about["input_sha256"], about["split"])
    authors: dict[str, str] = {}
    if benchmark.write_results is not None and options.output is not None:
        authors = benchmark.write_results(scored, model)
    lines = lines_of(benchmark, scored, found.skipped, read=read, is_partial=is_partial)
    results = finish(
        evaluation,
        options.output,
        about,
        {"items.jsonl": lines, **{f"results/{name}": (text,) for name, text in authors.items()}},
        overwrite=options.overwrite,
        show=print_benchmark,
    )
    put_aside(bad_rows, options.output)
    return results
