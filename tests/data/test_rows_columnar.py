"""Parquet and Arrow files: values as JSON would hold them, rows by number, bounded memory."""

from __future__ import annotations

import datetime as dt
import decimal
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import ipc

from assay.data.loading import load_groups
from assay.data.rows import BadRow, Row, read_rows
from assay.data.sources import DataSource
from assay.errors import DataError

ROWS: list[dict[str, Any]] = [
    {
        "prompt": [{"role": "user", "content": f"q{number}"}],
        "chosen": "é😀",
        "rejected": None,
        "margin": number / 2,
        "ok": number % 2 == 0,
        "meta": {"tags": ["a", "b"], "n": number},
    }
    for number in range(600)
]


def write(path: Path, table: pa.Table, **options: Any) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(table, path, **options)
    else:
        with path.open("wb") as file:
            new = ipc.new_stream if options.get("stream", True) else ipc.new_file
            with new(file, table.schema) as writer:
                writer.write_table(table, max_chunksize=100)
    return path


def read(path: Path) -> list[Row | BadRow]:
    return list(read_rows(DataSource(str(path))))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("f.parquet", {"row_group_size": 7}),
        ("f.parquet", {"compression": "zstd", "use_dictionary": False}),
        ("f.arrow", {"stream": True}),
        ("f.arrow", {"stream": False}),
    ],
)
def test_rows_come_as_they_were_written(tmp_path: Path, name: str, options: Any) -> None:
    path = write(tmp_path / name, pa.Table.from_pylist(ROWS), **options)
    digest = hashlib.sha256()
    rows = list(read_rows(DataSource(str(path)), digest.update))
    assert [row.fields for row in rows if isinstance(row, Row)] == ROWS
    assert [row.source.line for row in rows] == list(range(1, 601))
    assert json.loads(rows[3].raw) == ROWS[3]
    assert digest.digest() == hashlib.sha256(path.read_bytes()).digest()


def test_values_that_json_has_not_become_what_it_has(tmp_path: Path) -> None:
    moment = dt.datetime(2026, 11, 21, 17, 5, 0, 250_000, tzinfo=dt.UTC)
    table = pa.table(
        {
            "time": pa.array([moment], pa.timestamp("us", "UTC")),
            "day": pa.array([moment.date()]),
            "price": pa.array([decimal.Decimal("4.50")]),
            "count": pa.array([decimal.Decimal("4")], pa.decimal128(5, 0)),
            "text": pa.array([b"bytes"], pa.binary()),
            "image": pa.array([b"\xff\xd8"], pa.binary()),
            "map": pa.array([[("k", 1.5)]], pa.map_(pa.string(), pa.float64())),
            "kind": pa.array(["x"]).dictionary_encode(),
            "half": pa.array([1.5], pa.float32()),
            "nested": pa.array([[{"at": moment.date()}]]),
            "big": pa.array(["y"], pa.large_string()),
            "none": pa.nulls(1),
        }
    )
    (row,) = read(write(tmp_path / "f.parquet", table))
    assert isinstance(row, Row)
    assert row.fields == {
        "time": "2026-11-21T17:05:00.250000+00:00",
        "day": "2026-11-21",
        "price": 4.5,
        "count": 4,
        "text": "bytes",
        "image": "/9g=",
        "map": {"k": 1.5},
        "kind": "x",
        "half": 1.5,
        "nested": [{"at": "2026-11-21"}],
        "big": "y",
        "none": None,
    }
    json.dumps(row.fields)


def test_numbers_that_are_none_are_bad_rows(tmp_path: Path) -> None:
    table = pa.table(
        {"a": [1.0, float("nan"), 2.0, 3.0], "b": [[1.0], [1.0], [float("-inf")], [None]]}
    )
    rows = read(write(tmp_path / "f.parquet", table))
    assert [row.what if isinstance(row, BadRow) else None for row in rows] == [
        None,
        "nan is not a JSON number",
        "-inf is not a JSON number",
        None,
    ]
    assert str(rows[1]).endswith(
        "f.parquet:2: nan is not a JSON number; write a finite number or null"
    )


def test_text_that_is_not_utf8_is_a_bad_row(tmp_path: Path) -> None:
    broken = pa.StringArray.from_buffers(
        3, pa.py_buffer(b"\0\0\0\0\1\0\0\0\3\0\0\0\4\0\0\0"), pa.py_buffer(b"a\xff\xfeb")
    )
    rows = read(write(tmp_path / "f.parquet", pa.table({"a": broken})))
    assert [row.source.line for row in rows] == [1, 2, 3]
    assert [row.what if isinstance(row, BadRow) else row.fields for row in rows] == [
        {"a": "a"},
        "is not UTF-8",
        {"a": "b"},
    ]


@pytest.mark.parametrize("name", ["f.parquet", "f.arrow"])
def test_damage_is_told_apart_from_permissions(tmp_path: Path, name: str) -> None:
    kind = "Parquet" if name == "f.parquet" else "Arrow"
    table = pa.table({"prompt": [f"{number**5}" for number in range(4_000)]})
    path = write(tmp_path / name, table)
    whole = path.read_bytes()
    said = []
    for at in range(200, len(whole), len(whole) // 20):
        path.write_bytes(
            whole[:at] + bytes(byte ^ 0xFF for byte in whole[at : at + 64]) + whole[at + 64 :]
        )
        try:
            read(path)
        except DataError as error:
            said.append(str(error))
    assert len(said) > 2
    for text in said:
        assert f"holds damaged {kind}" in text
        assert text.endswith("; write or download it again")
    for kept in (4, 8, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:kept])
        with (
            pytest.raises(DataError, match=f"holds damaged {kind}")
            if name == "f.parquet" or (kept < len(whole) // 2)
            else pytest.raises(DataError)
        ):
            read(path)


@pytest.mark.parametrize("name", ["f.parquet", "f.arrow"])
@pytest.mark.parametrize("content", [b"", b"{}\n", b'{"prompt": 1}\n' * 9, b"PK\x03\x04"])
def test_something_else_under_the_name(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"does not hold (Parquet|Arrow); name it by what it holds"):
        read(path)


def test_a_file_without_rows_or_with_two_columns_of_a_name(tmp_path: Path) -> None:
    empty = write(tmp_path / "e.parquet", pa.table({"a": pa.array([], pa.string())}))
    with pytest.raises(DataError, match="holds no rows"):
        read(empty)
    double = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(DataError, match="has two columns named 'a'; rename one"):
        read(write(tmp_path / "d.arrow", double))


def test_groups_of_a_parquet_file_are_those_of_its_json_lines(tmp_path: Path) -> None:
    pairs = [
        {"prompt": f"q{number // 3}", "chosen": f"a{number}", "rejected": "b", "margin": 0.5}
        for number in range(30)
    ]
    lines = tmp_path / "same.jsonl"
    lines.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    columnar = write(tmp_path / "same.parquet", pa.Table.from_pylist(pairs))
    by_name = [load_groups([DataSource(str(path))]).groups for path in (lines, columnar)]
    assert [group.id for group in by_name[0]] == [group.id for group in by_name[1]]
    assert [group.responses for group in by_name[0]] == [group.responses for group in by_name[1]]


MEASURE = """
import resource, sys
from assay.data.rows import read_rows
from assay.data.sources import DataSource
import pyarrow.parquet
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
count = sum(1 for _ in read_rows(DataSource(sys.argv[1])))
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_one_large_row_group_stays_bounded_in_memory(tmp_path: Path) -> None:
    text = [f"{number:06d}" + "x" * 4000 for number in range(25_000)]
    path = write(
        tmp_path / "f.parquet",
        pa.table({"a": text}),
        row_group_size=25_000,
        compression="none",
        use_dictionary=False,
    )
    del text
    assert path.stat().st_size > 100e6
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True
    )
    count, kilobytes = map(int, done.stdout.split())
    assert count == 25_000
    assert kilobytes < 50_000


def test_rows_that_call_tools_are_the_same_in_a_table(tmp_path: Path) -> None:
    """A table gives each struct all keys of its column; none of them may reach the model."""
    pairs = []
    for tool, key in (("weather", "city"), ("calendar", "day")):
        parameters = {"type": "object", "properties": {key: {"type": "string"}}}
        function = {"type": "function", "function": {"name": tool, "parameters": parameters}}
        call = {"type": "function", "function": {"name": tool, "arguments": {key: "x"}}}
        turns: list[dict[str, Any]] = [
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": "r"},
            {"role": "assistant", "content": "a"},
        ]
        pairs.append(
            {
                "prompt": "q",
                "chosen": turns,
                "rejected": [{"role": "assistant", "content": "b"}],
                "tools": [function],
                "chat_template_kwargs": {f"with_{key}": True},
                "meta": {key: [{key: 1}]},
            }
        )
    pairs.append({"prompt": "q", "chosen": [turns[2]], "rejected": pairs[0]["rejected"]})
    lines = tmp_path / "same.jsonl"
    lines.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    whole = pa.Table.from_pylist(pairs)
    for table in (whole, whole.slice(1)):
        for path in (write(tmp_path / "f.parquet", table), write(tmp_path / "f.arrow", table)):
            of_lines, of_table = (
                [
                    (g.id.split("#")[0], g.prompt, g.responses, g.tools, g.template_kwargs)
                    for g in load_groups([DataSource(str(name))], group_by="row").groups
                ]
                for name in (lines, path)
            )
            assert of_table == of_lines[-len(of_table) :]
    rows = [row.fields for row in read(path) if isinstance(row, Row)]
    assert [row["meta"] for row in rows] == [{"day": [{"day": 1}]}, None]


def test_bytes_that_are_no_text_are_a_flaw_where_text_is_wanted(tmp_path: Path) -> None:
    picture = b"\x89PNG\xff"
    table = pa.table(
        {
            "prompt": ["q", "q"],
            "chosen": pa.array([b"a", picture], pa.binary()),
            "rejected": ["b", "b"],
            "thumbnail": pa.array([picture, None], pa.binary()),
        }
    )
    path = str(write(tmp_path / "f.parquet", table))
    with pytest.raises(
        DataError, match=r"1 bad row: .*f\.parquet:2: 'chosen' holds bytes that are"
    ):
        load_groups([DataSource(path)])
    (group,) = load_groups([DataSource(path)], on_bad_row="skip").groups
    assert group.responses[0].messages[0].content == "a"
    assert group.extra["thumbnail"] == "iVBOR/8="
    assert json.loads(json.dumps(group.extra)) == group.extra


def test_values_that_python_has_not_matter_only_where_they_are_used(tmp_path: Path) -> None:
    doubled = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["k", "k"])
    nanoseconds = pa.array([1234567890123456789], pa.timestamp("ns", "UTC"))
    strange = {
        "nanoseconds": nanoseconds,
        "whole": pa.array([1234567890123456000], pa.timestamp("ns", "UTC")),
        "lasting": pa.array([1500], pa.duration("ns")),
        "late": pa.array([2**62]).cast(pa.timestamp("us")),
        "day": pa.array([2**30], pa.int32()).cast(pa.date32()),
        "long": pa.array([2**62], pa.duration("s")),
        "place": pa.array([1], pa.timestamp("us", "Mars/Olympus")),
        "doubled": doubled,
        "nested": pa.StructArray.from_arrays(
            [pa.array([7]), pa.ListArray.from_arrays([0, 1], nanoseconds)], names=["n", "at"]
        ),
        "map": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.timestamp("ns"))),
    }
    pair = {"prompt": ["q"], "chosen": ["a"], "rejected": ["b"]}
    path = str(write(tmp_path / "f.arrow", pa.table(pair | strange)))
    (group,) = load_groups([DataSource(path)]).groups
    assert group.extra == {
        "nanoseconds": "2009-02-13 23:31:30.123456789Z",
        "whole": "2009-02-13T23:31:30.123456+00:00",
        "lasting": "1500",
        "late": "<value out of range: 4611686018427387904>",
        "day": "<value out of range: 1073741824>",
        "long": "4611686018427387904",
        "place": "<timestamp[us, tz=Mars/Olympus]>",
        "doubled": "<struct<k: int64, k: int64>>",
        "nested": {"n": 7, "at": ["2009-02-13 23:31:30.123456789Z"]},
        "map": {"k": "1970-01-01 00:00:00.000000001"},
    }
    for column in ("doubled", "late"):
        with pytest.raises(DataError, match="'chosen' holds bytes that are not UTF-8, or another"):
            load_groups([DataSource(path, columns={"chosen": column})])


def test_a_row_with_strange_values_does_not_hide_text_that_is_not_utf8(tmp_path: Path) -> None:
    broken = pa.StringArray.from_buffers(
        2, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer(b"a\xff")
    )
    times = pa.array([1, 1001], pa.timestamp("ns"))
    rows = read(write(tmp_path / "f.parquet", pa.table({"at": times, "a": broken})))
    assert [row.what if isinstance(row, BadRow) else row.fields["a"] for row in rows] == [
        "a",
        "is not UTF-8",
    ]
