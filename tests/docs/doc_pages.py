"""Pages of the documentation as tests read them: fenced blocks, headings, links, commands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
REAL_MODEL = "smollm2-135m-instruct"

_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,})(?P<info>[^`]*)$")
_COMMENT = re.compile(r"^\s*<!-- (?P<said>.*?) -->\s*$")
_TITLE = re.compile(r'title="([^"]+)"')
_NOT_RUN = "not run: "
_REMARK = re.compile(r"(^|\s)#(\s.*)?$", re.M)
_CODE = re.compile(r"(?<!`)(`+)(?!`)((?:(?!\n\s*\n).)+?)(?<!`)\1(?!`)", re.S)
"""It may go on in the next line, but not behind an empty one."""
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.M)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block; `line` is that of its first line of content, counted from 1."""

    line: int
    language: str
    title: str | None
    text: str
    not_run: str | None
    """Why it is not run, where the page says so."""
    background: bool

    @property
    def runs(self) -> bool:
        """Whether it is a script that is run."""
        return self.language in ("bash", "python") and not self.title and self.not_run is None

    @property
    def without_remarks(self) -> str:
        """The code without the words for people in it, which another language says otherwise."""
        if self.language not in ("bash", "python", "yaml"):
            return self.text
        bare = _REMARK.sub("", self.text)
        return "\n".join(line.rstrip() for line in bare.splitlines() if line.strip())


@dataclass(frozen=True, slots=True)
class Page:
    """A Markdown file; `name` is its path from the repository's root."""

    name: str
    text: str
    blocks: tuple[Block, ...]

    @property
    def runs(self) -> bool:
        """Whether any of its blocks is run."""
        return any(block.runs for block in self.blocks)

    @property
    def needs_real_model(self) -> bool:
        """Whether a block that runs, or a file that it reads, names the real model."""
        return any(REAL_MODEL in block.text for block in self.blocks if block.runs or block.title)

    @property
    def prose(self) -> str:
        """The text with an empty line for each line of a block, so that line numbers stay."""
        lines = self.text.splitlines()
        for block in self.blocks:
            first = block.line - 2
            for at in range(first, first + block.text.count("\n") + 2):
                lines[at] = ""
        return "\n".join(lines)

    @property
    def headings(self) -> list[str]:
        """Every heading, as it is written."""
        return _HEADING.findall(self.prose)

    def links(self) -> Iterator[tuple[int, str]]:
        """The targets of links and pictures, each with its line."""
        text = _CODE.sub(lambda code: "\n" * code[0].count("\n"), self.prose)
        for link in _LINK.finditer(text):
            yield text.count("\n", 0, link.start()) + 1, link[1]

    def code_spans(self) -> Iterator[tuple[int, str]]:
        """Code within text, each with its line."""
        text = self.prose
        for code in _CODE.finditer(text):
            yield text.count("\n", 0, code.start()) + 1, " ".join(code[2].split())


def read_page(path: Path) -> Page:
    """A page and its blocks."""
    text = path.read_text(encoding="utf-8")
    return Page(path.relative_to(ROOT).as_posix(), text, tuple(_blocks(text, path)))


def pages_that_run() -> list[Page]:
    """The pages whose blocks are run, in order; those in Chinese are compared with them."""
    paths = [ROOT / "README.md", *sorted(DOCS.glob("*.md")), *sorted(DOCS.glob("tutorials/*.md"))]
    return [read_page(path) for path in paths]


def all_pages() -> list[Page]:
    """Every page of the documentation, and the files at the root that belong to it."""
    paths = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]
    return [read_page(path) for path in paths]


def _blocks(text: str, path: Path) -> Iterator[Block]:
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        opened = _FENCE.match(lines[at])
        if opened is None:
            at += 1
            continue
        closing = re.compile(rf" *`{{{len(opened['fence'])},}} *")
        end = next((n for n in range(at + 1, len(lines)) if closing.fullmatch(lines[n])), None)
        if end is None:
            raise ValueError(f"{path}:{at + 1}: this block is never closed")
        yield _block(opened, lines[at + 1 : end], at + 2, _said_before(lines, at))
        at = end + 1


def _block(opened: re.Match[str], body: list[str], line: int, said: list[str]) -> Block:
    info = opened["info"].strip()
    title = _TITLE.search(info)
    reasons = [words.removeprefix(_NOT_RUN) for words in said if words.startswith(_NOT_RUN)]
    indent = len(opened["indent"])
    return Block(
        line,
        info.split()[0] if info else "",
        title[1] if title else None,
        "".join(row[min(indent, len(row) - len(row.lstrip())) :] + "\n" for row in body),
        reasons[0] if reasons else None,
        "background" in said,
    )


def _said_before(lines: list[str], at: int) -> list[str]:
    """The comments on the lines straight before a block."""
    said = []
    while at and (comment := _COMMENT.match(lines[at - 1])):
        said.append(comment["said"])
        at -= 1
    return said


_BETWEEN = re.compile(r"[;&|()<>]+")
_BEFORE = frozenset(("-m", "do", "then", "else", "time", "!"))
"""What may stand before the name of a command."""


def assay_commands(script: str) -> Iterator[tuple[int, list[str]]]:
    """What a shell script gives to `assay`: the line, from 0, and the words behind the name.

    A script inside a word, as in `bash -c '...'`, is looked into.
    """
    for number, line in _whole_lines(script):
        for words in _simple_commands(line):
            at = next((n for n in range(len(words)) if _is_assay(words, n)), None)
            if at is not None:
                yield number, words[at + 1 :]
                continue
            for word in words:
                if " assay " in word:
                    yield from ((number, inner) for _, inner in assay_commands(word))


def _whole_lines(script: str) -> Iterator[tuple[int, str]]:
    """Lines with those that go on behind a backslash, each with the number of its first, from 0."""
    started, begun = "", 0
    for number, line in enumerate(script.splitlines()):
        begun = begun if started else number
        if line.endswith("\\"):
            started += line[:-1]
            continue
        yield begun, started + line
        started = ""


def _is_assay(words: list[str], at: int) -> bool:
    if words[at] != "assay" and not words[at].endswith("/assay"):
        return False
    return all(word in _BEFORE or "=" in word for word in words[:at][-1:])


def _simple_commands(line: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    redirected = False
    for word in lexer:
        if not _BETWEEN.fullmatch(word):
            if not redirected:
                words.append(word)
            redirected = False
            continue
        redirected = bool(set(word) & set("<>"))
        if not redirected:
            yield words
            words = []
    yield words
