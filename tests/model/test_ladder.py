"""Which engine a model gets: never a wrong one, and the fastest of the right ones."""

from __future__ import annotations

import json
import logging
import random
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from families import OBSTACLES, small_config
from torch import Tensor, nn

from assay.config import Recipe
from assay.data.rendering import TokenIds
from assay.errors import ConfigError
from assay.model import ladder
from assay.model.engine import EngineName
from assay.model.ladder import choose_engine, obstacle
from assay.model.loading import load_reward_model
from assay.model.reward_model import RewardModel
from assay.model.rewards import rewards_of_sequences
from assay.model.selfcheck import Verdict, verdict_on
from assay.model.twin import twin_of
from tests.conftest import no_metadata

RIGHT, WRONG = 1e-6, 1e-4
NO_READER: Any = None
"""Renderer and metadata of the twins here: no text is read."""

PACKABLE = ("llama", "gemma2", "gpt2")
FAMILIES = (*PACKABLE, *OBSTACLES)
ENGINES: tuple[EngineName, ...] = ("tree", "packed", "padded")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers of the self-check are kept for this file alone."""
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path_factory.getbasetemp() / "ladder-cache"))


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[logging.LogRecord]]:
    """What Assay says to the user."""
    logger, records = logging.getLogger("assay"), list[logging.LogRecord]()
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    monkeypatch.setattr(logger, "handlers", [handler])
    monkeypatch.setattr(logger, "propagate", False)
    held = logger.level
    logger.setLevel(logging.INFO)
    yield records
    logger.setLevel(held)


def model_of(family: str, **changes: Any) -> RewardModel:
    return RewardModel(twin_of(small_config(family, **changes)), NO_READER, no_metadata())


def sequences() -> tuple[list[TokenIds], list[int]]:
    """Two groups, of three and two."""
    draw = random.Random(0)

    def tokens(count: int) -> TokenIds:
        return tuple(draw.randrange(1, 99) for _ in range(count))

    first, second = tokens(14), tokens(9)
    three = [first + tokens(count) for count in (5, 1, 12)]
    return [*three, *(second + tokens(count) for count in (7, 3))], [0, 0, 0, 1, 1]


@torch.no_grad()
def stock_rewards(model: RewardModel) -> Tensor:
    """Transformers' own classifier with its own attention, one sequence at a time."""
    return torch.stack(
        [
            model.classifier(
                input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)).long()
            ).logits[0, 0]
            for ids in sequences()[0]
        ]
    )


@torch.no_grad()
def error_of(model: RewardModel, expected_R: Tensor) -> float:
    """Norm-wise, of the rewards of everything in one forward pass where the engine can."""
    given, families = sequences()
    found_R = rewards_of_sequences(model, given, max_tokens=1000, families=families)
    return float((found_R - expected_R).norm() / expected_R.norm())


@pytest.mark.parametrize("family", FAMILIES)
def test_auto_takes_the_fastest_engine_that_is_right(
    family: str, said: list[logging.LogRecord]
) -> None:
    model = model_of(family)
    expected_R = stock_rewards(model)
    assert float(expected_R.std()) > 1000 * RIGHT, "else a mix-up would not be seen"
    choose_engine(model)
    lines = [record.getMessage() for record in said]
    if family in PACKABLE:
        assert (model.engine.name, lines) == ("tree", [])
        assert obstacle(model) is None
    else:
        assert model.engine.name == "padded"
        reason = OBSTACLES[family]
        assert obstacle(model) == reason
        assert lines == [f"engine padded, since tree is not right for this model: {reason}"]
    assert error_of(model, expected_R) <= RIGHT


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("family", PACKABLE)
def test_an_engine_that_is_right_can_be_forced(
    family: str, engine: EngineName, said: list[logging.LogRecord]
) -> None:
    model = model_of(family)
    expected_R = stock_rewards(model)
    choose_engine(model, engine)
    assert model.engine.name == engine
    assert not said
    assert error_of(model, expected_R) <= RIGHT


@pytest.mark.parametrize("engine", ["tree", "packed"])
@pytest.mark.parametrize("family", OBSTACLES)
def test_a_wrong_engine_cannot_be_forced(family: str, engine: EngineName) -> None:
    model = model_of(family)
    own = model.classifier.config._attn_implementation
    expected_R = stock_rewards(model)
    with pytest.raises(ConfigError) as raised:
        choose_engine(model, engine)
    assert str(raised.value) == (
        f"engine {engine} is not right for this model: {OBSTACLES[family]}; use --engine auto"
    )
    # The model is as it was.
    assert model.engine.name == "padded"
    assert model.classifier.config._attn_implementation == own
    assert error_of(model, expected_R) <= RIGHT


@pytest.mark.parametrize("family", OBSTACLES)
def test_padded_can_always_be_forced(family: str, said: list[logging.LogRecord]) -> None:
    model = model_of(family)
    choose_engine(model, "padded")
    assert model.engine.name == "padded"
    assert not said


@pytest.mark.parametrize("engine", ["tree", "packed"])
@pytest.mark.parametrize("family", ["bloom", "falcon", "qwen3_next"])
def test_the_self_check_alone_would_see_it(family: str, engine: EngineName) -> None:
    """The gate only saves time, and names the reason."""
    fault = verdict_on(model_of(family), engine).fault
    assert fault is not None
    found = re.fullmatch(r"rewards or gradients are wrong by (\S+) on a small model .*", fault)
    assert found is None or float(found[1]) > WRONG


def test_an_unknown_engine_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(ConfigError) as raised:
        choose_engine(model_of("llama"), "nonsense")
    assert str(raised.value) == ("unknown engine 'nonsense'; known: auto, tree, packed, padded")


def test_a_model_that_keeps_the_layout_from_its_attention_falls_back(
    said: list[logging.LogRecord],
) -> None:
    """StableLM's layers drop what they do not know. Our attention refuses, and that is no crash."""
    model = model_of("stablelm")
    expected_R = stock_rewards(model)
    choose_engine(model)
    assert model.engine.name == "padded"
    [record] = said
    start = "engine padded, since tree is not right for this model: it fails on a small model"
    assert record.getMessage().startswith(start)
    assert "computes packs of Assay only" in record.getMessage()
    assert error_of(model, expected_R) <= RIGHT


def test_a_model_with_masks_of_its_own_falls_back() -> None:
    """Doge masks all but a few keys by itself, and may choose padding: even padded may be wrong."""
    model = model_of("doge")
    choose_engine(model)
    assert model.engine.name == "padded"


# What the gate sees


def test_lora_is_no_obstacle() -> None:
    from peft import LoraConfig, TaskType, get_peft_model

    from assay.model.classifier import quiet_transformers

    model = model_of("llama")
    config = LoraConfig(task_type=TaskType.SEQ_CLS, target_modules="all-linear", r=2)
    with quiet_transformers():
        model.inner = get_peft_model(model.inner, config)
    assert obstacle(model) is None


def test_a_model_that_reads_both_ways_is_an_obstacle() -> None:
    model = model_of("llama")
    model.classifier.config.is_causal = False
    assert obstacle(model) == "its tokens see those after them"


def test_chunks_are_an_obstacle() -> None:
    model = model_of("llama")
    model.classifier.config.attention_chunk_size = 16
    assert obstacle(model) == "its attention is cut into chunks"


def test_convolutions_are_an_obstacle() -> None:
    model = model_of("llama")
    model.classifier.model.mixer = nn.Conv1d(4, 4, 3)
    assert obstacle(model) == "it has convolutions over the sequence"


# What the self-check says decides


def faults(**found: str) -> Callable[[RewardModel, EngineName], Verdict]:
    return lambda model, engine: Verdict(found.get(engine))


def test_packed_is_taken_where_only_the_tree_is_wrong(
    said: list[logging.LogRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ladder, "verdict_on", faults(tree="rewards are wrong by 1"))
    model = model_of("llama")
    expected_R = stock_rewards(model)
    choose_engine(model)
    assert model.engine.name == "packed"
    [record] = said
    assert record.levelno == logging.INFO
    assert record.getMessage() == (
        "engine packed, since tree is not right for this model: rewards are wrong by 1"
    )
    assert error_of(model, expected_R) <= RIGHT


@pytest.mark.parametrize("choice", ["auto", "padded"])
def test_where_no_engine_is_right_padded_is_taken_with_a_warning(
    said: list[logging.LogRecord], monkeypatch: pytest.MonkeyPatch, choice: str
) -> None:
    monkeypatch.setattr(ladder, "verdict_on", faults(tree="wrong", packed="odd", padded="bad"))
    model = model_of("llama")
    choose_engine(model, choice)
    assert model.engine.name == "padded"
    [record] = said
    assert record.levelno == logging.WARNING
    assert "engine padded: bad" in record.getMessage()


# The command line


Run = Callable[..., tuple[int, str]]


@pytest.fixture
def assay(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Runs `assay ARGV...` in this process; gives its exit code and all that it printed."""
    from assay.cli import main

    logger = logging.getLogger("assay")
    held = logger.handlers[:], logger.level, logger.propagate

    def run(*argv: object) -> tuple[int, str]:
        logger.handlers.clear()
        monkeypatch.setattr(sys, "argv", ["assay", *map(str, argv)])
        with pytest.raises(SystemExit) as exited:
            main()
        captured = capfd.readouterr()
        code = exited.value.code
        assert code is None or isinstance(code, int)
        return code or 0, captured.out + captured.err

    yield run
    logger.handlers[:], logger.level, logger.propagate = held


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The engine of each model whose rewards are computed, at its last forward pass."""
    names: list[str] = []
    forward = RewardModel.forward

    def recording(self: RewardModel, batch: Any) -> Tensor:
        names[:] = [self.engine.name]
        return forward(self, batch)

    monkeypatch.setattr(RewardModel, "forward", recording)
    return names


def rows() -> list[dict[str, Any]]:
    """Three comparisons a prompt, answers of several lengths."""
    kinds = {"good": "拒绝&正向建议", "plain": "拒绝为主", "bad": "风险回复"}
    answers = {kind: f"a {kind} answer " + "so " * (3 * len(kind)) for kind in kinds}
    return [
        {"prompt": f"question {number}?", "pos_resp": answers[a], "neg_resp": answers[b]}
        | {"pos_type": kinds[a], "neg_type": kinds[b]}
        for number in range(6)
        for a, b in (("good", "plain"), ("good", "bad"), ("plain", "bad"))
    ]


def test_score_gives_the_same_rewards_with_every_engine(
    assay: Run, used: list[str], tiny_reward: Path, write_rows: Callable[..., Path], tmp_path: Path
) -> None:
    given = [
        {"prompt": row["prompt"], "responses": [row["pos_resp"], row["neg_resp"], "no"]}
        for row in rows()
    ]
    file, scores = write_rows(given), {}
    for engine in ("auto", *ENGINES):
        output = tmp_path / f"{engine}.jsonl"
        flags = ("--engine", engine, "--output", output)
        code, text = assay("score", "--model", tiny_reward, "--input", file, *flags)
        assert code == 0, text
        assert used.pop() == ("tree" if engine == "auto" else engine)
        lines = output.read_text(encoding="utf-8").splitlines()
        scores[engine] = [s for line in lines for s in json.loads(line)["assay"]["scores"]]
    assert len(scores["tree"]) == 54
    assert scores["auto"] == scores["tree"]
    for engine in ("packed", "padded"):
        assert scores[engine] == pytest.approx(scores["tree"], rel=0, abs=1e-6)
    assert torch.tensor(scores["tree"]).std() > 1e-3


def test_score_by_hand_takes_an_engine(assay: Run, used: list[str], tiny_reward: Path) -> None:
    hand = ("--prompt", "Why?", "--response", "So.", "--response", "Because.")
    printed = {}
    for engine in ENGINES:
        code, text = assay("score", "--model", tiny_reward, *hand, "--engine", engine)
        assert code == 0, text
        assert used.pop() == engine
        found = re.findall(r"reward score: \[\[(.*)\]\]", text)
        printed[engine] = [float(number) for number in found]
    assert len(printed["tree"]) == 2
    assert printed["packed"] == pytest.approx(printed["tree"], rel=0, abs=1e-6)
    assert printed["padded"] == pytest.approx(printed["tree"], rel=0, abs=1e-6)


def test_eval_names_the_engine_and_gives_the_same_rewards(
    assay: Run, tiny_reward: Path, write_rows: Callable[..., Path], tmp_path: Path
) -> None:
    file, margins = write_rows(rows()), {}
    for engine in ("auto", *ENGINES):
        output = tmp_path / engine
        flags = ("--engine", engine, "--output", output)
        code, text = assay("eval", "--model", tiny_reward, "--input", file, *flags)
        assert code == 0, text
        results = json.loads((output / "results.json").read_text(encoding="utf-8"))
        assert results["engine"] == ("tree" if engine == "auto" else engine)
        lines = (output / "comparisons.jsonl").read_text(encoding="utf-8").splitlines()
        margins[engine] = [json.loads(line)["margin"] for line in lines]
    assert len(margins["tree"]) == 18
    for engine in ENGINES:
        assert margins[engine] == pytest.approx(margins["auto"], rel=0, abs=1e-6)


@pytest.mark.parametrize("command", ["eval", "score", "train", "--train.engine"])
def test_nonsense_is_refused_before_anything_is_read(
    assay: Run, tmp_path: Path, command: str
) -> None:
    flags: tuple[object, ...] = ("--model", tmp_path, "--input", "x", "--output", tmp_path / "o")
    train = ("--model.path", tmp_path, "--data.train", "x", "--output_dir", tmp_path / "o")
    argv = {
        "eval": ("eval", *flags, "--engine", "nonsense"),
        "score": ("score", *flags, "--engine", "nonsense"),
        "train": ("train", *train, "--engine", "nonsense"),
        "--train.engine": ("train", *train, "--train.engine", "nonsense"),
    }[command]
    code, text = assay(*argv)
    assert code == 2
    assert text.startswith("error: ")
    assert text.count("\n") == 1
    assert "nonsense" in text
    for engine in ("auto", *ENGINES):
        assert engine in text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("flag", ["--engine", "--train.engine"])
def test_train_with_an_engine(
    assay: Run,
    tiny_base: Path,
    write_rows: Callable[..., Path],
    tmp_path: Path,
    flag: str,
) -> None:
    from transformers import AutoConfig

    file, run = write_rows(rows()), tmp_path / "run"
    code, text = assay(
        *("train", "--model.path", tiny_base, "--data.train", file, "--data.eval", file),
        *("--output_dir", run, "--train.max_length", 128, "--train.max_steps", 2),
        *("--train.global_batch_size", 3, flag, "packed"),
    )
    assert code == 0, text
    assert "engine packed, packs of at most" in text
    assert json.loads((run / "run.json").read_text(encoding="utf-8"))["engine"] == "packed"
    [results] = run.glob("eval/*/results.json")
    assert json.loads(results.read_text(encoding="utf-8"))["engine"] == "packed"
    written = (run / "recipe.resolved.yaml").read_text(encoding="utf-8")
    assert Recipe.model_validate(yaml.safe_load(written)).train.engine == "packed"
    assert "assay" not in (run / "model" / "config.json").read_text(encoding="utf-8")
    assert AutoConfig.from_pretrained(run / "model").architectures == [
        "LlamaForSequenceClassification"
    ]
    assert load_reward_model(str(run)).engine.name == "tree"
