"""What must not stand in training: benchmarks as their authors publish them, by what rows ask."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assay.data.audit import audit
from assay.data.audit.benchmarks import ASKING, benchmark_texts
from assay.data.records import Source
from assay.data.sources import DataSource
from assay.data.strict_json import JsonObject
from assay.errors import DataError

WriteRows = Callable[..., Path]

HERE = Source("bench.jsonl", 4)
ASKED = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]
ANSWERED = [*ASKED, {"role": "assistant", "content": "a"}]
BENCHMARKS: list[tuple[str, JsonObject, dict[str, list[str]]]] = [
    ("GSM8K", {"question": "q", "answer": "#### 1"}, {"question": ["q"]}),
    ("TruthfulQA", {"Question": "q", "Best Answer": "a"}, {"Question": ["q"]}),
    ("MATH", {"problem": "q", "solution": "a"}, {"problem": ["q"]}),
    ("IFEval", {"key": 1, "prompt": "q", "kwargs": [{}]}, {"prompt": ["q"]}),
    ("AlpacaEval", {"instruction": "q", "output": "a"}, {"instruction": ["q"]}),
    (
        "a task and its input",
        {"instruction": "i", "input": "q"},
        {"instruction": ["i"], "input": ["q"]},
    ),
    ("MT-Bench", {"question_id": 81, "turns": ["q", "and?"]}, {"turns": ["q\nand?"]}),
    ("Arena-Hard", {"turns": [{"content": "q"}]}, {"turns": ["q"]}),
    ("MBPP", {"task_id": 1, "text": "q", "code": "c"}, {"text": ["q"]}),
    ("texts", {"text": "q"}, {"text": ["q"]}),
    ("questions alone", {"messages": ASKED}, {"messages": ["q"]}),
    ("conversations", {"messages": ANSWERED}, {"messages": ["q"]}),
    ("ShareGPT", {"conversations": [{"from": "human", "value": "q"}]}, {"conversations": ["q"]}),
    ("one message", {"prompt": {"role": "user", "content": "q"}}, {"prompt": ["q"]}),
    ("nothing asked", {"question": None, "id": 1}, {"question": []}),
    ("a known format", {"prompt": ASKED, "chosen": "a", "rejected": "b"}, {"trl": ["q"]}),
    ("a flawed row of one", {"prompt": "q", "chosen": 1, "rejected": "b"}, {"prompt": ["q"]}),
]


@pytest.mark.parametrize(
    ("row", "texts"), [case[1:] for case in BENCHMARKS], ids=[case[0] for case in BENCHMARKS]
)
def test_what_a_row_asks(row: JsonObject, texts: dict[str, list[str]]) -> None:
    assert benchmark_texts(row, HERE) == texts


def test_a_row_that_asks_nothing_is_told_what_was_looked_for() -> None:
    with pytest.raises(DataError) as caught:
        benchmark_texts({"id": 1, "stem": "q"}, HERE)
    said = str(caught.value)
    assert said.startswith("bench.jsonl:4: no field of this row asks anything: 'id', 'stem'; ")
    assert all(field in said for field in ASKING)


def pair(prompt: str) -> dict[str, Any]:
    return {"prompt": prompt, "chosen": f"yes, {prompt}", "rejected": "no"}


def contaminated(train: Path, against: Path, **columns: str) -> list[str]:
    """The places of a benchmark that training rows meet, and its format as reported."""
    found = audit([DataSource(str(train))], against=[DataSource(str(against), columns=columns)])
    finding = next(f for f in found.report.findings if f.name == "contaminated")
    (account,) = (file for file in found.report.files if file.role == "against")
    return [account.format, *(example.places[1] for example in finding.examples)]


def test_files_of_benchmarks(write_rows: WriteRows, tmp_path: Path) -> None:
    train = write_rows([pair("What is 2 + 2?"), pair("Say hello.")])
    rows = [{"question": "why?", "answer": "so"}, {"question": "what IS 2 + 2?", "answer": "4"}]
    path = write_rows(rows, "gsm8k.jsonl")
    assert contaminated(train, path) == ["question", f"{path}:2"]
    odd = write_rows([{"stem": "Say hello."}], "odd.jsonl")
    assert contaminated(train, odd, prompt="stem") == ["prompt", f"{odd}:1"]
    listed = tmp_path / "bench.json"
    listed.write_text(json.dumps(rows))
    assert contaminated(train, listed) == ["question", f"{listed}:2"]
    table = tmp_path / "bench.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([["turns"], ["[1]"], ["['Say hello.']"], ["Say hello."]])
    assert contaminated(train, table) == ["turns", f"{table}:4"]
    messages = [{"role": "user", "content": "What is 2 + 2?"}]
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([["messages"], [str(messages)]])
    assert contaminated(train, table) == ["messages", f"{table}:2"]


def test_a_benchmark_with_broken_rows_is_refused(write_rows: WriteRows, tmp_path: Path) -> None:
    bench = tmp_path / "bench.jsonl"
    bench.write_text('{"question": "q"}\n{\n')
    with pytest.raises(DataError, match=r"1 bad row: .*bench\.jsonl:2"):
        audit([DataSource(str(write_rows([pair("q")])))], against=[DataSource(str(bench))])
