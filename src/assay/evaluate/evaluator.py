"""Evaluation of a reward model on comparisons; the same code runs during training."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from assay.data.encoding import EncodedData, EncodedGroup
from assay.data.loading import LoadedData, SkippedRow
from assay.data.records import Comparison, Group
from assay.data.sources import DataSource
from assay.errors import DataError
from assay.evaluate.details import Answered, Answers, details_of
from assay.evaluate.metrics import Floats, Scored, comparison_metrics, tag_of, without_lengths
from assay.evaluate.outputs import listed, write_all
from assay.model.reward_model import RewardModel, giving
from assay.model.rewards import score_sequences, scored_sequences, shortest_floats

_WINDOW = 64

Decided = tuple[Scored, dict[str, Any]]
"""A comparison with its rewards, and its line of `comparisons.jsonl`."""


@dataclass
class Evaluation:
    """Metrics, the comparisons behind them, and every row that is not among them.

    `answers` holds what `details` are made of; None where there are none.
    """

    metrics: dict[str, Any]
    scored: list[Scored]
    comparisons: list[dict[str, Any]]
    skipped: list[SkippedRow] = field(default_factory=list)
    answers: Iterable[Answered] | None = None

    @cached_property
    def details(self) -> dict[str, Any]:
        """What goes beyond `metrics`, computed when it is first asked for; training never asks."""
        return {} if self.answers is None else details_of(self.answers)

    @property
    def skipped_counts(self) -> dict[str, int]:
        """Skipped rows by reason."""
        return dict(Counter(row.reason for row in self.skipped))


def evaluate_groups(
    model: RewardModel,
    data: EncodedData,
    *,
    max_tokens: int | None = None,
    progress: Callable[[Sequence[Scored]], None] | None = None,
    rewards: Sequence[Sequence[float]] | None = None,
) -> Evaluation:
    """Score every sequence and compare.

    Args:
        model: the model.
        data: encoded groups; what encoding left out is carried into the result.
        max_tokens: tokens in a forward pass.
        progress: called with the newly decided comparisons.
        rewards: of the sequences of each of `windows_of(data)`, where they are known already.

    Raises:
        DataError: no comparison is left to evaluate.
    """
    if not data.num_comparisons:
        counts = Counter(row.reason for row in data.skipped)
        listed = ", ".join(f"{count} {reason}" for reason, count in counts.items())
        raise DataError(
            f"no comparison is left to evaluate ({listed or 'no rows'})",
            mend="raise max_length, or look at the rows",
        )
    scored: list[Scored] = []
    rows: list[dict[str, Any]] = []
    skipped = list(data.skipped)
    reward_GR: list[list[float]] = []
    members: list[Floats] = []
    for number, window in enumerate(windows_of(data)):
        if rewards is not None:
            following = iter(rewards[number])
        elif model.heads is not None and model.heads.is_ensemble:
            found, value_RM = _score_with_members(model, window, max_tokens)
            following = iter(found)
            members += value_RM
        else:
            following = iter(score_window(model, window, max_tokens))
        new: list[Scored] = []
        for group in window:
            reward_R = [next(following) for _ in group.sequences]
            reward_GR.append(reward_R)
            decided, ties = decide(group.group, reward_R, [len(ids) for ids in group.sequences])
            skipped += ties
            new += [item for item, _ in decided]
            rows += [row for _, row in decided]
        scored += new
        if progress is not None:
            progress(new)
    check_decided(scored)
    answers = Answers(data, reward_GR, members or None)
    return Evaluation(comparison_metrics(scored), scored, rows, skipped, answers)


def evaluate_answers(answers: Sequence[Answered], skipped: Sequence[SkippedRow]) -> Evaluation:
    """The evaluation of rewards that are known, without a model; lengths may not be.

    Args:
        answers: prompts whose responses have rewards.
        skipped: rows that are not among them.

    Raises:
        DataError: no comparison is decided.
    """
    decided: list[Decided] = []
    left_out = list(skipped)
    for one in answers:
        new, ties = decide(one.group, one.rewards, one.tokens)
        decided += new
        left_out += ties
    scored = [item for item, _ in decided]
    check_decided(scored)
    metrics = comparison_metrics(scored)
    if any(one.tokens is None for one in answers):
        metrics = without_lengths(metrics)
    return Evaluation(metrics, scored, [row for _, row in decided], left_out, answers)


def decide(
    group: Group, reward_R: Sequence[float], tokens_R: Sequence[int] | None
) -> tuple[list[Decided], list[SkippedRow]]:
    """Who wins each comparison of a group, and the comparisons that the data call a tie."""
    decided: list[Decided] = []
    ties: list[SkippedRow] = []
    for comparison in group.comparisons:
        if comparison.winner_loser is None:
            ties.append(SkippedRow(comparison.row or group.source, "labelled tie"))
            continue
        chosen, rejected = comparison.winner_loser
        item = Scored(
            prompt=group.key,
            chosen_reward=reward_R[chosen],
            rejected_reward=reward_R[rejected],
            chosen_tokens=tokens_R[chosen] if tokens_R is not None else 0,
            rejected_tokens=tokens_R[rejected] if tokens_R is not None else 0,
            tag=tag_of(comparison.tags),
        )
        row = _row(group, comparison, item, has_tokens=tokens_R is not None)
        decided.append((item, row))
    return decided, ties


def check_decided(scored: Sequence[Scored]) -> None:
    """See that there is something to be right on.

    Raises:
        DataError: there is not.
    """
    if not scored:
        raise DataError(
            "every comparison is labelled a tie", mend="there is nothing to be right on"
        )


def windows_of(data: EncodedData) -> Iterator[list[EncodedGroup]]:
    """The groups in parts that are scored one after another."""
    for start in range(0, len(data.groups), _WINDOW):
        yield list(data.groups[start : start + _WINDOW])


def score_window(
    model: RewardModel, window: Sequence[EncodedGroup], max_tokens: int | None
) -> list[float]:
    """Rewards of all sequences of a window, group after group."""
    sequences = [ids for group in window for ids in group.sequences]
    families = [number for number, group in enumerate(window) for _ in group.sequences]
    return score_sequences(model, sequences, families=families, max_tokens=max_tokens)


def _score_with_members(
    model: RewardModel, window: Sequence[EncodedGroup], max_tokens: int | None
) -> tuple[list[float], list[Floats]]:
    """`score_window`, and of each group the values [R, M] of the ensemble's members."""
    sequences = [ids for group in window for ids in group.sequences]
    families = [number for number, group in enumerate(window) for _ in group.sequences]
    with giving(model, "both"):
        value_RV = scored_sequences(model, sequences, families=families, max_tokens=max_tokens)
    value_RM = value_RV[:, 1:].double().cpu().numpy()
    members = []
    for group in window:
        members.append(value_RM[: len(group.sequences)])
        value_RM = value_RM[len(group.sequences) :]
    return shortest_floats(value_RV[:, 0]), members


def about_input(source: DataSource, loaded: LoadedData, encoded: EncodedData) -> dict[str, Any]:
    """What was read for an evaluation: rows = comparisons + skipped + bad_rows."""
    return {
        "input": source.path,
        "input_sha256": loaded.fingerprints[0],
        "format": loaded.formats[0],
        "split": source.split,
        "label": source.label,
        "rows": loaded.num_rows,
        "bad_rows": len(loaded.bad_rows) + len(encoded.bad_rows),
    }


def write_evaluation(
    evaluation: Evaluation,
    directory: Path,
    about: dict[str, Any],
    more: Mapping[str, Iterable[str]] | None = None,
) -> dict[str, Any]:
    """Write `results.json` and `comparisons.jsonl`, together or not at all.

    Args:
        evaluation: what to write.
        directory: made if it is not there.
        about: model, data, template: whatever says what was measured.
        more: files that belong to them, as `write_all` takes them.

    Returns:
        what stands in `results.json`: the metrics and the details.

    Raises:
        OutputError: no space, no permission.
    """
    results = evaluation.metrics | {
        **evaluation.details,
        "skipped": {
            "count": len(evaluation.skipped),
            "reasons": evaluation.skipped_counts,
            "rows": listed(evaluation.skipped),
        },
        **about,
    }
    text = json.dumps(results, ensure_ascii=False, indent=2)
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in evaluation.comparisons)
    files = {"results.json": (text, "\n"), "comparisons.jsonl": lines}
    write_all(directory, files | dict(more or {}))
    return results


def _row(group: Group, comparison: Comparison, item: Scored, *, has_tokens: bool) -> dict[str, Any]:
    assert comparison.winner_loser is not None
    chosen, rejected = (group.responses[place] for place in comparison.winner_loser)
    return {
        "row": str(comparison.row or group.source),
        "group": item.prompt,
        "result": item.result,
        "margin": item.margin,
        "chosen_reward": item.chosen_reward,
        "rejected_reward": item.rejected_reward,
        "chosen_tokens": item.chosen_tokens if has_tokens else None,
        "rejected_tokens": item.rejected_tokens if has_tokens else None,
        "tags": comparison.tags,
        "prompt": [message.as_dict() for message in group.prompt],
        "chosen": [message.as_dict() for message in chosen.messages],
        "rejected": [message.as_dict() for message in rejected.messages],
    }
