"""`assay export` on the command line, from rows that `assay score` wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import Assay, Models, cvalues_rows


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def scored(assay: Assay, models: Models, write_rows: Callable[..., Path], tmp_path: Path) -> Path:
    output = tmp_path / "scored.jsonl"
    rows = write_rows(cvalues_rows(4))
    assert assay("score", "--model", models.reward, "--input", rows, "--output", output).code == 0
    return output


def test_pairs_and_answers(assay: Assay, scored: Path, tmp_path: Path) -> None:
    pairs, best = tmp_path / "pairs.jsonl", tmp_path / "best.jsonl"
    ran = assay("export", "dpo", "--scores", scored, "--for", "trl", "--output", pairs)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"4 prompts, 4 pairs: {pairs}\nmean margin: ")
    for pair, known in zip(lines_of(pairs), lines_of(scored), strict=True):
        scores, texts = (
            known["assay"]["scores"],
            (known["pos_resp"].strip(), known["neg_resp"].strip()),
        )
        better = max((0, 1), key=lambda at: scores[at])
        assert pair["chosen"] == [{"role": "assistant", "content": texts[better]}]
        assert pair["margin"] == float(str(np.float32(max(scores) - min(scores))))
    label = ("--for", "handbook", "--select", "label", "--overwrite", "--output", pairs)
    assert assay("export", "dpo", "--scores", scored, *label).code == 0
    assert [pair["score_chosen"] for pair in lines_of(pairs)] == [
        known["assay"]["scores"][0] for known in lines_of(scored)
    ]
    assert assay("export", "best-of-n", "--scores", scored, "--output", best).code == 0
    assert len(best.read_text().splitlines()) == 4
    top = ("--top-k", 2, "--overwrite", "--output", best)
    ran = assay("export", "sft", "--scores", scored, *top)
    assert ran.out.startswith(f"4 prompts, 8 answers: {best}\nmean reward: ")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["dpo", "--for", "tlr", "--output", "o.jsonl"], "did you mean 'trl'?"),
        (["dpo", "--for", "trl", "--output", "o.csv"], "'.csv' files are not written"),
        (["dpo", "--for", "trl", "--select", "best", "--output", "o.jsonl"], "--select"),
        (["dpo", "--for", "trl", "--min-margin", "99", "--output", "o.jsonl"], "nothing is left"),
        (["sft", "--min-reward", "99", "--output", "o.jsonl"], "nothing is left to write"),
        (["dpo", "--output", "o.jsonl"], "--for"),
    ],
)
def test_what_is_refused(
    flags: list[str],
    says: str,
    assay: Assay,
    scored: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = assay("export", *flags, "--scores", scored)
    assert ran.code == 2
    assert len(ran.errors) == 1
    assert says in ran.err
    assert not list(tmp_path.glob("o.*"))
