"""`assay score --precision int8`: what it says, what it writes, and what it goes together with."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import Assay, Models, cvalues_rows

WriteRows = Callable[..., Path]
INT8 = ("--precision", "int8", "--device", "cpu")


@pytest.fixture(autouse=True)
def worth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assay.model.int8.precision.check_worth", lambda: None)


@pytest.fixture
def rows(write_rows: WriteRows) -> Path:
    return write_rows(cvalues_rows(40))


def scored(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line)["assay"] for line in path.read_text(encoding="utf-8").splitlines()]


def test_it_says_what_it_does_and_writes_it_down(
    assay: Assay, models: Models, rows: Path, tmp_path: Path
) -> None:
    outputs = [tmp_path / f"{name}.jsonl" for name in ("full", "int8", "again")]
    flags = ("--model", models.reward, "--input", rows)
    in_full = assay("score", *flags, "--output", outputs[0])
    assert in_full.code == 0
    ran = [assay("score", *flags, "--output", output, *INT8) for output in outputs[1:]]
    assert [one.code for one in ran] == [0, 0]
    assert re.search(r"products with a second term, 1\.\d\d products a weight", ran[0].err)
    told = re.search(
        r"64 answers scored in both precisions: rewards moved by 0\.\d+ at most, [+-]0\.\d+ on "
        r"average, Kendall's tau -?\d\.\d+, [\d.]+% of 32 pairs of answers in the same order, "
        r"\S+ times as fast",
        ran[0].err,
    )
    assert told is not None, ran[0].err
    assert "engine: tree in int8" in ran[0].out
    full, int8 = scored(outputs[0]), scored(outputs[1])
    assert {row["precision"] for row in int8} == {"int8"}
    assert not any("precision" in row for row in full)
    for before, after in zip(full, int8, strict=True):
        assert after["scores"] == pytest.approx(before["scores"], abs=0.1)
    assert [row["scores"] for row in full] != [row["scores"] for row in int8]
    work = re.compile(r"tokens: ([\d,]+), computed: ([\d,]+)")
    assert work.findall(ran[0].out) == work.findall(
        in_full.out
    )  # The comparison's are not the job's.
    assert outputs[1].read_bytes() == outputs[2].read_bytes()


def test_parts_of_the_other_precision_are_another_job(
    assay: Assay, models: Models, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "o.jsonl"
    flags = ("--model", models.reward, "--input", rows, "--output", output)
    monkeypatch.setattr("assay.score.files._Job._assemble", interrupted)
    assert assay("score", *flags, *INT8).code == 130
    monkeypatch.undo()
    manifest = json.loads((tmp_path / "o.jsonl.parts" / "manifest.json").read_text())
    assert manifest["settings"]["precision"] == "int8"
    refused = assay("score", *flags)
    assert refused.code == 2
    assert "precision was int8, is not given" in refused.err


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_shards_are_merged_to_what_one_job_writes(
    assay: Assay, models: Models, rows: Path, tmp_path: Path
) -> None:
    flags = ("--model", models.reward, "--input", rows, *INT8)
    outputs = [tmp_path / f"{index}.jsonl" for index in (1, 2)]
    for index, output in enumerate(outputs, 1):
        assert assay("score", *flags, "--shard", f"{index}/2", "--output", output).code == 0
    assert assay("score", *flags, "--output", tmp_path / "whole.jsonl").code == 0
    merged = tmp_path / "merged.jsonl"
    assert assay("score", "--merge", *outputs, "--output", merged).code == 0
    assert merged.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_of_several_models_each_says_its_own(
    assay: Assay, models: Models, rows: Path, tmp_path: Path
) -> None:
    file = tmp_path / "reward.yaml"
    parts = [
        {"name": "a", "model": str(models.reward), "weight": 1.0},
        {"name": "b", "model": f"{models.reward}/", "weight": 0.5},
    ]
    file.write_text(json.dumps({"models": parts}), encoding="utf-8")
    flags = ("--reward", file, "--input", rows, "--output", tmp_path / "o.jsonl")
    ran = assay("score", *flags, *INT8)
    assert ran.code == 0, ran.err
    assert ran.err.count("64 answers scored in both precisions") == 2
    assert {row["precision"] for row in scored(tmp_path / "o.jsonl")} == {"int8"}


def test_by_hand(assay: Assay, models: Models) -> None:
    ran = assay("score", "--model", models.reward, "--prompt", "Why?", "--response", "So.", *INT8)
    assert ran.code == 0
    assert "1 answer scored in both precisions" in ran.err
    assert "; too few answers to judge their order, which takes 20\n" in ran.err
    assert "reward score: [[" in ran.out


def test_what_it_does_not_go_together_with(
    assay: Assay, models: Models, rows: Path, tmp_path: Path
) -> None:
    flags = ("--input", rows, "--output", tmp_path / "o.jsonl", "--precision", "int8")
    adapter = assay("score", "--model", models.adapter, *flags)
    narrow = assay("score", "--model", models.reward, "--dtype", "bfloat16", *flags)
    vllm = assay("score", "--model", models.reward, "--backend", "vllm", *flags)
    ray = assay("score", "--model", models.reward, "--engine", "ray", *flags)
    assert [one.code for one in (adapter, narrow, vllm, ray)] == [2, 2, 2, 2]
    assert "has an adapter" in adapter.err
    assert "this one is in bfloat16 on cpu" in narrow.err
    assert "--precision has no use with --backend vllm" in vllm.err
    assert "--engine ray has no one who would tell" in ray.err
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith("o.jsonl")]
