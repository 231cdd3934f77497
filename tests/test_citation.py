"""CITATION.cff and CHANGELOG.md say what the package says of itself."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

import assay

ROOT = Path(__file__).parents[1]


def test_citation_agrees_with_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\S+?),? ", changes, re.MULTILINE)[0] == assay.__version__
    assert cited["version"] == assay.__version__
    assert cited["license"] == project["license"]
    assert cited["abstract"] == project["description"]
