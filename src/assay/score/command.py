"""What `assay score` prints."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from assay.data.formats.building import row_group
from assay.data.formats.messages import assistant, user
from assay.data.records import Response, Source
from assay.data.sources import DataSource
from assay.model.reward_model import RewardModel
from assay.notices import warn
from assay.score.files import ScoreOptions, probability, score_file
from assay.score.scorer import score_items


def score_by_hand(
    model: RewardModel,
    prompt: str,
    responses: Sequence[str],
    *,
    transform: str | None,
    max_length: int | None = None,
) -> None:
    """Print the text that the model reads and the raw reward, for each response."""
    answers = tuple(Response((assistant(text),)) for text in responses)
    group = row_group(Source("--prompt", 1), (user(prompt),), answers)
    [result] = score_items(model, [group], max_length=max_length)
    if any(result.truncated):
        warn(f"{sum(result.truncated)} responses were read without the beginning of their prompt")
    for index, score in enumerate(result.scores):
        print(f"Sample:\n{model.renderer.render(group, index).text}")
        print(f"reward score: [[{score}]]")
        if transform == "sigmoid":
            print(f"sigmoid: {probability(score)}")
        if result.uncertainty is not None:
            print(f"uncertainty: {result.uncertainty[index]}")
        for name, value in result.components[index].items() if result.components else ():
            print(f"{name}: {value}")


def score_to_file(
    model: RewardModel, name: str, source: DataSource, output: Path, options: ScoreOptions
) -> None:
    """Score a file with a progress bar on stderr, and say what was written."""
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("rows", total=None)
        summary = score_file(
            model, name, source, output, options, lambda rows: bar.advance(task, rows)
        )
    if summary.bad_rows:
        warn(f"{summary.bad_rows} bad rows were written to {summary.bad_rows_file}")
    if summary.truncated:
        warn(f"{summary.truncated} responses were read without the beginning of their prompt")
    sys.stdout.write(f"{summary.rows} rows, {summary.responses} rewards: {output}\n")
