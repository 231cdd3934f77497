"""docs/data.md against the registries: every format and template is there and does as it says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from assay.data.formats import (
    FormatOptions,
    detect_format,
    get_format,
    registered_formats,
)
from assay.data.loading import load_groups
from assay.data.plugins import load_plugins
from assay.data.records import Group, Source
from assay.data.rendering import Renderer
from assay.data.sources import DataSource
from assay.data.templates import registered_templates, resolve_template
from assay.errors import DataError

TEXT = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
FORMATS = TEXT[TEXT.index("### Formats") : TEXT.index("### Templates")]
TEMPLATES = TEXT[TEXT.index("### Templates") : TEXT.index("**Template classes.**")]
CLASSES = TEXT[TEXT.index("**Template classes.**") : TEXT.index("### What is taken")]
LINES = re.findall(r"^\| `(\w+)`(?: \(([a-z ]+)\))? \| `(.*?)`", FORMATS, re.M)
ROWS = {name: (kind, json.loads(row)) for name, kind, row in LINES}
WORTH = ("good", "fair", "bad")
"""What the answers of the rows begin with, best first."""


def worth(group: Group, index: int) -> int:
    (message,) = group.responses[index].messages
    return WORTH.index(message.content.split()[0])


def test_every_format_has_a_row() -> None:
    assert sorted(name for name, _, _ in LINES) == sorted(f.name for f in registered_formats())


@pytest.mark.parametrize("name", ROWS)
def test_the_row_is_of_its_format(name: str) -> None:
    kind, row = ROWS[name]
    place = Source("rows.jsonl", 1)
    known = detect_format(row, place)
    assert known.name == name
    assert (kind == "rated", kind == "score only") == (known.rated, not known.comparisons)
    if kind == "refused":
        with pytest.raises(DataError):
            known.read(row, place, FormatOptions())
        return
    read = known.read(row, place, FormatOptions())
    if kind == "score only":
        return
    assert isinstance(read, Group)
    assert read.prompt[-1].content == "q"
    pairs = [comparison.winner_loser for comparison in read.comparisons]
    assert bool(pairs) != known.rated
    for pair in pairs:
        assert pair is not None
        assert worth(read, pair[0]) < worth(read, pair[1])


def test_the_labels_that_are_named_are_there() -> None:
    for name, label in re.findall(r"^\| `(\w+)`.*`--label (\w+)`", FORMATS, re.M):
        assert label in get_format(name).labels


def group_of(folder: Path, row: object, format: str = "auto") -> Group:
    path = folder / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    (group,) = load_groups([DataSource(str(path), format=format)]).groups
    return group


def test_every_template_is_shown_as_it_renders(tmp_path: Path, tiny_tokenizer: Any) -> None:
    shown = re.findall(r"^`([\w-]+)` reads (.*?)\n\n```text\n(.*?)\n```$", TEMPLATES, re.M | re.S)
    assert [name for name, _, _ in shown] == registered_templates()
    group = group_of(tmp_path, {"prompt": "q", "chosen": "a", "rejected": "b"})
    for name, about, text in shown:
        renderer = Renderer(tiny_tokenizer, resolve_template(name, tiny_tokenizer))
        rendered = renderer.render(group, 0).text
        closes = "The end token stands behind the text." in about
        assert closes != ("Nothing stands behind the text." in about)
        end = tiny_tokenizer.eos_token if closes else "\n"
        assert rendered == text + end
        single = resolve_template(name, tiny_tokenizer).jinja
        assert ("one question and one answer" in about) == ("one user message and one" in single)


@pytest.mark.usefixtures("fresh_registries")
def test_the_template_class_runs(tmp_path: Path, tiny_tokenizer: Any) -> None:
    blocks = re.findall(r"^```(\w*).*?\n(.*?)^```$", CLASSES, re.M | re.S)
    assert [kind for kind, _ in blocks] == ["python", "json", "text", "bash"]
    code, row, text = (block for _, block in blocks[:3])
    (tmp_path / "qa.py").write_text(code)
    load_plugins([str(tmp_path / "qa.py")])
    group = group_of(tmp_path, json.loads(row), "QA")
    renderer = Renderer(tiny_tokenizer, resolve_template("QA", tiny_tokenizer))
    assert group.comparisons[0].winner_loser == (0, 1)
    assert renderer.render(group, 0).text == text.removesuffix("\n") + tiny_tokenizer.eos_token
    with pytest.raises(DataError, match="equal by check_equal: 1"):
        group_of(tmp_path, json.loads(row) | {"other": " Because."}, "QA")


@pytest.mark.usefixtures("fresh_registries")
def test_the_plug_in_runs(tmp_path: Path) -> None:
    (code,) = re.findall(r'^```python title="mine.py"\n(.*?)^```$', FORMATS, re.M | re.S)
    (tmp_path / "mine.py").write_text(code)
    load_plugins([str(tmp_path / "mine.py")])
    group = group_of(tmp_path, {"ask": "q", "good": "a", "bad": "b"})
    assert [response.messages[0].content for response in group.responses] == ["a", "b"]
