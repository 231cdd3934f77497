"""`assay score` as a job on the command line: streams, shards, transforms, composite rewards."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
from running import Assay, Models, cvalues_rows

from assay.model.rounding import shortest

WriteRows = Callable[..., Path]


@pytest.fixture
def rows(write_rows: WriteRows) -> Path:
    return write_rows(cvalues_rows(6))


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_standard_input_to_standard_output(
    assay: Assay, models: Models, rows: Path, tmp_path: Path
) -> None:
    output, data = tmp_path / "o.jsonl", rows.read_bytes()
    flags = ("--model", models.reward)
    assert assay("score", *flags, "--input", rows, "--output", output).code == 0
    ran = assay("score", *flags, "--input", "-", "--output", "-", stdin=data)
    assert (ran.code, ran.errors) == (0, [])
    said = (
        r"note: 6 rows, 12 rewards\nnote: engine: tree, tokens: \d+, computed: \d+ \(\d+% saved\)\n"
    )
    assert re.fullmatch(said, ran.err)
    assert ran.out == output.read_text(encoding="utf-8")
    bad = data + b"{oops\n"
    refused = assay("score", *flags, "--input", "-", "--output", "-", stdin=bad)
    assert (refused.code, refused.out) == (2, "")
    assert "stdin:7: is not valid JSON" in refused.err
    skip = ("--on-bad-row", "skip")
    skipped = assay("score", *flags, "--input", "-", "--output", "-", *skip, stdin=bad)
    assert (skipped.code, skipped.out) == (0, ran.out)
    assert skipped.err.startswith("warning: not scored: stdin:7: is not valid JSON")
    assert "\nwarning: 1 bad row was not scored\n" in skipped.err


def test_shards_and_merge(assay: Assay, models: Models, rows: Path, tmp_path: Path) -> None:
    flags = ("--model", models.reward, "--input", rows)
    outputs = [tmp_path / f"{index}.jsonl" for index in (1, 2)]
    for index, output in enumerate(outputs, 1):
        shard = ("--shard", f"{index}/2", "--output", output)
        assert assay("score", *flags, *shard).code == 0
    assert outputs[1].read_bytes() == b""  # Six rows are one window.
    whole, merged = tmp_path / "whole.jsonl", tmp_path / "merged.jsonl"
    assert assay("score", *flags, "--output", whole).code == 0
    ran = assay("score", "--merge", *outputs, "--output", merged)
    assert (ran.code, ran.err, ran.out) == (0, "", f"6 rows, 12 rewards: {merged}\n")
    assert merged.read_bytes() == whole.read_bytes()
    missing = assay("score", "--merge", outputs[0], "--output", tmp_path / "x.jsonl")
    assert missing.err == (
        "error: missing: shard 2 of 2; give the output of each shard of one job, once\n"
    )


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--merge"], "--output is missing"),
        (["--merge", "--output", "o"], "--merge takes the outputs of shards; name each"),
        (["--merge", "a", "--output", "o", "--model", "m"], "--model has no use with --merge"),
        (["a.jsonl", "--model", "m"], "unexpected argument 'a.jsonl'"),
        (
            ["--model", "m", "--shard", "3/2", "--input", "sample:values", "--output", "o"],
            "--shard",
        ),
        (["--model", "m", "--prompt", "q", "--response", "a", "--shard", "1/2"], "--shard is for"),
    ],
)
def test_flags_that_do_not_go_together(
    flags: list[str], says: str, assay: Assay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = assay("score", *flags)
    assert ran.code == 2
    assert len(ran.errors) == 1
    assert says in ran.err
    assert list(tmp_path.iterdir()) == []


def test_zscore_with_the_models_reference(
    assay: Assay, models: Models, rows: Path, tmp_path: Path
) -> None:
    model, output = tmp_path / "model", tmp_path / "o.jsonl"
    shutil.copytree(models.reward, model)
    flags = ("--model", model, "--input", rows, "--output", output, "--overwrite")
    none = assay("score", *flags, "--transform", "zscore")
    assert none.code == 2
    assert "holds no reference for zscore; make one by scoring typical rows" in none.err
    made = assay("score", *flags, "--write-reference")
    assert made.code == 0, made.err
    assert made.out.endswith(f"reference for zscore: {model}/assay_reference.json\n")
    assert assay("score", *flags, "--transform", "zscore").code == 0
    found = lines_of(output)
    rewards = [score for line in found for score in line["assay"]["scores"]]
    zscores = [score for line in found for score in line["assay"]["zscore"]]
    mean, std = fmean(rewards), stdev(rewards)
    assert zscores == pytest.approx([(reward - mean) / std for reward in rewards])
    by_hand = ("--prompt", "q", "--response", "a", "--transform", "temperature=0.5")
    printed = assay("score", "--model", model, *by_hand).out
    [raw] = re.findall(r"reward score: \[\[(.*)\]\]", printed)
    assert printed.splitlines()[-1] == f"temperature: {shortest(float(raw) * 2)}"


def test_a_composite_reward(assay: Assay, models: Models, rows: Path, tmp_path: Path) -> None:
    plain, summed = tmp_path / "plain.jsonl", tmp_path / "summed.jsonl"
    file = tmp_path / "reward.yaml"
    file.write_text(
        f"models:\n  - {{name: a, model: {models.reward}, weight: 2}}\n"
        "  - {name: b, weight: -1}\n"
        "length: {per_character: 0.01}\nrules:\n  - {name: bad, when: {contains: bad}, add: -1}\n"
    )
    io = ("--input", rows, "--output")
    assert assay("score", "--model", models.reward, *io, plain).code == 0
    ran = assay("score", "--reward", file, "--model", models.adapter, *io, summed)
    assert ran.code == 0, ran.err
    for row, before, after in zip(lines_of(rows), lines_of(plain), lines_of(summed), strict=True):
        assert after["assay"]["model"] == str(file)
        texts = (row["pos_resp"].strip(), row["neg_resp"].strip())
        both = zip(texts, before["assay"]["scores"], after["assay"]["scores"], strict=True)
        for index, (text, raw, total) in enumerate(both):
            parts = after["assay"]["components"][index]
            assert parts["a"] == raw
            assert parts["length"] == pytest.approx(-0.01 * len(text))
            assert parts["bad"] == (-1 if "bad" in text else 0)
            assert total == pytest.approx(2 * raw - parts["b"] + parts["length"] + parts["bad"])
    hand = ("--prompt", "question 0?", "--response", "a bad answer")
    shown = assay("score", "--reward", file, "--model", models.adapter, *hand).out
    assert "bad: -1.0\n" in shown
    assert f"a: {lines_of(plain)[0]['assay']['scores'][1]}\n" in shown
    missing = assay("score", "--reward", file, *io, tmp_path / "x.jsonl")
    assert (
        "reward.yaml:3: the part 'b' names no model; add model, or give --model, too" in missing.err
    )


def test_thoughts_that_the_template_leaves_out_are_told(
    assay: Assay, models: Models, write_rows: WriteRows, tmp_path: Path
) -> None:
    thinking = {"role": "assistant", "content": "Yes.", "reasoning_content": "Hm, is it?"}
    rows = write_rows([{"prompt": "Why?", "responses": [[thinking], "No."]}])
    ran = assay("score", "--model", models.reward, "--input", rows, "--output", tmp_path / "o")
    assert ran.code == 0
    assert "leaves out the reasoning of 1 responses" in ran.err


def test_an_interrupted_job_leaves_what_is_done_or_nothing(
    assay: Assay, models: Models, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from assay.score.rewarder import OneModel

    def interrupted(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    output = tmp_path / "new" / "o.jsonl"
    flags = ("score", "--model", models.reward, "--input", rows, "--output", output)
    with monkeypatch.context() as patch:
        patch.setattr(OneModel, "score", interrupted)
        ran = assay(*flags)
    assert ran.code == 130
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]
    assert assay(*flags).code == 0


def test_answers_by_hand_as_a_row(assay: Assay, models: Models, tmp_path: Path) -> None:
    output = tmp_path / "o.jsonl"
    hand = ("--model", models.reward, "--prompt", "Why?", "--response", "So.", "--response", "深")
    printed = assay("score", *hand)
    rewards = [float(one) for one in re.findall(r"reward score: \[\[(.*)\]\]", printed.out)]
    shown = assay("score", *hand, "--output", "-", "--transform", "temperature=0.5")
    assert (shown.code, shown.err) == (0, "")
    written = assay("score", *hand, "--output", output, "--transform", "temperature=0.5")
    assert written.out == f"1 row, 2 rewards: {output}\n"
    assert output.read_text(encoding="utf-8") == shown.out
    [row] = lines_of(output)
    assert (row["prompt"], row["responses"]) == ("Why?", ["So.", "深"])
    assert row["assay"]["scores"] == rewards
    assert row["assay"]["temperature"] == [shortest(reward * 2) for reward in rewards]
    again = tmp_path / "again.jsonl"
    flags = ("--transform", "temperature=0.5", "--output", again)
    rows = output.with_name("rows.jsonl")
    rows.write_text(json.dumps({"prompt": row["prompt"], "responses": row["responses"]}) + "\n")
    assert assay("score", "--model", models.reward, "--input", rows, *flags).code == 0
    assert lines_of(again)[0]["assay"] == row["assay"]
    assert "is there already" in assay("score", *hand, "--output", output).err
    assert "name it .jsonl" in assay("score", *hand, "--output", tmp_path / "o.parquet").err


def test_no_command_overwrites_its_input(
    assay: Assay, models: Models, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = rows.read_bytes()
    (tmp_path / "link.jsonl").symlink_to(rows)
    flags = ("--model", models.reward, "--overwrite", "--on-bad-row", "skip")
    for output in (rows, "rows.jsonl", "./rows.jsonl", "link.jsonl"):
        ran = assay("score", *flags, "--input", rows, "--output", output)
        assert (ran.code, len(ran.errors)) == (2, 1)
        assert "is the input" in ran.err
        assert "which is never overwritten; name another output" in ran.err
    with rows.open("rb") as file:
        monkeypatch.setattr("sys.stdin", file)
        ran = assay("score", *flags, "--input", "-", "--output", "rows.jsonl")
    assert (ran.code, "is the input" in ran.err) == (2, True)
    assert rows.read_bytes() == before


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc")
def test_an_output_that_cannot_be_made_is_told_by_its_own_name(
    assay: Assay, models: Models, rows: Path
) -> None:
    output = "/proc/self/o.jsonl"
    ran = assay("score", "--model", models.reward, "--input", rows, "--output", output)
    assert ran.code == 2
    assert ran.errors[0].startswith(f"error: {output}: ")
    assert "parts" not in ran.err


@pytest.mark.parametrize(
    ("tokens", "computed", "says"),
    [(1000, 1, "99% saved"), (100, 91, "9% saved"), (10, 10, "0% saved"), (10, 15, "50% more")],
)
def test_what_is_saved_is_rounded_down(
    tokens: int, computed: int, says: str, models: Models
) -> None:
    from assay.model.loading import load_reward_model
    from assay.score.command import _work_said
    from assay.score.rewarder import OneModel

    by = OneModel(load_reward_model(str(models.reward)), "m")
    assert _work_said(by, tokens, computed).endswith(f"({says})")
