"""Flags of Ray, vLLM and of cleaning comparisons, on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from running import Assay, Models, cvalues_rows


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--ray-workers", "2"], "--ray-workers is for --engine ray; give --engine ray, too"),
        (["--engine", "ray", "--output", "-"], "--engine ray scores a file into a file"),
        (["--engine", "ray", "--input", "-"], "--engine ray scores a file into a file"),
        (["--vllm-url", "http://localhost"], "--vllm-url is for --backend vllm"),
        (["--backend", "vllm", "--device", "cpu"], "--device has no use with --backend vllm"),
        (["--backend", "vllm", "--engine", "ray"], "--engine has no use with --backend vllm"),
        (["--backend", "vllm", "--vllm-url", "x"], "--vllm-url: 'x' is no URL of a server"),
        (["--backend", "vllm"], "vLLM is not installed in this environment"),
    ],
)
def test_flags_that_do_not_go_together(
    flags: list[str],
    says: str,
    assay: Assay,
    models: Models,
    write_rows: Callable[..., Path],
    tmp_path: Path,
) -> None:
    rows = write_rows(cvalues_rows(2))
    files = ("--model", models.reward, "--input", rows, "--output", tmp_path / "o.jsonl")
    ran = assay("score", *files, *flags)
    assert ran.code == 2
    assert len(ran.errors) == 1
    assert says in ran.errors[0]
    assert not (tmp_path / "o.jsonl").exists()


def test_serve_knows_its_backends(assay: Assay, models: Models) -> None:
    ran = assay("serve", "--model", models.reward, "--vllm-url", "http://localhost")
    assert (ran.code, ran.errors) == (
        2,
        ["error: --vllm-url is for --backend vllm; give --backend vllm, too"],
    )


def test_folds_and_labels_that_rewards_contradict(
    assay: Assay, models: Models, write_rows: Callable[..., Path], tmp_path: Path
) -> None:
    rows, folds = write_rows(cvalues_rows(5)), tmp_path / "folds"
    ran = assay("export", "folds", "--input", rows, "--folds", 2, "--output", folds)
    assert ran.code == 0
    assert [line.split(" ")[1] for line in ran.out.splitlines()] == ["3", "2"]
    scored, output = tmp_path / "scored.jsonl", tmp_path / "cleaned.jsonl"
    held = folds / "fold-1.held.jsonl"
    assert assay("score", "--model", models.reward, "--input", held, "--output", scored).code == 0
    flags = ("--scores", scored, "--output", output, "--flip-below", 0.5)
    ran = assay("export", "relabel", *flags)
    assert ran.code == 0, ran.err
    assert "trained on these comparisons agrees with their mistakes" in ran.err
    margins = [
        scores[0] - scores[1]
        for scores in (
            json.loads(line)["assay"]["scores"] for line in scored.read_text().splitlines()
        )
    ]
    turned = sum(margin < 0 for margin in margins)
    told = f"3 comparisons: {3 - turned} kept, {turned} flipped, 0 dropped: {output}"
    assert ran.out.splitlines()[0] == told
    assert len(output.read_text().splitlines()) == 3
    ran = assay("export", "relabel", *flags, "--overwrite", "--folds", folds)
    assert ran.code == 2
    assert "was not trained on fold-1.train.jsonl alone" in ran.err
