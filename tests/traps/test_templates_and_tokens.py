"""What reaches the model is the template's text and nothing else, and no code comes with it."""

from __future__ import annotations

import io
import json
import logging
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assay.config import Recipe
from assay.data.rendering import load_tokenizer
from assay.errors import AssayError
from assay.model.loading import load_reward_model
from assay.train.loop import train
from tests.conftest import WriteRows

SOME_CLOSED = (
    "{% for message in messages %}{{ message.content }}{% endfor %}"
    "{{ eos_token if messages[-1].content | length > 3 }}"
)
"""Closes long answers only: short ones are read at another token."""


@pytest.mark.parametrize(("short", "warned"), [("no", True), ("none", False)])
def test_texts_that_do_not_end_alike_are_said(
    short: str,
    warned: bool,
    tiny_base: Path,
    tmp_path: Path,
    write_rows: WriteRows,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # T11.
    (tmp_path / "some.jinja").write_text(SOME_CLOSED, encoding="utf-8")
    rows = write_rows([{"prompt": f"{n}?", "chosen": "long", "rejected": short} for n in range(3)])
    recipe = Recipe.model_validate(
        {
            "model": {"path": str(tiny_base), "template": str(tmp_path / "some.jinja")},
            "data": {"train": str(rows)},
            "train": {"max_steps": 1, "max_length": 64, "device": "cpu"}
            | {"max_tokens_per_pack": 64, "learning_rate": 1e-3},
            "output_dir": str(tmp_path / "run"),
        }
    )
    monkeypatch.setattr(logging.getLogger("assay"), "propagate", True)
    caplog.set_level(logging.WARNING, logger="assay")
    train(recipe)
    said = [message for message in caplog.messages if "do not all end with the same" in message]
    assert len(said) == warned
    if warned:
        assert "'<|im_end|>' 3, 'o' 3" in said[0]


# T14: whoever publishes a directory may put Python files into it.


def with_code(directory: Path, ran: Path) -> None:
    """Put a module into a directory that leaves a mark when it is imported."""
    (directory / "mine.py").write_text(
        f"open({str(ran)!r}, 'w').close()\n"
        "from transformers import PretrainedConfig, PreTrainedTokenizerFast\n"
        "class MineConfig(PretrainedConfig):\n    model_type = 'mine'\n"
        "class MineTokenizer(PreTrainedTokenizerFast):\n    pass\n"
    )


def edit(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def code_of_a_model(directory: Path) -> object:
    names = {"AutoConfig": "mine.MineConfig", "AutoModelForSequenceClassification": "mine.Mine"}
    edit(directory / "config.json", model_type="mine", auto_map=names)
    return load_reward_model(str(directory))


def code_beside_a_known_model(directory: Path) -> object:
    names = {"AutoConfig": "mine.MineConfig", "AutoModelForSequenceClassification": "mine.Mine"}
    edit(directory / "config.json", auto_map=names)
    return load_reward_model(str(directory))


def code_of_a_tokenizer(directory: Path) -> object:
    (directory / "config.json").unlink()
    names = {"AutoTokenizer": [None, "mine.MineTokenizer"]}
    edit(directory / "tokenizer_config.json", tokenizer_class="MineTokenizer", auto_map=names)
    return load_tokenizer(str(directory))


@pytest.mark.parametrize("answer", ["y\n", ""])
@pytest.mark.parametrize(
    "load",
    [code_of_a_model, code_beside_a_known_model, code_of_a_tokenizer],
)
def test_code_of_a_directory_is_never_run_and_never_asked_about(
    load: Callable[[Path], Any],
    answer: str,
    tiny_reward: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    directory = shutil.copytree(tiny_reward, tmp_path / "m")
    with_code(directory, tmp_path / "ran")
    monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
    if load is code_beside_a_known_model:
        assert load(directory).score("q", ["a"])  # By transformers' own class.
    else:
        with pytest.raises(AssayError):
            load(directory)
    assert not (tmp_path / "ran").exists()
    # A row of data on stdin must not be taken for an answer, nor a question for a score.
    assert sys.stdin.read() == answer
    assert capsys.readouterr().out == ""
