"""What `assay score` prints."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from assay.data.encoding import warn_of_unread_thoughts
from assay.data.formats.building import row_group
from assay.data.formats.messages import assistant, user
from assay.data.loading import bad_rows_said
from assay.data.records import Response, Source
from assay.data.sources import DataSource
from assay.data.strict_json import JsonObject
from assay.errors import AssayError, ConfigError
from assay.files import check_output, text_output
from assay.model.locate import locate_model
from assay.model.reward_model import RewardModel
from assay.notices import counted, notice, warn
from assay.score.account import ScoreSummary
from assay.score.engines.work import Elsewhere
from assay.score.files import ScoreOptions, check_job_output, score_source
from assay.score.lines import Layout, line_of
from assay.score.merging import merge_shards
from assay.score.outputs import Lines, assembler_of, rewards_in
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
    output: Path | None = None,
    *,
    transform: Transform | None,
    max_length: int | None = None,
) -> None:
    """Print the text that the model reads and the raw reward, for each response; or write a row.

    Args:
        model: the model, or what else gives the rewards.
        prompt: the prompt.
        responses: the answers to it.
        output: a file that is written instead, as `score_rows` writes a row; `-` for standard
            output.
        transform: adds what it makes of each reward.
        max_length: tokens of a sequence.
    """
    rewarder = OneModel(model, "") if isinstance(model, RewardModel) else model
    answers = tuple(Response((assistant(text),)) for text in responses)
    group = row_group(Source("--prompt", 1), (user(prompt),), answers)
    rewarder.check_length(max_length)
    [result] = rewarder.score([group], max_length, None)
    if isinstance(result, AssayError):
        raise result
    _warn_of_cuts(sum(result.truncated))
    if output is not None:
        row: JsonObject = {"prompt": prompt, "responses": list(responses)}
        layout = Layout("assay", transform, rewarder.about)
        _write_row(line_of(row, group.source, result, layout), output, len(responses))
        return
    for index, score in enumerate(result.scores):
        print(f"Sample:\n{rewarder.text(group, index)}")
        print(f"reward score: [[{score}]]")
        if transform is not None:
            print(f"{transform.name}: {transform(score)}")
        if result.uncertainty is not None:
            print(f"uncertainty: {result.uncertainty[index]}")
        for name, value in result.components[index].items() if result.components else ():
            print(f"{name}: {'does not apply' if value is None else value}")


def _write_row(line: str, output: Path, responses: int) -> None:
    if _is_stdout(output):
        sys.stdout.buffer.write(f"{line}\n".encode())
        sys.stdout.buffer.flush()
        return
    with text_output(output) as file:
        file.write(f"{line}\n")
    sys.stdout.write(f"{_rows_said(1, responses)}: {output}\n")


def check_place_of(output: Path, source: DataSource | None, *, overwrite: bool) -> None:
    """Refuse an output before a model is opened; without a source it is for answers by hand.

    Raises:
        ConfigError: answers by hand, and the name is not one of JSON lines.
        OutputError: as `check_job_output` and `check_output`.
    """
    if _is_stdout(output):
        return
    if source is not None:
        check_job_output(output, [source], overwrite=overwrite)
        return
    check_output(output, overwrite=overwrite)
    if not isinstance(assembler_of(output), Lines):
        raise ConfigError(
            "answers by hand are written as JSON lines", where=output, mend="name it .jsonl"
        )


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
        sys.stdout.write(f"{_work_said(rewarder, summary.tokens, summary.computed)}\n")


def score_to_stdout(rewarder: Rewarder, source: DataSource, options: ScoreOptions) -> None:
    """Score rows to standard output, window by window; all that is said goes to stderr."""
    bad = 0
    sums: Counter[str] = Counter()

    def write(scored: ScoredWindow) -> None:
        nonlocal bad
        for row in scored.bad_rows[: max(_SHOWN - bad, 0)]:
            warn(f"not scored: {row}")
        bad += len(scored.bad_rows)
        sums.update(scored.numbers())
        sys.stdout.buffer.write("".join(f"{line}\n" for line in scored.lines).encode())
        sys.stdout.buffer.flush()

    with watching() as watch:
        score_stream(rewarder, source, options, write, watch)
    if bad:
        warn(bad_rows_said(bad, "not scored"))
    _warn_of_cuts(sums["truncated"])
    _warn_of_thoughts(rewarder, sums["unread_thoughts"])
    notice(_rows_said(sums["rows"], sums["responses"]))
    if sums["tokens"]:
        notice(_work_said(rewarder, sums["tokens"], sums["computed"]))


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
        warn(bad_rows_said(summary.bad_rows, f"written to {summary.bad_rows_file}"))
    _warn_of_cuts(summary.truncated)
    sys.stdout.write(f"{_rows_said(summary.rows, summary.responses)}: {output}\n")


def _rows_said(rows: int, responses: int) -> str:
    return f"{counted(rows, 'row')}, {counted(responses, 'reward')}"


def _work_said(rewarder: Rewarder, tokens: int, computed: int) -> str:
    """What the rewards of at least one token took; a share that was saved is rounded down."""
    saved = (tokens - computed) * 100 // tokens
    change = f"{saved}% saved" if computed <= tokens else f"{computed / tokens - 1:.0%} more"
    return f"engine: {rewarder.engine}, tokens: {tokens:,}, computed: {computed:,} ({change})"


def _warn_of_cuts(count: int) -> None:
    if count:
        was, its = ("was", "its") if count == 1 else ("were", "their")
        warn(f"{counted(count, 'response')} {was} read without the beginning of {its} prompt")


def _warn_of_thoughts(rewarder: Rewarder, count: int) -> None:
    warn_of_unread_thoughts(count, rewarder.template)
