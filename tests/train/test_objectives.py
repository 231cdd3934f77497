"""Every loss through the real loop: it learns, resumes to the bit, and its model reloads alike."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from objective_runs import (
    ADAPTERS,
    LOSSES,
    WITH_ADAPTERS,
    WITH_HEADS,
    MakeRecipe,
    groups_of,
    recipes_in,
    rewards,
)
from tiny_runs import differences, log_of, write_lines

from assay.errors import DataError
from assay.model.heads import HEADS_FILE, Heads
from assay.train.loop import train

every_loss = pytest.mark.parametrize("name", LOSSES)


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> MakeRecipe:
    return recipes_in(tmp_path_factory.mktemp("data"), tiny_base)


@every_loss
def test_a_run_learns_resumes_to_the_bit_and_reloads(
    name: str, make: MakeRecipe, tmp_path: Path
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    lora = ADAPTERS if name in WITH_ADAPTERS else None
    train(make(whole, LOSSES[name], lora=lora))
    steps = [entry for entry in log_of(whole) if entry["kind"] == "train"]
    assert [entry["step"] for entry in steps] == [1, 2, 3, 4, 5, 6]
    losses = [entry["loss"] for entry in steps]
    assert sum(losses[3:]) < sum(losses[:3])

    shutil.copytree(whole, broken)
    for late in ("step-4", "step-5", "step-6"):
        shutil.rmtree(broken / "checkpoints" / late)
    shutil.rmtree(broken / "model")
    assert train(make(broken, LOSSES[name], lora=lora), resume="auto").step == 6
    assert differences(broken, whole) == []

    last = whole / "checkpoints" / "step-6"
    # Of an adapter the one is merged, and the other is not.
    assert rewards(whole / "model") == pytest.approx(rewards(last), abs=1e-6 if lora else 0)
    assert (whole / "model" / HEADS_FILE).exists() == (name in WITH_HEADS)


def test_helpsteer_rows_train_a_head_for_each_attribute(make: MakeRecipe, tmp_path: Path) -> None:
    rows = [
        {
            "prompt": f"question {number}?",
            "response": f"{word} answer {number}",
            "helpfulness": 4 - 2 * place,
            "correctness": 3 - place,
            "verbosity": 1,
        }
        for number in range(4)
        for place, word in enumerate(("good", "bad"))
    ]
    data = {"train": str(write_lines(tmp_path / "helpsteer.jsonl", list(rows)))}
    loss = {"kind": "regression", "attributes": ["helpfulness", "correctness"]}
    run = train(make(tmp_path / "run", loss, data=data)).run
    heads = Heads.read(run / "model")
    assert heads is not None
    # Means of 4 and 2, of 3 and 2.
    assert heads.members == (("helpfulness", 1.0, 3.0), ("correctness", 1.0, 2.5))
    steps = [entry for entry in log_of(run) if entry["kind"] == "train"]
    assert steps[-1]["squared_error/helpfulness"] < steps[0]["squared_error/helpfulness"]


# What cannot be trained is said before anything is written


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (LOSSES["regression"], "no response is rated by good, long"),
        (LOSSES["margin, smoothing, centring"], "no comparison has a margin"),
        (LOSSES["plackett_luce"], "not every two of its responses are compared"),
    ],
    ids=["ratings", "margins", "rankings"],
)
def test_data_that_lack_what_the_loss_needs(
    loss: dict[str, Any], said: str, make: MakeRecipe, tmp_path: Path
) -> None:
    bare = groups_of(2)
    for group in bare:
        del group["rankings"]
        group["comparisons"] = [{"a": a, "b": b, "outcome": "a"} for a, b in ((0, 1), (1, 2))]
        for response in group["responses"]:
            del response["ratings"]
    rows = write_lines(tmp_path / "bare.jsonl", list(bare))
    output = tmp_path / "run"
    with pytest.raises(DataError, match=said):
        train(make(output, loss, data={"train": str(rows)}))
    assert not (output / "train_log.jsonl").exists()
