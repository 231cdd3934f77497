"""Plug-ins: real files, a real installed package, and what is said of those that fail."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from format_cases import HERE

from assay.data import plugins
from assay.data.formats import (
    FormatOptions,
    detect_format,
    get_format,
    registered_formats,
    remove_format,
)
from assay.data.loading import load_groups
from assay.data.plugins import load_plugins, register_format
from assay.data.records import Comparison, Group, Message, Response, Source
from assay.data.sources import DataSource
from assay.data.strict_json import JsonObject
from assay.errors import ConfigError, DataError

BUILT_IN = [known.name for known in registered_formats()]


@pytest.fixture(autouse=True)
def no_plugins_stay() -> Iterator[None]:
    yield
    for name in plugins._plugin_formats:
        remove_format(name)
    plugins._plugin_formats.clear()
    plugins._loaded.clear()
    for name in [name for name in sys.modules if name.startswith("assay_plugin_")]:
        del sys.modules[name]
    assert [known.name for known in registered_formats()] == BUILT_IN


def write(folder: Path, text: str, name: str = "mine.py") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


MINE = """import assay

print("loaded")


@assay.register_format("quality", detects=lambda row: "good" in row, fields="ask, good, bad")
def read(row):
    return {"prompt": row["ask"], "chosen": row["good"], "rejected": row["bad"], "margin": 2}
"""


def test_a_file_adds_a_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, MINE)
    load_plugins([path, path, os.path.relpath(path)])
    load_plugins([path])
    assert plugins.loaded_files() == [path]
    assert plugins.plugin_files() == {"quality": path}
    assert capsys.readouterr().out == "loaded\n"
    data = tmp_path / "rows.jsonl"
    rows = [
        {"ask": "q", "good": "a", "bad": "b"},
        {"ask": "q", "good": "b", "bad": "c", "prompt": "r", "chosen": "x", "rejected": "y"},
    ]
    data.write_text("\n".join(map(json.dumps, rows)) + "\n")
    loaded = load_groups([DataSource(str(data))])
    assert loaded.formats == ["quality"]
    (group,) = loaded.groups
    assert [r.messages[0].content for r in group.responses] == ["a", "b", "c"]
    assert [(c.a, c.b, c.outcome, c.margin, str(c.row)) for c in group.comparisons] == [
        (0, 1, "a", 2.0, f"{data}:1"),
        (1, 2, "a", 2.0, f"{data}:2"),
    ]


def test_a_format_without_detection_is_found_by_name_alone() -> None:
    @register_format("turned")
    def read(row: JsonObject) -> JsonObject:
        return {"prompt": row["prompt"], "chosen": row["rejected"], "rejected": row["chosen"]}

    row: JsonObject = {"prompt": "q", "chosen": "a", "rejected": "b"}
    assert detect_format(row, HERE).name == "trl"
    group = get_format("turned").read(row, HERE, FormatOptions())
    assert isinstance(group, Group)
    assert [r.messages[0].content for r in group.responses] == ["b", "a"]


def test_a_plugin_may_build_the_group_itself() -> None:
    @register_format("built", detects=lambda row: "built" in row)
    def read(row: JsonObject) -> Group:
        responses = tuple(Response((Message("assistant", text),)) for text in "ab")
        prompt = (Message("user", str(row["built"])),)
        return Group("", Source("", 0), prompt, responses, (Comparison(0, 1, "tie"),))

    group = get_format("built").read({"built": "q"}, HERE, FormatOptions())
    assert isinstance(group, Group)
    assert group.source == HERE
    assert group.comparisons == (Comparison(0, 1, "tie", row=HERE),)
    assert group.id.endswith("#7")
    assert len(group.id) == 34


@pytest.mark.parametrize(
    ("ratings", "comparison", "said"),
    [
        ({"score": math.nan}, {}, "gives nan as a rating, margin or weight; give finite"),
        ({"score": "10"}, {}, "gives '10' as a rating"),
        ({}, {"margin": math.inf}, "gives inf as a rating, margin"),
        ({}, {"weight": None}, "gives None as a rating, margin or weight"),
        ({}, {"weight": -1.0}, "gives -1.0 as a weight; give 0 or more"),
        ({}, {"outcome": "A"}, "gives 'A' as an outcome; give a, b or tie"),
    ],
)
def test_numbers_and_outcomes_that_a_plugin_makes_up(
    ratings: dict[str, Any], comparison: dict[str, Any], said: str
) -> None:
    @register_format("made")
    def read(row: JsonObject) -> Group:
        answers = [Response((Message("assistant", text),), ratings=ratings) for text in "ab"]
        said_of = Comparison(0, 1, **{"outcome": "a"} | comparison)
        return Group("", Source("", 0), (Message("user", "q"),), tuple(answers), (said_of,))

    with pytest.raises(DataError, match=said):
        get_format("made").read({}, HERE, FormatOptions())


def test_a_plugin_may_take_place_and_options_and_offer_labels() -> None:
    seen = []

    @register_format("whole", labels=("better", "safer"))
    def read(row: JsonObject, source: Source, options: FormatOptions) -> JsonObject:
        seen.append((source, options.label))
        return row

    row: JsonObject = {
        "prompt": "q",
        "response_0": "a",
        "response_1": "b",
        "better_response_id": 0,
        "safer_response_id": 1,
    }
    group = get_format("whole").read(row, HERE, FormatOptions("safer"))
    assert isinstance(group, Group)
    assert group.comparisons[0].outcome == "b"
    assert seen == [(HERE, "safer")]


def test_a_plugin_may_rate_responses(tmp_path: Path) -> None:
    @register_format("stars", detects=lambda row: "stars" in row, labels=("score",), rated=True)
    def read(row: JsonObject) -> Group:
        response = Response((Message("assistant", str(row["a"])),), ratings={"score": row["stars"]})  # type: ignore[dict-item]
        return Group("", Source("", 0), (Message("user", str(row["q"])),), (response,))

    path = tmp_path / "rows.jsonl"
    rows = [{"q": "q", "a": "a", "stars": 5}, {"q": "q", "a": "b", "stars": 3}]
    path.write_text("\n".join(map(json.dumps, rows)))
    (group,) = load_groups([DataSource(str(path))], group_by="row").groups
    assert [(c.a, c.b, c.outcome, c.margin) for c in group.comparisons] == [(0, 1, "a", 2.0)]


def test_plugins_go_before_built_in_formats_in_their_order() -> None:
    for name in ("first", "second"):
        register_format(name, detects=lambda row: "chosen" in row)(lambda row: row)
    assert detect_format({"chosen": "a"}, HERE).name == "first"
    assert [known.name for known in registered_formats()][:2] == ["first", "second"]


def test_rows_that_a_plugin_makes_are_not_given_to_plugins() -> None:
    register_format("loop", detects=lambda row: True)(lambda row: row)
    with pytest.raises(DataError, match="as the format 'loop' rewrites it, no known format has"):
        get_format("loop").read({"qes": 1}, HERE, FormatOptions())


@pytest.mark.parametrize("name", ["trl", "auto", "", " x", "a,b"])
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"already a format|cannot be the name") as caught:
        register_format(name)(lambda row: row)
    assert caught.value.mend
    register_format("twice")(lambda row: row)
    with pytest.raises(ConfigError, match="there is already a format named 'twice'; give it"):
        register_format("twice")(lambda row: row)


def test_functions_of_another_shape_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"test_plugins.py:\d+: the function of the format 'x'"):
        register_format("x")(lambda row, source: row)
    with pytest.raises(ConfigError, match="the rated format 'x' names no rating"):
        register_format("x", rated=True)


def test_what_a_plugin_raises_is_an_error_of_the_row(tmp_path: Path) -> None:
    path = write(tmp_path, MINE)
    load_plugins([path])
    with pytest.raises(DataError) as caught:
        get_format("quality").read({"good": "a"}, HERE, FormatOptions())
    assert str(caught.value) == (
        f"the format 'quality' fails on it (KeyError: 'ask', {path}:8); "
        "mend the plug-in, or the row"
    )
    with pytest.raises(DataError, match=r"^'chosen' is a number, not text"):
        get_format("quality").read({"ask": "q", "good": 1, "bad": "b"}, HERE, FormatOptions())
    register_format("list", detects=lambda row: row["x"] == 1)(lambda row: [row])
    with pytest.raises(DataError, match="the format 'list' makes list of it; give a Group or"):
        get_format("list").read({}, HERE, FormatOptions())
    with pytest.raises(DataError, match=r"detects of the format 'list' fails \(KeyError: 'x', "):
        detect_format({}, HERE)


SECOND_LINE = "from assay.data.plugins import register_format\n"


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("x = 1\nraise ValueError('no')\n", 2, "the plug-in fails (ValueError: no)"),
        ("x = 1\ndef f(:\n", 2, "the plug-in fails (SyntaxError: "),
        ("import nowhere\n", 1, "the plug-in fails (ModuleNotFoundError: No module named"),
        ("import sys\nsys.exit()\n", 2, "the plug-in fails (SystemExit: SystemExit)"),
        ("import sys\nsys.exit('no')\n", 2, "the plug-in fails (SystemExit: no)"),
        (
            f"{SECOND_LINE}for n in (1, 2):\n    register_format('twice')(lambda row: row)\n",
            3,
            "there is already a format named 'twice'",
        ),
        (
            "from assay import register_template\nregister_template('t', 'x')\n"
            "register_template('t', 'x')\n",
            3,
            "there is already a template named 't'",
        ),
        (
            f"{SECOND_LINE}@register_format('hh')\ndef f(row): ...\n",
            2,
            "there is already a format named 'hh'",
        ),
        (
            f"{SECOND_LINE}@register_format('half')\ndef f(row): ...\n1 / 0\n",
            4,
            "the plug-in fails (ZeroDivisionError: ",
        ),
    ],
)
def test_a_file_that_fails_is_told_by_its_line(
    tmp_path: Path, text: str, line: int, what: str
) -> None:
    path = write(tmp_path, text)
    for _ in range(2):
        with pytest.raises(ConfigError) as caught:
            load_plugins([path])
        assert caught.value.where == f"{path}:{line}"
        assert caught.value.what.startswith(what)
        assert caught.value.mend
    assert [known.name for known in registered_formats()] == BUILT_IN
    assert not [name for name in sys.modules if name.startswith("assay_plugin_")]


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "folder.py").mkdir()
    for name, what in (
        ("no.py", r"no.py: no such plug-in file; check the path"),
        ("folder.py", r"folder.py: is a directory; name a .py file in it"),
    ):
        with pytest.raises(ConfigError, match=what):
            load_plugins([str(tmp_path / name)])
    with pytest.raises(ConfigError, match=r"mine\.txt: is not a Python file; name a \.py file"):
        load_plugins([write(tmp_path, "", "mine.txt")])


def install(folder: Path, module: str) -> None:
    """What an installer leaves of a package with one module and one entry point."""
    (folder / "quality_format.py").write_text(module, encoding="utf-8")
    info = folder / "quality_format-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: quality-format\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text("[assay.plugins]\nquality = quality_format\n")


def python(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(folder)}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )


def test_an_installed_package_adds_its_formats_once(tmp_path: Path) -> None:
    install(tmp_path, MINE)
    code = (
        "from assay.data.formats import detect_format\n"
        "from assay.data.plugins import load_plugins\n"
        "load_plugins(); load_plugins([])\n"
        "print(detect_format({'good': 1}, None).name)\n"
    )
    done = python(tmp_path, code)
    assert (done.stdout, done.stderr) == ("loaded\nquality\n", "")


def test_an_installed_package_that_fails_is_named(tmp_path: Path) -> None:
    install(tmp_path, "import nowhere\n")
    code = (
        "from assay.data.plugins import load_plugins\n"
        "from assay.errors import AssayError\n"
        "try:\n    load_plugins()\nexcept AssayError as error:\n    print(error)\n"
    )
    assert python(tmp_path, code).stdout == (
        "plug-in 'quality = quality_format' of quality-format 1.2: the plug-in fails "
        "(ModuleNotFoundError: No module named 'nowhere'); mend the plug-in, or uninstall its "
        "package\n"
    )
