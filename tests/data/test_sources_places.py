"""Directories, globs, compressed standard input, revisions and splits of local files."""

from __future__ import annotations

import gzip
import hashlib
import io
import sys
from pathlib import Path

import pyarrow
import pytest

from assay.data.loading import load_groups
from assay.data.rows import Row, read_rows
from assay.data.scorable import SourceReader
from assay.data.sources import DataSource, locate, locate_all
from assay.errors import DataError

PAIR = '{"prompt": "q", "chosen": "a", "rejected": "b"}\n'


def put(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def names(source: DataSource) -> list[str]:
    return [part.name for part in locate(source)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "prefs"
    put(root, "b.jsonl", '{"a": 3}\n')
    put(root, "a.csv", "a\n1\n")
    put(root, "a/z.json", '[{"a": 2}]')
    put(root, "b.txt", "not data")
    put(root, "README.md", "# Prefs")
    put(root, "dataset_info.json", "{}")
    put(root, ".hidden.jsonl", "{}")
    put(root, "_temporary/part.jsonl", "{}")
    put(root, ".git/x.json", "{}")
    return root


def test_a_directory_is_its_data_files_by_name(folder: Path) -> None:
    assert names(DataSource(str(folder))) == [
        str(folder / name) for name in ("a/z.json", "a.csv", "b.jsonl")
    ]
    values = [row.fields["a"] for row in read_rows(DataSource(str(folder))) if isinstance(row, Row)]
    assert values == [2, "1", 3]


def test_a_directory_without_data_names_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no data file; give \.jsonl"):
        locate(DataSource(str(tmp_path)))
    for name in ("a.txt", "b.xlsx", "c.md", "d.md", "e.md", "f.md"):
        put(tmp_path, name, "x")
    with pytest.raises(DataError, match=r"only a\.txt, b\.xlsx, c\.md, d\.md, e\.md, \.\.\.; give"):
        locate(DataSource(str(tmp_path)))


def test_globs_are_sorted_and_skip_what_is_no_data(folder: Path) -> None:
    assert names(DataSource(f"{folder}/*")) == [str(folder / "a.csv"), str(folder / "b.jsonl")]
    assert names(DataSource(f"{folder}/**/*.json*")) == [
        str(folder / name) for name in ("_temporary/part.jsonl", "a/z.json", "b.jsonl")
    ]
    with pytest.raises(DataError, match=r"\*\.parquet: matches no file; check the pattern"):
        locate(DataSource(f"{folder}/*.parquet"))
    with pytest.raises(DataError, match=r"holds no data file, only README\.md"):
        locate(DataSource(f"{folder}/*.md"))
    with pytest.raises(DataError, match="matches only directories"):
        locate(DataSource(f"{folder}/[a]"))


def test_a_relative_glob_starts_at_the_working_directory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    assert names(DataSource("prefs/?.jsonl")) == ["prefs/b.jsonl"]


def test_a_file_whose_name_looks_like_a_glob(tmp_path: Path) -> None:
    path = put(tmp_path, "rows[1].jsonl", "{}")
    assert names(DataSource(str(path))) == [str(path)]


def test_a_directory_has_splits(tmp_path: Path) -> None:
    for name in ("train.jsonl", "test.jsonl"):
        put(tmp_path, name, PAIR)
    assert names(DataSource(str(tmp_path), split="test")) == [str(tmp_path / "test.jsonl")]
    with pytest.raises(DataError, match=r"no split 'trian'; did you mean 'train'\? known: train,"):
        locate(DataSource(str(tmp_path), split="trian"))


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (("train.jsonl", "test.jsonl"), "splits train, test"),
        (("a/train-1.csv", "dev/x.json", "c.jsonl"), "splits train, validation"),
        (("pairs.jsonl", "test.jsonl"), "split test and others of none"),
    ],
)
def test_no_split_of_a_directory_is_read_unasked(
    tmp_path: Path, files: tuple[str, ...], said: str
) -> None:
    for name in files:
        put(tmp_path, name, PAIR)
    with pytest.raises(DataError, match=f": holds files of the {said}; name one, as in split: "):
        locate(DataSource(str(tmp_path)))


@pytest.mark.parametrize(
    "files", [("a.jsonl", "b.jsonl"), ("train-1.jsonl", "extra.jsonl"), ("test/a.jsonl",)]
)
def test_a_directory_without_two_splits_is_all_its_files(
    tmp_path: Path, files: tuple[str, ...]
) -> None:
    for name in files:
        put(tmp_path, name, PAIR)
    assert names(DataSource(str(tmp_path))) == sorted(str(tmp_path / name) for name in files)


def test_the_readme_of_a_directory_says_what_its_data_is(tmp_path: Path) -> None:
    for name in ("pairs.jsonl", "raw.jsonl"):
        put(tmp_path, name, PAIR)
    put(tmp_path, "README.md", "---\nconfigs: [{data_files: 'pairs.jsonl'}]\n---\n")
    assert names(DataSource(str(tmp_path))) == [str(tmp_path / "pairs.jsonl")]
    put(tmp_path, "README.md", "---\nconfigs: [{data_files: 'pears.jsonl'}]\n---\n")
    with pytest.raises(DataError, match="holds no data file"):
        locate(DataSource(str(tmp_path)))


def test_a_file_that_is_given_twice_is_named_by_both_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(tmp_path, "a.jsonl", PAIR)
    put(tmp_path, "b.jsonl", PAIR)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.jsonl").symlink_to(path)
    for other in ("./a.jsonl", str(path), "link.jsonl", f"{tmp_path}/*a.jsonl"):
        given = [DataSource("a.jsonl"), DataSource(other)]
        with pytest.raises(DataError, match=r": is given twice, also as a\.jsonl; name each file"):
            locate_all(given)
        with pytest.raises(DataError, match="is given twice"):
            load_groups(given)
    for other in ("a.jsonl", "[a-b].jsonl"):
        with pytest.raises(DataError, match=r"a\.jsonl: is given twice; name each file once"):
            locate_all([DataSource("a.jsonl"), DataSource(other)])
    with pytest.raises(DataError, match="is given twice"):
        locate_all([DataSource(".")])
    with pytest.raises(DataError, match="sample:values/test: is given twice"):
        locate_all([DataSource("sample:values"), DataSource("sample:values", split="test")])


def test_a_file_may_be_read_in_two_ways(tmp_path: Path) -> None:
    path = str(put(tmp_path, "a.jsonl", PAIR))
    better, safer = (DataSource(path, label=label) for label in ("better", "safer"))
    mapped = DataSource(path, columns={"prompt": "q"})
    assert len(locate_all([better, safer, mapped])) == 3


def test_revisions_are_for_data_sets(folder: Path) -> None:
    for path in (str(folder), str(folder / "a.csv"), "-", "sample:values"):
        with pytest.raises(DataError, match=r"has no revision 'v1'; leave the revision out"):
            locate(DataSource(path, revision="v1"))
    with pytest.raises(DataError, match="standard input has no split 'test'"):
        locate(DataSource("-", split="test"))


@pytest.mark.parametrize("compression", [None, "gzip", "zstd"])
def test_standard_input_may_be_compressed(
    compression: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = b'{"a": 1}\n{"a": 2}\n'
    if compression:
        data = (
            pyarrow.compress(data, compression, asbytes=True)
            if compression == "zstd"
            else (gzip.compress(data))
        )
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    digest = hashlib.sha256()
    rows = list(read_rows(DataSource("-"), digest.update))
    assert [str(row.source) for row in rows] == ["stdin:1", "stdin:2"]
    assert digest.digest() == hashlib.sha256(data).digest()


def test_the_fingerprint_is_of_all_files_in_order_as_on_disk(tmp_path: Path) -> None:
    packed = put(tmp_path, "b.jsonl.gz", gzip.compress(PAIR.encode()))
    plain = put(tmp_path, "a.jsonl", PAIR * 3)
    reader = SourceReader(DataSource(str(tmp_path)))
    assert len(list(reader)) == 4
    expected = hashlib.sha256(plain.read_bytes() + packed.read_bytes()).hexdigest()
    assert reader.fingerprint == expected


def test_places_name_the_file_of_each_row(tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", "\n" + PAIR)
    put(tmp_path, "b.jsonl", PAIR + "[]\n")
    assert [str(row.source) for row in read_rows(DataSource(str(tmp_path)))] == [
        f"{tmp_path}/a.jsonl:2",
        f"{tmp_path}/b.jsonl:1",
        f"{tmp_path}/b.jsonl:2",
    ]


def test_an_empty_file_among_others_is_named(tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", PAIR)
    put(tmp_path, "b.jsonl", "")
    with pytest.raises(DataError, match=r"b\.jsonl: holds no rows"):
        list(read_rows(DataSource(str(tmp_path))))
