"""The shape of the package: public names, import direction, what needs no torch, module sizes."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import assay

SOURCE = Path(assay.__file__).parent

LAYERS = (
    (
        "errors",
        "notices",
        "consoles",
        "files",
        "machine",
        "process",
        "cache",
        "pages",
        "yaml_lines",
    ),
    ("strict", "loss_config", "config", "recipe", "fetch", "client"),
    ("data",),
    ("tree",),
    ("losses", "model"),
    ("evaluate", "score"),
    ("train",),
    ("demo", "doctor", "report", "serve"),
    ("cli", "__main__"),
)
"""Imports run from later layers to earlier ones, and freely within a layer's own package."""

TORCH_FREE = (
    "assay",
    "assay.errors",
    "assay.config",
    "assay.recipe",
    "assay.cli.entry",
    "assay.client.openrlhf",
    "assay.client.trl",
    "assay.client.verl",
    "assay.data.loading",
    "assay.data.templates",
    "assay.data.rendering",
    "assay.data.encoding",
    "assay.doctor",
    "assay.doctor.recipes",
    "assay.evaluate.metrics",
    "assay.evaluate.baselines",
    "assay.report",
    "assay.train.plan",
    "assay.tree.layout",
    "assay.tree.packing",
)


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def layer_of(package: str) -> int:
    for number, names in enumerate(LAYERS):
        if package in names:
            return number
    raise AssertionError(f"'{package}' stands in no layer: add it to LAYERS")


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("assay."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("assay.")}
    return found


def test_public_names_are_listed_and_sorted() -> None:
    assert assay.__all__ == sorted(assay.__all__)
    for name in assay.__all__:
        assert getattr(assay, name) is not None


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_run_one_way(path: Path) -> None:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    if parts == ("__init__",):
        return
    own = layer_of(parts[0])
    for package in imported(path):
        assert package == parts[0] or layer_of(package) <= own, f"{path} imports assay.{package}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_modules_are_of_one_idea(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 400
    assert path.stem not in {"utils", "common", "misc", "helpers"}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno <= 80, f"{path}: {node.name} is too long"


@pytest.mark.slow
def test_preparing_and_reading_need_no_torch() -> None:
    code = f"import sys; import {', '.join(TORCH_FREE)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_readme_maps_every_package() -> None:
    readme = (SOURCE.parents[1] / "README.md").read_text(encoding="utf-8")
    for path in SOURCE.iterdir():
        if path.suffix == ".py" and not path.stem.startswith("__"):
            assert path.name in readme, f"README's map lacks {path.name}"
        elif path.is_dir() and (path / "__init__.py").exists():
            assert f"{path.name}/" in readme, f"README's map lacks {path.name}/"
