"""What is read: numbers of all comparisons, lines of a few, logs; where whatever is wrong is."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from report_runs import (
    comparison_rows,
    evaluation,
    log_lines,
    probe,
    run,
    write_json,
    write_lines,
)

from assay.errors import AssayError
from assay.report import find
from assay.report.comparisons import read_comparisons
from assay.report.training_log import read_log


def refused(directory: Path, probe: Path | None = None) -> str:
    with pytest.raises(AssayError) as caught:
        find(directory, rows=3, probe=probe)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_the_worst_and_the_closest(tmp_path: Path) -> None:
    rewards = [(1.0, 0.0), (0.0, 2.0), (0.0, 0.1), (0.3, 0.3), (0.0, 5.0), (0.2, 0.0), (3.0, 0.0)]
    rows = comparison_rows(len(rewards))
    for row, (better, worse) in zip(rows, rewards, strict=True):
        row |= {"chosen_reward": better, "rejected_reward": worse}
    found = read_comparisons(write_lines(tmp_path / "c.jsonl", rows), 2)
    assert [row["row"] for row in found.mistakes] == ["rows.jsonl:5", "rows.jsonl:2"]
    assert [row["row"] for row in found.closest] == ["rows.jsonl:4", "rows.jsonl:3"]
    assert found.num_mistakes == 4  # Three losses and a tie.
    assert found.margin_C.tolist() == pytest.approx([b - w for b, w in rewards])
    assert found.prompt_C.tolist() == [0, 0, 0, 1, 1, 1, 2]


def test_a_row_is_in_one_list_only_and_no_rows_are_kept_on_wish(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "c.jsonl", comparison_rows(60))
    found = read_comparisons(path, 10)
    both = [row["row"] for row in (*found.mistakes, *found.closest)]
    assert len(found.mistakes) == len(found.closest) == 10
    assert len(set(both)) == 20
    none = read_comparisons(path, 0)
    assert none.mistakes == none.closest == []
    assert none.num_mistakes == found.num_mistakes > 0


def test_an_answer_in_several_comparisons_counts_once(tmp_path: Path) -> None:
    row = comparison_rows(1)[0]
    found = read_comparisons(write_lines(tmp_path / "c.jsonl", [row, row]), 1)
    assert len(found.reward_A) == 2
    stored = row | {"chosen_tokens": None, "rejected_tokens": None}
    found = read_comparisons(write_lines(tmp_path / "c.jsonl", [stored, row]), 1)
    assert found.longer_C is None


def test_the_log(tmp_path: Path) -> None:
    log = read_log(run(tmp_path / "run", steps=40))
    assert log.steps == list(range(1, 41))
    assert log.total("num_comparisons") == 320
    assert [one.step for one in log.evaluations["test"]] == [10, 20, 30, 40]
    assert (log.num_steps, log.begun, log.is_cut) == (40, 2, False)
    assert "stopped early" in log.said


def test_a_line_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    directory = run(tmp_path / "run", steps=3, sets=())
    with (directory / "train_log.jsonl").open("a") as file:
        file.write('{"kind": "train", "st')
    log = read_log(directory)
    assert (log.steps, log.is_cut) == ([1, 2, 3], True)


def test_numbers_that_are_missing_or_not_finite(tmp_path: Path) -> None:
    directory = run(tmp_path / "run", steps=2, sets=())
    lines = log_lines(2)
    lines[0] |= {"accuracy": None, "grad_norm": math.nan}
    del lines[1]["peak_memory_bytes"]
    (directory / "train_log.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    log = read_log(directory)
    assert math.isnan(log.numbers["accuracy"][0])
    assert math.isnan(log.numbers["grad_norm"][0])
    assert log.total("peak_memory_bytes") == 2**30


BROKEN = [
    ("eval/test/results.json", '{\n "accuracy": 0.5,\n oops}', "results.json:3: is no JSON"),
    ("eval/test/results.json", "[]", "results.json:1: holds no JSON object"),
    ("eval/test/results.json", "{}", "results.json: is no result of assay eval"),
    ("eval/test/comparisons.jsonl", "{}\n", "comparisons.jsonl:1: lacks 'chosen_reward'"),
    ("eval/test/comparisons.jsonl", "", "comparisons.jsonl: holds no comparison"),
    ("eval/test/comparisons.jsonl", '{"group": 1, "chosen_reward": NaN}\n', ":1: 'chosen_reward'"),
    ("train_log.jsonl", '{"kind": "train"}\n', "train_log.jsonl:1: lacks 'step'"),
    ("train_log.jsonl", "{}\n{oops\n", "train_log.jsonl:1: lacks 'kind'"),
    ("train_log.jsonl", "", "is a run that has logged no step yet"),
    ("run.json", "{", "run.json:1: is no JSON"),
    ("recipe.resolved.yaml", "a: [\nb: {", "recipe.resolved.yaml:"),
    ("recipe.resolved.yaml", "3", "recipe.resolved.yaml: is no recipe"),
    ("probe/probe.json", "{}", "probe.json: is no result of assay probe"),
    ("bad_rows.jsonl", "oops\n", "bad_rows.jsonl:1: is no JSON"),
]


@pytest.mark.parametrize(("name", "content", "said"), BROKEN)
def test_what_is_broken_is_named_with_its_line(
    tmp_path: Path, name: str, content: str, said: str
) -> None:
    sets = () if name == "train_log.jsonl" and not content else ("test",)
    directory = run(tmp_path / "run", steps=2, sets=sets)
    (directory / name).write_text(content, encoding="utf-8")
    message = refused(directory)
    assert said in message
    assert "; " in message  # The mend.


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    directory = evaluation(tmp_path / "e", 3)
    whole = (directory / "comparisons.jsonl").read_bytes()
    (directory / "comparisons.jsonl").write_bytes(whole + b'{"a": "\xff"}\n')
    assert "comparisons.jsonl:4: is no UTF-8" in refused(directory)
    (directory / "results.json").write_bytes(b'{\n"\xff": 1}')
    assert "results.json:2: is no UTF-8" in refused(directory)


def test_halves_are_named(tmp_path: Path) -> None:
    assert "there is no such directory" in refused(tmp_path / "nothing")
    assert "is no run: it has no recipe.resolved.yaml" in refused(tmp_path)
    directory = run(tmp_path / "run", steps=2)
    (directory / "eval/test/comparisons.jsonl").rename(directory / "away")
    assert "comparisons.jsonl is not there; evaluate again" in refused(directory)
    (directory / "run.json").unlink()
    assert "is half of a run: run.json is not there" in refused(directory)
    half = evaluation(tmp_path / "half")
    (half / "results.json").unlink()
    assert "is half of an evaluation" in refused(half)
    probed = write_json(tmp_path / "probed" / "probe.json", probe()).parent
    assert "give this directory as --probe" in refused(probed)
    assert "holds no probe.json" in refused(evaluation(tmp_path / "e"), probe=tmp_path)


def test_a_comparison_more_or_less_is_told(tmp_path: Path) -> None:
    directory = evaluation(tmp_path / "e", 6)
    write_lines(directory / "comparisons.jsonl", comparison_rows(5))
    assert "holds 5 comparisons, and results.json is of 6" in refused(directory)


def test_results_by_their_file_and_of_all_checkpoints(tmp_path: Path) -> None:
    for step in (9, 10):
        evaluation(tmp_path / "all" / f"step-{step}")
    found = find(tmp_path / "all", rows=1)
    assert [one.name for one in found.sets] == ["step-9", "step-10"]
    alone = find(tmp_path / "all" / "step-9" / "results.json", rows=1)
    assert [one.name for one in alone.sets] == ["step-9"]
