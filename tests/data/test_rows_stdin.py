"""Standard input, of which no name says how its rows are written."""

from __future__ import annotations

import gzip
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from assay.data.loading import load_groups
from assay.data.rows import BadRow, Row, read_rows
from assay.data.rows import json_document as document
from assay.data.sources import DataSource
from assay.errors import DataError

PAIR = {"prompt": "q", "chosen": "a", "rejected": "b"}
LINE = json.dumps(PAIR)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], list[Row | BadRow]]:
    def read(data: bytes) -> list[Row | BadRow]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        return list(read_rows(DataSource("-")))

    return read


Given = Callable[[bytes], list[Row | BadRow]]

DOCUMENTS = {
    "a list": json.dumps([PAIR, PAIR]),
    "a list over several lines": json.dumps([PAIR, PAIR], indent=2),
    "a list behind white space": f"\n \n\t[{LINE},\n{LINE}]",
    "lines": f"{LINE}\n{LINE}\n",
    "lines without the last newline": f"{LINE}\n{LINE}",
    "lines behind white space": f" {LINE}\n{LINE}\n",
}


@pytest.mark.parametrize("text", DOCUMENTS.values(), ids=DOCUMENTS)
@pytest.mark.parametrize("block", [4, 7, 1 << 20])
def test_what_it_holds_shows_how_it_is_written(
    text: str, block: int, given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document, "BLOCK", block)
    for data in (text.encode(), b"\xef\xbb\xbf" + text.encode(), gzip.compress(text.encode())):
        rows = given(data)
        assert [row.fields for row in rows if isinstance(row, Row)] == [PAIR, PAIR]
        assert [str(row.source) for row in rows] == ["stdin:1", "stdin:2"]


def test_lines_keep_their_numbers(given: Given) -> None:
    rows = given(f"\n\n{LINE}\n{{\n{LINE}\n".encode())
    assert [(type(row), row.source.line) for row in rows] == [(Row, 3), (BadRow, 4), (Row, 5)]
    (bad,) = (row for row in rows if isinstance(row, BadRow))
    assert bad.mend == "write one JSON object per line, or name the file instead of -"


def test_one_object_over_several_lines(given: Given) -> None:
    for text in (json.dumps(PAIR, indent=1), f'{{"prompt": "q",\n{LINE[16:]}'):
        (row,) = given(text.encode())
        assert isinstance(row, Row)
        assert row.fields == PAIR


def test_what_is_no_text_is_to_be_named(given: Given) -> None:
    with pytest.raises(
        DataError, match="stdin: is a Parquet file, not JSON lines; name the file in"
    ):
        given(b"PAR1....")
    for nothing in (b"", b"\n \n", b"[]"):
        with pytest.raises(DataError, match="stdin: holds no rows"):
            given(nothing)


def test_a_list_of_the_real_file(
    shared_data: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = shared_data("pku_saferlhf_sample.json").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    loaded = load_groups([DataSource("-")])
    assert (loaded.formats, loaded.num_rows, loaded.bad_rows) == (["safe_rlhf"], 32, [])
