"""`assay eval --benchmark`: from rows and a model, or from stored scores, to results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from assay.data.loading import SkippedRow, bad_rows_error
from assay.data.rows import BadRow
from assay.data.sources import DataSource, locate
from assay.errors import DataError
from assay.evaluate.benchmarks import Benchmark, ModelNote, ScoredItem, get_benchmark
from assay.evaluate.benchmarks.measuring import measure
from assay.evaluate.benchmarks.reading import read_items
from assay.evaluate.benchmarks.report import print_benchmark, write_results
from assay.evaluate.benchmarks.scoring import ScoredItems, score_benchmark
from assay.evaluate.benchmarks.stored import read_scores
from assay.evaluate.command import (
    EvalOptions,
    check_output_directory,
    length_to_read,
    put_aside,
)


def benchmark_command(
    name: str, model: str, source: DataSource, options: EvalOptions
) -> dict[str, Any]:
    """Evaluate a model on a benchmark; returns the contents of `results.json`.

    Raises:
        AssayError: no such benchmark, model or data, nothing to evaluate, an output that cannot be
            written.
    """
    from assay.model.loading import load_reward_model

    benchmark = get_benchmark(name)
    if options.output is not None:
        check_output_directory(options.output)
    locate(source)
    read = read_items(benchmark, source, limit=options.limit, on_bad_row=options.on_bad_row)
    loaded = load_reward_model(
        model,
        base=options.base,
        template=options.template,
        device=options.device,
        dtype=options.dtype,
        engine=options.engine,
    )
    max_length = length_to_read(loaded, options.max_length)
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("items", total=len(read.items))
        found = score_benchmark(
            loaded,
            read.items,
            max_length=max_length,
            over_length=options.over_length,
            progress=lambda items: bar.advance(task, items),
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
        "template_hash": loaded.renderer.template.hash,
        "max_length": max_length,
        "dtype": str(next(loaded.parameters()).dtype).removeprefix("torch."),
        "engine": loaded.engine.name,
    }
    note = ModelNote(model)
    return _results(benchmark, found, bad_rows, about, options.output, note, read.is_partial)


def scores_command(name: str, scores: str, options: EvalOptions) -> dict[str, Any]:
    """Compute a benchmark's numbers from stored scores; returns the contents of `results.json`.

    Raises:
        AssayError: no such benchmark or file, a reward that is not finite, nothing to evaluate, an
            output that cannot be written.
    """
    benchmark = get_benchmark(name)
    if options.output is not None:
        check_output_directory(options.output)
    stored = read_scores(benchmark, scores, limit=options.limit, on_bad_row=options.on_bad_row)
    found = ScoredItems(stored.scored, stored.skipped)
    about = {
        "model": None,
        "scores": scores,
        "input": None,
        "input_sha256": stored.fingerprint,
        "format": benchmark.name,
        "split": None,
        "label": None,
        "rows": stored.num_rows,
        "bad_rows": len(stored.bad_rows),
        "limit": options.limit,
    }
    path = Path(scores)
    # Of our own file the directory is the telling name.
    note = ModelNote(path.absolute().parent.name if path.stem == "items" else path.stem)
    bad_rows, is_partial = stored.bad_rows, stored.is_partial
    return _results(benchmark, found, bad_rows, about, options.output, note, is_partial)


def _results(
    benchmark: Benchmark,
    found: ScoredItems,
    bad_rows: Sequence[BadRow],
    about: dict[str, Any],
    output: Path | None,
    model: ModelNote,
    is_partial: bool,
) -> dict[str, Any]:
    scored: list[ScoredItem] = found.scored
    if not scored:
        reasons = ", ".join(f"{n} {reason}" for reason, n in _reasons(found.skipped).items())
        raise DataError(
            f"no item is left to evaluate ({reasons or 'no rows'})",
            mend="raise --max-length, or look at the rows",
        )
    metrics = measure(benchmark, scored, is_partial=is_partial)
    if output is None:
        skipped = {"count": len(found.skipped), "reasons": _reasons(found.skipped)}
        results = metrics | {"skipped": skipped} | about
    else:
        results = write_results(benchmark, scored, found.skipped, metrics, about, output, model)
    print_benchmark(results)
    if output is not None:
        print(f"results: {output / 'results.json'}")
    if bad_rows:
        put_aside(bad_rows, output)
    return results


def _reasons(skipped: Sequence[SkippedRow]) -> dict[str, int]:
    return dict(Counter(row.reason for row in skipped))
