"""What holds of every page without running it: commands, links, translations, its place."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from doc_pages import DOCS, ROOT, Block, Page, all_pages, assay_commands, read_page
from known_flags import what_is_wrong, wrong_flags

sys.path.append(str(ROOT / "scripts"))

from mkdocs_hooks import MOUNTED, RECIPES_PAGE, slug

PAGES = all_pages()
CHINESE = [page for page in PAGES if page.name.startswith("docs/zh/")] + [
    page for page in PAGES if page.name == "README.zh-CN.md"
]
LANGUAGES = {"bash", "python", "text", "console", "yaml", "json", "jinja", "html"}
_each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def _scripts(block: Block) -> Iterator[tuple[int, list[str]]]:
    if block.language == "bash":
        yield from assay_commands(block.text)
    if block.language == "console":
        typed = [line.partition("$ ")[2] for line in block.text.splitlines()]
        for number, line in enumerate(typed):
            yield from ((number, words) for _, words in assay_commands(line))


@_each_page
def test_every_command_could_be_given(page: Page) -> None:
    wrong = [
        f"{page.name}:{block.line + number}: assay {' '.join(words)}: {said}"
        for block in page.blocks
        for number, words in _scripts(block)
        if (said := what_is_wrong(words))
    ]
    assert wrong == []


@_each_page
def test_flags_of_a_command_in_the_text_are_its_own(page: Page) -> None:
    spans = list(page.code_spans())
    for block in page.blocks:
        if block.language == "text":
            # A command goes on in the lines that begin with white space.
            text = block.text.replace("\n ", "  ")
            spans += [(block.line, line) for line in text.splitlines()]
    wrong = [
        f"{page.name}:{line}: {span}: {', '.join(flags)}"
        for line, span in spans
        if span.startswith("assay ") and (flags := wrong_flags(span.removeprefix("assay ")))
    ]
    assert wrong == []


@_each_page
def test_blocks_have_a_language_and_titles_a_meaning(page: Page) -> None:
    assert [block.line for block in page.blocks if block.language not in LANGUAGES] == []
    for block in page.blocks:
        assert not (block.background and block.language != "bash")
        assert block.not_run is None or len(block.not_run) > 5
        if block.language == "python":
            compile(block.text, f"{page.name}:{block.line}", "exec")


@_each_page
def test_links_lead_somewhere(page: Page) -> None:
    place = (ROOT / page.name).parent
    wrong = []
    for line, target in page.links():
        path, _, anchor = target.partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        file = (place / path).resolve() if path else ROOT / page.name
        if not file.exists() or (anchor and anchor not in _anchors(file)):
            wrong.append(f"{page.name}:{line}: {target}")
    assert wrong == []


def _anchors(file: Path) -> list[str]:
    return [slug(heading) for heading in read_page(file).headings]


def english_of(page: Page) -> Path:
    """The page that a Chinese one says again."""
    if page.name == "README.zh-CN.md":
        return ROOT / "README.md"
    return DOCS / Path(page.name).relative_to("docs/zh")


@pytest.mark.parametrize("page", CHINESE, ids=lambda page: page.name)
def test_a_translation_has_the_same_blocks(page: Page) -> None:
    if not english_of(page).exists():
        assert page.blocks == ()  # Of its own, such as the list of words.
        return
    english = read_page(english_of(page))
    for here, there in zip(page.blocks, english.blocks, strict=False):
        place = f"{page.name}:{here.line}, {english.name}:{there.line}"
        assert (here.language, here.title) == (there.language, there.title), place
        assert here.without_remarks == there.without_remarks, place
    assert len(page.blocks) == len(english.blocks)


def _in_nav(entries: object) -> Iterator[str]:
    if isinstance(entries, str):
        yield entries
    elif isinstance(entries, list):
        for entry in entries:
            yield from _in_nav(entry)
    elif isinstance(entries, dict):
        for entry in entries.values():
            yield from _in_nav(entry)


def test_every_page_has_its_place_in_the_navigation() -> None:
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    named = list(_in_nav(site["nav"]))
    assert len(named) == len(set(named))
    own = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    elsewhere = {place for source, place in MOUNTED.items() if (ROOT / source).exists()}
    assert set(named) == own | {place for place in elsewhere if place.endswith(".md")} | {
        RECIPES_PAGE
    }


def test_what_is_wrong_is_found() -> None:
    assert what_is_wrong(["score", "--model", "m", "--prompt", "p", "--response", "r"]) is None
    assert "--modle" in str(what_is_wrong(["score", "--modle", "m"]))
    assert what_is_wrong(["train", "r.yaml", "--train.max_steps", "4"]) is None
    assert "--train.steps" in str(what_is_wrong(["train", "r.yaml", "--train.steps", "4"]))
    assert what_is_wrong(["export", "dpo", "--scores", "s", "--output", "o", "--fro", "trl"])
    assert what_is_wrong(["serv", "--model", "m"]) is not None
    assert wrong_flags("probe --model M [--limit 200] [--transfrom NAME]") == ["--transfrom"]
    assert wrong_flags("export relabel --flip-below 0.1 --flop 2") == ["--flop"]


def test_commands_are_found_in_scripts() -> None:
    script = (
        "torchrun --n 8 -m assay train r.yaml \\\n  --x 1  # assay eval\ncat a | assay score > b\n"
    )
    assert list(assay_commands(script)) == [
        (0, ["train", "r.yaml", "--x", "1"]),
        (2, ["score"]),
    ]
    assert [
        words for _, words in assay_commands("srun bash -c 'cd x; python -m assay eval --y'")
    ] == [["eval", "--y"]]
    assert list(assay_commands("pip install --no-deps assay")) == []
