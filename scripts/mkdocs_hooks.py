"""What mkdocs does besides: files of the repository become pages, and links to them hold there.

A page links to `../README.md` or `../recipes/`, as a code host wants it. On the site those files
are pages, too, and each link is written anew from where the page stands in the repository.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markdown import Markdown
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
MOUNTED = {
    "README.md": "readme.md",
    "README.zh-CN.md": "zh/readme.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "examples/grpo_with_assay/README.md": "examples/grpo_with_assay.md",
}
"""Files outside docs/ that the site has, and where."""
RECIPES_PAGE = "recipes.md"
DIRECTORIES = {
    "recipes": RECIPES_PAGE,
    "examples/grpo_with_assay": MOUNTED["examples/grpo_with_assay/README.md"],
}
"""What stands on the site for a directory that is linked to."""

# Code is stepped over: what looks like a link there is none.
_LINK = re.compile(
    r"```.*?^ *```|(?<!`)(?P<ticks>`+)(?!`)(?:(?!\n\s*\n).)+?(?<!`)(?P=ticks)(?!`)"
    r"|(?<=\]\()(?P<target>[^)\s#]+)",
    re.S | re.M,
)
_PUNCTUATION = re.compile(r"[^\w\- ]")


def slug(heading: str, separator: str = "-") -> str:
    """The anchor that code hosts give to a heading, in any script."""
    return _PUNCTUATION.sub("", heading.strip().lower()).replace(" ", separator)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Headings get the anchors of code hosts, and lists go on at an indent of two, as there."""
    from markdown.blockprocessors import build_block_parser
    from markdown.extensions import Extension

    class TwoSpaces(Extension):
        def extendMarkdown(self, md: Markdown) -> None:
            md.tab_length = 2
            md.parser = build_block_parser(md)  # Its parts took the length when they were made.

    config.mdx_configs.setdefault("toc", {})["slugify"] = slug
    config.markdown_extensions.insert(0, TwoSpaces())  # type: ignore[arg-type]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the repository's files, and a page of all recipes."""
    from mkdocs.structure.files import File

    for source, place in MOUNTED.items():
        if (ROOT / source).exists():
            files.append(File.generated(config, place, abs_src_path=str(ROOT / source)))
    files.append(File.generated(config, RECIPES_PAGE, content="\n".join(_recipes())))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links as they hold on the site; what leads nowhere stays, and strict mode says so."""
    here = page.file.src_uri
    place = repository_path(here)

    def moved(found: re.Match[str]) -> str:
        target = found["target"]
        if not target or "://" in target or target.startswith("mailto:"):
            return found[0]
        there = site_path(posixpath.normpath(posixpath.join(posixpath.dirname(place), target)))
        if there is None:
            return target
        return posixpath.relpath(there, posixpath.dirname(here) or os.curdir)

    return _LINK.sub(moved, markdown)


def repository_path(place: str) -> str:
    """Where in the repository a page of the site comes from."""
    own = {there: source for source, there in MOUNTED.items()} | {RECIPES_PAGE: "recipes/README.md"}
    return own.get(place, f"docs/{place}")


def site_path(path: str) -> str | None:
    """Where a path of the repository stands on the site, or None."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path.startswith("recipes/"):
        return RECIPES_PAGE
    return MOUNTED.get(path) or DIRECTORIES.get(path)


def _recipes() -> Iterator[str]:
    yield "# Recipes\n"
    yield "Files of `recipes/`: `assay train recipes/NAME.yaml`, with flags for what differs.\n"
    for path in sorted((ROOT / "recipes").glob("*.yaml")):
        yield f"## {path.stem}\n\n```yaml\n{path.read_text(encoding='utf-8')}```\n"
