"""Every recipe that ships loads; every one is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from assay.demo import demo_recipe
from assay.recipe import load_recipe

RECIPES = sorted((Path(__file__).parents[1] / "recipes").rglob("*.yaml"))


def test_all_recipes_are_found() -> None:
    assert len(RECIPES) == 2


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_loads(path: Path) -> None:
    assert load_recipe(str(path)).output_dir


def test_the_demo_trains_what_its_recipe_says() -> None:
    recipe = load_recipe(str(RECIPES[-1].with_name("sample-smollm2.yaml")))
    assert recipe == demo_recipe(Path("runs/demo"))
