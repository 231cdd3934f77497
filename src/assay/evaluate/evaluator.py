"""Evaluation of a reward model on comparisons; the same code runs during training."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from assay.data.encoding import EncodedData, EncodedGroup
from assay.data.loading import SkippedRow
from assay.errors import DataError
from assay.evaluate.details import Answered, details_of, shared_tokens
from assay.evaluate.metrics import Floats, Scored, comparison_metrics, tag_of, without_lengths
from assay.evaluate.outputs import comparison_row, counts_of, listed, reasons_told, write_all
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
    comparisons: list[dict[str, Any]]
    skipped: list[SkippedRow] = field(default_factory=list)
    answers: Iterable[Answered] | None = None

    @cached_property
    def details(self) -> dict[str, Any]:
        """What goes beyond `metrics`, computed when it is first asked for; training never asks."""
        return {} if self.answers is None else details_of(self.answers)

    def results(self, about: Mapping[str, Any]) -> dict[str, Any]:
        """What stands in `results.json`: the metrics, the details, what was left out.

        Args:
            about: model, data, template: whatever says what was measured.
        """
        skipped = {
            "count": len(self.skipped),
            "reasons": counts_of(self.skipped),
            "rows": listed(self.skipped),
        }
        return {**self.metrics, **self.details, "skipped": skipped, **about}


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
        reasons = reasons_told(counts_of(data.skipped))
        raise DataError(
            f"no comparison is left to evaluate ({reasons or 'no rows'})",
            mend="raise max_length, or look at the rows",
        )
    answers: list[Answered] = []
    decided: list[Decided] = []
    left_out = list(data.skipped)
    for number, window in enumerate(windows_of(data)):
        members: Sequence[Floats | None] = [None] * len(window)
        if rewards is not None:
            following = iter(rewards[number])
        elif model.heads is not None and model.heads.is_ensemble:
            found, members = _score_with_members(model, window, max_tokens)
            following = iter(found)
        else:
            following = iter(score_window(model, window, max_tokens))
        before = len(decided)
        for group, value_RM in zip(window, members, strict=True):
            one = Answered(
                group.group,
                [next(following) for _ in group.sequences],
                [len(ids) for ids in group.sequences],
                shared_tokens(group.sequences),
                value_RM,
            )
            answers.append(one)
            _decide(one, decided, left_out)
        if progress is not None:
            progress([item for item, _ in decided[before:]])
    return _evaluation(answers, decided, left_out)


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
        _decide(one, decided, left_out)
    return _evaluation(answers, decided, left_out)


def _decide(one: Answered, decided: list[Decided], left_out: list[SkippedRow]) -> None:
    """Add who wins each comparison of a prompt, and the comparisons that the data call a tie."""
    reward_R, tokens_R = one.rewards, one.tokens
    for comparison in one.group.comparisons:
        source = comparison.row or one.group.source
        if comparison.winner_loser is None:
            left_out.append(SkippedRow(source, "labelled tie"))
            continue
        chosen, rejected = comparison.winner_loser
        item = Scored(
            prompt=one.group.key,
            chosen_reward=reward_R[chosen],
            rejected_reward=reward_R[rejected],
            chosen_tokens=tokens_R[chosen] if tokens_R is not None else 0,
            rejected_tokens=tokens_R[rejected] if tokens_R is not None else 0,
            tag=tag_of(comparison.tags),
        )
        texts, has_tokens = (one.group, chosen, rejected), tokens_R is not None
        row = comparison_row(item, source, comparison.tags, texts, has_tokens=has_tokens)
        decided.append((item, row))


def _evaluation(
    answers: Sequence[Answered], decided: Sequence[Decided], left_out: list[SkippedRow]
) -> Evaluation:
    scored = [item for item, _ in decided]
    if not scored:
        raise DataError(
            "every comparison is labelled a tie", mend="there is nothing to be right on"
        )
    metrics = comparison_metrics(scored)
    if any(one.tokens is None for one in answers):
        metrics = without_lengths(metrics)
    return Evaluation(metrics, [row for _, row in decided], left_out, answers)


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
        about: as in `Evaluation.results`.
        more: files that belong to them, as `write_all` takes them.

    Returns:
        what stands in `results.json`.

    Raises:
        OutputError: no space, no permission.
    """
    results = evaluation.results(about)
    text = json.dumps(results, ensure_ascii=False, indent=2)
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in evaluation.comparisons)
    files = {"results.json": (text, "\n"), "comparisons.jsonl": lines}
    write_all(directory, files | dict(more or {}))
    return results
