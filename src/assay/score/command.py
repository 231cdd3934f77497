"""What `assay score` prints."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from assay.data.encoding import warn_of_unread_thoughts
from assay.data.formats.building import row_group
from assay.data.formats.messages import assistant, user
from assay.data.records import Response, Source
from assay.data.sources import DataSource
from assay.errors import AssayError, ConfigError
from assay.model.locate import locate_model
from assay.model.reward_model import RewardModel
from assay.notices import warn
from assay.score.account import ScoreSummary
from assay.score.engines.work import Elsewhere
from assay.score.files import ScoreOptions, check_job_output, score_source
from assay.score.merging import merge_shards
from assay.score.outputs import rewards_in
from assay.score.rewarder import OneModel, Rewarder
from assay.score.shards import WHOLE
from assay.score.streaming import score_stream
from assay.score.transform import Reference, Transform, parse_transform
from assay.score.watching import watching
from assay.score.window import ScoredWindow

_SHOWN = 20


def score_by_hand(
    model: RewardModel | Rewarder,
    prompt: str,
    responses: Sequence[str],
    *,
    transform: Transform | None,
    max_length: int | None = None,
) -> None:
    """Print the text that the model reads and the raw reward, for each response."""
    rewarder = OneModel(model, "") if isinstance(model, RewardModel) else model
    answers = tuple(Response((assistant(text),)) for text in responses)
    group = row_group(Source("--prompt", 1), (user(prompt),), answers)
    rewarder.check_length(max_length)
    [result] = rewarder.score([group], max_length, None)
    if isinstance(result, AssayError):
        raise result
    _warn_of_cuts(sum(result.truncated))
    for index, score in enumerate(result.scores):
        print(f"Sample:\n{rewarder.text(group, index)}")
        print(f"reward score: [[{score}]]")
        if transform is not None:
            print(f"{transform.name}: {transform(score)}")
        if result.uncertainty is not None:
            print(f"uncertainty: {result.uncertainty[index]}")
        for name, value in result.components[index].items() if result.components else ():
            print(f"{name}: {value}")


def check_place_of(output: Path, *, overwrite: bool) -> None:
    """Refuse an output before a model is opened.

    Raises:
        OutputError: as `check_job_output`.
    """
    if not _is_stdout(output):
        check_job_output(output, overwrite=overwrite)


def transform_of(text: str | None, model: str | None) -> Transform | None:
    """What `--transform` names, with the reference of the one model where it needs that.

    Raises:
        As `parse_transform`, and `locate_model`.
    """
    if text is None:
        return None
    needs_reference = text == "zscore" and model is not None
    return parse_transform(text, locate_model(str(model)).path if needs_reference else None)


def score_rows(
    rewarder: Rewarder,
    source: DataSource,
    output: Path,
    options: ScoreOptions,
    *,
    write_reference: bool = False,
    elsewhere: Elsewhere | None = None,
) -> None:
    """Score rows into a file or to standard output, and say what was written.

    Args:
        rewarder: what gives the rewards.
        source: the rows.
        output: the file; `-` for standard output.
        options: as `score_source`.
        write_reference: keep mean and standard deviation of the rewards in the model's directory.
        elsewhere: as `score_source`.

    Raises:
        ConfigError: the flags do not go together.
        AssayError: as `score_source`.
    """
    if write_reference:
        _check_reference(rewarder, output, options)
    if _is_stdout(output):
        score_to_stdout(rewarder, source, options)
        return
    score_to_file(rewarder, source, output, options, elsewhere)
    if write_reference and isinstance(rewarder, OneModel):
        found = Reference.of(rewards_in(output)).write(locate_model(rewarder.name).path)
        sys.stdout.write(f"reference for zscore: {found}\n")


def score_to_file(
    rewarder: Rewarder,
    source: DataSource,
    output: Path,
    options: ScoreOptions,
    elsewhere: Elsewhere | None = None,
) -> None:
    """Score rows into a file, say on stderr how far it is, and print what was written."""
    with watching() as watch:
        summary = score_source(rewarder, source, output, options, watch, elsewhere)
    _print_summary(summary, output)
    _warn_of_thoughts(rewarder, summary.unread_thoughts)
    if summary.tokens:
        saved = 1 - summary.computed / summary.tokens
        change = f"{saved:.0%} saved" if saved >= 0 else f"{-saved:.0%} more"
        sys.stdout.write(
            f"engine: {rewarder.engine}, tokens: {summary.tokens:,}, "
            f"computed: {summary.computed:,} ({change})\n"
        )


def score_to_stdout(rewarder: Rewarder, source: DataSource, options: ScoreOptions) -> None:
    """Score rows to standard output, window by window; all that is said goes to stderr."""
    bad = truncated = unread = 0

    def write(scored: ScoredWindow) -> None:
        nonlocal bad, truncated, unread
        for row in scored.bad_rows[: max(_SHOWN - bad, 0)]:
            warn(f"not scored: {row}")
        bad += len(scored.bad_rows)
        truncated += scored.truncated
        unread += scored.unread_thoughts
        sys.stdout.buffer.write("".join(f"{line}\n" for line in scored.lines).encode())
        sys.stdout.buffer.flush()

    with watching() as watch:
        score_stream(rewarder, source, options, write, watch)
    if bad:
        warn(f"{bad} bad rows were not scored")
    _warn_of_cuts(truncated)
    _warn_of_thoughts(rewarder, unread)


def merge_to_file(shards: Sequence[str], output: Path, *, overwrite: bool) -> None:
    """Merge the outputs of shards and print what was written."""
    summary = merge_shards([Path(shard) for shard in shards], output, overwrite=overwrite)
    _print_summary(summary, output)


def _is_stdout(output: Path) -> bool:
    return str(output) == "-"


def _check_reference(rewarder: Rewarder, output: Path, options: ScoreOptions) -> None:
    if not isinstance(rewarder, OneModel):
        raise ConfigError(
            "--write-reference is for one model's raw rewards", mend="leave it or --reward out"
        )
    if _is_stdout(output) or options.style != "assay" or options.shard != WHOLE:
        raise ConfigError(
            "--write-reference reads the rewards of a whole output with scores under assay",
            mend="leave --style and --shard out, and name a file",
        )


def _print_summary(summary: ScoreSummary, output: Path) -> None:
    if summary.bad_rows:
        warn(f"{summary.bad_rows} bad rows were written to {summary.bad_rows_file}")
    _warn_of_cuts(summary.truncated)
    sys.stdout.write(f"{summary.rows} rows, {summary.responses} rewards: {output}\n")


def _warn_of_cuts(count: int) -> None:
    if count:
        warn(f"{count} responses were read without the beginning of their prompt")


def _warn_of_thoughts(rewarder: Rewarder, count: int) -> None:
    warn_of_unread_thoughts(count, rewarder.template)
