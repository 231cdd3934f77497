"""Broken files of every kind, each with the line that is to blame (None: the whole file)."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import sqlite3
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import ipc

GOOD: dict[str, Any] = {"prompt": "q", "chosen": "a", "rejected": "b"}
LINE = json.dumps(GOOD).encode()
MB = 1 << 20


@dataclass(frozen=True)
class Broken:
    """A file that cannot be read as it stands."""

    name: str
    content: bytes
    line: int | None = None


def broken_files() -> list[Broken]:
    """All of them; their names are different."""
    makers = (
        truncated,
        not_rows,
        wrong_types,
        wrong_numbers,
        encodings,
        control_bytes,
        empty,
        deep,
        surrogates,
        double_keys,
        messages,
        unknown_fields,
        labels_and_ranks,
        delimited,
        compressed,
        columnar,
        wrong_suffixes,
        nearly_json,
        huge,
    )
    return [
        Broken(f"{maker.__name__}-{number:02d}-{made.name}", made.content, made.line)
        for maker in makers
        for number, made in enumerate(maker())
    ]


def second(row: bytes) -> bytes:
    """JSON lines: a good row, this one, a good row."""
    return LINE + b"\n" + row + b"\n" + LINE + b"\n"


def listed(row: bytes) -> bytes:
    """A JSON list of the same three rows."""
    return b"[" + LINE + b",\n" + row + b",\n" + LINE + b"]"


def both(row: bytes) -> Iterator[Broken]:
    """A row that is JSON and yet not good, as the second of either kind of file."""
    yield Broken("row.jsonl", second(row), 2)
    yield Broken("row.json", listed(row), 2)


def of_rows(*rows: dict[str, Any]) -> Iterator[Broken]:
    """Rows of a format that do not hold what they must, each alone behind a good line."""
    for row in rows:
        yield Broken("row.jsonl", json.dumps(row).encode() + b"\n", 1)


def truncated() -> Iterator[Broken]:
    for kept in range(1, len(LINE), 5):
        yield Broken("end.jsonl", LINE + b"\n" + LINE[:kept], 2)
    for kept in range(1, len(LINE), 12):
        yield Broken("middle.jsonl", second(LINE[:kept]), 2)
    for kept in range(len(LINE) + 2, 2 * len(LINE), 8):
        yield Broken("list.json", listed(LINE)[:kept], 1 if kept < len(LINE) + 3 else 2)
    for kept in range(1, len(LINE), 12):
        yield Broken("object.json", LINE[:kept], 1)


def not_rows() -> Iterator[Broken]:
    for value in (b"1", b"null", b"true", b'"text"', b"[]", b"[1]", b"1.5", b"[[{}]]"):
        yield from both(value)


def wrong_types() -> Iterator[Broken]:
    for field in GOOD:
        for value in (3, True, {}, [1], [[]], {"a": "b"}):
            yield from of_rows(GOOD | {field: value})
    for value in ("much", [], {}, True):
        yield from of_rows(GOOD | {"margin": value})
    yield from of_rows(GOOD | {"tools": "none"}, GOOD | {"chat_template_kwargs": [1]})


def wrong_numbers() -> Iterator[Broken]:
    for digits in (b"NaN", b"Infinity", b"-Infinity", b"1e999", b"9" * 5000, b"[1, [NaN]]"):
        yield from both(
            b'{"prompt": "q", "chosen": "a", "rejected": "b", "margin": ' + digits + b"}"
        )
    for digits in (b"01", b"+1", b".5", b"1.", b"0x10", b"1_000"):
        yield Broken("row.jsonl", second(b'{"prompt": "q", "margin": ' + digits + b"}"), 2)


def encodings() -> Iterator[Broken]:
    text = json.dumps(GOOD | {"prompt": "“Ça va” — 你好 é"}, ensure_ascii=False)
    for codec in ("cp1252", "latin-1", "gbk", "shift-jis", "big5"):
        row = text.encode(codec, errors="replace" if codec != "gbk" else "ignore")
        yield Broken(f"{codec}.jsonl", second(row), 2)
        yield Broken(f"{codec}.json", listed(row), 2)
        yield Broken(f"{codec}.csv", b"prompt,chosen,rejected\n" + row.replace(b",", b""), 2)
    for codec in ("utf-16", "utf-32"):
        for suffix in ("jsonl", "json", "csv"):
            yield Broken(f"{codec}.{suffix}", text.encode(codec))
    for codec in ("utf-16-le", "utf-16-be"):
        for suffix in ("jsonl", "json", "csv"):
            yield Broken(f"{codec}.{suffix}", (text + "\n").encode(codec), 1)
    yield Broken("bom.jsonl", second(b"\xef\xbb\xbf" + LINE), 2)
    yield Broken("two-boms.jsonl", b"\xef\xbb\xbf" * 2 + LINE, 1)


def control_bytes() -> Iterator[Broken]:
    yield Broken("nul.jsonl", second(LINE.replace(b"q", b"\0")), 2)
    yield Broken("nul.json", listed(LINE.replace(b"q", b"\0")), 2)
    yield Broken("nul.csv", b"prompt,chosen,rejected\nq,a\0,b\n", 2)
    yield Broken("all-nul.jsonl", bytes(4096), 1)
    yield Broken("all-nul.json", bytes(4096), 1)
    yield Broken("all-nul.csv", bytes(4096), 1)
    yield Broken("tab.jsonl", second(LINE.replace(b"q", b"\t")), 2)
    yield Broken("random.jsonl", bytes(range(128, 256)) * 9, 1)
    yield Broken("noise.json", bytes((7 * n * n + 3) % 251 for n in range(999)), 2)


def empty() -> Iterator[Broken]:
    for suffix in ("jsonl", "ndjson", "json", "csv", "tsv", "parquet", "arrow"):
        yield Broken(f"nothing.{suffix}", b"")
    for suffix in ("jsonl", "json", "csv"):
        yield Broken(f"space.{suffix}", b"\xef\xbb\xbf \n\r\n \n" if suffix != "csv" else b"\n\r\n")
        yield Broken(f"nothing.{suffix}.gz", gzip.compress(b"", mtime=0))
    yield Broken("list.json", b" [ ] ")
    yield Broken("header.csv", b"prompt,chosen,rejected\n")
    yield Broken("zero.jsonl.gz", b"")
    yield Broken("zero.jsonl.zst", b"")


def deep() -> Iterator[Broken]:
    for depth in (101, 10_000, 200_000):
        for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
            inner = b"null" if opening != b"[" else b""
            value = opening * depth + inner + closing * depth
            yield Broken("row.jsonl", second(b'{"prompt": ' + value + b"}"), 2)
    for depth in (10_000, 200_000):
        yield Broken("list.json", b"[" * depth + b"]" * depth)
        yield Broken("open.json", listed(b'{"prompt": ' + b"[" * depth + b"}"))
        yield Broken("object.json", b'{"a":' * depth + b"1" + b"}" * depth)
    yield Broken("list.json", listed(b'{"prompt": ' + b"[" * 101 + b"]" * 101 + b"}"), 2)


def surrogates() -> Iterator[Broken]:
    for escape in (rb"\ud800", rb"\udfff", rb"\udc00\ud800", rb"\ud83d x"):
        yield from both(LINE.replace(b"q", escape))
    yield from both(LINE.replace(b'"prompt"', rb'"\ud800": 1, "prompt"'))
    yield Broken("raw.jsonl", second(LINE.replace(b"q", b"\xed\xa0\x80")), 2)
    yield Broken("raw.json", listed(LINE.replace(b"q", b"\xed\xa0\x80")), 2)


def double_keys() -> Iterator[Broken]:
    yield from both(LINE.replace(b'"prompt"', b'"prompt": "p", "prompt"'))
    yield from both(LINE.replace(b'"prompt"', b'"meta": [{"a": 1, "a": 1}], "prompt"'))


def messages() -> Iterator[Broken]:
    said = {"role": "assistant", "content": "a"}
    asked = {"role": "user", "content": "q"}
    for wrong in (
        [{"role": "assistant"}],
        [{"content": "a"}],
        [{"role": "wizard", "content": "a"}],
        [{"role": 3, "content": "a"}],
        [{"role": "assistant", "content": 3}],
        [{"role": "assistant", "content": {"a": 1}}],
        [said, "a"],
        [asked],
        [],
    ):
        yield from of_rows({"prompt": [asked], "chosen": wrong, "rejected": [said]})
    yield Broken("no-pair.jsonl", json.dumps({"messages": [asked, said]}).encode())
    yield from of_rows(
        {"chosen": [asked, said], "rejected": [asked]},
        {"chosen": [said], "rejected": "b", "prompt": 1},
    )


def unknown_fields() -> Iterator[Broken]:
    yield from of_rows({}, {"a": 1}, {"question": "q", "good": "a", "bad": "b"}, {"chosen": "a"})
    yield from of_rows({"prompt": "q", "rejected": "b"}, {"prompt": "q"}, {"": ""})


def labels_and_ranks() -> Iterator[Broken]:
    safe = {"prompt": "q", "response_0": "a", "response_1": "b", "safer_response_id": 0}
    for label in (2, -1, "zero", 0.5, None, [0], True):
        yield from of_rows(safe | {"better_response_id": label})
    yield from of_rows({"prompt": "q", "pos_resp": "a", "neg_type": "x", "pos_type": "y"})
    yield from of_rows({"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "no turns"})
    for ranks in (([1, "best"]), ([1, None]), ([1, [1]])):
        answers = [{"answer": f"a{n}", "rank": rank} for n, rank in enumerate(ranks)]
        yield from of_rows({"prompt": "q", "answers": answers})
    group = {
        "assay_group": 1,
        "prompt": [{"role": "user", "content": "q"}],
        "responses": [
            {"messages": [{"role": "assistant", "content": text}]} for text in ("a", "b", "c")
        ],
        "comparisons": [],
    }
    for ranking in ([[0], [7]], [["a"], ["b"]], [0, 1]):
        yield from of_rows(group | {"rankings": [ranking]})
    for cycle in ([[0], [1], [0]], [[0, 1], [1, 2]]):
        content = json.dumps(group | {"rankings": [cycle]}).encode()
        yield Broken("cyclic.jsonl", content, 1)
    yield from of_rows(group | {"comparisons": [{"a": 0, "b": 9, "outcome": "a"}]})


def delimited() -> Iterator[Broken]:
    header = b"prompt,chosen,rejected\n"
    for record in (
        b"q,a",
        b"q,a,b,c",
        b'q,"a,b',
        b'q,"a"x,b',
        b"q,a\rq,a,b",
        b"q,a,b\0",
        b"q;a;b",
    ):
        yield Broken("record.csv", header + b"q,a,b\n" + record + b"\n", 3)
    yield Broken("tabs.tsv", b"prompt\tchosen\trejected\nq\ta\n", 2)
    yield Broken("commas.tsv", header + b"q,a,b\n", 1)
    yield Broken("semicolons.csv", header.replace(b",", b";") + b"q;a;b\n", 1)
    yield Broken("twice.csv", b"prompt,chosen,chosen\nq,a,b\n", 1)
    yield Broken("nameless.csv", b"prompt,,rejected\nq,a,b\n", 1)
    yield Broken("no-header.csv", b"how are you,fine,bad\nq,a,b\n", 2)
    yield Broken("old-mac.csv", b"prompt,chosen,rejected\rq,a,b\r", 1)


def compressed() -> Iterator[Broken]:
    text = b"".join(
        b'{"prompt": "%d", "chosen": "a", "rejected": "b"}\n' % (n**9) for n in range(999)
    )
    packed = {"gz": gzip.compress(text, mtime=0), "zst": pa.compress(text, "zstd", asbytes=True)}
    for suffix, data in packed.items():
        for kept in (1, 5, 20, len(data) // 2, len(data) - 3):
            yield Broken(f"torn.jsonl.{suffix}", data[:kept])
        yield Broken(f"torn.csv.{suffix}", data[: len(data) // 3])
        yield Broken(f"plain.jsonl.{suffix}", text)
        yield Broken(f"garbage.json.{suffix}", data[:2] + b"\xff" * 99)
        yield Broken(f"trailing.jsonl.{suffix}", data + b"more")
    flipped = bytearray(packed["gz"])
    flipped[-6] ^= 1
    yield Broken("checksum.jsonl.gz", bytes(flipped))


def columnar() -> Iterator[Broken]:
    table = pa.Table.from_pylist([GOOD] * 50)
    sink = io.BytesIO()
    pq.write_table(table, sink)
    data = sink.getvalue()
    for kept in (3, 4, 12, len(data) // 2, len(data) - 1):
        yield Broken("torn.parquet", data[:kept])
    yield Broken("zeros.parquet", bytes(5000))
    yield Broken("lines.parquet", LINE)
    yield Broken("footer.parquet", data[:-8] + struct.pack("<I", 1 << 30) + b"PAR1")
    yield Broken("pages.parquet", data[:40] + b"\xff" * 60 + data[100:])
    number = io.BytesIO()
    pq.write_table(pa.table({**{k: ["x"] for k in GOOD}, "margin": [float("nan")]}), number)
    yield Broken("nan.parquet", number.getvalue(), 1)
    arrow = io.BytesIO()
    with ipc.new_stream(arrow, table.schema) as writer:
        writer.write_table(table)
    for kept in (6, 100, len(arrow.getvalue()) // 2):
        yield Broken("torn.arrow", arrow.getvalue()[:kept])
    yield Broken("lines.arrow", LINE)
    yield Broken("parquet.arrow", data)
    yield Broken("arrow.parquet", arrow.getvalue())


def wrong_suffixes() -> Iterator[Broken]:
    sink, archive = io.BytesIO(), io.BytesIO()
    pq.write_table(pa.Table.from_pylist([GOOD]), sink)
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("rows.jsonl", LINE)
    base = sqlite3.connect(":memory:")
    base.execute("create table rows (prompt text)")
    contents = {
        "parquet": sink.getvalue(),
        "gzip": gzip.compress(LINE, mtime=0),
        "zip": archive.getvalue(),
        "png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n",
        "html": b"<!DOCTYPE html>\n<title>404</title>",
    }
    for kind, content in contents.items():
        for suffix in ("jsonl", "json", "csv"):
            yield Broken(f"{kind}.{suffix}", content, 1 if kind == "png" else None)
    yield Broken("sqlite.json", base.serialize(), 1)
    yield Broken("pickle.jsonl", pickle.dumps([GOOD]), 1)
    yield Broken("rows.txt", LINE)
    yield Broken("rows.yaml", LINE)


def nearly_json() -> Iterator[Broken]:
    yield Broken("repr.jsonl", repr(GOOD).encode(), 1)
    yield Broken("pretty.jsonl", json.dumps(GOOD, indent=2).encode(), 1)
    yield Broken("list.jsonl", json.dumps([GOOD, GOOD]).encode(), 1)
    yield Broken("comma.jsonl", second(LINE[:-1] + b",}"), 2)
    yield Broken("comma.json", b"[" + LINE + b",]", 1)
    yield Broken("comment.jsonl", second(b"// a comment"), 2)
    yield Broken("comment.json", listed(b"/* */" + LINE), 2)
    yield Broken("joined.jsonl", second(LINE + LINE), 2)
    yield Broken("joined.json", b"[" + LINE + b"][" + LINE + b"]", 1)
    yield Broken("missing-comma.json", b"[" + LINE + b"\n" + LINE + b"]", 2)
    yield Broken("yaml.json", b"- prompt: q\n  chosen: a\n", 1)
    yield Broken("quotes.jsonl", second(LINE.decode().replace('"', "“").encode()), 2)
    yield Broken("undefined.json", listed(LINE.replace(b'"q"', b"undefined")), 2)


def huge() -> Iterator[Broken]:
    yield Broken("string.jsonl", second(b'{"prompt": "' + b"x" * (50 * MB)), 2)
    yield Broken("string.json", b'[{"prompt": "' + b"x" * (50 * MB), 1)
    yield Broken("brackets.jsonl", b"[" * (50 * MB), 1)
    yield Broken("field.csv", b'prompt,chosen,rejected\nq,"' + b"x" * (50 * MB), 2)
