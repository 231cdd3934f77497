"""`--plugin` at the command line: files that are none or fail, and what plug-ins do to a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from running import Assay, Models, nothing_left_behind

from assay.data import plugins
from assay.data.store import open_store

READS = """
import os
from pathlib import Path
import assay

@assay.register_format("mine", detects=lambda row: "good" in row)
def read(row):
    with Path(__file__).with_name("pids").open("a") as file:
        file.write(f"{os.getpid()}\\n")
    return {"prompt": row["ask"], "chosen": row["good"], "rejected": row["bad"]}
"""
WRITES = """
from assay import register_template
register_template("lines", "{% for m in messages %}{{ m.role }}: {{ m.content }}\\n{% endfor %}")
"""


pytestmark = pytest.mark.usefixtures("fresh_registries")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache" / "prepared").mkdir(parents=True)
    (tmp_path / "reads.py").write_text(READS)
    (tmp_path / "writes.py").write_text(WRITES)
    lines = [{"ask": f"question {n}?", "good": f"good {n}", "bad": f"bad {n}"} for n in range(20)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


FAILING: dict[str, tuple[str, str]] = {
    "no syntax": ("x = 1\ndef f(:\n", "mine.py:2: the plug-in fails (SyntaxError: "),
    "it raises": ("x = 1\n1 / 0\n", "mine.py:2: the plug-in fails (ZeroDivisionError: division"),
    "it ends the program": (
        "import sys\nsys.exit(0)\n",
        "mine.py:2: the plug-in fails (SystemExit",
    ),
    "no such import": ("import nowhere\n", "mine.py:1: the plug-in fails (ModuleNotFoundError"),
    "no text": ("\0", "mine.py: the plug-in fails (SyntaxError: source code string cannot contain"),
    "a format twice": (READS + READS, "mine.py:16: there is already a format named 'mine'; give"),
    "a template twice": (WRITES * 2, "mine.py:6: there is already a template named 'lines'; give"),
    "the name of a known format": (
        READS.replace('"mine"', '"trl"'),
        "already a format named 'trl'",
    ),
}


def refused(assay: Assay, *argv: object) -> str:
    """The one line that a command says before it ends with 2; nothing is new, gone or changed."""
    with nothing_left_behind(Path.cwd()):
        ran = assay(*argv)
    assert ran.code == 2, ran.err
    assert "Traceback" not in ran.err
    (line,) = ran.errors
    assert line.startswith("error: ")
    assert "; " in line
    return line


@pytest.mark.parametrize("name", FAILING)
def test_plug_ins_that_fail(assay: Assay, place: Path, name: str) -> None:
    text, says = FAILING[name]
    (place / "mine.py").write_text(text)
    assert says in refused(assay, "audit", "rows.jsonl", "--plugin", "mine.py")
    assert not plugins.plugin_files()


def test_names_that_are_no_plug_in(assay: Assay, place: Path) -> None:
    (place / "folder.py").mkdir()
    (place / "mine.txt").write_text("")
    for name, says in (
        ("folder.py", "folder.py: is a directory; name a .py file in it"),
        ("no.py", "no.py: no such plug-in file; check the path"),
        ("mine.txt", "mine.txt: is not a Python file; name a .py file"),
    ):
        assert says in refused(assay, "audit", "rows.jsonl", "--plugin", name)


def test_every_command_refuses_a_plug_in_that_fails(
    assay: Assay, place: Path, models: Models
) -> None:
    (place / "mine.py").write_text("x = 1\n1 / 0\n")
    says = "mine.py:2: the plug-in fails (ZeroDivisionError: division by zero); mend the plug-in"
    recipe = [
        "--model.path", models.base, "--data.train", "rows.jsonl", "--output_dir", "run",
        "--train.device", "cpu",
    ]  # fmt: skip
    for argv in (
        ["prepare", *recipe],
        ["train", *recipe],
        ["convert", "rows.jsonl", "--to", "trl", "--output", "out.jsonl"],
        ["render", "--tokenizer", models.base, "--input", "rows.jsonl"],
        ["eval", "--model", models.reward, "--input", "rows.jsonl", "--output", "out"],
        ["score", "--model", models.reward, "--input", "rows.jsonl", "--output", "out.jsonl"],
    ):
        assert says in refused(assay, *argv, "--plugin", "mine.py")
    assert says in refused(assay, "prepare", *recipe, "--plugins", "mine.py")


def test_plug_ins_of_the_recipe_and_of_the_flags(assay: Assay, place: Path, models: Models) -> None:
    recipe = {
        "model": {"path": str(models.base), "template": "lines"},
        "data": {"train": "rows.jsonl", "held_out": 0.3},
        "train": {"max_length": 120, "max_steps": 1, "device": "cpu", "global_batch_size": 4},
        "plugins": "reads.py",
        "output_dir": "run",
    }
    (place / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert "unknown template 'lines'" in refused(assay, "prepare", "recipe.yaml")
    prepared = assay("prepare", "recipe.yaml", "--plugin", "writes.py")
    assert (prepared.code, prepared.errors) == (0, [])
    kept = next(x for x in prepared.out.splitlines() if x.startswith("to train on: "))
    held = next(x for x in prepared.out.splitlines() if x.startswith("held out: "))
    counts = [int(line.split()[-2]) for line in (kept, held)]
    assert sum(counts) == 20
    trained = assay("train", "recipe.yaml", "--plugin", "writes.py")
    assert (trained.code, trained.errors) == (0, [])
    # The resolved recipe names all that the run needs: it can be resumed without flags.
    resolved = yaml.safe_load((place / "run" / "recipe.resolved.yaml").read_text())
    assert resolved["plugins"] == ["reads.py", "writes.py"]
    described = json.loads((place / "run" / "run.json").read_text())
    of_run = described["train"]["comparisons"], described["eval"]["held-out"]["comparisons"]
    assert list(of_run) == counts
    assert described["train"]["formats"] == ["mine"]


def test_standard_input_through_a_plug_in_in_other_processes(place: Path, models: Models) -> None:
    # 5,200 rows: more than are prepared in memory; real processes, nothing patched but the wait.
    rows = "".join(
        json.dumps({"ask": f"question {n}?", "good": f"good {n}", "bad": f"bad {n}"}) + "\n"
        for n in range(5200)
    )
    command = (
        "import sys; sys.modules['torch'] = None\n"  # Not needed, and slow to import.
        "from assay.data.store import workers; workers._STARTING = 0\n"
        "from assay.cli import main; main()"
    )
    words = [
        "prepare", "--model.path", models.base, "--data.train", "-", "--output_dir", "run",
        "--train.max_length", "120", "--plugin", "reads.py", "--workers", "2", "--output", "out",
    ]  # fmt: skip
    started = subprocess.Popen(
        [sys.executable, "-c", command, *map(str, words)],
        env=os.environ | {"TRANSFORMERS_NO_ADVISORY_WARNINGS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    out, err = started.communicate(rows, timeout=240)
    assert (started.returncode, err) == (0, "")
    assert "train -: out/train-1" in out
    pids = {int(line) for line in (place / "pids").read_text().split()}
    assert pids - {started.pid}
    store = open_store(place / "out" / "train-1")
    assert (store.account.rows, store.account.comparisons) == (5200, 5200)
    assert store.account.source["path"] == "-"
    assert str(store.groups[5199].group.source) == "stdin:5200"
    assert store.groups[5199].group.prompt[0].content == "question 5199?"
    assert len(list(store.path.glob("shard-*"))) == 16


def test_standard_input_is_read_as_a_file_is(assay: Assay, place: Path, models: Models) -> None:
    import gzip

    flags = [
        "--model.path", models.base, "--output_dir", "run", "--train.max_length", "120",
        "--plugin", "reads.py", "--train.device", "cpu",
    ]  # fmt: skip
    rows = (place / "rows.jsonl").read_bytes()
    assert assay("prepare", *flags, "--data.train", "rows.jsonl", "--output", "file").code == 0
    of_file = open_store(place / "file" / "train-1")
    for name, given in (("plain", rows), ("packed", gzip.compress(rows))):
        ran = assay("prepare", *flags, "--data.train", "-", "--output", name, stdin=given)
        assert (ran.code, ran.errors) == (0, [])
        store = open_store(place / name / "train-1")
        assert [g.sequences for g in store.groups] == [g.sequences for g in of_file.groups]
        assert [str(g.group.source) for g in store.groups] == [f"stdin:{n}" for n in range(1, 21)]
    # The same bytes again: nothing is prepared anew.
    before = (place / "plain" / "train-1" / "index.arrow").stat().st_mtime_ns
    assert assay("prepare", *flags, "--data.train", "-", "--output", "plain", stdin=rows).code == 0
    assert (place / "plain" / "train-1" / "index.arrow").stat().st_mtime_ns == before
    # Training reads it once, too.
    more = ["--train.max_steps", 1, "--train.global_batch_size", 4]
    ran = assay("train", *flags, *more, "--data.train", "-", stdin=rows)
    assert (ran.code, ran.errors) == (0, [])
    described = json.loads((place / "run" / "run.json").read_text())
    assert list(described["data"]) == ["-"]
    assert described["train"]["comparisons"] == 20


def test_standard_input_that_is_none(
    assay: Assay, place: Path, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ["prepare", "--model.path", models.base, "--output_dir", "run", "--data.train", "-"]
    with nothing_left_behind(place):
        ran = assay(*flags, stdin=b"")
        assert ran.code == 2
        assert ran.errors == ["error: stdin: holds no rows; check what wrote it"]
        ran = assay(*flags, stdin=b'{"ask": \n')
        assert ran.code == 2
        assert "stdin:1: is not valid JSON" in ran.errors[0]
    assert "standard input is named twice, and can be read once; write it to a file first" in (
        refused(assay, *flags, "--data.eval", "-")
    )
    monkeypatch.setattr(sys, "stdin", None)  # `<&-` in a shell.
    for argv in (flags, ["audit", "-"], ["convert", "-", "--to", "trl", "--output", "o.jsonl"]):
        assert "stdin: is closed; give rows to it, or name a file" in refused(assay, *argv)
