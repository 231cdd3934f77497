"""docs/troubleshooting.md quotes messages that the source prints, word for word.

A message is `what; mend`. What an f-string fills in is a hole: `{name}` in the source, `<words>`
on the page. Everything else is compared as it stands, and both halves must be of one error.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable
from itertools import product
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
ENTRY = re.compile(r"^- (`+) ?(.+?) ?\1\n((?:(?:  .*)?\n)*)", re.M)
ENTRIES = {message: text for _, message, text in ENTRY.findall(PAGE)}
HOLE = "<>"
WHAT_AT = {"BadRow": 1, "Refusal": 1}
"""Where an error says what is wrong, by its class; the others say it first."""
MEND_AT = {"BadRow": 2}


def plain(text: str) -> str:
    """Holes without words, side by side one, and white space as it is printed."""
    return " ".join(re.sub(r"(?:<>)+", HOLE, re.sub(r"<[^<>]*>", HOLE, text)).split())


def texts(node: ast.expr | None, named: dict[str, list[ast.expr]]) -> set[str]:
    """All texts that an expression may have; what is not written out is a hole."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return {node.value}
    if isinstance(node, ast.JoinedStr):
        parts = [texts(part, named) for part in node.values]
        return {"".join(chosen) for chosen in product(*parts)}
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        pairs = product(texts(node.left, named), texts(node.right, named))
        return {left + right for left, right in pairs}
    if isinstance(node, ast.IfExp):
        return texts(node.body, named) | texts(node.orelse, named)
    if isinstance(node, ast.Name) and node.id in named:
        others = {name: value for name, value in named.items() if name != node.id}
        return set().union(*(texts(value, others) for value in named[node.id]))
    return {HOLE}


def assigned(body: Iterable[ast.AST]) -> dict[str, list[ast.expr]]:
    """What is assigned to each name."""
    found: dict[str, list[ast.expr]] = {}
    for node in body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found.setdefault(node.targets[0].id, []).append(node.value)
    return found


def said_by(call: ast.Call, named: dict[str, list[ast.expr]]) -> set[str]:
    """The messages of an error that is made; none where nothing of it is written out."""
    name = getattr(call.func, "id", "")
    place = WHAT_AT.get(name, 0)
    if not (name in WHAT_AT or name.endswith("Error")) or len(call.args) <= place:
        return set()
    mends = [keyword.value for keyword in call.keywords if keyword.arg == "mend"]
    if name in MEND_AT and len(call.args) > MEND_AT[name]:
        mends.append(call.args[MEND_AT[name]])
    whats = {plain(what) for what in texts(call.args[place], named)} - {HOLE}
    if not mends:
        return whats
    return {plain(f"{what}; {mend}") for what in whats for mend in texts(mends[0], named)}


def messages(source: str) -> set[str]:
    """What the errors that a module makes may say."""
    tree = ast.parse(source)
    everywhere, found = assigned(tree.body), set()
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            named = everywhere | assigned(ast.walk(function))
            for node in ast.walk(function):
                if isinstance(node, ast.Call):
                    found |= said_by(node, named)
    return found


def test_every_item_of_the_page_is_an_entry() -> None:
    assert len(ENTRIES) == len(re.findall(r"^- ", PAGE, re.M)) >= 30
    assert all(count == 1 for count in Counter(map(plain, ENTRIES)).values())


def test_the_source_prints_every_message() -> None:
    printed = set()
    for path in (ROOT / "src" / "assay").rglob("*.py"):
        printed |= messages(path.read_text(encoding="utf-8"))
    assert [message for message in ENTRIES if plain(message) not in printed] == []


@pytest.mark.parametrize("message", ENTRIES)
def test_an_entry_says_why_and_what_to_do(message: str) -> None:
    mend = r"\n  \*Mend\.\* .+?\." if "*Mend.*" in ENTRIES[message] else ""
    assert re.fullmatch(rf"\s+\*Why\.\* .+?\.{mend}\s+", ENTRIES[message], re.S)
    assert mend or "; " in message  # What to do stands in the message, or below it.


SOURCE = """
MEND = "look"
def check(n, kind):
    what = f"{n} rows are {kind}{kind}"
    if n:
        raise DataError(what, where=n, mend="mend them")
    if kind:
        raise ConfigError("is bad", mend=("did you? " if n else "") + f"known: {kind}")
    raise ModelError(f"no {kind}", mend=MEND)
    raise DataError(what.upper(), mend="nothing of it is written out")
    raise ValueError
    return BadRow(n, "is no row", "write one", "")
    warn("is odd", mend="is no error")
"""


def test_what_is_read_of_a_source() -> None:
    assert messages(SOURCE) == {
        "<> rows are <>; mend them",
        "is bad; did you? known: <>",
        "is bad; known: <>",
        "no <>; look",
        "is no row; write one",
    }


@pytest.mark.parametrize(
    "message",
    [
        "<12> rows were <bad>; mend them",
        "<12> rows are <bad>; mend it",
        "<12> rows are <bad>",
        "<12> rows are bad; mend them",
        "no <head>; mend them",
        "<anything>; nothing of it is written out",
    ],
)
def test_another_word_or_half_is_found(message: str) -> None:
    assert plain("<12> rows are <bad><ly>;  mend\nthem") in messages(SOURCE)
    assert plain(message) not in messages(SOURCE)
