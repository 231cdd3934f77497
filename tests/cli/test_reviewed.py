"""What a review found: each was wrong once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from running import Assay, Models, cvalues_rows

from assay.config import ModelConfig
from assay.errors import DataError, ModelError
from assay.model.loading import build_for_training, load_reward_model
from assay.model.locate import locate_model
from assay.model.saving import save_plain


def write(path: Path, rows: list[Any]) -> Path:
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_a_run_counts_left_out_rows_as_eval_does(
    assay: Assay, models: Models, tmp_path: Path
) -> None:
    same = {"prompt": "q", "pos_resp": "same", "neg_resp": "same", "pos_type": "", "neg_type": ""}
    train = write(tmp_path / "train.jsonl", cvalues_rows(4))
    test = write(tmp_path / "test.jsonl", [*cvalues_rows(3), same, "{oops"])
    run = tmp_path / "run"
    flags = ["--data.on_bad_row", "skip", "--train.max_steps", 1, "--train.max_length", 256]
    flags += ["--data.max_dropped", 1]
    data = ["--data.train", train, "--data.eval", test]
    trained = assay("train", "--model.path", models.base, "--output_dir", run, *data, *flags)
    assert trained.code == 0, trained.err
    again = ["--output", tmp_path / "again", "--on-bad-row", "skip"]
    assert assay("eval", "--model", run, "--input", test, *again).code == 0
    ours = json.loads((run / "eval" / "test" / "results.json").read_text(encoding="utf-8"))
    theirs = json.loads((tmp_path / "again" / "results.json").read_text(encoding="utf-8"))
    for key in ("accuracy", "skipped", "rows", "bad_rows", "input_sha256", "format"):
        assert ours[key] == theirs[key], key
    assert ours["rows"] == ours["num_comparisons"] + ours["skipped"]["count"] + ours["bad_rows"]
    assert (run / "bad_rows.test.jsonl").exists()


def test_rows_that_a_template_refuses_are_bad_rows(
    assay: Assay, models: Models, tmp_path: Path
) -> None:
    turns = [{"role": role, "content": "x"} for role in ("user", "assistant", "user")]
    rows = [{"prompt": "q", "responses": ["a"]}, *[{"prompt": turns, "responses": ["a"]}] * 2]
    file, output = write(tmp_path / "rows.jsonl", rows), tmp_path / "out.jsonl"
    argv = ["score", "--model", models.reward, "--template", "cvalues-zh", "--input", file]
    refused = assay(*argv, "--output", output)
    assert refused.code == 2
    assert "2 bad rows" in refused.err
    assert "rows.jsonl:2" in refused.err
    assert "rows.jsonl:3" in refused.err
    assert assay(*argv, "--output", output, "--on-bad-row", "skip").code == 0
    assert len(output.read_text(encoding="utf-8").splitlines()) == 1
    assert len((tmp_path / "out.jsonl.bad.jsonl").read_text(encoding="utf-8").splitlines()) == 2


def test_a_missing_file_is_said_before_a_model_is_opened(assay: Assay, tmp_path: Path) -> None:
    ran = assay(
        *("train", "--model.path", tmp_path / "no-model", "--data.train", tmp_path / "no.jsonl"),
        *("--output_dir", tmp_path / "run"),
    )
    assert ran.code == 2
    assert "no.jsonl: no such file" in ran.err


def test_a_run_does_not_delete_what_it_reads(assay: Assay, models: Models, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train = write(tmp_path / "train.jsonl", cvalues_rows(3))
    argv = ["--data.train", train, "--output_dir", run, "--train.max_steps", 1]
    length = ["--train.max_length", 256]
    assert assay("train", "--model.path", models.base, *argv, *length).code == 0
    ran = assay("train", "--model.path", run / "model", *argv, *length, "--overwrite")
    assert ran.code == 2
    assert "--overwrite would delete" in ran.err
    assert (run / "model" / "config.json").exists()


def test_several_processes_are_refused(
    assay: Assay, models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    train = write(tmp_path / "train.jsonl", cvalues_rows(3))
    argv = ["--model.path", models.base, "--data.train", train, "--output_dir", tmp_path / "run"]
    ran = assay("train", *argv)
    assert ran.code == 2
    assert "start it with torchrun" in ran.err
    assert not (tmp_path / "run").exists()


def test_an_adapters_head_stays_float32_on_a_bfloat16_base(models: Models, tmp_path: Path) -> None:
    base = build_for_training(
        ModelConfig(path=str(models.base)), None, seed=1, max_length=64, device="cpu"
    )
    save_plain(base, tmp_path, torch.bfloat16)
    exact = load_reward_model(str(models.adapter), base=str(tmp_path), dtype="float32").head_weight
    narrow = load_reward_model(str(models.adapter), base=str(tmp_path), dtype="bfloat16")
    assert exact is not None
    assert narrow.head_weight is not None
    assert narrow.head_weight.dtype == torch.float32
    assert torch.equal(narrow.head_weight, exact)


def test_a_directory_has_no_revision(models: Models) -> None:
    with pytest.raises(ModelError, match="only hub models have revisions"):
        locate_model(str(models.base), "v2")


def test_registered_templates_do_not_drop_tool_calls(
    assay: Assay, models: Models, tmp_path: Path
) -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
    turn = {"role": "assistant", "content": None, "tool_calls": [call]}
    file = write(tmp_path / "rows.jsonl", [{"prompt": "q", "responses": [[turn]]}])
    argv = ["render", "--model", models.reward, "--input", file, "--template"]
    for template in ("chatml", "cvalues-zh", "homework"):
        ran = assay(*argv, template)
        assert ran.code == 2
        assert "no place for tools" in ran.err


def test_the_template_of_a_model_keeps_its_name(
    assay: Assay, models: Models, tmp_path: Path
) -> None:
    config = ModelConfig(path=str(models.base), template="chatml")
    (tmp_path / "model").mkdir()
    trained = build_for_training(config, None, seed=1, max_length=64, device="cpu")
    save_plain(trained, tmp_path / "model")
    file = write(tmp_path / "rows.jsonl", cvalues_rows(1))
    ran = assay("render", "--model", tmp_path / "model", "--input", file)
    assert "template: chatml (hash " in ran.out


def test_bytes_that_are_no_text_are_refused_by_hand(assay: Assay, models: Models) -> None:
    ran = assay("score", "--model", models.reward, "--prompt", "\udcff", "--response", "a")
    assert ran.code == 2
    assert "not UTF-8 text" in ran.err


def test_a_foreign_adapter_reads_with_its_bases_tokenizer(models: Models, tmp_path: Path) -> None:
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (tmp_path / name).write_bytes((models.adapter / name).read_bytes())
    ours = load_reward_model(str(models.adapter)).score("q", ["a"])
    assert load_reward_model(str(tmp_path)).score("q", ["a"]) == ours


def test_one_response_is_not_read_as_its_letters(models: Models) -> None:
    with pytest.raises(DataError, match="a list of responses"):
        load_reward_model(str(models.reward)).score("What is 2+2?", "4.")
