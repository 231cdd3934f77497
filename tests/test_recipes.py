"""Every recipe that ships loads, says what it needs, and trains a small twin of its model."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assay.config import Recipe
from assay.demo import demo_recipe
from assay.recipe import load_recipe
from assay.train.loop import train
from tests.conftest import cvalues_rows

RECIPES = sorted((Path(__file__).parents[1] / "recipes").rglob("*.yaml"))
SAMPLE = "sample-smollm2"

FAMILIES = {
    "Llama": "llama",
    "glm-4": "glm4",
    "Mistral": "mistral",
    "Qwen3": "qwen3",
    "Qwen2": "qwen2",
    "smollm2": "llama",
    "ModernBERT": "modernbert",
}
"""The family of the model that a recipe names, by a part of the name."""
SMALL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}
OF_FAMILY: dict[str, dict[str, Any]] = {
    "glm4": {"head_dim": 8, "tie_word_embeddings": False},
    "qwen3": {"head_dim": 8},
    "modernbert": {"cls_token_id": 1, "sep_token_id": 2},
}


def test_all_recipes_are_found() -> None:
    assert len(RECIPES) == 10


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_loads_and_says_what_it_needs(path: Path) -> None:
    assert load_recipe(str(path)).output_dir == f"runs/{_run_of(path)}"
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert any(word in text for word in ("GPU", "devices", "CPU"))


def test_the_demo_trains_what_its_recipe_says() -> None:
    recipe = load_recipe(str(RECIPES[0].with_name(f"{SAMPLE}.yaml")))
    assert recipe == demo_recipe(Path("runs/demo"))


def _run_of(path: Path) -> str:
    return "demo" if path.stem == SAMPLE else path.stem


def _answers(number: int) -> tuple[str, str]:
    return f"a good answer {number}", f"a bad one {'so ' * (number % 4)}"


def _pairs(number: int) -> dict[str, Any]:
    good, bad = _answers(number)
    turns = [{"role": "user", "content": f"question {number}?"}]
    return {
        "chosen": [*turns, {"role": "assistant", "content": good}],
        "rejected": [*turns, {"role": "assistant", "content": bad}],
    }


def _safe_rlhf(number: int) -> dict[str, Any]:
    good, bad = _answers(number)
    return {
        "prompt": f"question {number}?",
        "response_0": bad,
        "response_1": good,
        "is_response_0_safe": False,
        "is_response_1_safe": True,
        "better_response_id": 1,
        "safer_response_id": 1,
    }


def _hh(number: int) -> dict[str, Any]:
    good, bad = _answers(number)
    asked = f"\n\nHuman: question {number}?\n\nAssistant: "
    return {"chosen": asked + good, "rejected": asked + bad}


def _helpsteer2(number: int) -> list[dict[str, Any]]:
    marks = dict.fromkeys(("correctness", "coherence", "complexity", "verbosity"), 2)
    return [
        {"prompt": f"question {number}?", "response": text, "helpfulness": mark, **marks}
        for text, mark in zip(_answers(number), (4, 1), strict=True)
    ]


def _ultrafeedback(number: int) -> dict[str, Any]:
    good, bad = _answers(number)
    marks = {good: 9.0, bad: 2.0, "an answer": 6.0, "no answer": 4.0}
    return {
        "instruction": f"question {number}?",
        "completions": [{"response": text, "overall_score": mark} for text, mark in marks.items()],
    }


ROWS: dict[str, Callable[[int], Any]] = {
    "auto": _pairs,
    "safe_rlhf": _safe_rlhf,
    "hh": _hh,
    "helpsteer2": _helpsteer2,
    "ultrafeedback": _ultrafeedback,
}
"""A row (or rows) of the data that a recipe names, by its format."""


def _data(format: str) -> list[dict[str, Any]]:
    if format == "cvalues":
        return list(cvalues_rows(6))
    made = [ROWS[format](number) for number in range(6)]
    return [row for rows in made for row in (rows if isinstance(rows, list) else [rows])]


def _twin(family: str, tokenizer: Any, directory: Path) -> Path:
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

    config = AutoConfig.for_model(
        family, vocab_size=len(tokenizer), **(SMALL | OF_FAMILY.get(family, {}))
    )
    kind = AutoModel if family == "modernbert" else AutoModelForCausalLM
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        kind.from_config(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def _smaller(recipe: Recipe, base: Path, folder: Path) -> Recipe:
    """The recipe with a twin, rows made here, and two steps; all else as it stands."""
    values = recipe.model_dump(mode="json")
    for number, source in enumerate([*values["data"]["train"], *values["data"]["eval"]]):
        if source["path"].startswith("sample:"):
            continue
        rows = folder / f"rows-{number}.jsonl"
        lines = [json.dumps(row, ensure_ascii=False) for row in _data(source["format"])]
        rows.write_text("\n".join(lines) + "\n", encoding="utf-8")
        source |= {"path": str(rows), "split": None, "name": source["name"] or f"set-{number}"}
    values["model"] |= {"path": str(base), "dtype": "float32"}
    values["train"] |= {
        "max_steps": 2,
        "global_batch_size": 2,
        "device": "cpu",
        "max_length": min(values["train"]["max_length"], 512),
        "report_to": [],
    }
    values["data"]["max_dropped"] = 1
    values["data"]["held_out"] = min(1, values["data"]["held_out"] * 25)
    values["output_dir"] = str(folder / "run")
    return Recipe.model_validate(values)


@pytest.mark.slow
@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_twin_of_a_recipe_trains(path: Path, tiny_tokenizer: Any, tmp_path: Path) -> None:
    recipe = load_recipe(str(path))
    family = next(of for name, of in FAMILIES.items() if name in recipe.model.path)
    base = _twin(family, tiny_tokenizer, tmp_path / "base")
    smaller = _smaller(recipe, base, tmp_path)
    ended = train(smaller)
    assert ended.step == 2
    steps = [
        json.loads(line)
        for line in (ended.run / "train_log.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    losses = [step["loss"] for step in steps if "loss" in step]
    assert len(losses) >= 1
    assert all(math.isfinite(loss) for loss in losses)
    assert (ended.run / "model" / "model.safetensors").exists()
    assert (ended.run / "adapter").exists() == (recipe.lora is not None)
