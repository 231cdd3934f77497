"""Evaluation of a reward model on comparisons; the same code runs during training."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from assay.data.encoding import EncodedData, EncodedGroup
from assay.data.loading import LoadedData, SkippedRow
from assay.data.records import Comparison
from assay.data.sources import DataSource
from assay.errors import DataError
from assay.evaluate.details import Answers, details_of
from assay.evaluate.metrics import Floats, Scored, comparison_metrics
from assay.files import output_errors
from assay.model.reward_model import RewardModel, giving
from assay.model.rewards import score_sequences, scored_sequences, shortest_floats

_WINDOW = 64


@dataclass
class Evaluation:
    """Metrics, the comparisons behind them, and every row that is not among them.

    `answers` holds what `details` are made of; None where there are none.
    """

    metrics: dict[str, Any]
    scored: list[Scored]
    comparisons: list[dict[str, Any]]
    skipped: list[SkippedRow] = field(default_factory=list)
    answers: Answers | None = None

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
            for comparison in group.comparisons:
                if comparison.outcome == "tie":
                    skipped.append(SkippedRow(comparison.row or group.group.source, "labelled tie"))
                    continue
                item = _scored(group, comparison, reward_R)
                new.append(item)
                rows.append(_row(group, comparison, item))
        scored += new
        if progress is not None:
            progress(new)
    if not scored:
        raise DataError(
            "every comparison is labelled a tie", mend="there is nothing to be right on"
        )
    answers = Answers(data, reward_GR, members or None)
    return Evaluation(comparison_metrics(scored), scored, rows, skipped, answers)


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
    evaluation: Evaluation, directory: Path, about: dict[str, Any]
) -> dict[str, Any]:
    """Write `results.json` and `comparisons.jsonl`; returns what stands in the first.

    It holds the metrics and the details.

    Args:
        evaluation: what to write.
        directory: made if it is not there.
        about: model, data, template: whatever says what was measured.

    Raises:
        OutputError: no space, no permission.
    """
    results = evaluation.metrics | {
        **evaluation.details,
        "skipped": {
            "count": len(evaluation.skipped),
            "reasons": evaluation.skipped_counts,
            "rows": [{"row": str(r.source), "reason": r.reason} for r in evaluation.skipped],
        },
        **about,
    }
    with output_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in evaluation.comparisons)
        text = json.dumps(results, ensure_ascii=False, indent=2)
        _replace(directory, {"comparisons.jsonl": "".join(lines), "results.json": text + "\n"})
    return results


def _replace(directory: Path, texts: dict[str, str]) -> None:
    """Write all files beside their places, then rename them: new together, or as they were."""
    partials = {name: directory / f".{name}.partial" for name in texts}
    try:
        for name, text in texts.items():
            partials[name].write_text(text, encoding="utf-8")
        for name, partial in partials.items():
            partial.replace(directory / name)
    finally:
        for partial in partials.values():
            partial.unlink(missing_ok=True)


def _scored(group: EncodedGroup, comparison: Comparison, reward_R: Sequence[float]) -> Scored:
    chosen, rejected = comparison.winner_loser or (comparison.a, comparison.b)
    return Scored(
        prompt=group.group.key,
        chosen_reward=reward_R[chosen],
        rejected_reward=reward_R[rejected],
        chosen_tokens=len(group.sequences[chosen]),
        rejected_tokens=len(group.sequences[rejected]),
        tag="/".join(comparison.tags.values()),
    )


def _row(group: EncodedGroup, comparison: Comparison, item: Scored) -> dict[str, Any]:
    chosen, rejected = comparison.winner_loser or (comparison.a, comparison.b)
    responses = group.group.responses
    return {
        "row": str(comparison.row or group.group.source),
        "group": item.prompt,
        "result": item.result,
        "margin": item.margin,
        "chosen_reward": item.chosen_reward,
        "rejected_reward": item.rejected_reward,
        "chosen_tokens": item.chosen_tokens,
        "rejected_tokens": item.rejected_tokens,
        "tags": comparison.tags,
        "prompt": [message.as_dict() for message in group.group.prompt],
        "chosen": [message.as_dict() for message in responses[chosen].messages],
        "rejected": [message.as_dict() for message in responses[rejected].messages],
    }
