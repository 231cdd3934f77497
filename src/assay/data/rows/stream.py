"""The bytes of a file: seen by a fingerprint, decompressed, and checked to be what they should."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any

from assay.data.sources import STDIN, Compression, Kind, Part
from assay.errors import DataError, first_line

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

ByteReader = io.BufferedReader

BLOCK = 1 << 20
"""Bytes that are read at once."""

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_WORDS: dict[Kind, str] = {
    "lines": "JSON lines",
    "json": "JSON",
    "csv": "CSV",
    "tsv": "TSV",
    "parquet": "Parquet",
    "arrow": "Arrow",
}
_RENAME = "name it by what it holds"
_AGAIN = f"write or download it again, or {_RENAME}"
_BEGINNINGS: tuple[tuple[bytes, str, str], ...] = (
    (b"PAR1", "is a Parquet file", f"{_RENAME}: .parquet"),
    (b"ARROW1", "is an Arrow file", f"{_RENAME}: .arrow"),
    (_GZIP, "is compressed with gzip", f"{_RENAME}, with .gz at the end"),
    (_ZSTD, "is compressed with zstd", f"{_RENAME}, with .zst at the end"),
    (b"PK\x03\x04", "is a zip archive", "unpack it"),
    (b"\xfd7zXZ\x00", "is compressed with xz", "unpack it"),
    (b"BZh91AY&SY", "is compressed with bzip2", "unpack it"),
    (b"version https://git-lfs.", "is a Git LFS pointer", "fetch the data with `git lfs pull`"),
    (b"<!doctype", "is an HTML page", "download the data itself"),
    (b"<html", "is an HTML page", "download the data itself"),
    (b"\xff\xfe", "is UTF-16", "save as UTF-8"),
    (b"\xfe\xff", "is UTF-16", "save as UTF-8"),
)
"""What files begin with that were given another's name; of texts in lower case."""


class _Tapped(io.RawIOBase):
    """A stream whose bytes somebody else sees as they are read."""

    def __init__(self, file: IO[bytes], on_bytes: Callable[[bytes], object]) -> None:
        # readinto1: what standard input has, without waiting until a whole block is there.
        readinto: Any = getattr(file, "readinto1", None) or getattr(file, "readinto")  # noqa: B009
        self._readinto: Callable[[Any], int | None] = readinto
        self._on_bytes = on_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        count = self._readinto(view) or 0
        self._on_bytes(bytes(view[:count]))
        return count


class _Decompressed(io.RawIOBase):
    """A decompressed stream; its library's many kinds of errors become one."""

    def __init__(self, compressed: ByteReader, compression: Compression, name: str) -> None:
        self._name = name
        self._compression = compression
        self._errors: tuple[type[Exception], ...]
        if compression == "gzip":
            self._read = gzip.GzipFile(fileobj=compressed).read
            self._errors = (gzip.BadGzipFile, EOFError, zlib.error)
        else:
            import pyarrow

            opened = pyarrow.CompressedInputStream(pyarrow.PythonFile(compressed, "r"), "zstd")
            self._read = opened.read
            self._errors = (pyarrow.ArrowException, OSError)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        try:
            data = self._read(len(view))
        except self._errors as error:
            raise DataError(
                f"is not a whole {self._compression} file ({first_line(error)[:120]})",
                where=self._name,
                mend=_AGAIN,
            ) from None
        view[: len(data)] = data
        return len(data)


def tapped(file: IO[bytes], on_bytes: Callable[[bytes], object]) -> ByteReader:
    """The same bytes; `on_bytes` is given all that is read, block by block."""
    return io.BufferedReader(_Tapped(file, on_bytes), BLOCK)


def decompressed(stream: ByteReader, part: Part) -> ByteReader:
    """The text of a part.

    Raises:
        DataError: while it is read: the compressed stream is torn or is none.
    """
    compression = part.compression
    if compression == "detect":
        beginning = stream.peek(4)
        known: dict[bytes, Compression] = {_GZIP: "gzip", _ZSTD: "zstd"}
        compression = next((c for magic, c in known.items() if beginning.startswith(magic)), "none")
    if compression == "none":
        return stream
    if compression == "zstd" and not stream.peek(4).startswith(_ZSTD):
        raise DataError(
            f"is not a whole zstd file (it begins with {stream.peek(4)[:4]!r})",
            where=part.name,
            mend=_AGAIN,
        )
    return io.BufferedReader(_Decompressed(stream, compression, part.name), BLOCK)


def check_holds(stream: ByteReader, part: Part) -> None:
    """See by the first bytes that a file holds text.

    Raises:
        DataError: it is plainly something else.
    """
    beginning = stream.peek(32)[:32]
    told = beginning, beginning.lstrip().lower()
    for magic, what, mend in _BEGINNINGS:
        if any(text.startswith(magic) for text in told):
            raise DataError(
                f"{what}, not {_WORDS[part.kind]}",
                where=part.name,
                mend="name the file instead of -" if part.name == STDIN else mend,
            )
