"""A checkpoint that was copied elsewhere still says what run it is of."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tiny_runs import recipe, rows, write_lines

from assay.errors import CheckpointError
from assay.train.loop import train


def test_a_copied_checkpoint_checks_recipe_and_data(tiny_base: Path, tmp_path: Path) -> None:
    data = write_lines(tmp_path / "train.jsonl", list(rows(4)))
    train(recipe(tiny_base, data, tmp_path / "run", num_train_epochs=1))
    copied = tmp_path / "far" / "away"
    shutil.copytree(tmp_path / "run/checkpoints/step-1", copied)
    shutil.rmtree(tmp_path / "run")
    other = recipe(tiny_base, data, tmp_path / "other", num_train_epochs=1, learning_rate=2e-3)
    with pytest.raises(CheckpointError, match=r"train\.learning_rate was 0\.001, now 0\.002"):
        train(other, resume=str(copied))
    same = recipe(tiny_base, data, tmp_path / "same", num_train_epochs=1)
    assert train(same, resume=str(copied)).step == 2
    write_lines(data, list(rows(5)))
    again = recipe(tiny_base, data, tmp_path / "again", num_train_epochs=1)
    with pytest.raises(CheckpointError, match="the training data changed since this run began"):
        train(again, resume=str(copied))
