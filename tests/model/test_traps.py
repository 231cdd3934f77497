"""What transformers 5.23 silently computes wrongly on a packed row, and that we do not meet it.

The first half is about transformers alone. Each call is compared with its own eager classifier on
one sequence at a time, in float64, where a right call differs by 1e-6 (it takes softmax and norms
in float32 all the same) and a wrong one by 1e-2. If a wrong call becomes right, or the other way
round, a new transformers has changed what the tree engine's design rests on.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from families import small_config
from torch import Tensor, nn

from assay.config import LoraConfig, ModelConfig
from assay.data.rendering import TokenIds
from assay.errors import ModelError
from assay.model.batch import PaddedBatch
from assay.model.loading import build_for_training, load_reward_model
from assay.model.reward_model import RewardModel
from assay.model.rewards import rewards_of_sequences, score_sequences
from assay.model.saving import save_adapter, save_plain
from assay.model.twin import twin_of
from assay.tree.attention import NAME
from tests.conftest import no_metadata

RIGHT, WRONG = 1e-5, 1e-4
WINDOW = 6
"""Of every twin that has one."""

NO_READER: Any = None
"""Renderer and metadata of the twins here: no text is read."""
ONLY_PACKS = "computes packs of Assay only"

FAMILIES = ("llama", "qwen3", "mistral", "gemma2")


def twin(family: str) -> Any:
    return twin_of(small_config(family))


def _pair() -> tuple[int, TokenIds, TokenIds]:
    draw = random.Random(0)
    prompt, chosen, rejected = (
        tuple(draw.randrange(1, 99) for _ in range(count)) for count in (14, 6, 8)
    )
    return len(prompt), prompt + chosen, prompt + rejected


PROMPT, CHOSEN, REJECTED = _pair()


class Row:
    """Two sequences in one row, by hand: ids, positions, the scored rows, who sees whom."""

    def __init__(self, *, shared: int) -> None:
        self.ids = [*CHOSEN, *REJECTED[shared:]]
        self.positions = [*range(len(CHOSEN)), *range(shared, len(REJECTED))]
        self.scored = [len(CHOSEN) - 1, len(self.ids) - 1]
        own = len(CHOSEN)
        sees = torch.ones(len(self.ids), len(self.ids)).tril().bool()
        sees[own:, shared:own] = False
        self.sees_TT = sees

    def within_window(self) -> Tensor:
        """The mask of a layer with a window, in positions of the tree."""
        position_T = torch.tensor(self.positions)
        return self.sees_TT & (position_T[:, None] - position_T[None, :] < WINDOW)


TREE, PLAIN = Row(shared=PROMPT), Row(shared=0)


@torch.no_grad()
def alone(model: Any) -> Tensor:
    """The rewards by transformers' classifier, eager, one sequence at a time."""
    held = model.config._attn_implementation
    model.set_attn_implementation("eager")
    rewards = [model(input_ids=torch.tensor([ids])).logits[0, 0] for ids in (CHOSEN, REJECTED)]
    model.set_attn_implementation(held)
    return torch.stack(rewards)


@torch.no_grad()
def errors_of(model: Any, row: Row, **call: Any) -> list[float]:
    """How far the rewards at both scored rows are from those alone."""
    hidden_1TD = model.model(
        input_ids=torch.tensor([row.ids]), position_ids=torch.tensor([row.positions]), **call
    ).last_hidden_state
    reward_R = model.score(hidden_1TD[0, row.scored])[:, 0]
    error_R: Tensor = (reward_R - alone(model)).abs()
    return error_R.tolist()


def stock(family: str, attention: str = "sdpa") -> Any:
    model = twin(family)
    model.set_attn_implementation(attention)
    model.config.use_cache = True  # As every published decoder has it.
    return model


causal_families = pytest.mark.parametrize("family", ["llama", "qwen3"])
ones = torch.ones(1, len(PLAIN.ids), dtype=torch.long)


@causal_families
@pytest.mark.parametrize(
    ("row", "call"),
    [
        pytest.param(TREE, {"use_cache": False}, id="tree positions without a mask"),
        pytest.param(TREE, {}, id="tree positions without a mask, use_cache unset"),
        pytest.param(PLAIN, {}, id="packed, use_cache unset"),
        pytest.param(PLAIN, {"use_cache": True}, id="packed, use_cache true"),
        pytest.param(
            PLAIN, {"use_cache": False, "attention_mask": ones}, id="packed, a mask of ones"
        ),
    ],
)
def test_stock_sdpa_is_wrong_in_silence(family: str, row: Row, call: dict[str, Any]) -> None:
    first, second = errors_of(stock(family), row, **call)
    assert first <= RIGHT
    assert second > WRONG


@causal_families
@pytest.mark.parametrize(
    ("row", "mask"),
    [
        pytest.param(PLAIN, None, id="packed, no mask"),
        pytest.param(PLAIN, PLAIN.sees_TT, id="packed, 4D"),
        pytest.param(TREE, TREE.sees_TT, id="tree, 4D"),
    ],
)
def test_stock_sdpa_is_right(family: str, row: Row, mask: Tensor | None) -> None:
    four = None if mask is None else mask[None, None]
    assert max(errors_of(stock(family), row, use_cache=False, attention_mask=four)) <= RIGHT


@causal_families
def test_stock_eager_adds_a_boolean_mask(family: str) -> None:
    call = {"use_cache": False, "attention_mask": TREE.sees_TT[None, None]}
    assert min(errors_of(stock(family, "eager"), TREE, **call)) > WRONG
    call["attention_mask"] = as_summand(TREE.sees_TT)
    assert max(errors_of(stock(family, "eager"), TREE, **call)) <= RIGHT


def as_summand(sees_TT: Tensor) -> Tensor:
    return torch.zeros(1, 1, *sees_TT.shape, dtype=torch.float64).masked_fill(~sees_TT, -torch.inf)


def test_a_4d_mask_replaces_the_window() -> None:
    model = stock("mistral")
    without, within = TREE.sees_TT[None, None], TREE.within_window()[None, None]
    assert min(errors_of(model, TREE, use_cache=False, attention_mask=without)) > WRONG
    assert max(errors_of(model, TREE, use_cache=False, attention_mask=within)) <= RIGHT


def test_a_4d_mask_must_be_given_for_each_kind_of_layer() -> None:
    model = stock("gemma2", "eager")
    assert set(model.config.layer_types) == {"full_attention", "sliding_attention"}
    full, sliding = as_summand(TREE.sees_TT), as_summand(TREE.within_window())
    for mask in (full, sliding):
        assert min(errors_of(model, TREE, use_cache=False, attention_mask=mask)) > WRONG
    each = {"full_attention": full, "sliding_attention": sliding}
    assert max(errors_of(model, TREE, use_cache=False, attention_mask=each)) <= RIGHT


@pytest.mark.parametrize("engine", ["tree", "packed"])
@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_ours_is_right_whatever_the_config_says(family: str, use_cache: bool, engine: Any) -> None:
    classifier = twin(family)
    expected = alone(classifier)
    classifier.config.use_cache = use_cache
    model = RewardModel(classifier, NO_READER, no_metadata())
    model.use_engine(engine)
    with torch.no_grad():
        found = rewards_of_sequences(model, [CHOSEN, REJECTED], max_tokens=99, families=[0, 0])
    assert model.computed.passes == 1
    assert model.computed.tokens == len((TREE if engine == "tree" else PLAIN).ids)
    assert float((found - expected).abs().max()) <= RIGHT


# Our attention without a layout


def with_adapters(classifier: nn.Module) -> nn.Module:
    from peft import LoraConfig as PeftConfig
    from peft import TaskType, get_peft_model

    from assay.model.classifier import quiet_transformers

    with quiet_transformers():
        model: nn.Module = get_peft_model(
            classifier, PeftConfig(task_type=TaskType.SEQ_CLS, target_modules="all-linear", r=2)
        )
    return model


BATCH = PaddedBatch.of([CHOSEN, REJECTED], 127, torch.device("cpu"))


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda model: model.inner(input_ids=BATCH.ids_NL[:1]), id="classifier"),
        pytest.param(
            lambda model: model.inner(input_ids=BATCH.ids_NL, attention_mask=BATCH.mask_NL),
            id="classifier, a padded batch",
        ),
        pytest.param(
            lambda model: model.inner(
                input_ids=BATCH.ids_NL.flip(1), attention_mask=BATCH.mask_NL.flip(1)
            ),
            id="classifier, padded on the left",
        ),
        pytest.param(
            lambda model: model.classifier.model(input_ids=BATCH.ids_NL), id="without its head"
        ),
        pytest.param(lambda model: model(BATCH), id="a padded batch of ours"),
    ],
)
@pytest.mark.parametrize("adapters", [False, True], ids=["plain", "peft"])
def test_without_a_layout_our_attention_refuses(
    call: Callable[[RewardModel], Any], adapters: bool
) -> None:
    classifier = twin("llama")
    inner = with_adapters(classifier) if adapters else classifier
    model = RewardModel(inner, NO_READER, no_metadata())
    model.use_engine("tree")
    with torch.no_grad(), pytest.raises(ModelError, match=ONLY_PACKS):
        call(model)
    model.use_engine("padded")
    with torch.no_grad():
        call(model)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("adapters", [False, True], ids=["plain", "peft"])
def test_padded_restores_the_attention_that_the_model_came_with(
    attention: str, adapters: bool
) -> None:
    classifier = twin("llama")
    classifier.set_attn_implementation(attention)
    model = RewardModel(
        with_adapters(classifier) if adapters else classifier, NO_READER, no_metadata()
    )
    with torch.no_grad():
        before = model.inner(input_ids=BATCH.ids_NL, attention_mask=BATCH.mask_NL).logits
        for engine in ("tree", "packed", "padded"):
            model.use_engine(engine)  # type: ignore[arg-type]
            assert classifier.config._attn_implementation == (
                attention if engine == "padded" else NAME
            )
        after = model.inner(input_ids=BATCH.ids_NL, attention_mask=BATCH.mask_NL).logits
    assert torch.equal(before, after)


# What is saved

SEQUENCES: list[TokenIds] = [(5, 6, 7), (5, 6, 7, 9, 11), (9,), tuple(range(40, 60))]


def loads_in_plain_transformers(directory: Path, model: RewardModel) -> None:
    """No file names our attention, and transformers gives the rewards of the model."""
    from transformers import AutoModelForSequenceClassification

    named = [path.name for path in directory.glob("*.json") if NAME in path.read_text()]
    assert not named
    stock = AutoModelForSequenceClassification.from_pretrained(directory, dtype=torch.float32)
    assert stock.config._attn_implementation == "sdpa"
    with torch.no_grad():
        found = [
            float(stock.eval()(input_ids=torch.tensor([ids])).logits[0, 0]) for ids in SEQUENCES
        ]
    expected = score_sequences(model, SEQUENCES, families=[0] * len(SEQUENCES))
    assert found == pytest.approx(expected, rel=0, abs=1e-6)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("engine", ["tree", "packed"])
def test_a_saved_model_does_not_name_our_attention(
    tiny_reward: Path, tmp_path: Path, engine: str
) -> None:
    model = load_reward_model(str(tiny_reward), engine=engine)
    directory = tmp_path / "saved"
    directory.mkdir()
    save_plain(model, directory)
    assert model.classifier.config._attn_implementation == NAME
    loads_in_plain_transformers(directory, model)


def test_a_saved_adapter_does_not_name_our_attention(tiny_base: Path, tmp_path: Path) -> None:
    model = build_for_training(
        ModelConfig(path=str(tiny_base)),  # type: ignore[call-arg]
        LoraConfig(r=2),  # type: ignore[call-arg]
        seed=7,
        max_length=64,
        device="cpu",
        engine="tree",
    )
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)
    model.eval()
    adapter, merged = tmp_path / "adapter", tmp_path / "merged"
    adapter.mkdir(), merged.mkdir()
    save_adapter(model, adapter)
    save_plain(model, merged)
    assert not [path.name for path in adapter.glob("*.json") if NAME in path.read_text()]
    assert json.loads((adapter / "adapter_config.json").read_text())["peft_type"] == "LORA"
    loads_in_plain_transformers(merged, model)
    again = load_reward_model(str(adapter), engine="padded")
    expected = score_sequences(model, SEQUENCES)
    assert score_sequences(again, SEQUENCES) == pytest.approx(expected, rel=0, abs=1e-6)
