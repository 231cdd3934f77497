"""What goes beyond accuracy, from groups to `results.json`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from assay.data.encoding import EncodedData, encode_groups
from assay.data.loading import load_groups
from assay.data.records import Comparison, Group, Message, Response, Source
from assay.data.sources import DataSource
from assay.evaluate.details import shared_tokens
from assay.evaluate.evaluator import evaluate_groups, write_evaluation
from assay.evaluate.summary import summary_lines
from assay.model.heads import ensemble_of
from assay.model.loading import load_reward_model
from assay.model.membership import give_members, score_with_members
from assay.model.reward_model import RewardModel

WriteRows = Callable[..., Path]


@pytest.fixture(scope="module")
def model(tiny_reward: Path) -> RewardModel:
    return load_reward_model(str(tiny_reward))


def rated_group(number: int, ratings: tuple[float, ...], **extra: Any) -> Group:
    """Responses of a prompt, the first better than each other one."""
    source = Source("f.jsonl", number)
    question = "你好吗" if extra.get("chinese") else f"question {number} or another"
    return Group(
        id=str(number),
        source=source,
        prompt=(Message("user", question),),
        responses=tuple(
            Response(
                (Message("assistant", f"answer {'so ' * place}{number}"),), {"quality": rating}
            )
            for place, rating in enumerate(ratings)
        ),
        comparisons=tuple(
            Comparison(0, other, "a", row=source, tags=extra.get("tags", {}))
            for other in range(1, len(ratings))
        ),
    )


def encode(groups: list[Group], model: RewardModel) -> EncodedData:
    return encode_groups(groups, model.renderer, max_length=256)


def test_what_all_sequences_begin_with() -> None:
    assert shared_tokens([(1, 2, 3), (1, 2, 4, 5), (1, 2)]) == 2
    assert shared_tokens([(1, 2, 3), (1, 2, 3)]) == 3
    assert shared_tokens([(4,), (5,)]) == 0


def test_every_table_counts_every_comparison(model: RewardModel, tmp_path: Path) -> None:
    groups = [rated_group(n, (3.0, 2.0, 1.0)) for n in range(60)]
    evaluation = evaluate_groups(model, encode(groups, model))
    details = evaluation.details
    assert sum(row["num_comparisons"] for row in details["calibration"]["bins"]) == 120
    for rows in details["by_length"].values():
        assert sum(row["num_comparisons"] for row in rows) == 120
    assert {name: row["num_comparisons"] for name, row in details["by_language"].items()} == {
        "latin": 120
    }
    for row in details["shortcuts"].values():
        assert row["num_comparisons"] == 120
        assert sum(part["num_comparisons"] for part in row["model"].values()) == 120
    # The better answer is always the shortest one.
    assert details["shortcuts"]["length"]["direction"] == "shorter wins"
    assert details["shortcuts"]["length"]["accuracy"] == 1.0
    assert details["rank_agreement"]["quality"]["higher_is_better"] is True
    curve = details["best_of_n"]["quality"]["curve"]
    assert [(row["k"], row["num_prompts"], row["random"]) for row in curve] == [
        (1, 60, 2.0),
        (2, 60, 2.0),
        (3, 60, 2.0),
    ]
    assert curve[2]["oracle"] == 3.0
    assert "uncertainty" not in details
    results = write_evaluation(evaluation, tmp_path, {})
    on_disk = (tmp_path / "results.json").read_text(encoding="utf-8")
    assert json.loads(on_disk) == json.loads(json.dumps(results, allow_nan=False))
    assert summary_lines(json.loads(on_disk))[0].startswith("calibration: ECE")


def test_position_is_told_where_the_file_has_an_order(model: RewardModel) -> None:
    """Outcomes a, b, b in one file: the second wins twice. In another a alone: it has no order."""
    both = [rated_group(n, (3.0, 2.0)) for n in range(3)]
    for number in (1, 2):
        (comparison,) = both[number].comparisons
        both[number] = replace(both[number], comparisons=(replace(comparison, outcome="b"),))
    chosen_first = [
        replace(
            group,
            source=Source("other.jsonl", n),
            comparisons=(replace(group.comparisons[0], row=Source("other.jsonl", n)),),
        )
        for n, group in enumerate(rated_group(n, (3.0, 2.0)) for n in range(10, 12))
    ]
    evaluation = evaluate_groups(model, encode([*both, *chosen_first], model))
    position = evaluation.details["shortcuts"]["position"]
    assert (position["direction"], position["num_decided"]) == ("second wins", 3)
    assert position["accuracy_where_decided"] == pytest.approx(2 / 3, abs=1e-12)
    assert position["accuracy"] == pytest.approx((2 + 2 / 2) / 5, abs=1e-12)
    assert position["model"]["undecided"]["num_comparisons"] == 2
    assert position["model"]["wrong"]["num_comparisons"] == 1
    alone = evaluate_groups(model, encode(chosen_first, model)).details
    assert "position" not in alone["shortcuts"]


def test_training_pays_for_none_of_it(model: RewardModel) -> None:
    """Metrics alone are computed; a line of the log of a run stays what it was."""
    evaluation = evaluate_groups(model, encode([rated_group(1, (2.0, 1.0))], model))
    assert "details" not in vars(evaluation)
    assert "calibration" not in evaluation.metrics


def test_a_language_that_the_row_names_is_taken(model: RewardModel) -> None:
    groups = [
        rated_group(1, (2.0, 1.0)),
        rated_group(2, (2.0, 1.0), chinese=True),
        rated_group(3, (2.0, 1.0), tags={"language": "French"}),
    ]
    table = evaluate_groups(model, encode(groups, model)).details["by_language"]
    assert sorted(table) == ["French", "han", "latin"]


def test_less_of_a_rating_may_be_better(model: RewardModel) -> None:
    groups = [rated_group(n, (0.0, 3.0)) for n in range(5)]
    details = evaluate_groups(model, encode(groups, model)).details
    assert details["rank_agreement"]["quality"]["higher_is_better"] is False
    assert details["best_of_n"]["quality"]["curve"][1]["oracle"] == 0.0
    accuracy = evaluate_groups(model, encode(groups, model)).metrics["accuracy"]
    assert details["rank_agreement"]["quality"]["kendall"] == pytest.approx(2 * accuracy - 1)


def test_an_ensemble_says_how_sure_it_is(tiny_reward: Path) -> None:
    model = load_reward_model(str(tiny_reward))
    data = encode([rated_group(n, (3.0, 2.0, 1.0)) for n in range(70)], model)
    alone = evaluate_groups(model, data)
    model.fresh_head = True
    give_members(model, ensemble_of(4), seed=3)
    evaluation = evaluate_groups(model, data)
    found = evaluation.details["uncertainty"]
    assert sum(row["num_comparisons"] for row in found["bins"]) == 140
    first = data.groups[0]
    scores = score_with_members(model, first.sequences, families=[0] * 3)
    reward = evaluation.comparisons[0]["chosen_reward"]
    assert reward == pytest.approx(scores.rewards[0], abs=1e-5)
    assert found["mean"] > 0
    assert "uncertainty" not in alone.details


@pytest.mark.parametrize("engine", ["tree", "packed", "padded"])
def test_engine_order_and_batches_move_near_ties_alone(
    engine: str, tiny_reward: Path, write_rows: WriteRows
) -> None:
    """A comparison may be decided otherwise only where its margin is below 1e-5: those count."""
    rows = [
        {"prompt": f"q {n}", "chosen": f"answer {n}", "rejected": f"answer {n}{' x' * (n % 3 + 1)}"}
        for n in range(50)
    ]
    loaded = load_groups([DataSource(str(write_rows(rows)))])
    plain = load_reward_model(str(tiny_reward), engine="padded")
    data = encode(loaded.groups, plain)
    expected = {row["row"]: row for row in evaluate_groups(plain, data, max_tokens=60).comparisons}
    model = load_reward_model(str(tiny_reward), engine=engine)
    other = evaluate_groups(model, replace(data, groups=data.groups[::-1]), max_tokens=400)
    moved = 0
    for row in other.comparisons:
        before = expected[row["row"]]
        assert row["margin"] == pytest.approx(before["margin"], abs=1e-5)
        moved += row["result"] != before["result"]
    assert moved <= other.metrics["num_near_ties"]
