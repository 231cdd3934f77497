"""The card of a model: its header, its numbers, and the code in it, which is run."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_runs import recipe, rows, write_lines

from assay.config import Recipe
from assay.fetch.record import write_record
from assay.model.loading import load_reward_model
from assay.train import card as card_module
from assay.train.loop import train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    folder = tmp_path_factory.mktemp("card")
    lines: list[Any] = list(rows(5))
    train_rows = write_lines(folder / "train.jsonl", [*lines, "{"])
    test = write_lines(folder / "a|b.jsonl", list(rows(4)))
    checked = recipe(
        tiny_base,
        train_rows,
        folder / "run",
        evals=[str(test)],
        data={"on_bad_row": "skip"},
        num_train_epochs=1,
    )
    return train(checked).run


def text_of(run: Path) -> str:
    return (run / "model/README.md").read_text(encoding="utf-8")


def header_of(text: str) -> dict[str, Any]:
    return dict(yaml.safe_load(text.split("---\n")[1]))


def test_the_header_is_what_hubs_read(run: Path) -> None:
    # The base is a directory of this machine: it has no name on a hub, and no licence is known.
    assert header_of(text_of(run)) == {
        "pipeline_tag": "text-classification",
        "library_name": "transformers",
        "tags": ["reward-model"],
    }


def test_hub_names_and_licences_go_into_the_header() -> None:
    values = {
        "model": {"path": "org/base"},
        "data": {"train": ["org/rows", "local.jsonl", "org/rows"]},
        "output_dir": "o",
    }
    values["data"]["train"] = [{"path": p} for p in ("org/rows", "local.jsonl")]  # type: ignore[index]
    checked = Recipe.model_validate(values)
    found = header_of(card_module._header(checked, "Apache-2.0"))
    assert (found["base_model"], found["license"]) == ("org/base", "apache-2.0")
    assert found["datasets"] == ["org/rows"]
    other = header_of(card_module._header(checked, "Some Community Licence"))
    assert (other["license"], other["license_name"]) == ("other", "Some Community Licence")


def test_the_licence_is_that_of_the_pull(tiny_base: Path, tmp_path: Path) -> None:
    import shutil

    base = tmp_path / "base"
    shutil.copytree(tiny_base, base)
    checked = recipe(base, tmp_path / "t", tmp_path / "run")
    assert card_module._licence(checked) == "unknown"
    (base / "README.md").write_text("---\nlicense: mit\n---\n", encoding="utf-8")
    assert card_module._licence(checked) == "mit"
    write_record(base, source="somewhere", licence="Apache-2.0")
    assert card_module._licence(checked) == "Apache-2.0"


def test_every_number_is_the_runs(run: Path) -> None:
    text = text_of(run)
    results = json.loads((run / "eval/a|b/results.json").read_text(encoding="utf-8"))
    described = json.loads((run / "run.json").read_text(encoding="utf-8"))
    low, high = results["accuracy_ci95"]
    assert (
        f"| a\\|b | {results['accuracy']:.4f} | [{low:.3f}, {high:.3f}] | "
        f"{results['num_comparisons']} | {results['num_prompts']} | {results['ties']} | "
        f"{results['mean_margin']:.3f} | {results['loss']:.4f} | "
    ) in text
    for digest in (described["train"]["sha256"][0], results["input_sha256"]):
        assert f"`{digest}`" in text
    assert "| cvalues | 12 | 5 | 11 | 1 bad row |" in text
    for name, version in described["versions"].items():
        assert f"{name} {version}" in text
    assert results["template_hash"] in text
    # The evaluation set has prompts of the training data, and the card says so.
    assert "4 prompts of the evaluation set a\\|b were trained on, too" in text
    # Each table has as many cells in each row.
    for table in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        cells = {len(re.split(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(cells) == 1, table


def test_the_code_in_the_card_gives_the_reward(run: Path) -> None:
    plain, with_assay = re.findall(r"```python\n(.*?)```", text_of(run), re.DOTALL)
    said = io.StringIO()
    names: dict[str, Any] = {}
    with contextlib.redirect_stdout(said):
        exec(compile(plain, "card", "exec"), names)
        exec(compile(with_assay, "card", "exec"), names)
    expected = load_reward_model(str(run)).score("What is the capital of France?", ["Paris."])
    # Stock attention against the tree's: float32 rounding.
    assert float(said.getvalue()) == pytest.approx(expected[0], rel=1e-5, abs=1e-6)


def test_a_card_is_no_damage(run: Path) -> None:
    from assay.model.manifest import altered

    assert altered(run / "model") is None
