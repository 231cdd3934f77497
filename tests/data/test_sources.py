"""From files, standard input and samples to rows with their places."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from pathlib import Path

import pytest

from assay.data.rows import BadRow, Row, read_rows
from assay.data.sources import DataSource, samples
from assay.data.strict_json import MAX_DEPTH
from assay.errors import DataError


def write(folder: Path, name: str, content: str | bytes) -> str:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def rows(path: str, **options: str) -> list[tuple[int, object]]:
    """Line and fields of each row; what is wrong, for bad rows."""
    return [
        (row.source.line, row.fields if isinstance(row, Row) else row.what)
        for row in read_rows(DataSource(path, **options))
    ]


@pytest.mark.parametrize("name", ["f.jsonl", "f.ndjson", "F.JSONL", "f", "f.json"])
def test_json_lines_keep_their_line_numbers(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, name, '\ufeff{"a": 1}\r\n\n  \n{"a": "\u2028é"}\n{"a": 3}')
    assert rows(path) == [(1, {"a": 1}), (4, {"a": "\u2028é"}), (5, {"a": 3})]


def test_a_json_list_counts_its_rows(tmp_path: Path) -> None:
    path = write(
        tmp_path, "f.json", '\ufeff [\n{"a": 1},\n\n{"a":\n[2, {"b": "]"}]} , 3, {"a": NaN}]\n'
    )
    assert rows(path) == [
        (1, {"a": 1}),
        (2, {"a": [2, {"b": "]"}]}),
        (3, "is not a JSON object"),
        (4, "NaN is not a JSON number"),
    ]
    raws = [row.raw for row in read_rows(DataSource(path))]
    assert raws == ['{"a": 1}', '{"a":\n[2, {"b": "]"}]}', "3", '{"a": NaN}']


def test_one_object_over_several_lines_is_one_row(tmp_path: Path) -> None:
    assert rows(write(tmp_path, "f.json", '{\n"a": 1\n}\n')) == [(1, {"a": 1})]


def test_numbers_and_nesting_at_the_limit_pass(tmp_path: Path) -> None:
    deep = "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1)
    text = (
        f'{{"a": {deep}, "b": 1e308, "c": {"9" * 4300}, "d": "\\ud83d\\ude00", "e": {[[]] * 200}}}'
    )
    ((_, row),) = rows(write(tmp_path, "f.jsonl", text))
    assert isinstance(row, dict)
    assert (row["b"], row["d"]) == (1e308, "😀")


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b'{"a": Infinity}', "Infinity is not a JSON number"),
        (b'{"a": [-Infinity]}', "-Infinity is not a JSON number"),
        (b'{"a": 1e999}', "a number is too large to hold"),
        (b'{"a": ' + b"9" * 4301 + b"}", "a number has 4301 digits"),
        (b'{"a": 1, "b": {"c": 1, "c": 1}}', "the field 'c' is given twice"),
        (b'{"a": "\\ud800"}', "holds half of a surrogate pair"),
        (b'{"\\uDFFF": 1}', "holds half of a surrogate pair"),
        (
            b'{"a": ' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}",
            "nested more than 100 levels deep",
        ),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested more than 100 levels deep"),
        (b"[1]", "is not a JSON object"),
        (b"null", "is not a JSON object"),
        (b'{"a": 1} {"a": 2}', "is not valid JSON (Extra data, column 10)"),
        (b'{"a": 1', "is not valid JSON (Expecting ',' delimiter, column 8)"),
        (b"{'a': 1}", "is not valid JSON (Expecting property name"),
        (b'{"a": "\t"}', "is not valid JSON (Invalid control character at, column 8)"),
        ('{"a": "é"}'.encode("latin-1"), "is not UTF-8"),
    ],
    ids=lambda value: repr(value[:24]),
)
def test_a_flawed_line_is_a_bad_row_and_hides_no_other(
    tmp_path: Path, line: bytes, what: str
) -> None:
    path = write(tmp_path, "f.jsonl", b'{"a": 1}\n' + line + b'\n{"a": 2}\n')
    first, bad, last = read_rows(DataSource(path))
    assert isinstance(first, Row)
    assert isinstance(last, Row)
    assert isinstance(bad, BadRow)
    assert bad.what.startswith(what)
    assert bad.mend
    assert bad.raw == line.decode(errors="backslashreplace")
    assert str(bad).startswith(f"{path}:2: {what}")


@pytest.mark.parametrize(
    ("name", "content", "place", "what"),
    [
        ("f.json", b'[{"a": 1},\n{"a": }]', ":2", "is not valid JSON (Expecting value, column 7)"),
        ("f.json", b'[{"a": 1}\n{"a": 2}]', ":2", "is not valid JSON (Expecting ',' delimiter"),
        ("f.json", b'[{"a": 1},\n]', ":2", "is not valid JSON (Expecting value, column 1)"),
        ("f.json", b'[{"a": 1}]\n]', ":2", "is not valid JSON (Extra data, column 1)"),
        ("f.json", b'[{"a": 1},', ":1", "is not valid JSON (Expecting value"),
        ("f.json", b'{\n"a": 1,\n}', ":3", "is not valid JSON (Expecting property name"),
        ("f.json", b'[{"a": 1},\n{"a": "\xe9"}]', ":2", "is not UTF-8"),
        ("f.json", b"[" * 100_000, "", "nested more than 100 levels deep"),
        ("f.json", b"[]", "", "holds no rows"),
        ("f.json", b" \n", "", "holds no rows"),
        ("f.jsonl", b"", "", "holds no rows"),
        ("f.jsonl", b"\xef\xbb\xbf\n\n", "", "holds no rows"),
        ("f.csv", b"a,b", "", "holds no rows"),
        ("f.xlsx", b"a,b", "", "'.xlsx' files are not read"),
        ("f.txt.gz", b"a,b", "", "'.txt.gz' files are not read"),
        ("f.parquet.gz", b"a,b", "", "'.parquet.gz' files are not read"),
        ("f.gz", b"a,b", "", "is not a whole gzip file"),
    ],
)
def test_a_file_that_cannot_be_read_as_a_whole(
    tmp_path: Path, name: str, content: bytes, place: str, what: str
) -> None:
    path = write(tmp_path, name, content)
    with pytest.raises(DataError) as caught:
        rows(path)
    assert str(caught.value).startswith(f"{path}{place}: {what}")
    assert caught.value.mend


def test_files_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "train.jsonl", "{}")
    with pytest.raises(DataError, match=r"no such file; did you mean 'train\.jsonl'\?"):
        rows(str(tmp_path / "trian.jsonl"))
    with pytest.raises(DataError, match="no such file; check the path"):
        rows(str(tmp_path / "no/where.jsonl"))
    write(tmp_path, "unk.jsonl", "{}")  # Two thirds of the letters, which are those of the ending.
    with pytest.raises(DataError, match="no such file; check the path"):
        rows(str(tmp_path / "nope.jsonl"))
    with pytest.raises(DataError, match=r"cannot be read \(File name too long"):
        rows(str(tmp_path / ("x" * 300)))
    with pytest.raises(DataError, match="a file has no split 'test'; leave the split out"):
        rows(path, split="test")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=r"cannot be read \(Permission denied\); check"):
        rows(path)


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.TextIOWrapper(io.BytesIO('{"a": "é"}\n[]\n'.encode()), encoding="ascii")
    monkeypatch.setattr(sys, "stdin", stdin)
    assert [str(row.source) for row in read_rows(DataSource("-"))] == ["stdin:1", "stdin:2"]
    assert not stdin.closed


def test_the_bytes_that_were_read_are_given_out(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbf{"a": 1}\n\n[\n'
    for name in ("f.jsonl", "f.json"):
        digest = hashlib.sha256()
        list(read_rows(DataSource(write(tmp_path, name, content)), digest.update))
        assert digest.digest() == hashlib.sha256(content).digest()


@pytest.fixture
def two_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "values.train.jsonl", '{"a": 1}\n')
    write(tmp_path, "values.test.jsonl", '{"a": 2}\n{"a": 3}\n')
    monkeypatch.setattr(samples, "sample_folder", lambda: tmp_path)


@pytest.mark.usefixtures("two_samples")
def test_samples_and_their_splits() -> None:
    def places(split: str | None) -> list[str]:
        return [str(row.source) for row in read_rows(DataSource("sample:values", split=split))]

    assert places("train") == ["sample:values/train:1"]
    assert places("test") == ["sample:values/test:1", "sample:values/test:2"]
    assert places(None) == places("train") + places("test")


@pytest.mark.usefixtures("two_samples")
def test_unknown_samples_and_splits_name_the_known_ones() -> None:
    with pytest.raises(DataError, match=r"no sample 'value'; did you mean 'values'\? known: val"):
        rows("sample:value")
    with pytest.raises(DataError, match=r"no split 'tests'; did you mean 'test'\? known: train, t"):
        rows("sample:values", split="tests")


def test_reading_data_needs_no_torch() -> None:
    code = "import sys, assay.data.loading; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
