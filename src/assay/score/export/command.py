"""What `assay export` writes and prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from assay.data.loading import by_count, told
from assay.data.records import Comparison, Group, Message
from assay.data.sources import DataSource, check_not_read
from assay.data.strict_json import JsonObject
from assay.data.writers.dataset_info import DatasetInfo
from assay.data.writers.holding import as_dicts
from assay.data.writers.llamafactory import NAME as LLAMAFACTORY
from assay.data.writers.output import row_file
from assay.errors import ConfigError, DataError
from assay.files import check_output
from assay.notices import counted
from assay.score.export.candidates import read_candidates
from assay.score.export.selecting import (
    EQUAL,
    NO_LABEL,
    SMALL,
    TOO_FEW,
    Pair,
    Select,
    best_answers,
    select_pairs,
)
from assay.score.export.targets import REWARD, get_target

_SUFFIXES = (".jsonl", ".ndjson", ".json")


@dataclass(frozen=True, slots=True)
class PairOptions:
    """Which pairs are written, and for whom; `select_pairs` says what each means."""

    target: str
    select: Select = "best-worst"
    min_margin: float | None = None
    seed: int = 0
    overwrite: bool = False


def export_pairs(source: DataSource, output: Path, options: PairOptions) -> None:
    """Write pairs of scored answers as a trainer reads them, and print what became of them.

    Raises:
        ConfigError: there is no such trainer, or the output is of an unknown kind.
        DataError: a row cannot be read or has no rewards, or no pair is left.
        OutputError: the output is there already, or cannot be written.
    """
    write = get_target(options.target)
    check_rows_output(output, [source], overwrite=options.overwrite)
    about = None
    if options.target == LLAMAFACTORY:
        about = DatasetInfo.open(output, overwrite=options.overwrite)
    prompts = read_candidates(source)
    pairs, left_out = select_pairs(
        prompts, options.select, min_margin=options.min_margin, seed=options.seed
    )
    rows: list[JsonObject] = []
    written: list[Pair] = []
    for pair in pairs:
        found = write(_group_of(pair))
        left_out.update(found.left_out)
        rows += found.rows
        written += [pair for _ in found.rows]
    _write(rows, output, source, left_out, mend=_mend_of(left_out))
    if about is not None:
        about.add(output, {name for row in rows for name in row})
    print(f"{counted(len(prompts), 'prompt')}, {counted(len(rows), 'pair')}: {output}")
    for line in pair_summary(written):
        print(line)
    if left_out:
        print(f"left out: {told(left_out)}")


def export_answers(
    source: DataSource,
    output: Path,
    *,
    count: int = 1,
    among: int | None = None,
    min_reward: float | None = None,
    overwrite: bool = False,
) -> None:
    """Write the best answers of each prompt as conversations (`messages`), to be imitated.

    Args:
        source: rows that `assay score` wrote.
        output: the file.
        count: answers of a prompt at most.
        among: the first so many of a prompt's answers are looked at; None takes all.
        min_reward: lower ones are left out.
        overwrite: replace the output.

    Raises:
        ConfigError: the output is of an unknown kind.
        DataError: a row cannot be read or has no rewards, or no answer is left.
        OutputError: the output is there already, or cannot be written.
    """
    check_rows_output(output, [source], overwrite=overwrite)
    prompts = read_candidates(source)
    rows: list[JsonObject] = []
    rewards: list[float] = []
    left_out: Counter[str] = Counter()
    without = 0
    for prompt in prompts:
        best, others = best_answers(prompt, count, among=among, min_reward=min_reward)
        left_out.update(others)
        without += not best
        for at in best:
            rewards.append(prompt.rewards[at])
            rows.append(_conversation(prompt.group, prompt.responses[at].messages, rewards[-1]))
    _write(rows, output, source, left_out, mend="lower --min-reward")
    mean = fmean(reward for prompt in prompts for reward in prompt.rewards[:among])
    print(f"{counted(len(prompts), 'prompt')}, {counted(len(rows), 'answer')}: {output}")
    print(f"mean reward: {fmean(rewards):.4g} of those written, {mean:.4g} of all")
    if left_out:
        print(f"left out: {told(left_out)}")
    if without:
        print(f"without an answer: {counted(without, 'prompt')}")


def pair_summary(pairs: Iterable[Pair]) -> list[str]:
    """Mean margin and length bias of some pairs, at least one; lengths are in characters."""
    margins, differences = [], []
    for pair in pairs:
        margins.append(pair.margin)
        chosen, rejected = (
            sum(len(message.content) for message in pair.prompt.responses[at].messages)
            for at in (pair.chosen, pair.rejected)
        )
        differences.append(chosen - rejected)
    return bias_lines(margins, differences)


def bias_lines(margins: Sequence[float], differences: Sequence[int]) -> list[str]:
    """Mean margin and length bias of some pairs, from the margin of each, and by how many
    characters its better answer is longer."""
    longer = sum(difference > 0 for difference in differences) / len(differences)
    return [
        f"mean margin: {fmean(margins):.4g}",
        f"length bias: chosen is longer in {longer:.1%}, "
        f"by {fmean(differences):+.1f} characters on average",
    ]


def _mend_of(left_out: Counter[str]) -> str:
    """What lets a pair through, by the reason that most often kept one back."""
    mends = {
        TOO_FEW: "score several answers to each prompt",
        NO_LABEL: "choose another --select",
        EQUAL: "choose --select label, or score with another model",
        SMALL: "lower --min-margin",
    }
    return next(
        (mends[one] for one, _ in by_count(left_out) if one in mends), "choose another --for"
    )


def _group_of(pair: Pair) -> Group:
    prompt = pair.prompt
    rated = tuple(
        replace(prompt.responses[at], ratings={REWARD: prompt.rewards[at]})
        for at in (pair.chosen, pair.rejected)
    )
    comparison = Comparison(0, 1, "a", margin=pair.margin, row=prompt.group.source)
    return replace(prompt.group, responses=rated, comparisons=(comparison,), rankings=(), extra={})


def _conversation(group: Group, answer: tuple[Message, ...], reward: float) -> JsonObject:
    row: JsonObject = {"messages": as_dicts((*group.prompt, *answer)), REWARD: reward}
    if group.tools:
        row["tools"] = list(group.tools)
    if group.template_kwargs:
        row["chat_template_kwargs"] = group.template_kwargs
    return row


def check_rows_output(output: Path, sources: Sequence[DataSource], *, overwrite: bool) -> None:
    """Refuse a file of rows that would be lost, is made of itself, or cannot be written.

    Raises:
        ConfigError: it is of an unknown kind.
        OutputError: as `check_output` and `check_not_read`.
    """
    check_not_read(output, sources)
    check_output(output, overwrite=overwrite)
    if output.suffix.lower() not in _SUFFIXES:
        raise ConfigError(
            f"'{output.suffix}' files are not written",
            where=output,
            mend=f"name a file ending in {' or '.join(_SUFFIXES)}",
        )


def _write(
    rows: list[JsonObject], output: Path, source: DataSource, left_out: Counter[str], *, mend: str
) -> None:
    if not rows:
        raise DataError(
            f"nothing is left to write ({told(left_out) or 'there is no row'})",
            where=source.path,
            mend=mend if left_out else "give a file that `assay score` wrote",
        )
    with row_file(output) as write:
        for row in rows:
            write(row)
