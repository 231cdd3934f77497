"""What an evaluation says is of each row once, and leaves the model alone (T6, T41, T44)."""

from __future__ import annotations

import hashlib
import multiprocessing
import socket
from pathlib import Path
from typing import Any

import pytest
import three_ranks

from assay.data.encoding import encode_groups
from assay.data.loading import load_groups
from assay.data.sources import DataSource
from assay.evaluate import evaluator
from assay.evaluate.command import EvalOptions, evaluate_command
from assay.evaluate.evaluator import evaluate_groups
from assay.model.loading import load_reward_model
from tests.conftest import WriteRows

ROWS = [
    {"prompt": f"question {n}?", "chosen": f"good {'so ' * (n % 4)}{n}", "rejected": f"bad {n}"}
    for n in range(10)
]


@pytest.mark.parametrize("engine", ["tree", "packed", "padded"])
def test_with_chosen_and_rejected_swapped_wins_are_losses(
    engine: str, tiny_reward: Path, write_rows: WriteRows
) -> None:
    """T6: through rows, template, packs and metrics; an evaluation blind to labels stays as it is.

    Eleven comparisons cannot be one half wins and one half losses, so that wins do change.
    """
    model = load_reward_model(str(tiny_reward), dtype="float64", engine=engine)
    # As many tokens, and not the same: a tie is nobody's win before and after.
    rows = [*ROWS, {"prompt": "last?", "chosen": "one more", "rejected": "and another"}]
    swapped = [row | {"chosen": row["rejected"], "rejected": row["chosen"]} for row in rows]
    found = []
    for name, lines in (("rows.jsonl", rows), ("swapped.jsonl", swapped)):
        groups = load_groups([DataSource(str(write_rows(lines, name)))]).groups
        data = encode_groups(groups, model.renderer, max_length=256)
        found.append(evaluate_groups(model, data))
    before, after = (evaluation.metrics for evaluation in found)
    assert before["num_comparisons"] == after["num_comparisons"] == 11
    assert (after["wins"], after["ties"]) == (before["losses"], before["ties"])
    assert after["accuracy"] == pytest.approx(1 - before["accuracy"] - before["ties"] / 11)
    assert before["wins"] != after["wins"]
    for one, other in zip(found[0].comparisons, found[1].comparisons, strict=True):
        assert one["margin"] == pytest.approx(-other["margin"], abs=1e-6)
        assert abs(one["margin"]) > 1e-6


@pytest.mark.slow
def test_three_processes_evaluate_each_row_once(
    tiny_reward: Path,
    write_rows: WriteRows,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # T41: ten rows for three: neither is one scored twice to fill up, nor are means averaged.
    rows = write_rows(ROWS)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["assay.train.loop", "peft", "three_ranks"])
    results: Any = context.Queue()
    processes = [
        context.Process(target=three_ranks.evaluate, args=(rank, port, tiny_reward, rows, results))
        for rank in range(three_ranks.SIZE)
    ]
    for process in processes:
        process.start()
    try:
        found = sorted(results.get(timeout=200)[:] for _ in processes)
    finally:
        for process in processes:
            process.join(30)
            process.kill()
    assert [rank for rank, _, _ in found] == [0, 1, 2]
    assert [passes for _, passes, _ in found] == [2, 1, 1]  # Four windows, none of them twice.
    monkeypatch.setattr(evaluator, "_WINDOW", three_ranks.WINDOW)
    model = load_reward_model(str(tiny_reward))
    alone = evaluate_groups(model, three_ranks.data_of(model, rows)).metrics
    assert alone["num_comparisons"] == 10
    # Float32 sums of one thread and of several may differ in their last bits.
    for _, _, metrics in found:
        assert metrics.keys() == alone.keys()
        for key in ("wins", "ties", "losses", "num_comparisons", "num_prompts", "accuracy"):
            assert metrics[key] == alone[key], key
        for key in ("mean_margin", "loss", "reward_mean", "reward_std"):
            assert metrics[key] == pytest.approx(alone[key], abs=1e-5), key


def test_an_evaluation_changes_no_file_of_the_model(
    tiny_reward: Path, write_rows: WriteRows, tmp_path: Path
) -> None:
    # T44: statistics of the rewards are a result, and never become a part of the model.
    def files() -> dict[str, str]:
        return {
            str(path.relative_to(tiny_reward)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(tiny_reward.rglob("*"))
        }

    source, before = DataSource(str(write_rows(ROWS))), files()
    results = [
        evaluate_command(str(tiny_reward), source, EvalOptions(output=tmp_path / name))
        for name in ("first", "second")
    ]
    assert files() == before
    assert results[0] == results[1]
    # Raw: of an untrained head, neither centred nor scaled.
    assert abs(results[0][0]["reward_mean"]) > 1e-3
    assert abs(results[0][0]["reward_std"] - 1) > 1e-3
