"""`assay doctor` says what works here, and all that a recipe or a model lacks, at once."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from running import Assay, Models, Ran, cvalues_rows, nothing_left_behind

import assay as package

WriteRows = Callable[..., Path]
WriteRecipe = Callable[..., Path]


@pytest.fixture
def recipe(models: Models, tmp_path: Path, write_rows: WriteRows) -> WriteRecipe:
    """A recipe that lacks nothing, with some changes; sections are merged."""
    rows = write_rows(cvalues_rows(4), "train.jsonl")

    def write(**changes: dict[str, Any]) -> Path:
        values: dict[str, Any] = {
            "model": {"path": str(models.base)},
            "data": {"train": str(rows)},
            "train": {"max_length": 256, "device": "cpu"},
            "output_dir": str(tmp_path / "run"),
        }
        for section, change in changes.items():
            known = values.get(section)
            values[section] = known | change if isinstance(known, dict) else change
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
        return path

    return write


def diagnosed(ran: Ran) -> dict[str, Any]:
    """The JSON that was printed, with the exit code that its problems imply."""
    found: dict[str, Any] = json.loads(ran.out)
    assert ran.code == (1 if found["problems"] else 0)
    return found


def problems(ran: Ran) -> list[str]:
    found: list[str] = diagnosed(ran)["problems"]
    return found


def test_alone_it_says_what_is_here(assay: Assay) -> None:
    found = diagnosed(assay("doctor", "--json"))
    facts = {key: section["facts"] for key, section in found["sections"].items()}
    assert found["assay"] == facts["versions"]["assay"] == package.__version__
    assert facts["versions"]["torch"] == facts["devices"]["torch"] == torch.__version__
    assert facts["devices"]["threads"] == torch.get_num_threads()
    assert 0 < facts["machine"]["memory"]["free"] <= facts["machine"]["memory"]["total"]
    assert facts["machine"]["cache"]["free"] > 0
    assert facts["computing"]["dtype auto"]["taken"] in ("float32", "bfloat16")
    assert facts["computing"]["products"]["float32"] > 1e8
    assert facts["extras"]["client"]["complete"]
    said = assay("doctor")
    assert said.code == 0
    assert said.out.splitlines()[-1] == "no problem found"
    assert re.search(r"^  attention +(cascade|varlen)", said.out, re.MULTILINE)
    assert re.search(r"^  swanlab +no swanlab: pip install 'assay\[swanlab\]'", said.out, re.M)


def test_a_recipe_that_lacks_nothing(assay: Assay, recipe: WriteRecipe, tmp_path: Path) -> None:
    path = recipe()
    with nothing_left_behind(tmp_path):
        found = diagnosed(assay("doctor", path, "--json"))
    assert found["problems"] == []
    facts = found["sections"]["start"]["facts"]
    assert facts["engine"]["taken"] == "tree"
    assert facts["context"] == 512
    # Full training in float32: as many bytes as weights, gradients and two moments have.
    assert facts["memory"]["weights"] == 4 * facts["trained"]
    assert facts["memory"]["optimizer"] == 3 * facts["memory"]["weights"]


def test_all_that_is_wrong_is_said_at_once(
    assay: Assay, recipe: WriteRecipe, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    path = recipe(
        data={"train": str(tmp_path / "trian.jsonl"), "eval": str(tmp_path / "nowhere.jsonl")},
        train={"max_length": 4096, "lr": 1e-5, "warmup_ratio": 2, "report_to": ["swanlab"]},
        lora={"target_modules": ["no_such_layer"]},
    )
    found = problems(assay("doctor", path, "--json"))
    lines = {line.split(":")[0]: n for n, line in enumerate(path.read_text().splitlines(), 1)}
    expected = [
        f"{path}:{lines['  lr']}: unknown key 'train.lr'; did you mean 'train.learning_rate'?",
        f"{path}:{lines['  warmup_ratio']}: 'train.warmup_ratio'",
        "trian.jsonl: no such file; did you mean 'train.jsonl'?",
        "nowhere.jsonl: no such file",
        "train.report_to swanlab needs swanlab, which is not installed; pip install 'assay[",
        "run: is not empty; add --resume auto",
        "train.max_length (4096) is beyond the model's context of 512",
        "lora.target_modules: LoRA cannot be added",
    ]
    for part in expected:
        assert sum(part in line for line in found) == 1, part
    assert len(found) == len(expected)


def test_a_recipe_of_which_nothing_can_be_made(
    assay: Assay, tmp_path: Path, recipe: WriteRecipe
) -> None:
    path = tmp_path / "half.yaml"
    path.write_text("train: {lr: 1}\n")
    found = diagnosed(assay("doctor", path, "--json"))
    assert [line.partition(": ")[2].split(";")[0] for line in found["problems"]] == [
        "'model' is missing",
        "'data' is missing",
        "unknown key 'train.lr'",
        "'output_dir' is missing",
    ]
    assert "start" not in found["sections"]
    path.write_text("model: [\n")
    assert "not valid YAML" in problems(assay("doctor", path, "--json"))[0]


def test_memory_that_will_not_do(
    assay: Assay, recipe: WriteRecipe, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assay.doctor.models.free_bytes", lambda device: 100_000)
    [found] = problems(assay("doctor", recipe(), "--json"))
    assert "memory will not do" in found
    assert "train adapters" in found
    [found] = problems(assay("doctor", "--model", models.reward, "--json"))
    assert "memory will not do" in found
    # Sharded weights are shared among processes that are not here.
    sharded = recipe(train={"strategy": "fsdp2"})
    assert problems(assay("doctor", sharded, "--json")) == []


@pytest.mark.parametrize("kind", ["base", "reward", "adapter"])
def test_a_model(assay: Assay, models: Models, kind: str) -> None:
    found = diagnosed(assay("doctor", "--model", getattr(models, kind), "--json"))
    facts = found["sections"]["model"]["facts"]
    assert facts["engine"] == {"taken": "tree", "faults": {}}
    assert facts["attention"]["full"] in ("cascade", "varlen", "flex")
    assert facts["reward head"] == (kind != "base")
    assert facts["architecture"]["kind"] == ("adapter" if kind == "adapter" else "plain")


def test_why_an_engine_is_not_the_fastest(
    assay: Assay, recipe: WriteRecipe, models: Models, tmp_path: Path, tiny_tokenizer: Any
) -> None:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=len(tiny_tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_labels=1,
    )
    encoder = tmp_path / "encoder"
    BertForSequenceClassification(config).save_pretrained(encoder)
    tiny_tokenizer.save_pretrained(encoder)
    ran = assay("doctor", "--model", encoder)
    assert ran.code == 0
    assert re.search(r"^  engine +padded, since .*tree: its head is not one row", ran.out, re.M)
    asked = recipe(model={"path": str(encoder)}, train={"engine": "tree"})
    [found] = problems(assay("doctor", asked, "--json"))
    assert found.startswith("engine tree is not right for this model")


def test_what_would_be_fetched_is_no_problem(
    assay: Assay, recipe: WriteRecipe, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    path = recipe(model={"path": "some-org/some-model"}, data={"train": "hf://some-org/some-rows"})
    found = diagnosed(assay("doctor", path, "--json"))
    assert found["problems"] == []
    assert any("assay pull --dataset" in n for n in found["sections"]["recipe"]["notes"])
    assert any("assay pull some-org" in n for n in found["sections"]["start"]["notes"])


@pytest.mark.parametrize("name", ["no such thing", "/no/such/directory"])
def test_a_model_that_cannot_be_meant(assay: Assay, name: str) -> None:
    [found] = problems(assay("doctor", "--model", name, "--json"))
    assert name in found


def test_bad_arguments(assay: Assay, tmp_path: Path) -> None:
    for place, said in ((tmp_path / "no.yaml", "no such recipe"), (tmp_path, "is a directory")):
        ran = assay("doctor", place)
        assert (ran.code, ran.out) == (2, "")
        assert ran.errors == [f"error: {place}: {said}; name a YAML file"]
    assert assay("doctor", "--jsn").code == 2


def test_without_torch_the_rest_is_said(recipe: WriteRecipe) -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from assay.cli import main\n"
        f"sys.argv = ['assay', 'doctor', {str(recipe())!r}, '--json']\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert found["sections"]["versions"]["facts"]["torch"] == torch.__version__
    assert found["sections"]["machine"]["facts"]["memory"]["total"] > 0
    assert found["problems"][0].startswith("torch and its devices: cannot be looked at")
    assert "train " in " ".join(found["sections"]["recipe"]["facts"])


def test_a_broken_package_that_a_recipe_needs(
    assay: Assay, recipe: WriteRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "swanlab.py").write_text("raise RuntimeError('a library is missing')")
    monkeypatch.syspath_prepend(str(tmp_path))
    [found] = problems(assay("doctor", recipe(train={"report_to": ["swanlab"]}), "--json"))
    assert "cannot be imported (a library is missing)" in found
