"""`assay prepare`: one table for all sources, stores that `assay train` finds again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from running import Assay, Models, cvalues_rows, nothing_left_behind

from assay.data.store import open_store
from assay.model.locate import locate_model


def write(path: Path, rows: list[object]) -> Path:
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def flags(tmp_path: Path, models: Models, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """A recipe of two sources to train on and one to evaluate on, as flags."""
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    same = {"prompt": "same?", "pos_resp": "a", "neg_resp": "a"}
    one = write(tmp_path / "one.jsonl", [*cvalues_rows(30), same])
    two = write(tmp_path / "two.jsonl", list(cvalues_rows(40)[30:]))
    test = write(tmp_path / "test.jsonl", list(cvalues_rows(45)[40:]))
    recipe = {
        "model": {"path": str(models.base)},
        "data": {"train": [str(one), str(two)], "eval": str(test)},
        "train": {"max_length": 200, "max_steps": 1, "device": "cpu", "global_batch_size": 4},
        "output_dir": str(tmp_path / "run"),
    }
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    return [tmp_path / "recipe.yaml"]


def test_the_table_and_the_stores(assay: Assay, flags: list[object], tmp_path: Path) -> None:
    ran = assay("prepare", *flags, "--workers", 1, "--output", tmp_path / "stores")
    assert (ran.code, ran.errors) == (0, [])
    rows = [line.split() for line in ran.out.splitlines() if "│" in line]
    numbers = [[cell for cell in row if cell != "│"] for row in rows]
    train = next(row for row in numbers if "96.77%" in row)
    assert train[-6:] == ["31", "30", "30", train[-3], "96.77%", "1"]
    for name, groups in (("train-1", 30), ("train-2", 10), ("eval-test", 5)):
        assert len(open_store(tmp_path / "stores" / name).groups) == groups
        assert str(tmp_path / "stores" / name) in ran.out
    assert not (tmp_path / "run").exists()


def test_train_finds_what_was_prepared(assay: Assay, flags: list[object], tmp_path: Path) -> None:
    prepared = assay("prepare", *flags)
    assert prepared.code == 0
    stores = sorted((tmp_path / "cache" / "prepared").iterdir())
    times = [path.stat().st_mtime_ns for path in stores]
    trained = assay("train", *flags)
    assert (trained.code, trained.errors) == (0, [])
    assert sorted((tmp_path / "cache" / "prepared").iterdir()) == stores
    assert [path.stat().st_mtime_ns for path in stores] == times
    table = prepared.out.split("train 1")[0].splitlines()[:3]
    assert all(line in trained.out for line in table)
    described = json.loads((tmp_path / "run" / "run.json").read_text())
    assert set(described["train"]["stores"]) < {path.name for path in stores}


def test_too_much_dropped(assay: Assay, flags: list[object], tmp_path: Path) -> None:
    for command in ("prepare", "train"):
        ran = assay(command, *flags, "--data.max_dropped", "0.03")
        assert ran.code == 2
        (error,) = ran.errors
        assert "1 of 31 comparisons would be dropped (3.2%, more than data.max_dropped" in error
        assert "identical answers" in error
    assert assay("prepare", *flags, "--data.max_dropped", "0.04").code == 0


def test_a_place_that_is_taken(assay: Assay, flags: list[object], tmp_path: Path) -> None:
    stores = tmp_path / "stores"
    assert assay("prepare", *flags, "--output", stores).code == 0
    with nothing_left_behind(stores):
        assert assay("prepare", *flags, "--output", stores).code == 0
        ran = assay("prepare", *flags, "--output", stores, "--train.max_length", "199")
        assert ran.code == 2
        assert "holds a store of other data or settings" in ran.errors[0]


def test_needs_no_weights(
    assay: Assay, flags: list[object], models: Models, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for path in models.base.iterdir():
        empty = path.suffix == ".safetensors"
        (bare / path.name).write_bytes(b"" if empty else path.read_bytes())
    assert locate_model(str(bare)).path == bare
    assert assay("prepare", *flags, "--model.path", bare).code == 0


def test_needs_no_run_directory_and_a_recipe(
    assay: Assay, models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    rows = write(tmp_path / "rows.jsonl", list(cvalues_rows(6)))
    test = write(tmp_path / "test.jsonl", list(cvalues_rows(8)[4:]))
    flags = ["--model.path", models.base, "--data.train", rows, "--train.max_length", "200"]
    ran = assay("prepare", *flags, "--data.eval", test)
    assert ran.code == 0
    assert "2 of 4 prompts of the evaluation set 'test' are in the training data" in ran.err
    with nothing_left_behind(tmp_path):
        ran = assay("prepare", rows, "--model.path", models.base)
    assert ran.code == 2
    (error,) = ran.errors
    assert "rows.jsonl: is a file of rows, and what comes first is a recipe" in error
    assert f"--data.train {rows}" in error
