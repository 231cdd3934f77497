"""A row that its format leaves out is left out, with a count, by everyone who reads rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import assay
from assay.data import plugins
from assay.data.audit import audit
from assay.data.audit.report import FileAccount
from assay.data.formats import registry
from assay.data.loading import SkippedRow, SortedSource, load_groups
from assay.data.records import Comparison, Group, Message, Response, Source
from assay.data.rows import BadRow
from assay.data.sources import DataSource
from assay.data.writers import get_writer
from assay.data.writers.account import Account
from assay.data.writers.converting import ConvertOptions, convert, groups_of

WriteRows = Callable[..., Path]
EVEN = "both are as good"


@pytest.fixture
def undecided(monkeypatch: pytest.MonkeyPatch, write_rows: WriteRows) -> Iterator[DataSource]:
    """Three rows of a format that leaves out the second; the third is bad."""
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    monkeypatch.setattr(plugins, "_plugin_formats", set(plugins._plugin_formats))
    registry.registered_formats.cache_clear()

    @assay.register_format("undecided", detects=lambda row: "even" in row)
    def read(row: dict[str, Any]) -> Group:
        answers = tuple(Response((Message("assistant", row[key]),)) for key in ("a", "b"))
        return Group(
            "",
            Source("", 0),
            (Message("user", row["q"]),),
            answers,
            (Comparison(0, 1, "a"),),
            left_out=EVEN if row["even"] else None,
        )

    rows = [{"q": "x", "a": "1", "b": "2", "even": even} for even in (False, True)]
    yield DataSource(str(write_rows([*rows, {"even": True}])))
    monkeypatch.undo()
    registry.registered_formats.cache_clear()


@pytest.mark.parametrize("usable_only", [True, False])
def test_each_row_is_in_one_place(undecided: DataSource, usable_only: bool) -> None:
    rows = SortedSource(undecided, usable_only=usable_only)
    first, second, third = rows
    assert isinstance(first, Group)
    assert second == SkippedRow(Source(undecided.path, 2), EVEN)
    assert isinstance(third, BadRow)
    assert (rows.reader.format, rows.num_rows) == ("undecided", 3)
    assert load_groups([undecided], on_bad_row="skip").counts() == {EVEN: 1, "bad row": 1}


@pytest.mark.parametrize("target", ["trl", "assay"])
def test_it_is_not_converted(undecided: DataSource, target: str, tmp_path: Path) -> None:
    options = ConvertOptions(on_bad_row="skip")
    account = convert([undecided], get_writer(target), tmp_path / "out.jsonl", options)
    assert (account.rows_read, account.rows, account.comparisons) == (3, 1, 1)
    assert account.skipped == {EVEN: 1}
    assert str(account.first[EVEN]) == f"{undecided.path}:2"


def test_it_is_not_written_as_token_ids(undecided: DataSource) -> None:
    """MindRecord files are made of these groups."""
    account = Account()
    groups = groups_of([undecided], account, ConvertOptions(on_bad_row="skip"))
    assert [group.source.line for group in groups] == [1]
    assert account.skipped == {EVEN: 1}


def test_the_audit_counts_it_apart(undecided: DataSource) -> None:
    report = audit([undecided], test=[undecided]).report
    for role, account in zip(("train", "test"), report.files, strict=True):
        assert account == FileAccount(
            undecided.path, role, "undecided", 3, 1, 1, account.sha256, {EVEN: 1}
        )
    assert [row.count for row in report.lengths] == [1, 1]
    assert report.as_json()["files"][0]["left_out"] == {EVEN: 1}


def test_rated_rows_in_no_comparison_are_told_by_the_audit(write_rows: WriteRows) -> None:
    rows = [
        {"prompt": prompt, "completion": text, "label": label}
        for prompt, text, label in (
            ("q", "good", True),
            ("q", "bad", False),
            ("q", "good", True),
            ("r", "alone", True),
        )
    ]
    (account,) = audit([DataSource(str(write_rows(rows)))]).report.files
    assert (account.rows, account.comparisons) == (4, 1)
    assert account.left_out == {"repeated response": 1, "no other response to its prompt": 1}
