"""Chinese pages have the sections and tables of their English twins, and one set of words.

(`test_pages.py` compares their blocks.)
"""

from __future__ import annotations

import re
from itertools import groupby

import pytest
from doc_pages import ROOT, Page, read_page
from test_pages import CHINESE, english_of

GLOSSARY = "docs/zh/glossary.md"
INDEX = "docs/zh/index.md"
"""Says what there is in Chinese, and so is no translation."""

TWINS = [page for page in CHINESE if english_of(page).is_file() and page.name != INDEX]
_each_twin = pytest.mark.parametrize("page", TWINS, ids=lambda page: page.name)


def levels(page: Page) -> list[int]:
    """Of a page's headings, in order."""
    return [len(marks) for marks in re.findall(r"^(#+) ", page.prose, re.MULTILINE)]


def tables(page: Page) -> list[list[list[str]]]:
    """The cells of each table, row by row."""
    lines = groupby(page.prose.splitlines(), key=lambda line: line.startswith("|"))
    return [
        [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]
        for is_table, rows in lines
        if is_table
    ]


def shape(page: Page) -> list[list[int]]:
    """How many cells each row of each table has."""
    return [[len(row) for row in table] for table in tables(page)]


def names(page: Page) -> list[list[str]]:
    """What is in code quotes in the first cell of each row: names, which nobody translates."""
    return [re.findall(r"`[^`]+`", row[0]) for table in tables(page) for row in table]


def avoided(glossary: Page) -> list[str]:
    """The words that are not used."""
    (table,) = [table for table in tables(glossary) if table[0][0] == "不用"]
    return [row[0] for row in table[2:]]


@_each_twin
def test_sections_are_those_of_the_english_page(page: Page) -> None:
    assert levels(page) == levels(read_page(english_of(page)))


@_each_twin
def test_tables_are_those_of_the_english_page(page: Page) -> None:
    english = read_page(english_of(page))
    assert shape(page) == shape(english)
    assert names(page) == names(english)


@pytest.mark.parametrize(
    "page", [page for page in CHINESE if page.name != GLOSSARY], ids=lambda page: page.name
)
def test_the_words_are_those_of_the_glossary(page: Page) -> None:
    words = avoided(read_page(ROOT / GLOSSARY))
    assert len(words) >= 8
    assert [word for word in words if word in page.prose] == []


def test_the_index_names_every_chinese_page() -> None:
    index = read_page(ROOT / INDEX)
    linked = {(ROOT / INDEX).parent / target.partition("#")[0] for _, target in index.links()}
    pages = {ROOT / page.name for page in CHINESE if page.name != INDEX}
    assert {page.resolve() for page in pages} <= {path.resolve() for path in linked}


def test_the_readmes_point_at_each_other_and_at_the_same_pages() -> None:
    """Or at the Chinese page, where there is one."""
    chinese, english = (read_page(ROOT / name) for name in ("README.zh-CN.md", "README.md"))
    assert "\n[English](README.md) | 简体中文\n" in chinese.text.split("##")[0]
    assert "\nEnglish | [简体中文](README.zh-CN.md)\n" in english.text.split("##")[0]
    ours, theirs = (
        {target.partition("#")[0].replace("docs/zh/", "docs/") for _, target in page.links()}
        for page in (chinese, english)
    )
    assert ours - {"README.md", "docs/index.md"} == theirs - {"README.zh-CN.md", "docs/index.md"}


def test_what_differs_is_seen() -> None:
    """The guards of this module, on pages that fail them."""

    def page(text: str) -> Page:
        return Page("docs/x.md", text, ())

    text = "# a\n\n| `x` | b |\n|---|---|\n| `y` and `z` | 2 |\n"
    assert levels(page(text)) == [1]
    assert levels(page(text + "## c\n")) == [1, 2]
    assert shape(page(text)) == [[2, 2, 2]]
    assert shape(page(text + "| 3 |\n")) == [[2, 2, 2, 1]]
    assert names(page(text)) == [["`x`"], [], ["`y`", "`z`"]]
    assert names(page(text.replace("`z`", "z"))) != names(page(text))
