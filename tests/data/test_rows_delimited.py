"""CSV and TSV: records with the lines where they begin, and cells that are text."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.data.cells import Cell, literal
from assay.data.loading import load_groups
from assay.data.rows import BadRow, Row, read_rows
from assay.data.rows.delimited import rows_of_delimited
from assay.data.sources import DataSource
from assay.errors import DataError


def read(data: bytes, delimiter: str = ",") -> list[Row | BadRow]:
    return list(rows_of_delimited("f.csv", io.BytesIO(data), delimiter=delimiter))


def test_a_record_begins_where_its_first_line_does() -> None:
    rows = read(b'\xef\xbb\xbfa,b\r\n1,"two\r\nlines ""quoted"", yes"\r\n\r\n3,\xc3\xa9\n,')
    assert [(row.source.line, row.fields) for row in rows if isinstance(row, Row)] == [
        (2, {"a": "1", "b": 'two\r\nlines "quoted", yes'}),
        (5, {"a": "3", "b": "é"}),
        (6, {"a": "", "b": ""}),
    ]
    assert rows[0].raw == '1,"two\r\nlines ""quoted"", yes"\r\n'


@pytest.mark.parametrize(
    ("header", "delimiter", "said"),
    [(b"a;b", ",", "semicolons"), (b"a\tb", ",", "tabs"), (b"a,b", "\t", "commas")],
)
def test_columns_that_something_else_separates(header: bytes, delimiter: str, said: str) -> None:
    with pytest.raises(DataError, match=f"f.csv:1: .* separated by {said}.*save it with commas"):
        read(header + b"\nx;y\n", delimiter)


def test_tabs(tmp_path: Path) -> None:
    path = tmp_path / "f.TSV"
    path.write_text("a\tb\nx, y\tz\n")
    (row,) = read_rows(DataSource(str(path)))
    assert isinstance(row, Row)
    assert row.fields == {"a": "x, y", "b": "z"}


@pytest.mark.parametrize(
    ("record", "what"),
    [
        (b"1", "has 1 fields where the header has 2"),
        (b"1,2,3", "has 3 fields where the header has 2"),
        (b'1,"a"b', "is not valid CSV (',' expected after '\"')"),
        (b"1,\xff", "is not UTF-8"),
        (b"1,a\0b", "holds a NUL byte"),
        (b"1,a\rb", "lines end in a bare carriage return"),
    ],
)
def test_a_bad_record_hides_no_other(record: bytes, what: str) -> None:
    first, bad, last = read(b"a,b\nx,y\n" + record + b"\nx,y\n")
    assert isinstance(first, Row)
    assert isinstance(last, Row)
    assert isinstance(bad, BadRow)
    assert (bad.source.line, last.source.line) == (3, 4)
    assert bad.what == what
    assert bad.mend


def test_a_quote_that_never_ends_is_named_where_it_begins() -> None:
    good, bad = read(b'a,b\nx,y\n1,"never\nx,y\nx,y\n')
    assert isinstance(good, Row)
    assert isinstance(bad, BadRow)
    assert (bad.source.line, bad.what) == (3, "a quoted field never ends")


@pytest.mark.parametrize(
    ("header", "what"),
    [
        (b"a,a", "f.csv:1: the header names the column 'a' twice; rename one"),
        (b"a,", "f.csv:1: the header has a column without a name"),
        (b"\n\na,b,b", "f.csv:3: the header names the column 'b' twice"),
        (b"a,\xff", "f.csv:1: is not UTF-8"),
        (b'a,"b', "f.csv:1: a quoted field never ends"),
    ],
)
def test_a_header_that_cannot_be_one(header: bytes, what: str) -> None:
    with pytest.raises(DataError) as caught:
        read(header + b"\nx,y\n")
    assert str(caught.value).startswith(what)


def test_the_unnamed_index_of_pandas_is_a_column_like_others() -> None:
    (row,) = read(b",a\n0,x\n")
    assert isinstance(row, Row)
    assert row.fields == {"": "0", "a": "x"}


@given(
    st.lists(
        st.tuples(*[st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))] * 2)
    )
)
def test_what_the_csv_module_writes_comes_back(cells: list[tuple[str, str]]) -> None:
    file = io.StringIO(newline="")
    writer = csv.writer(file, quoting=csv.QUOTE_ALL)
    writer.writerow(["a", "b"])
    writer.writerows(cells)
    rows = read(file.getvalue().encode())
    assert [tuple(row.fields.values()) for row in rows if isinstance(row, Row)] == cells
    lines = file.getvalue().split("\n")
    for row in rows:
        assert lines[row.source.line - 1].startswith('"')


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", 42),
        (" -1.5 ", -1.5),
        ("TRUE", True),
        ("false", False),
        ("", None),
        ('[{"role": "user"}]', [{"role": "user"}]),
        ("NaN", "NaN"),
        ("12 apples", "12 apples"),
        ("[" * 9999, "[" * 9999),
        ('{"a": 1, "a": 2}', '{"a": 1, "a": 2}'),
    ],
)
def test_what_a_cell_stands_for(text: str, value: object) -> None:
    assert literal(Cell(text)) == value
    assert type(literal(Cell(text))) is type(value) or isinstance(literal(Cell(text)), Cell)
    assert literal(text) == text


def test_answers_that_are_numbers_stay_text(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text("prompt,chosen,rejected\n6*7?,42,true\n")
    (group,) = load_groups([DataSource(str(path))]).groups
    assert [response.messages[0].content for response in group.responses] == ["42", "true"]


def test_a_long_field_is_read() -> None:
    (row,) = read(b"a\n" + b"x" * 1_000_000 + b"\n")
    assert isinstance(row, Row)
