"""`assay probe`: from rows and a model to a table, a verdict and two files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import Assay, Models, Ran, cvalues_rows, nothing_left_behind

WriteRows = Callable[..., Path]

NAMES = (
    "filler",
    "repeated",
    "sycophantic-opener",
    "expert-opener",
    "judge-injection",
    "bullets",
    "markdown-fences",
    "trailing-whitespace",
    "truncated",
    "empty",
    "other-prompt",
    "other-language",
)


@pytest.fixture
def probe(assay: Assay, models: Models, write_rows: WriteRows, tmp_path: Path) -> Any:
    def run(rows: list[Any], *flags: object) -> tuple[Ran, dict[str, Any], list[dict[str, Any]]]:
        out = tmp_path / "out"
        path = write_rows(rows)
        fixed = ("--input", path, "--output", out, "--overwrite")
        ran = assay("probe", "--model", models.reward, *fixed, *flags)
        if not (out / "probe.json").exists():
            return ran, {}, []
        lines = (out / "probe.jsonl").read_text(encoding="utf-8").splitlines()
        return ran, json.loads((out / "probe.json").read_text("utf-8")), [*map(json.loads, lines)]

    return run


def test_table_verdict_and_files(probe: Any) -> None:
    ran, found, rows = probe(cvalues_rows(6), "--limit", 4)
    assert ran.code == 0, ran.err
    assert max(map(len, ran.out.splitlines()[:-1])) <= 100
    for name in NAMES:
        assert f"│ {name} " in ran.out
    assert "\nverdict: " in ran.out
    assert (found["rows"], found["num_prompts"], found["num_answers"]) == (6, 4, 4)
    assert found["prompts_not_drawn"] == 2
    assert {row["transform"] for row in found["transforms"]} == set(NAMES)
    originals = {row["row"]: row for row in rows if row["transform"] is None}
    assert len(originals) == 4
    assert all(row["answer"].startswith("a good answer") for row in originals.values())
    for numbers in found["transforms"]:
        own = [row for row in rows if row["transform"] == numbers["transform"]]
        assert len(own) == numbers["n"]
        assert numbers["n"] + sum(numbers["left_out"].values()) == 4
        for row in own:
            before = originals[row["row"]]
            assert row["shift"] == pytest.approx(row["reward"] - before["reward"])
        if own:
            mean = sum(row["shift"] for row in own) / len(own)
            assert numbers["mean_shift"] == pytest.approx(mean)


def test_the_same_seed_gives_the_same_bytes(probe: Any, tmp_path: Path) -> None:
    files = [tmp_path / "out" / name for name in ("probe.json", "probe.jsonl")]
    found = []
    for seed in (3, 3, 4):
        probe(cvalues_rows(12), "--limit", 3, "--seed", seed)
        found.append([path.read_bytes() for path in files])
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_rows_without_comparisons_and_named_transforms(probe: Any) -> None:
    """Both answers to a prompt are probed; two scripts make the foreign answer possible."""
    rows = [
        {"prompt": "how are you?", "responses": ["I am very well today.", "So so, I would say."]},
        {"prompt": "你好吗？", "responses": ["我今天很好。"]},
    ]
    ran, found, lines = probe(rows, "--transform", "other-language", "--transform", "empty")
    assert ran.code == 0, ran.err
    assert found["median_margin"] is None
    assert "margins" not in ran.out
    assert (found["num_prompts"], found["num_answers"]) == (2, 3)
    foreign = [row["answer"] for row in lines if row["transform"] == "other-language"]
    assert foreign[:2] == ["我今天很好。"] * 2
    assert {row["transform"] for row in lines} == {None, "other-language", "empty"}


def test_special_tokens_in_an_answer_are_read_as_the_model_reads_them(probe: Any) -> None:
    rows = [{"prompt": f"q {n}?", "response": f"a <|im_end|> b {n} c d"} for n in range(2)]
    ran, found, _ = probe(rows, "--transform", "empty", "--transform", "repeated")
    assert ran.code == 0, ran.err
    assert "2 special tokens are written out inside messages; read as: text" in ran.err
    assert found["num_answers"] == 2


def test_a_reasoning_that_nobody_reads_is_said(probe: Any, tmp_path: Path) -> None:
    """ChatML writes `content` alone; what stands beside it is not scored, in any of the answers."""
    rows = [
        {
            "prompt": f"q {n}?",
            "responses": [
                [{"role": "assistant", "content": f"a {n} b c d", "reasoning_content": "hm"}]
            ],
        }
        for n in range(2)
    ]
    ran, _, _ = probe(rows, "--transform", "repeated")
    assert ran.code == 0, ran.err
    assert "leaves out the reasoning of 2 responses" in ran.err


def test_results_that_are_there_are_kept(
    probe: Any, assay: Assay, models: Models, write_rows: WriteRows, tmp_path: Path
) -> None:
    rows = [*cvalues_rows(3), {"prompt": 3}]
    probe(rows, "--transform", "empty", "--on-bad-row", "skip")
    path, out = tmp_path / "rows.jsonl", tmp_path / "out"
    argv = ("probe", "--model", models.reward, "--input", path, "--output", out)
    with nothing_left_behind(tmp_path):
        ran = assay(*argv)
    assert (ran.code, len(ran.errors)) == (2, 1)
    assert "probe.json: is there already; add --overwrite" in ran.errors[0]
    assert (out / "bad_rows.jsonl").exists()
    probe(cvalues_rows(3), "--transform", "empty")
    assert sorted(path.name for path in out.iterdir()) == ["probe.json", "probe.jsonl"]


def test_the_list_needs_no_model(assay: Assay) -> None:
    ran = assay("probe", "--transform", "list")
    assert ran.code == 0
    for name in NAMES:
        assert name in ran.out


@pytest.mark.parametrize(
    ("rows", "flags", "says"),
    [
        (cvalues_rows(3), ["--transform", "louder"], "there is no transform 'louder'"),
        (cvalues_rows(1), [], "leaves 1 of the two prompts"),
        ([{"prompt": 3, "response": "x"}, {"prompt": "a", "response": "b"}], [], "1 bad row"),
        (cvalues_rows(3), ["--max-length", "9999"], "beyond the model's context"),
        ([{"text": "as it stands"}], [], "verbatim texts"),
        ([{"prompt": "a", "response": " "}, {"prompt": "b", "response": " "}], [], "leaves 0 of"),
    ],
)
def test_a_mistake_is_one_clear_error(
    rows: list[Any], flags: list[str], says: str, probe: Any, tmp_path: Path
) -> None:
    ran, found, _ = probe(rows, *flags)
    assert ran.code == 2
    assert len(ran.errors) == 1
    assert says in ran.errors[0]
    assert not found


def test_what_is_missing_or_a_file_is_refused_first(
    assay: Assay, models: Models, write_rows: WriteRows, tmp_path: Path
) -> None:
    path = write_rows(cvalues_rows(3))
    with nothing_left_behind(tmp_path):
        ran = assay("probe", "--input", path)
        assert "missing option '--model'" in ran.errors[0]
        ran = assay("probe", "--model", models.reward)
        assert "missing option '--input'" in ran.errors[0]
        ran = assay("probe", "--model", models.reward, "--input", path, "--output", path)
        assert "is a file" in ran.errors[0]
        assert ran.code == 2


def test_bad_rows_are_put_aside(probe: Any, tmp_path: Path) -> None:
    ran, found, _ = probe([*cvalues_rows(3), {"prompt": 3}], "--on-bad-row", "skip")
    assert ran.code == 0, ran.err
    assert (found["rows"], found["bad_rows"]) == (4, 1)
    assert (tmp_path / "out" / "bad_rows.jsonl").exists()
    assert "1 bad row" in ran.out
