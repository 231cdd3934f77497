"""Every block of the documentation that a reader could run is run, page by page."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
from doc_pages import ROOT, Block, Page, pages_that_run
from page_runner import BlockFailed, PageRun, outputs_of

PAGE_SECONDS = 1200


def _case(page: Page) -> object:
    marks = [pytest.mark.slow, *([pytest.mark.model] if page.needs_real_model else [])]
    return pytest.param(page, id=page.name.removesuffix(".md"), marks=marks)


@contextmanager
def one_server_at_a_time() -> Iterator[None]:
    """Pages say port 8000, and other test processes may be at such a page, too."""
    with (ROOT / ".pytest_cache" / "docs-port.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(page: Page, directory: Path, environment: dict[str, str]) -> None:
    running = PageRun(page, directory, environment)
    try:
        running.run()
    finally:
        running.close()


@pytest.mark.timeout(PAGE_SECONDS)
@pytest.mark.parametrize("page", [_case(page) for page in pages_that_run() if page.runs])
def test_the_blocks_of_a_page_run(
    page: Page, tmp_path: Path, beginning: Path, environment: dict[str, str]
) -> None:
    directory = tmp_path / "page"
    shutil.copytree(beginning, directory)
    for made in outputs_of(page):
        shutil.rmtree(directory / made, ignore_errors=True)
    serves = any(block.runs and block.background for block in page.blocks)
    with one_server_at_a_time() if serves else nullcontext():
        _run(page, directory, environment)


def _page(text: str, language: str = "bash", line: int = 7) -> Page:
    return Page("docs/x.md", text, (Block(line, language, None, text, None, False),))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("language", "text", "said"),
    [
        ("bash", "true\nfalse\ntrue\n", "docs/x.md:8: exit code 1: false"),
        ("bash", "assay score --modle x\n", "No such option: --modle"),
        ("bash", "assay train | cat; assay audit none.jsonl\n", "exit code 2: assay audit"),
        ("python", "import assay\nassert not assay\n", 'x-7.py", line 8'),
    ],
    ids=["a command", "assay", "the last of several", "Python"],
)
def test_what_fails_is_told_with_its_place(
    language: str, text: str, said: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "page").mkdir()
    with pytest.raises(BlockFailed) as failed:
        _run(_page(text, language), tmp_path / "page", environment)
    assert str(failed.value).startswith("docs/x.md:7: exit code ")
    assert said in str(failed.value)
