"""What `assay eval` prints and writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.table import Table
from rich.text import Text

from assay.config import OverLength
from assay.consoles import console
from assay.data.encoding import EncodedData, encode_groups, warn_of_unread_thoughts
from assay.data.loading import LoadedData, write_bad_rows
from assay.data.rows import BadRow
from assay.data.sources import DataSource, locate
from assay.errors import ConfigError, OutputError
from assay.evaluate.evaluator import Evaluation, about_input, evaluate_groups, write_evaluation
from assay.evaluate.metrics import Scored
from assay.evaluate.rows import load_rows
from assay.evaluate.summary import summary_lines
from assay.files import check_place
from assay.model.loading import load_reward_model
from assay.model.locate import checkpoints_in, locate_model
from assay.model.metadata import Metadata
from assay.model.reward_model import RewardModel
from assay.notices import notice, warn


@dataclass(frozen=True, slots=True)
class EvalOptions:
    """How `assay eval` reads and writes; each field is a flag of the command."""

    output: Path | None = None
    limit: int | None = None
    template: str | None = None
    base: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    engine: str = "auto"
    max_length: int | None = None
    over_length: OverLength = "drop"
    on_bad_row: Literal["error", "skip"] = "error"


def evaluate_command(
    model: str, source: DataSource, options: EvalOptions, *, all_checkpoints: bool = False
) -> list[dict[str, Any]]:
    """Evaluate one model, or each checkpoint of a run; returns the `results.json` contents.

    Raises:
        AssayError: no such model or data, nothing to evaluate, an output that cannot be written.
    """
    if options.output is not None:
        check_output_directory(options.output)
    locate(source)
    models = _checkpoints(model) if all_checkpoints else [Path(model)]
    names = [str(path) for path in models] if all_checkpoints else [model]
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
    for path, name, directory in zip(models, names, located, strict=True):
        output = options.output
        if output is not None and all_checkpoints:
            output = output / path.name
        result, refused = _evaluate_one(name, directory, source, loaded, options, output)
        results.append(result)
    if all_checkpoints:
        _print_checkpoints(models, results)
    bad_rows = [*loaded.bad_rows, *refused]
    if bad_rows:
        put_aside(bad_rows, options.output)
    return results


def print_results(results: dict[str, Any]) -> None:
    """The result as a table, a few lines beyond accuracy, and what was left out."""
    out = console(120)
    low, high = results["accuracy_ci95"]
    table = Table(show_header=True, header_style="bold")
    for column in ("", "accuracy", "wins", "ties", "losses", "mean margin", "length baseline"):
        table.add_column(column, justify="left" if not column else "right")
    for name, row in [("all", results), *results["by_tag"].items()]:
        table.add_row(
            Text(name),  # Tags are data: square brackets in them are no markup.
            f"{row['accuracy']:.4f}",
            *(str(row[key]) for key in ("wins", "ties", "losses")),
            f"{row['mean_margin']:.3f}",
            f"{row['length_baseline']:.3f}",
        )
    out.print(table)
    out.print(
        f"accuracy {results['accuracy']:.4f}, 95% interval [{low:.3f}, {high:.3f}] "
        f"({results['num_comparisons']} comparisons of {results['num_prompts']} prompts)",
        highlight=False,
    )
    for line in summary_lines(results):
        out.print(Text(line))
    skipped = results["skipped"]
    reasons = ", ".join(f"{count} {reason}" for reason, count in skipped["reasons"].items())
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
    model = load_reward_model(
        str(directory),
        base=options.base,
        template=options.template,
        device=options.device,
        dtype=options.dtype,
        engine=options.engine,
    )
    encoded, max_length = _encode(model, loaded, options)
    running = _RunningAccuracy()
    evaluation = evaluate_groups(model, encoded, progress=running)
    about = {
        "model": name,
        **about_input(source, loaded, encoded),
        "limit": options.limit,
        "template_hash": model.renderer.template.hash,
        "max_length": max_length,
        "dtype": str(next(model.parameters()).dtype).removeprefix("torch."),
        "engine": model.engine.name,
    }
    results = _results(evaluation, output, about)
    print_results(results)
    if output is not None:
        print(f"results: {output / 'results.json'}")
    return results, list(encoded.bad_rows)


def _encode(
    model: RewardModel, loaded: LoadedData, options: EvalOptions
) -> tuple[EncodedData, int]:
    max_length = length_to_read(model, options.max_length)
    encoded = encode_groups(
        loaded.groups,
        model.renderer,
        max_length=max_length,
        over_length=options.over_length,
        on_bad_row=options.on_bad_row,
    )
    encoded.skipped = [*loaded.skipped, *encoded.skipped]
    if encoded.specials_in_content:
        notice(
            f"{encoded.specials_in_content} special tokens are written out inside messages; "
            f"read as: {model.renderer.special_tokens}"
        )
    warn_of_unread_thoughts(encoded.unread_thoughts, model.renderer.template.name)
    return encoded, max_length


def _results(evaluation: Evaluation, output: Path | None, about: dict[str, Any]) -> dict[str, Any]:
    if output is not None:
        return write_evaluation(evaluation, output, about)
    skipped = {
        "count": len(evaluation.skipped),
        "reasons": dict(Counter(row.reason for row in evaluation.skipped)),
    }
    return evaluation.metrics | evaluation.details | {"skipped": skipped} | about


def length_to_read(model: RewardModel, asked: int | None) -> int:
    """The length that the model was trained at, unless another is asked for.

    Raises:
        ConfigError: it is beyond the model's context.
    """
    max_length = asked or model.metadata.max_length or model.max_length
    if max_length > model.max_length:
        raise ConfigError(
            f"--max-length {max_length} is beyond the model's context of {model.max_length} tokens",
            mend=f"give at most {model.max_length}",
        )
    return max_length


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


def check_output_directory(output: Path) -> None:
    """Refuse a place where results cannot be written; nothing is made.

    Raises:
        OutputError: it is a file, or cannot be made.
    """
    check_place(output)
    if output.exists() and not output.is_dir():
        raise OutputError("is a file", where=output, mend="name a directory for results.json")


def put_aside(bad_rows: Sequence[BadRow], output: Path | None) -> None:
    """Write bad rows beside the results and say so.

    Raises:
        OutputError: they cannot be written.
    """
    count = len(bad_rows)
    if output is None:
        warn(f"{count} bad rows were skipped; give --output to have them written aside")
        return
    output.mkdir(parents=True, exist_ok=True)
    write_bad_rows(output / "bad_rows.jsonl", bad_rows)
    warn(f"{count} bad rows were written to {output / 'bad_rows.jsonl'}")


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
