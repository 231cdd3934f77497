"""Plug-ins and template classes in the processes that prepare: real processes, the same bytes."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from store_rows import MakePreparation, bytes_of, write

from assay.data import plugins
from assay.data.loading import load_groups
from assay.data.plugins import load_plugins, register_format
from assay.data.sources import DataSource, locate
from assay.data.store import Preparation, StoredData, code, prepare_source, settings
from assay.data.store import chunks as chunking
from assay.data.store import workers as working
from assay.data.template_classes import EQUAL
from assay.errors import ConfigError, DataError

ROWS = 150

MINE = """
import os
from pathlib import Path
import assay

@assay.register_format("mine", detects=lambda row: "good" in row)
def read(row):
    with Path(__file__).with_name("pids").open("a") as file:
        file.write(f"{os.getpid()}\\n")
    return {"prompt": row["ask"], "chosen": row["good"], "rejected": row["bad"]}

assay.register_template(
    "lines", "{% for m in messages %}{{ m.role }}: {{ m.content }}\\n{% endfor %}", end="eos"
)
"""

HOMEWORK = """
import os
from pathlib import Path
from assay import Template, register_template

@register_template("HOMEWORK")
class HOMEWORK(Template):
    system_prompt = "BEGINNING OF CONVERSATION: "
    user_prompt = "USER: {input} "
    assistant_prompt = "ASSISTANT:{output}"

    def format_preference_sample(self, raw_sample):
        with Path(__file__).with_name("pids").open("a") as file:
            file.write(f"{os.getpid()}\\n")
        prompt = self.system_prompt + self.user_prompt.format(input=raw_sample["ask"])
        answers = [self.assistant_prompt.format(output=raw_sample[key]) for key in ("good", "bad")]
        return {"better_text": prompt + answers[0], "worse_text": prompt + answers[1]}

    def format_prompt_only_sample(self, raw_sample):
        prompt = self.system_prompt + self.user_prompt.format(input=raw_sample["ask"])
        return {"text": prompt + self.assistant_prompt.format(output="")}

    def check_equal(self, raw_sample):
        return raw_sample["good"] == raw_sample["bad"]
"""


pytestmark = [pytest.mark.usefixtures("fresh_registries"), pytest.mark.slow]


@pytest.fixture
def over_the_disk(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Small chunks and partitions even for a few rows, so that processes have some to do."""
    monkeypatch.setattr(chunking, "ROWS_IN_MEMORY", 20)
    monkeypatch.setattr(chunking, "_ROWS", 8)
    monkeypatch.setattr(chunking, "_FEWEST", 5)
    monkeypatch.setattr(working, "_STARTING", 0)  # Nothing is done here meanwhile.
    return monkeypatch


def lines() -> list[str]:
    """Rows that only the plug-ins know: 50 prompts, equal answers, one without a field."""
    rows: list[Any] = [
        {"ask": f"question {n % 50}?", "good": f"good {n}", "bad": f"bad {n}"} for n in range(ROWS)
    ]
    for number in range(10, ROWS, 20):
        rows[number]["bad"] = rows[number]["good"]
    del rows[33]["bad"]
    return [json.dumps(row) for row in rows]


class Place:
    """A plug-in, rows for it, and who has run it."""

    def __init__(self, folder: Path, text: str) -> None:
        self.folder = folder
        self.plugin = folder / "mine.py"
        self.plugin.write_text(text)
        self.rows = write(folder / "rows.jsonl", lines())

    def prepare(self, how: Preparation, workers: int, **source: Any) -> StoredData:
        return prepare_source(
            DataSource(str(self.rows), **source),
            how,
            workers=workers,
            output=self.folder / f"store-{workers}",
        )

    def pids(self) -> set[int]:
        """The processes that read rows since this was last asked."""
        path = self.folder / "pids"
        found = {int(line) for line in path.read_text().split()}
        path.unlink()
        return found


@pytest.mark.parametrize(
    ("text", "template", "source", "equal"),
    [
        (MINE, "lines", {}, "identical answers"),
        (HOMEWORK, "HOMEWORK", {"format": "HOMEWORK"}, EQUAL),
    ],
    ids=["format and template", "template class"],
)
def test_what_plug_ins_read_in_other_processes(
    text: str,
    template: str,
    source: dict[str, Any],
    equal: str,
    preparation: MakePreparation,
    tmp_path: Path,
    over_the_disk: pytest.MonkeyPatch,
) -> None:
    place = Place(tmp_path, text)
    load_plugins([str(place.plugin)])
    how = preparation(template)
    alone = place.prepare(how, 1, **source)
    assert place.pids() == {os.getpid()}
    shared = place.prepare(how, 2, **source)
    assert place.pids() - {os.getpid()}
    assert bytes_of(shared.path) == bytes_of(alone.path)
    # 150 rows: 7 with equal answers (10, 30, .. 130; 150 is not there), one that cannot be read.
    assert shared.account.dropped == {equal: 7, "bad row": 1}
    assert (shared.account.rows, shared.account.comparisons) == (ROWS, ROWS - 8)
    assert shared.account.settings["template"] == template
    assert (len(shared.groups), shared.account.groups) == (50, 50)
    (bad,) = shared.bad_rows
    assert str(bad.source) == f"{place.rows}:34"
    assert "KeyError: 'bad'" in bad.what
    # And what memory gives: the same groups, the texts of the plug-in's own template.
    loaded = load_groups([DataSource(str(place.rows), **source)], on_bad_row="skip")
    assert [encoded.group for encoded in shared.groups] == loaded.groups
    group = shared.groups[7]
    said = how.renderer.tokenizer.decode(group.sequences[0])
    assert said == how.renderer.render(group.group, 0).text
    assert said.startswith(
        {"lines": "user: question 7?\nassistant: good 7\n"}.get(
            template, "BEGINNING OF CONVERSATION: USER: question 7? ASSISTANT:good 7"
        )
    )
    assert said.endswith(how.renderer.tokenizer.eos_token)


def test_formats_of_the_running_program_stay_in_its_process(
    preparation: MakePreparation, tmp_path: Path, over_the_disk: pytest.MonkeyPatch
) -> None:
    seen = []

    @register_format("typed in", detects=lambda row: "good" in row)
    def read(row: Any) -> Any:
        seen.append(os.getpid())
        return {"prompt": row["ask"], "chosen": row["good"], "rejected": row["bad"]}

    store = Place(tmp_path, "").prepare(preparation(), 2)
    # Another process would not know the format.
    assert set(seen) == {os.getpid()}
    assert store.account.comparisons == ROWS - 8


@pytest.mark.parametrize(
    ("end", "says"),
    [
        ("raise ValueError('only at home')", r"mine.py:\d+: the plug-in fails \(ValueError: only"),
        ("sys.exit(3)", r"mine.py:\d+: the plug-in fails \(SystemExit: 3\); mend the plug-in"),
    ],
)
def test_a_plug_in_that_works_in_one_process_alone(
    end: str, says: str, preparation: MakePreparation, tmp_path: Path, over_the_disk: Any
) -> None:
    here = f"import multiprocessing, sys\nif multiprocessing.parent_process():\n    {end}\n"
    place = Place(tmp_path, here + MINE)
    load_plugins([str(place.plugin)])
    with pytest.raises(ConfigError, match=says):
        place.prepare(preparation(), 2)
    assert {path.name for path in tmp_path.iterdir()} == {"mine.py", "rows.jsonl"}


def test_a_plug_in_that_ends_the_program_over_a_row(
    preparation: MakePreparation, tmp_path: Path, over_the_disk: pytest.MonkeyPatch
) -> None:
    ends = MINE.replace(
        "    return {", "    if row['ask'] == 'question 9?': raise SystemExit(4)\n    return {"
    )
    place = Place(tmp_path, ends)
    load_plugins([str(place.plugin)])
    store = place.prepare(preparation(), 2)
    assert store.account.dropped["bad row"] == 1 + 3
    assert "the format 'mine' fails on it (SystemExit: 4, " in store.bad_rows[0].what
    with pytest.raises(DataError, match=r"4 bad rows: .*fails on it \(SystemExit: 4"):
        prepare_source(
            DataSource(str(place.rows)), preparation(on_bad_row="error"), output=tmp_path / "other"
        )


def test_a_changed_plug_in_makes_another_store(
    preparation: MakePreparation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    place = Place(tmp_path, MINE)
    load_plugins([str(place.plugin)])
    source = DataSource(str(place.rows))
    first = prepare_source(source, preparation())
    assert prepare_source(source, preparation()).path == first.path
    place.plugin.write_text(MINE + "# Another byte.\n")
    assert prepare_source(source, preparation()).path != first.path


def test_a_changed_class_of_a_package_makes_another_store(
    preparation: MakePreparation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Installed packages name a module, not a file; a class may inherit its methods.
    package = tmp_path / "toolkit"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "base.py").write_text(HOMEWORK.replace('@register_template("HOMEWORK")', ""))
    (package / "mine.py").write_text(
        "from assay import register_template\nfrom toolkit.base import HOMEWORK\n"
        "@register_template('mine')\nclass Mine(HOMEWORK):\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import toolkit.mine  # noqa: F401

    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    rows = write(tmp_path / "rows.jsonl", lines())
    source = DataSource(str(rows), format="mine")
    paths = {prepare_source(source, preparation("mine")).path}
    assert prepare_source(source, preparation("mine")).path in paths
    for name in ("base", "mine"):
        text = (package / f"{name}.py").read_text()
        (package / f"{name}.py").write_text(text + "# Another byte.\n")
        paths.add(prepare_source(source, preparation("mine")).path)
    assert len(paths) == 3
    for name in ("toolkit", "toolkit.base", "toolkit.mine"):
        monkeypatch.delitem(sys.modules, name)


def test_code_that_is_in_no_file_is_known_to_its_process_alone(
    preparation: MakePreparation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exec(compile(MINE.split("\nassay.register_template")[0], "<stdin>", "exec"), {})
    assert plugins.plugin_files() == {"mine": "<stdin>"}
    source = DataSource(str(write(tmp_path / "rows.jsonl", lines())))
    content, how = settings.content_of(locate(source)), preparation()
    key = settings.fingerprint(source, content, how)
    assert settings.fingerprint(source, content, how) == key
    monkeypatch.setattr(code, "_THIS_PROCESS", "another")
    assert settings.fingerprint(source, content, how) != key
