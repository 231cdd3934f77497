"""Seeds do what they say, and the documents name the files that a run writes (T31, T32, T49)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from assay.config import Recipe
from assay.train.loop import train
from tests.conftest import cvalues_rows

DOCS = Path(__file__).parents[2] / "docs"
ASKED_FOR = re.compile("report_to|on_bad_row")
"""Says of a path that it is there only where the recipe asks for it."""

Runs = Callable[[int], Path]


@pytest.fixture(scope="module")
def run_with(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """One step of LoRA, too small to be seen in a weight, with a `data.seed`."""
    folder = tmp_path_factory.mktemp("runs")
    rows = folder / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in cvalues_rows(20)), encoding="utf-8")

    def run(seed: int) -> Path:
        directory = folder / f"seed-{seed}"
        if not directory.exists():
            recipe = Recipe.model_validate(
                {
                    "model": {"path": str(tiny_base)},
                    "lora": {"r": 2},
                    "data": {"train": str(rows), "held_out": 0.3, "seed": seed},
                    "train": {"max_steps": 1, "max_length": 128, "device": "cpu", "seed": 3}
                    | {"max_tokens_per_pack": 256, "learning_rate": 1e-12, "save_steps": 1},
                    "output_dir": str(directory),
                }
            )
            train(recipe)
        return directory

    return run


def test_the_seed_of_the_data_draws_data_and_no_weight(run_with: Runs) -> None:
    # T49.
    first, second = run_with(1), run_with(2)
    held_out = [
        {
            json.loads(line)["prompt"][0]["content"]
            for line in (run / "eval/held-out/comparisons.jsonl").read_text().splitlines()
        }
        for run in (first, second)
    ]
    assert all(len(prompts) >= 2 for prompts in held_out)
    assert held_out[0] != held_out[1]
    one, other = (load_file(run / "model/model.safetensors") for run in (first, second))
    assert one.keys() == other.keys()
    # AdamW moves a weight by its rate at most, 1e-12, which no float32 of these shows.
    assert all(float((one[key] - other[key]).abs().max()) < 1e-9 for key in one)
    assert float(one["score.weight"].std()) > 0.1


def listed() -> dict[str, str]:
    """The paths of a run as docs/data.md lists them, each with what is said of it."""
    text = (DOCS / "data.md").read_text(encoding="utf-8")
    [block] = re.findall(r"## A run directory\n\n```text\n(.*?)```", text, re.S)
    lines = re.findall(r"^(\S.*?)  +(.*)$", block, re.M)
    return {path: about for paths, about in lines for path in paths.split(", ")}


def test_the_documents_name_the_files_of_a_run(run_with: Runs) -> None:
    # T32: each path that is listed is there, with the files that are named, and no other is.
    run, paths = run_with(1), listed()
    assert paths.keys() >= {"model/", "adapter/", "checkpoints/step-N/", "run.json"}
    for path, about in paths.items():
        if ASKED_FOR.search(about):
            continue
        place = run / path.replace("step-N", "step-1").replace("NAME", "held-out")
        assert place.is_dir() if path.endswith("/") else place.is_file(), path
        for name in re.findall(r"[\w.]+\.(?:json|jsonl|safetensors|md)\b", about):
            assert (place / name).is_file(), f"{path}: {name}"
    known = {path.split("/")[0] for path in paths}
    assert {entry.name for entry in run.iterdir()} <= known


def test_the_head_is_where_the_documents_say(run_with: Runs) -> None:
    # T31, T32: `score.weight [1, width]` in the model's own file, and no file beside it.
    assert "`score.weight [1, width]`" in (DOCS / "models.md").read_text(encoding="utf-8")
    model = run_with(1) / "model"
    assert [path.name for path in model.glob("*.safetensors")] == ["model.safetensors"]
    width = json.loads((model / "config.json").read_text())["hidden_size"]
    assert load_file(model / "model.safetensors")["score.weight"].shape == (1, width)
    [adapter] = (run_with(1) / "adapter").glob("*.safetensors")
    heads = {key: value for key, value in load_file(adapter).items() if "score" in key}
    assert [tuple(value.shape) for value in heads.values()] == [(1, width)]
