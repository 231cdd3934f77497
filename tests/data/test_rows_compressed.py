"""Compressed files of every kind, whole and torn."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest

from assay.data.rows import Row, read_rows
from assay.data.rows.stream import BLOCK
from assay.data.sources import DataSource
from assay.errors import DataError

Pack = Callable[[bytes], bytes]


def zstd(data: bytes) -> bytes:
    packed: bytes = pyarrow.compress(data, "zstd", asbytes=True)
    return packed


PACKS: dict[str, Pack] = {".gz": gzip.compress, ".zst": zstd}
TEXTS = {
    ".jsonl": b'{"a": "x"}\n{"a": "y"}\n',
    ".ndjson": b'{"a": "x"}\n{"a": "y"}',
    ".json": b'[{"a": "x"}, {"a": "y"}]',
    ".csv": b"a\nx\ny\n",
    ".tsv": b"a\tb\nx\t1\ny\t2\n",
    "": b'{"a": "x"}\n{"a": "y"}\n',
}


@pytest.mark.parametrize("packed", PACKS)
@pytest.mark.parametrize("suffix", TEXTS)
def test_every_kind_of_text_is_read(tmp_path: Path, suffix: str, packed: str) -> None:
    path = tmp_path / f"rows{suffix}{packed}"
    path.write_bytes(PACKS[packed](TEXTS[suffix]))
    digest = hashlib.sha256()
    rows = list(read_rows(DataSource(str(path)), digest.update))
    assert [row.fields["a"] for row in rows if isinstance(row, Row)] == ["x", "y"]
    assert digest.digest() == hashlib.sha256(path.read_bytes()).digest()


@pytest.mark.parametrize("packed", PACKS)
def test_several_streams_in_one_file_are_one_text(tmp_path: Path, packed: str) -> None:
    path = tmp_path / f"rows.jsonl{packed}"
    pack = PACKS[packed]
    path.write_bytes(pack(b'{"a": 1}\n{"a"') + pack(b": 2}\n") + pack(b'{"a": 3}'))
    rows = list(read_rows(DataSource(str(path))))
    assert [row.fields for row in rows if isinstance(row, Row)] == [{"a": 1}, {"a": 2}, {"a": 3}]


@pytest.mark.parametrize("packed", PACKS)
def test_more_than_a_block(tmp_path: Path, packed: str) -> None:
    path = tmp_path / f"rows.jsonl{packed}"
    count = BLOCK // 12 + 5_000
    path.write_bytes(PACKS[packed](b"".join(b'{"a": %d}\n' % number for number in range(count))))
    numbers = (row.fields["a"] for row in read_rows(DataSource(str(path))) if isinstance(row, Row))
    assert all(number == expected for expected, number in enumerate(numbers))


@pytest.mark.parametrize("packed", PACKS)
@pytest.mark.parametrize("kept", [1, 3, 9, 0.3, 0.999])
def test_a_torn_file_is_an_error(tmp_path: Path, packed: str, kept: float) -> None:
    data = PACKS[packed](b"".join(b'{"a": "%d"}\n' % (number**7) for number in range(2000)))
    path = tmp_path / f"rows.jsonl{packed}"
    path.write_bytes(data[: kept if isinstance(kept, int) else int(len(data) * kept)])
    with pytest.raises(DataError) as caught:
        list(read_rows(DataSource(str(path))))
    assert str(caught.value).startswith(f"{path}: is not a whole ")
    assert "write or download it again" in str(caught.value)


def test_a_flipped_bit_is_an_error(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(b"".join(b'{"a": "%d"}\n' % (n**7) for n in range(2000))))
    data[len(data) // 2] ^= 0x10
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(data)
    with pytest.raises(DataError, match="is not a whole"):
        list(read_rows(DataSource(str(path))))


@pytest.mark.parametrize("packed", PACKS)
def test_a_file_that_is_not_compressed_or_otherwise(tmp_path: Path, packed: str) -> None:
    path = tmp_path / f"rows.jsonl{packed}"
    others = [pack for suffix, pack in PACKS.items() if suffix != packed]
    for content in (b'{"a": 1}\n', others[0](b'{"a": 1}\n')):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"is not a whole .* or name it by what it holds"):
            list(read_rows(DataSource(str(path))))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            b"PAR1....PAR1",
            r"is a Parquet file, not JSON lines; name it by what it holds: \.parquet",
        ),
        (b"ARROW1\0\0", r"is an Arrow file"),
        (gzip.compress(b"{}", mtime=0), r"is compressed with gzip.*with \.gz at the end"),
        (zstd(b"{}"), r"is compressed with zstd.*with \.zst at the end"),
        (b"PK\x03\x04...", "is a zip archive, not JSON lines; unpack it"),
        ('{"a": 1}'.encode("utf-16"), "is UTF-16, not JSON lines; save as UTF-8"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer.*`git lfs pull`"),
        (b"<!DOCTYPE html>", "is an HTML page"),
        (b"<!doctype html>\n<html class='x'>", "is an HTML page"),  # of the Hugging Face hub
        (b"\n\n\n<!DOCTYPE html>", "is an HTML page"),  # of GitHub
    ],
)
def test_what_a_file_plainly_is(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "rows.jsonl"
    for data, name in (
        (content, path),
        (gzip.compress(content, mtime=0), tmp_path / "packed.jsonl.gz"),
    ):
        name.write_bytes(data)
        with pytest.raises(DataError, match=said):
            list(read_rows(DataSource(str(name))))


def test_memory_stays_bounded(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"a": "%s"}\n' % (b"x" * 1000) * 20_000, 1))
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_rows(DataSource(str(path)))) == 20_000
        assert tracemalloc.get_traced_memory()[1] < 6 * BLOCK
    finally:
        tracemalloc.stop()
