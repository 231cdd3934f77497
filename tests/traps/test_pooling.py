"""Where a sequence is read: at its own last token, whatever stands beside it (T3, T4, T6)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from assay.data.rendering import TokenIds
from assay.model.batch import PaddedBatch
from assay.model.loading import load_reward_model
from assay.model.rewards import rewards_of_sequences, score_sequences

ENGINES = ("tree", "packed", "padded")
QUESTION: TokenIds = (1, 40, 41, 42)
SEQUENCES: list[TokenIds] = [
    (*QUESTION, 7),
    (*QUESTION, 2, 9, 2),
    (*QUESTION, *range(60, 90), 2),
    (*QUESTION, *range(61, 89), 2),
    (50, *range(60, 89), 2, 0, 11),
]
"""Some so alike in length that they are padded together; the end token (2) and the padding token
(0) stand inside, too."""


@pytest.mark.parametrize("engine", ENGINES)
def test_the_side_on_which_a_tokenizer_pads_changes_no_bit(
    engine: str, tiny_reward: Path, tmp_path: Path
) -> None:
    # T3.
    left = shutil.copytree(tiny_reward, tmp_path / "left")
    config = left / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"padding_side": "left"}))
    models = [load_reward_model(str(path), engine=engine) for path in (tiny_reward, left)]
    assert models[1].renderer.tokenizer.padding_side == "left"
    first, second = (score_sequences(model, SEQUENCES) for model in models)
    assert first == second


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("side", ["left", "right", "none"])
def test_transformers_gives_our_rewards_on_whichever_side_it_pads(
    side: Any, engine: str, tiny_reward: Path
) -> None:
    # T3.
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    ours = torch.tensor(
        score_sequences(load_reward_model(str(tiny_reward), engine=engine), SEQUENCES)
    )
    stock = AutoModelForSequenceClassification.from_pretrained(tiny_reward).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_reward)
    batches = [[ids] for ids in SEQUENCES] if side == "none" else [SEQUENCES]
    if side != "none":
        tokenizer.padding_side = side
    theirs = []
    for batch in batches:
        given = tokenizer.pad({"input_ids": [list(ids) for ids in batch]}, return_tensors="pt")
        with torch.no_grad():
            theirs += stock(
                input_ids=given["input_ids"], attention_mask=given["attention_mask"]
            ).logits[:, 0]
    # float32, two layers: some tens of roundings of 6e-8; rewards differ by tenths.
    assert ours.std() > 0.05
    assert float((ours - torch.stack(theirs)).abs().max()) < 1e-5


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_length_of_the_other_response_does_not_move_where_one_is_read(
    order: tuple[int, int], tiny_reward: Path
) -> None:
    # T4: both read at the longer one's end would give the shorter one the reward of padding.
    model = load_reward_model(str(tiny_reward), dtype="float64", engine="padded")
    pair: list[TokenIds] = [(*QUESTION, 7, 2), (*QUESTION, *range(60, 90), 2)]
    together = PaddedBatch.of([pair[place] for place in order], 2, model.device)
    with torch.no_grad():
        found = model(together)
        alone = [model(PaddedBatch.of([pair[place]], 2, model.device))[0] for place in order]
    assert together.last_N.tolist() == [len(pair[place]) - 1 for place in order]
    # float64 weights; norms and softmax of transformers are float32 inside.
    assert float((found - torch.stack(alone)).abs().max()) < 1e-6
    assert abs(float(found[0] - found[1])) > 1e-2


@pytest.mark.parametrize("engine", ENGINES)
def test_a_packed_pair_does_not_move_another(engine: str, tiny_reward: Path) -> None:
    # T6: an edited token of one pair, at its beginning, middle or end, is seen by that pair alone.
    model = load_reward_model(str(tiny_reward), dtype="float64", engine=engine)
    poisoned: list[TokenIds] = [
        (*QUESTION, 99, 60, 61, 62, 2),
        (*QUESTION, 99, 70, 71, 2),
        (*QUESTION[:3], 43, 80, 81, 2),
        (*QUESTION[:3], 43, 90, 91, 92, 2),
    ]
    families = [0, 0, 1, 1]
    with torch.no_grad():
        before = rewards_of_sequences(model, poisoned, max_tokens=4096, families=families)
        for token in (4, 6, 8):
            first = list(poisoned[0])
            first[token] = 33
            edited: list[TokenIds] = [tuple(first), *poisoned[1:]]
            after = rewards_of_sequences(model, edited, max_tokens=4096, families=families)
            moved = (after - before).abs()
            assert moved[0] > 1e-3
            assert float(moved[1:].max()) < 1e-7
