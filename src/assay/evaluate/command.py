"""What `assay eval` prints and writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.text import Text

from assay.config import OverLength
from assay.consoles import console, headed
from assay.data.encoding import encode_groups
from assay.data.loading import LoadedData
from assay.data.rows import BadRow
from assay.data.sources import DataSource, locate
from assay.errors import ConfigError
from assay.evaluate.evaluator import Evaluation, evaluate_answers, evaluate_groups, write_evaluation
from assay.evaluate.metrics import Scored
from assay.evaluate.opening import Reading, about_model, open_model, say_what_was_read
from assay.evaluate.outputs import (
    EVALUATION,
    check_output_directory,
    put_aside,
    reasons_told,
    remove_earlier,
)
from assay.evaluate.rows import load_rows
from assay.evaluate.stored import read_stored
from assay.evaluate.summary import summary_lines
from assay.model.locate import checkpoints_in, locate_model
from assay.model.metadata import Metadata
from assay.notices import counted


@dataclass(frozen=True, slots=True)
class EvalOptions(Reading):
    """How `assay eval` reads and writes; each field is a flag of the command."""

    over_length: OverLength = "drop"


def evaluate_command(
    model: str, source: DataSource, options: EvalOptions, *, all_checkpoints: bool = False
) -> list[dict[str, Any]]:
    """Evaluate one model, or each checkpoint of a run; returns the `results.json` contents.

    Raises:
        AssayError: no such model or data, nothing to evaluate, an output that cannot be written or
            would replace results.
    """
    models = _checkpoints(model) if all_checkpoints else [Path(model)]
    names = [str(path) for path in models] if all_checkpoints else [model]
    output = options.output
    outputs = [output / path.name if output and all_checkpoints else output for path in models]
    for place in (output, *outputs):
        check_output_directory(place, EVALUATION, overwrite=options.overwrite)
    locate(source)
    located = [locate_model(name).path for name in names]
    loaded = load_rows(
        source,
        Metadata.read(located[0]),
        template=options.template,
        on_bad_row=options.on_bad_row,
        limit=options.limit,
    )
    refused: list[BadRow] = []
    results = []
    for place, name, directory in zip(outputs, names, located, strict=True):
        result, refused = _evaluate_one(name, directory, source, loaded, options, place)
        results.append(result)
    if all_checkpoints:
        _print_checkpoints(models, results)
        if output is not None and options.overwrite:
            remove_earlier(output, EVALUATION, ())
    put_aside([*loaded.bad_rows, *refused], output)
    return results


def stored_scores_command(source: DataSource, options: EvalOptions) -> dict[str, Any]:
    """Evaluate rewards that stand beside their rows, without a model.

    Raises:
        AssayError: no such file, rows without rewards, nothing to evaluate, an output that cannot
            be written or would replace results.
    """
    check_output_directory(options.output, EVALUATION, overwrite=options.overwrite)
    stored = read_stored(source, limit=options.limit, on_bad_row=options.on_bad_row)
    evaluation = evaluate_answers(stored.answers, stored.skipped)
    about = {
        "model": None,
        "scores": source.path,
        "input": None,
        "input_sha256": stored.fingerprint,
        "rows_sha256": stored.rows_fingerprint,
        "format": stored.format,
        "split": source.split,
        "label": source.label,
        "rows": stored.num_rows,
        "bad_rows": len(stored.bad_rows),
        "limit": options.limit,
    }
    results = finish(evaluation, options.output, about, overwrite=options.overwrite)
    put_aside(stored.bad_rows, options.output)
    return results


def print_results(results: dict[str, Any]) -> None:
    """The result as a table, a few lines beyond accuracy, and what was left out."""
    out = console(120)
    low, high = results["accuracy_ci95"]
    numbers = ("accuracy", "wins", "ties", "losses", "mean margin", "length baseline")
    table = headed([""], numbers)
    for name, row in [("all", results), *results["by_tag"].items()]:
        table.add_row(
            Text(name),  # Tags are data: square brackets in them are no markup.
            f"{row['accuracy']:.4f}",
            *(str(row[key]) for key in ("wins", "ties", "losses")),
            f"{row['mean_margin']:.3f}",
            "-" if row["length_baseline"] is None else f"{row['length_baseline']:.3f}",
        )
    out.print(table)
    out.print(
        f"accuracy {results['accuracy']:.4f}, 95% interval [{low:.3f}, {high:.3f}] "
        f"({counted(results['num_comparisons'], 'comparison')} of "
        f"{counted(results['num_prompts'], 'prompt')})",
        highlight=False,
    )
    for line in summary_lines(results):
        out.print(Text(line))
    skipped = results["skipped"]
    reasons = reasons_told(skipped["reasons"])
    out.print(f"skipped: {skipped['count']}{f' ({reasons})' if reasons else ''}", highlight=False)


def _evaluate_one(
    name: str,
    directory: Path,
    source: DataSource,
    loaded: LoadedData,
    options: EvalOptions,
    output: Path | None,
) -> tuple[dict[str, Any], list[BadRow]]:
    """The contents of `results.json`, and the rows that the template refused."""
    model, max_length = open_model(directory, options)
    encoded = encode_groups(
        loaded.groups,
        model.renderer,
        max_length=max_length,
        over_length=options.over_length,
        on_bad_row=options.on_bad_row,
    )
    encoded.skipped = [*loaded.skipped, *encoded.skipped]
    say_what_was_read(model, specials=encoded.specials_in_content, thoughts=encoded.unread_thoughts)
    evaluation = evaluate_groups(model, encoded, progress=_RunningAccuracy())
    about = {
        "model": name,
        "input": source.path,
        "input_sha256": loaded.fingerprints[0],
        "format": loaded.formats[0],
        "split": source.split,
        "label": source.label,
        "rows": loaded.num_rows,  # Comparisons, skipped and bad rows together.
        "bad_rows": len(loaded.bad_rows) + len(encoded.bad_rows),
        "limit": options.limit,
        **about_model(model, max_length),
    }
    results = finish(evaluation, output, about, overwrite=options.overwrite)
    return results, list(encoded.bad_rows)


def finish(
    evaluation: Evaluation,
    output: Path | None,
    about: dict[str, Any],
    more: Mapping[str, Iterable[str]] | None = None,
    *,
    overwrite: bool,
    show: Callable[[dict[str, Any]], None] = print_results,
) -> dict[str, Any]:
    """Write and print an evaluation; returns what stands in `results.json`.

    Args:
        evaluation: what there is.
        output: the directory; None where nothing is written.
        about: as `write_evaluation`.
        more: as `write_evaluation`.
        overwrite: remove what an earlier evaluation left in the directory.
        show: prints the results.

    Raises:
        OutputError: no space, no permission.
    """
    if output is None:
        results = evaluation.results(about)
    else:
        results = write_evaluation(evaluation, output, about, more)
        if overwrite:
            written = ("results.json", "comparisons.jsonl", *(more or ()))
            remove_earlier(output, EVALUATION, written)
    show(results)
    if output is not None:
        print(f"results: {output / 'results.json'}")
    return results


class _RunningAccuracy:
    """Prints `acc: [0.75]; avg acc: [0.9212]` for each window, from exact counts."""

    def __init__(self) -> None:
        self._wins = 0
        self._total = 0

    def __call__(self, scored: Sequence[Scored]) -> None:
        wins = sum(item.result == "win" for item in scored)
        self._wins += wins
        self._total += len(scored)
        if scored:
            print(
                f"acc: [{wins / len(scored):.4g}]; avg acc: [{self._wins / self._total:.4f}]",
                flush=True,
            )


def _checkpoints(model: str) -> list[Path]:
    path = Path(model)
    directory = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    found = checkpoints_in(directory)
    if not found:
        raise ConfigError(
            "holds no checkpoint", where=model, mend="name a run or its checkpoints directory"
        )
    return found


def _print_checkpoints(models: Sequence[Path], results: Sequence[dict[str, Any]]) -> None:
    for path, result in zip(models, results, strict=True):
        low, high = result["accuracy_ci95"]
        print(f"{path.name}: accuracy {result['accuracy']:.4f} [{low:.3f}, {high:.3f}]")
