"""A directory of files in several schemas: each file is of one format, and all are read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assay.data.audit import audit, write_fixed
from assay.data.audit.signals import POSITION
from assay.data.grouping import REPEATED
from assay.data.loading import SkippedRow, SortedSource, load_groups
from assay.data.records import Source
from assay.data.scorable import SourceReader
from assay.data.sources import DataSource
from assay.data.writers import get_writer
from assay.data.writers.converting import ConvertOptions, convert
from assay.errors import ConfigError, DataError

SharedData = Callable[[str], Path]

CVALUES = {"prompt": "q1", "pos_resp": "a", "neg_resp": "b"}
HH = {"chosen": "\n\nHuman: q2\n\nAssistant: a", "rejected": "\n\nHuman: q2\n\nAssistant: b"}
PKU = {"prompt": "q3", "response_0": "a", "response_1": "b", "better_response_id": 1}


def rated(prompt: str, response: str, helpfulness: int) -> dict[str, Any]:
    return {"prompt": prompt, "response": response, "helpfulness": helpfulness}


def labelled(prompt: str, completion: str, label: bool) -> dict[str, Any]:
    return {"prompt": prompt, "completion": completion, "label": label}


def write(folder: Path, **files: list[Any]) -> str:
    """Rows by the names of their files; the directory."""
    for name, rows in files.items():
        lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
        (folder / f"{name}.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return str(folder)


def test_each_file_has_its_own_format(tmp_path: Path) -> None:
    path = write(tmp_path, a=[CVALUES], b=["{", HH], c=[PKU, CVALUES])
    reader = SourceReader(DataSource(path))
    places = [row[0] if isinstance(row, tuple) else row.source for row in reader]
    assert [str(place).removeprefix(f"{path}/") for place in places] == [
        "a.jsonl:1",
        "b.jsonl:1",
        "b.jsonl:2",
        "c.jsonl:1",
        "c.jsonl:2",
    ]
    assert list(reader.formats.values()) == ["cvalues", "hh", "safe_rlhf"]
    assert reader.format == "cvalues, hh, safe_rlhf"
    for pattern in (path, f"{path}/*.jsonl"):
        data = load_groups([DataSource(pattern)], on_bad_row="skip")
        assert data.formats == ["cvalues, hh, safe_rlhf"]
        assert [group.prompt[0].content for group in data.groups] == ["q1", "q2", "q3"]
        assert [str(row.source)[-9:] for row in data.bad_rows] == ["b.jsonl:1", "c.jsonl:2"]
        assert str(data.bad_rows[1]).endswith(
            "no field 'better_response_id', only 'prompt', 'pos_resp', 'neg_resp'; its file is "
            "read as safe_rlhf, and this row looks like cvalues: put such rows into a file of "
            "their own"
        )


def test_a_named_format_is_that_of_all_files(tmp_path: Path) -> None:
    path = write(tmp_path, a=[CVALUES], b=[HH])
    # What other format the row may be of is no mend: the user has said which one it is of.
    with pytest.raises(
        DataError, match=r"b\.jsonl:1: there is no field 'prompt'.*; add or rename it, or name ano"
    ):
        load_groups([DataSource(path, format="cvalues")])


def test_a_file_that_no_format_knows_holds_bad_rows(tmp_path: Path) -> None:
    path = write(tmp_path, a=[{"x": 1}, {"y": 1}], b=[CVALUES])
    with pytest.raises(DataError, match=r"^2 bad rows: .*a\.jsonl:1: no known.*a\.jsonl:2: no kno"):
        load_groups([DataSource(path)])
    data = load_groups([DataSource(path)], on_bad_row="skip")
    assert (len(data.groups), len(data.bad_rows), data.formats) == (1, 2, ["cvalues"])


def test_a_file_that_does_not_do_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, a=[PKU], b=[CVALUES], c=[{"text": "t"}])
    with pytest.raises(DataError, match=r"b\.jsonl: rows of the format 'cvalues' carry no choice"):
        load_groups([DataSource(path, label="safer")])
    with pytest.raises(DataError, match=r"c\.jsonl: holds rows of the format 'text'.*without com"):
        load_groups([DataSource(path)])
    assert len(list(SourceReader(DataSource(path)))) == 3


@pytest.mark.parametrize("group_by", ["prompt", "row"])
def test_ratings_are_compared_format_by_format(tmp_path: Path, group_by: Any) -> None:
    files = {
        "a": [rated("p", "good", 4), rated("q", "x", 1)],
        "b": [labelled("p", "bad", False), labelled("q", "y", True), labelled("q", "y", False)],
        "c": [CVALUES, CVALUES | {"prompt": "p"}],
        "d": [rated("p", "fair", 3), labelled("p", "worse", False)],
        "e": [labelled("p", "better", True), rated("q", "z", 3)],
    }
    path = write(tmp_path, **files)
    data = load_groups([DataSource(path)], on_bad_row="skip", group_by=group_by)
    told = [
        (
            group.prompt[0].content,
            [
                tuple(group.responses[number].messages[0].content for number in pair)
                for pair in (c.winner_loser for c in group.comparisons)
                if pair is not None
            ],
        )
        for group in data.groups
    ]
    by_rating = ("good", "fair"), ("better", "bad"), ("a", "b")
    if group_by == "prompt":
        assert told == [("p", list(by_rating)), ("q1", [("a", "b")])]
    else:
        p, q1 = [("p", [pair]) for pair in by_rating], ("q1", [("a", "b")])
        assert told == [p[0], p[1], q1, p[2]]
    reasons = {str(row.source)[-9:]: row.reason for row in data.skipped}
    alone = "no other response to its prompt"
    assert reasons == {"a.jsonl:2": alone, "b.jsonl:2": alone, "b.jsonl:3": REPEATED}
    assert [str(row.source)[-9:] for row in data.bad_rows] == ["d.jsonl:2", "e.jsonl:2"]


def test_one_pass_gives_pairs_as_they_come_and_ratings_at_the_end(tmp_path: Path) -> None:
    path = write(tmp_path, a=[rated("p", "x", 1), rated("p", "y", 2)], b=[CVALUES])
    rows = SortedSource(DataSource(path))
    lines = [str(row.source)[-9:] for row in rows if not isinstance(row, SkippedRow)]
    assert lines == ["b.jsonl:1", "a.jsonl:1"]
    assert rows.reader.formats == {f"{path}/a.jsonl": "helpsteer2", f"{path}/b.jsonl": "cvalues"}


def test_audit_and_convert(tmp_path: Path) -> None:
    path = write(tmp_path, a=[CVALUES], b=[HH], c=[PKU])
    found = audit([DataSource(path)])
    (account,) = found.report.files
    assert (account.format, account.comparisons, account.bad_rows) == (
        "cvalues, hh, safe_rlhf",
        3,
        0,
    )
    # Only rows of PKU may have either answer as the better one.
    (position,) = (rule for rule in found.report.shortcuts if rule.name == POSITION[0])
    assert (position.comparisons, position.direction) == (1, POSITION[2])
    with pytest.raises(ConfigError, match="rows of several formats cannot stand in one cleaned"):
        write_fixed(found, [DataSource(path)], tmp_path / "clean.jsonl")
    written = convert(
        [DataSource(path)], get_writer("trl"), tmp_path / "out.json", ConvertOptions()
    )
    assert (written.rows_read, written.comparisons) == (3, 3)


def test_everything_in_the_shared_data_is_read_without_options(shared_data: SharedData) -> None:
    folder = shared_data("README.md").parent
    data = load_groups([DataSource(str(folder))], group_by="row")
    assert data.formats == ["cvalues, hh, llamafactory_sharegpt, safe_rlhf"]
    assert (data.num_rows, len(data.bad_rows)) == (2940, 0)
    assert len(data.groups) + len(data.skipped) == 2940
    assert data.groups[0].source == Source(f"{folder}/cvalues_sample.jsonl", 1)
