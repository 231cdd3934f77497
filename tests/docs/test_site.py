"""What scripts/mkdocs_hooks.py does to links and headings; `make docs` builds the site itself."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[2] / "scripts"))

from mkdocs_hooks import on_page_markdown, slug


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("Every token once (`tree/`, `model/engine.py`)", "every-token-once-tree-modelenginepy"),
        ("`results.json`", "resultsjson"),
        ("A monitor's log", "a-monitors-log"),
        ("“数据”与 token", "数据与-token"),
    ],
)
def test_anchors_are_those_of_code_hosts(heading: str, anchor: str) -> None:
    assert slug(heading) == anchor


@pytest.mark.parametrize(
    ("page", "written", "moved"),
    [
        ("data.md", "[a](convert.md#targets)", "[a](convert.md#targets)"),
        (
            "losses.md",
            "[all](../recipes), [one](../recipes/a.yaml)",
            "[all](recipes.md), [one](recipes.md)",
        ),
        (
            "rewards_in_rl.md",
            "[e](../examples/grpo_with_assay)",
            "[e](examples/grpo_with_assay.md)",
        ),
        ("examples/grpo_with_assay.md", "[d](../../docs/serving.md)", "[d](../serving.md)"),
        (
            "readme.md",
            "[d](docs/data.md#formats) ![p](docs/images/a.png)",
            "[d](data.md#formats) ![p](images/a.png)",
        ),
        (
            "zh/index.md",
            "[r](../../README.zh-CN.md) [e](../index.md)",
            "[r](readme.md) [e](../index.md)",
        ),
        ("data.md", "[src](../src/assay) [out](https://a.b/c) [here](#x)", None),
        ("data.md", "`[a](../recipes)` and\n```text\n[a](../recipes)\n```", None),
    ],
)
def test_links_hold_on_the_site(page: str, written: str, moved: str | None) -> None:
    of_page: Any = SimpleNamespace(file=SimpleNamespace(src_uri=page))
    unused: Any = None
    assert on_page_markdown(written, of_page, unused, unused) == (moved or written)
