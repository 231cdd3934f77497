"""`assay merge`: what it says, what it writes, what it refuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from running import Assay, Models, nothing_left_behind

from assay.model.loading import load_reward_model

sys.path.append(str(Path(__file__).parents[1] / "model"))
from foreign_directories import edit_json, language_model, llama_factory


def test_an_adapter(assay: Assay, models: Models, tmp_path: Path) -> None:
    ran = assay("merge", models.adapter, "--output", tmp_path / "m")
    assert ran.code == 0, ran.err
    assert ran.out.splitlines() == [
        "LlamaForSequenceClassification, float32",
        f"model: {tmp_path / 'm'}",
    ]
    merged, adapter = (
        load_reward_model(str(path)).score("Why?", ["Because.", "No."])
        for path in (tmp_path / "m", models.adapter)
    )
    assert merged == pytest.approx(adapter, abs=1e-5)


def test_a_foreign_model_scores_evaluates_and_merges(
    assay: Assay, models: Models, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    foreign = tmp_path / "f"
    llama_factory(foreign, language_model(models.base), tiny_tokenizer)
    ran = assay("merge", foreign, "--output", tmp_path / "m")
    assert ran.code == 0, ran.err
    assert "reward offset +0.8125: Assay adds it to each reward (assay.json)" in ran.out
    assert "read the reward head of LLaMA-Factory" in ran.err
    assert "not saved by Assay; reading conversations with its own" in ran.err
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"prompt": "Why?", "chosen": "So.", "rejected": "No."}) + "\n")
    for model in (foreign, tmp_path / "m"):
        scored = tmp_path / f"{model.name}.jsonl"
        assert assay("score", "--model", model, "--input", rows, "--output", scored).code == 0
        assert assay("eval", "--model", model, "--input", rows).code == 0
    scores = [
        json.loads((tmp_path / name).read_text())["assay"]["scores"]
        for name in ("f.jsonl", "m.jsonl")
    ]
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)


def test_what_is_refused_leaves_nothing(assay: Assay, models: Models, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with nothing_left_behind(tmp_path):
        for argv, says in (
            ((models.adapter, "--output", tmp_path / "full"), "is not empty"),
            ((models.base, "--output", tmp_path / "m"), "no reward head"),
            ((models.reward, "--output", tmp_path / "m"), "nothing to merge"),
            ((models.adapter, "--output", tmp_path / "m", "--dtype", "int4"), "unknown dtype"),
            ((tmp_path / "none", "--output", tmp_path / "m"), "no such model directory"),
        ):
            ran = assay("merge", *argv)
            assert ran.code == 2
            assert len(ran.errors) == 1
            assert says in ran.errors[0]


def test_an_adapter_whose_base_moved(assay: Assay, models: Models, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(models.adapter, tmp_path / "a")
    edit_json(
        tmp_path / "a" / "adapter_config.json", base_model_name_or_path=str(tmp_path / "gone")
    )
    ran = assay("merge", tmp_path / "a", "--output", tmp_path / "m")
    assert ran.code == 2
    assert "give its new place with --base" in ran.err
    ran = assay("merge", tmp_path / "a", "--output", tmp_path / "m", "--base", models.base)
    assert ran.code == 0, ran.err
