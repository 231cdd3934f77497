"""Scores of the real command against what plain transformers makes of the same directory.

The tiny sister of benchmarks/score_parity.py. Rewards here are of size 1 and come out of two
layers of width 32, so float32 leaves about 1e-6 of noise; 1e-5 is ten times that, and what a
wrong position, mask or text does is above 1e-2.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from assay import RewardModel
from assay.cli.entry import app
from assay.config import ModelConfig
from assay.model.loading import build_for_training
from assay.model.saving import save_plain

Message = dict[str, str]
TOLERANCE = 1e-5
BATCH = 8


def turns(*contents: str) -> list[Message]:
    """A conversation in which user and assistant take turns."""
    return [
        {"role": "assistant" if number % 2 else "user", "content": content}
        for number, content in enumerate(contents)
    ]


def rows() -> list[dict[str, Any]]:
    """20 rows: 1 to 11 turns, English and Chinese, answers empty, blank, short and long."""
    kinds: list[tuple[list[Message], str, list[str]]] = [
        ([], "Why is the sky blue?", ["Rayleigh scattering. " * 9, "Because."]),
        (turns("Hi", "Hello! What now?"), "Tell me a joke.", ["", "No."]),
        ([], "今天心情不好，怎么办？", ["先歇一歇，再和朋友聊聊。" * 4, ""]),
        (
            turns("怎么还钱？", "欠了多少？", "三千元。", "分期吧。"),
            "怎么分？",
            ["每月五百。", "  "],
        ),
        (
            [{"role": "system", "content": "Be brief."}],
            "Name a colour.",
            ["Blue\n", "\nred, green,\n\nand 蓝色"],
        ),
    ]
    return [
        {
            "prompt": [*opening, *turns(*["And 你?", "Fine."] * talk, question)],
            "responses": answers,
        }
        for talk in range(4)
        for opening, question, answers in kinds
    ]


def conversations() -> list[list[Message]]:
    return [
        [*row["prompt"], {"role": "assistant", "content": response}]
        for row in rows()
        for response in row["responses"]
    ]


@pytest.fixture(scope="module", params=["none", "eos"])
def model(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny_base: Path
) -> Path:
    """A saved reward model; texts end with a newline after the end token, or with the end token.

    The base pads with its end token, which also stands inside every text (T1, T2, T22).
    """
    config = ModelConfig(path=str(tiny_base), template_end=request.param)
    built = build_for_training(config, None, seed=7, max_length=512, device="cpu")
    directory = tmp_path_factory.mktemp(f"parity-{request.param}")
    save_plain(built, directory)
    return directory


@pytest.fixture(scope="module")
def scored(model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[float], list[int]]:
    """Scores and token counts that the command writes, response by response."""
    folder = tmp_path_factory.mktemp("scored")
    source, output = folder / "rows.jsonl", folder / "scored.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows()), encoding="utf-8")
    command = ["score", "--model", str(model), "--input", str(source), "--output", str(output)]
    app([*command, "--device", "cpu", "--dtype", "float32"], standalone_mode=False)
    lines = [json.loads(line)["assay"] for line in output.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == 20
    return (
        [score for line in lines for score in line["scores"]],
        [count for line in lines for count in line["num_tokens"]],
    )


def test_scores_equal_transformers_padded_batches(
    model: Path, scored: tuple[list[float], list[int]]
) -> None:  # T1, T2, T3, T5, T8, T10, T31
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model, padding_side="right")
    classifier = AutoModelForSequenceClassification.from_pretrained(model, dtype=torch.float32)
    rewards: list[float] = []
    lengths: list[int] = []
    padding = 0
    texts = conversations()
    for start in range(0, len(texts), BATCH):
        batch = tokenizer.apply_chat_template(
            texts[start : start + BATCH], padding=True, return_dict=True, return_tensors="pt"
        )
        with torch.inference_mode():
            rewards += classifier.eval()(**batch).logits[:, 0].tolist()
        lengths += batch["attention_mask"].sum(1).tolist()
        padding += int((batch["attention_mask"] == 0).sum())
    assert padding > sum(lengths) / 4, "the rows are to differ in length, or padding proves nothing"
    assert scored[1] == lengths
    assert scored[0] == pytest.approx(rewards, rel=0, abs=TOLERANCE)
    # Rewards differ by far more than the tolerance, so that a mix-up of rows would be seen.
    assert torch.tensor(rewards).std() > 1000 * TOLERANCE


def test_a_score_does_not_depend_on_what_stands_beside_it(
    model: Path, scored: tuple[list[float], list[int]]
) -> None:  # T42
    loaded = RewardModel.load(str(model), device="cpu", dtype="float32")
    alone = [loaded.score(text[:-1], [text[-1]])[0] for text in conversations()]
    assert scored[0] == pytest.approx(alone, rel=0, abs=TOLERANCE)
