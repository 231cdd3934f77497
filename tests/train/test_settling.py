"""`model.dtype: auto` is settled once: in the run's recipe, and for every continuation of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file
from tiny_runs import recipe, rows, write_lines

from assay.config import Recipe
from assay.model import precision
from assay.train.loop import train


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))


def measured(float32: float, bfloat16: float) -> None:
    """As if this machine had been measured so."""
    place = precision._place()
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps([float32, bfloat16]))


def auto(base: Path, folder: Path, **changes: object) -> Recipe:
    data = write_lines(folder / "rows.jsonl", list(rows(3)))
    return recipe(base, data, folder / "run", model={"dtype": "auto"}, **changes)


def resolved(run: Path) -> str:
    return str(yaml.safe_load((run / "recipe.resolved.yaml").read_text())["model"]["dtype"])


@pytest.mark.parametrize(("seconds", "dtype"), [((1.0, 2.0), "float32"), ((2.0, 1.0), "bfloat16")])
def test_the_runs_recipe_names_what_was_chosen(
    seconds: tuple[float, float], dtype: str, tiny_base: Path, tmp_path: Path
) -> None:
    measured(*seconds)
    train(auto(tiny_base, tmp_path, max_steps=1))
    assert resolved(tmp_path / "run") == dtype
    weights = load_file(tmp_path / "run" / "model" / "model.safetensors")
    assert {str(t.dtype) for t in weights.values()} == {f"torch.{dtype}"}


def test_a_run_that_goes_on_keeps_its_dtype(tiny_base: Path, tmp_path: Path) -> None:
    """On a machine with another answer, from its own checkpoint and in another directory."""
    measured(2.0, 1.0)
    checked = auto(tiny_base, tmp_path, max_steps=2)
    train(checked)
    measured(1.0, 2.0)
    assert train(checked, resume="auto").step == 2
    assert resolved(tmp_path / "run") == "bfloat16"
    other = checked.model_copy(update={"output_dir": str(tmp_path / "other")})
    train(other, resume=str(tmp_path / "run" / "checkpoints" / "step-1"))
    assert resolved(tmp_path / "other") == "bfloat16"
