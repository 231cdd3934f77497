"""Labels that rewards contradict: verdicts by hand, what is written, and folds that hold out."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay.data.loading import load_groups
from assay.data.sources import DataSource
from assay.errors import AssayError, ConfigError, DataError, OutputError
from assay.model.metadata import Metadata
from assay.score.export.folds import write_folds
from assay.score.export.judging import Thresholds
from assay.score.export.relabel import export_relabelled

Write = Callable[..., DataSource]
BOTH = Thresholds(drop_below=0.4, flip_below=0.1)


def pair(prompt: str, chosen: str, rejected: str, *scores: float, **more: Any) -> dict[str, Any]:
    scored = {"assay": {"scores": [*scores], "model": "m"}} if scores else {}
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **more, **scored}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def made(*rows: dict[str, Any], name: str = "scored.jsonl") -> DataSource:
        path = tmp_path / name
        path.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
        return DataSource(str(path))

    return made


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(
    ("margin", "temperature", "posterior", "verdict"),
    [
        (0.0, 1.0, 0.5, "kept"),
        (-math.log(3), 1.0, 0.25, "dropped"),
        (-math.log(19), 1.0, 0.05, "flipped"),
        (-math.log(19), 4.0, 1 / (1 + 19**0.25), "dropped"),
        (-math.log(1.5), 1.0, 0.4, "kept"),  # Not below.
        (900.0, 1.0, 1.0, "kept"),
        (-900.0, 1.0, 0.0, "flipped"),
    ],
)
def test_verdicts(
    margin: float, temperature: float, posterior: float, verdict: str, write: Write, tmp_path: Path
) -> None:
    source = write(pair("q", "good", "bad", margin, 0.0), pair("r", "good", "bad", 9.0, 0.0))
    thresholds = Thresholds(0.4 - 1e-12, 0.1, temperature)
    export_relabelled([source], tmp_path / "o.jsonl", thresholds)
    changes = lines_of(tmp_path / "o.jsonl.changed.jsonl")
    assert [change["what"] for change in changes] == ([] if verdict == "kept" else [verdict])
    for change in changes:
        assert change["posterior"] == pytest.approx(posterior, abs=1e-15)
        assert change["reward_margin"] == float(str(np.float32(margin)))


def test_what_is_written_and_said(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(
        pair("keep", "12345", "12", 3.0, 1.0, id=7),
        pair("flip", "12", "1234", -4.0, 0.0, margin=2),
        pair("drop", "1", "1234567", 0.0, 1.0),
    )
    output = tmp_path / "o.jsonl"
    export_relabelled([source], output, BOTH)
    said = capsys.readouterr().out.splitlines()
    assert said == [
        f"3 comparisons: 1 kept, 1 flipped, 1 dropped: {output}",
        "before:",
        "  mean margin: -1",  # (2 - 4 - 1) / 3
        "  length bias: chosen is longer in 33.3%, by -1.7 characters on average",  # 3, -2, -6
        "after:",
        "  mean margin: 3",  # (2 + 4) / 2
        "  length bias: chosen is longer in 100.0%, by +2.5 characters on average",  # 3, 2
        f"flipped and dropped, with the reason: {output}.changed.jsonl",
    ]
    kept, turned = load_groups([DataSource(str(output))], group_by="row").groups
    assert kept.extra["id"] == 7
    assert "assay" not in kept.extra
    assert kept.comparisons[0].winner_loser == (0, 1)
    [comparison] = turned.comparisons
    assert comparison.winner_loser == (1, 0)
    assert comparison.margin is None
    assert comparison.tags == {"relabelled": "flipped"}
    flipped, dropped = lines_of(Path(f"{output}.changed.jsonl"))
    assert flipped["reason"] == "posterior below --flip-below 0.1"
    assert dropped == {
        "what": "dropped",
        "reason": "posterior below --drop-below 0.4",
        "posterior": 1 / (1 + math.e),
        "reward_margin": -1.0,
        "row": f"{source.path}:3",
        "prompt": [{"role": "user", "content": "drop"}],
        "chosen": [{"role": "assistant", "content": "1"}],
        "rejected": [{"role": "assistant", "content": "1234567"}],
    }


def test_a_row_of_several_comparisons_loses_only_some(write: Write, tmp_path: Path) -> None:
    row = {
        "assay_group": 1,
        "prompt": [{"role": "user", "content": "q"}],
        "responses": [{"messages": [{"role": "assistant", "content": text}]} for text in "abc"],
        "comparisons": [
            {"a": 0, "b": 1, "outcome": "a"},
            {"a": 0, "b": 2, "outcome": "tie"},
            {"a": 1, "b": 2, "outcome": "b", "weight": 2.0},
        ],
        "rankings": [[[0], [2], [1]]],
        "assay": {"scores": [0.0, 5.0, 4.0], "model": "m"},
    }
    output = tmp_path / "o.jsonl"
    export_relabelled([write(row)], output, BOTH)  # Margins -5 and -1: flipped, dropped.
    [group] = load_groups([DataSource(str(output))], group_by="row").groups
    assert [c.winner_loser for c in group.comparisons] == [(1, 0), None]
    assert group.rankings == ()
    [_, dropped] = lines_of(Path(f"{output}.changed.jsonl"))
    assert (dropped["chosen"][0]["content"], dropped["rejected"][0]["content"]) == ("c", "b")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "neither a threshold"),
        ({"flip_below": 0.6}, "--flip-below: 0.6 would flip labels that the rewards support"),
        ({"drop_below": 0.2, "flip_below": 0.2}, "drops nothing beyond what --flip-below 0.2"),
        ({"drop_below": 0.0}, "0 is no posterior that something is below"),
        ({"drop_below": 0.2, "temperature": 0.0}, "--temperature: 0 is not above 0"),
    ],
)
def test_thresholds_that_cannot_be_meant(given: dict[str, float], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Thresholds(**given)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (pair("q", "a", "b"), "no rewards under assay.scores"),
        (pair("q", "a", "b", 0.0, 9.0), "all 1 comparisons would be dropped"),
        (
            {"prompt": "q", "responses": ["a", "b"], "assay": {"scores": [1.0, 2.0]}},
            "the row has no comparison",
        ),
    ],
)
def test_rows_that_cannot_be_judged(
    row: dict[str, Any], says: str, write: Write, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=says):
        export_relabelled([write(row)], tmp_path / "o.jsonl", Thresholds(drop_below=0.5))
    assert [path.name for path in tmp_path.iterdir()] == ["scored.jsonl"]


ROWS = [pair(f"Prompt {n // 2} {'x' * (n % 2)}".strip(), f"good {n}", "bad") for n in range(20)]


def dealt(write: Write, tmp_path: Path, count: int = 3) -> Path:
    # A prompt in other letters and spaces is the same prompt.
    same = [row | {"prompt": f"  {row['prompt'].upper()} "} for row in ROWS]
    write_folds(write(*ROWS, *same, name="rows.jsonl"), tmp_path / "folds", count)
    return tmp_path / "folds"


def test_folds_hold_out_each_row_once_by_prompt(write: Write, tmp_path: Path) -> None:
    folds = dealt(write, tmp_path)
    rows = lines_of(tmp_path / "rows.jsonl")
    seen = []
    for number in (1, 2, 3):
        held = lines_of(folds / f"fold-{number}.held.jsonl")
        train = lines_of(folds / f"fold-{number}.train.jsonl")
        assert [row for row in rows if row in held] == held
        assert [row for row in rows if row not in held] == train
        prompts = [
            {" ".join(r["prompt"].casefold().split()) for r in part} for part in (held, train)
        ]
        assert not prompts[0] & prompts[1]
        assert len(prompts[0]) in (6, 7)  # Of 20.
        seen += held
    assert len(seen) == len(rows)
    again = write_folds(DataSource(str(tmp_path / "rows.jsonl")), tmp_path / "again", 3)
    other = write_folds(DataSource(str(tmp_path / "rows.jsonl")), tmp_path / "other", 3, seed=1)
    first = json.loads((folds / "folds.json").read_text())["folds"]
    assert [fold.held_sha256 for fold in again] == [fold["held_sha256"] for fold in first]
    assert [fold.held_sha256 for fold in other] != [fold["held_sha256"] for fold in first]


def scored_folds(folds: Path, tmp_path: Path) -> list[DataSource]:
    """Each fold with rewards, and the directory of a model that says what it was trained on."""
    record = json.loads((folds / "folds.json").read_text())["folds"]
    sources = []
    for number, fold in enumerate(record, 1):
        model = tmp_path / f"model-{number}"
        model.mkdir()
        (model / "config.json").write_text("{}")
        data = {f"fold-{number}.train.jsonl": fold["train_sha256"]}
        Metadata("t", "", "", "text", "", data=data).write(model)
        path = tmp_path / f"scored-{number}.jsonl"
        about = {"scores": [1.0, 0.0], "model": str(model)}
        rows = (row | {"assay": about} for row in lines_of(folds / fold["held"]))
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        sources.append(DataSource(str(path)))
    return sources


def test_only_models_that_have_not_seen_a_fold_judge_it(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folds = dealt(write, tmp_path)
    sources = scored_folds(folds, tmp_path)
    output = tmp_path / "o.jsonl"

    def export(*given: DataSource) -> None:
        export_relabelled(given, output, Thresholds(drop_below=0.5), folds=folds, overwrite=True)

    export(*reversed(sources))
    assert capsys.readouterr().out.startswith("40 comparisons: 40 kept, 0 flipped, 0 dropped: ")
    with pytest.raises(DataError, match=r"scores are missing: fold-3\.held\.jsonl"):
        export(*sources[:2])
    with pytest.raises(DataError, match=r"is fold-1\.held\.jsonl again"):
        export(sources[0], *sources)
    first, second = (Path(source.path) for source in sources[:2])
    whole = first.read_bytes()
    first.write_bytes(whole.replace(b"model-1", b"model-2"))
    with pytest.raises(DataError, match=r"was not trained on fold-1\.train\.jsonl alone"):
        export(*sources)
    first.write_bytes(whole.replace(b"model-1", b"model-9"))
    with pytest.raises(DataError, match="nobody can see what its model"):
        export(*sources)
    first.write_bytes(b"".join(whole.splitlines(keepends=True)[1:]))
    with pytest.raises(DataError, match="does not hold the rows of one fold"):
        export(*sources)
    second.write_text("{}\n")
    with pytest.raises(DataError, match="is not a file of JSON lines that `assay score` wrote"):
        export(sources[1])


def test_folds_that_cannot_be_made(write: Write, tmp_path: Path) -> None:
    source = write(*ROWS[:2])
    with pytest.raises(DataError, match="has 2 prompts, too few for 3 folds"):
        write_folds(source, tmp_path / "folds", 3)
    assert not (tmp_path / "folds").exists()
    (tmp_path / "folds").mkdir()
    with pytest.raises(OutputError, match="is there already"):
        write_folds(source, tmp_path / "folds", 2)
    with pytest.raises(AssayError, match="standard input cannot be read twice"):
        write_folds(DataSource("-"), tmp_path / "more", 2)


@pytest.mark.parametrize("output", ["scored.jsonl", "x.jsonl"])
def test_a_scored_file_is_never_overwritten(output: str, write: Write, tmp_path: Path) -> None:
    rows = (pair("q", "good", "bad", 2.0, 0.0), pair("r", "good", "bad", 9.0, 0.0))
    source = write(*rows)
    if output == "x.jsonl":  # Whose list of changes it is.
        name = tmp_path / "x.jsonl.changed.jsonl"
        source = DataSource(str(Path(source.path).rename(name)))
    before = Path(source.path).read_bytes()
    with pytest.raises(OutputError, match="is the input"):
        export_relabelled([source], tmp_path / output, Thresholds(0.3), overwrite=True)
    assert Path(source.path).read_bytes() == before
