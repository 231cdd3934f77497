"""Several heads through the real loop: their mean is the reward, in every file and loader."""

from __future__ import annotations

import json
import logging
import shutil
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch
from objective_runs import ADAPTERS, LOSSES, WITH_HEADS, MakeRecipe, recipes_in, rewards
from safetensors.torch import load_file
from tiny_runs import log_of, write_lines

from assay.data.records import Group, Message, Response, Source
from assay.data.rendering import TokenIds
from assay.data.sources import DataSource
from assay.errors import AssayError, ModelError
from assay.model.classifier import quiet_transformers
from assay.model.heads import HEADS_FILE, Heads
from assay.model.loading import build_for_training, load_reward_model
from assay.model.membership import member_values
from assay.model.merging import merge
from assay.model.metadata import METADATA_FILE
from assay.model.reward_model import RewardModel
from assay.model.rewards import rewards_of_sequences
from assay.score.files import ScoreOptions, score_source
from assay.score.rewarder import OneModel
from assay.train.loop import train
from assay.train.objective import prepare_objective


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> MakeRecipe:
    return recipes_in(tmp_path_factory.mktemp("data"), tiny_base)


@pytest.fixture(scope="module")
def runs(make: MakeRecipe, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each loss that takes several heads."""
    folder = tmp_path_factory.mktemp("heads")
    for name in WITH_HEADS:
        train(make(folder / name, LOSSES[name], save_steps=None))
    return {name: folder / name for name in WITH_HEADS}


def sequences_of(model: RewardModel) -> list[TokenIds]:
    """Of four conversations."""
    items = [(parse_group(f"question {n}?", f"answer {'so ' * n}".strip()), 0) for n in range(4)]
    return [rendered.ids for rendered in model.renderer.render_many(items)]


def parse_group(prompt: str, answer: str) -> Group:
    messages = (Message("user", prompt),), (Response((Message("assistant", answer),)),)
    return Group("id", Source("here", 1), *messages)


@pytest.mark.parametrize("name", ["regression", "ensemble"])
def test_the_saved_row_is_the_mean_of_the_members(name: str, runs: dict[str, Path]) -> None:
    directory = runs[name] / "model"
    heads = Heads.read(directory)
    row_1D = load_file(directory / "model.safetensors")["score.weight"]
    assert heads is not None
    shares = {"regression": [4 / 3, -1 / 3], "ensemble": [0.25] * 4}[name]
    assert heads.share_M.tolist() == pytest.approx(shares)
    assert row_1D.shape == (1, 32)
    # To the bit: the row is nothing but this sum, rounded once.
    by_hand = sum(
        share * row.double() for share, row in zip(heads.share_M, heads.weight_MD, strict=True)
    )
    assert torch.equal(row_1D[0], by_hand.float())  # type: ignore[union-attr]
    assert not torch.equal(heads.weight_MD[0], heads.weight_MD[1])


@pytest.mark.parametrize("name", ["regression", "ensemble"])
@pytest.mark.parametrize("engine", ["tree", "packed", "padded"])
def test_the_reward_is_the_mean_of_the_members_values(
    name: str, engine: str, runs: dict[str, Path]
) -> None:
    model = load_reward_model(str(runs[name] / "model"), engine=engine, dtype="float64")
    sequences = sequences_of(model)
    with torch.no_grad():
        reward_R = rewards_of_sequences(model, sequences, max_tokens=64)
    value_RM = member_values(model, sequences)
    assert model.heads is not None
    assert value_RM.shape == (4, len(model.heads.names))
    # The row was rounded to float32 once: 1e-7 of it.
    torch.testing.assert_close(model.heads.rewards(value_RM), reward_R, rtol=1e-6, atol=1e-6)
    if name == "ensemble":
        assert (value_RM.std(1) > 0).all()
    (scored,) = model.score_members("question 0?", ["answer"])
    assert list(scored) == model.heads.names
    assert [*scored.values()] == pytest.approx(value_RM[0].tolist(), abs=1e-6)


@pytest.mark.parametrize("name", WITH_HEADS)
def test_scoring_gives_what_the_members_say_beside_the_same_rewards(
    name: str, runs: dict[str, Path], tmp_path: Path
) -> None:
    model = load_reward_model(str(runs[name] / "model"))
    rows = [{"messages": [{"role": "user", "content": f"question {n}?"}]} for n in range(3)]
    for n, row in enumerate(rows):
        row["messages"].append({"role": "assistant", "content": f"answer {'so ' * n}".strip()})
    source = DataSource(str(write_lines(tmp_path / "rows.jsonl", list(rows))))

    def scored(output: str) -> list[dict[str, Any]]:
        score_source(OneModel(model, "m"), source, tmp_path / output, ScoreOptions())
        lines = (tmp_path / output).read_text(encoding="utf-8").splitlines()
        return [json.loads(line)["assay"] for line in lines]

    found = scored("with.jsonl")
    members = [
        model.score_members(f"question {n}?", [f"answer {'so ' * n}".strip()])[0] for n in range(3)
    ]
    if name == "ensemble":
        spread = [statistics.stdev(each.values()) for each in members]
        assert [line["uncertainty"][0] for line in found] == pytest.approx(spread, rel=1e-5)
        assert all("components" not in line for line in found)
    else:
        for line, each in zip(found, members, strict=True):
            assert line["components"][0] == pytest.approx(each, abs=1e-6)
            assert "uncertainty" not in line
    model.heads = None
    without = scored("without.jsonl")
    assert [line["scores"] for line in found] == [line["scores"] for line in without]
    assert all(not {"uncertainty", "components"} & set(line) for line in without)


def test_an_adapter_without_a_head_has_the_members_of_its_base(
    runs: dict[str, Path], tiny_base: Path, tmp_path: Path
) -> None:
    """Of an ensemble they say as much of the adapted hidden states as their mean does."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    options = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj"])
    with quiet_transformers():
        adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_base), options)
    adapted.save_pretrained(tmp_path / "a")
    base = runs["ensemble"] / "model"
    model = load_reward_model(str(tmp_path / "a"), base=str(base))
    assert model.heads is not None
    # The adapter is at its beginning, where it adds nothing.
    (found,) = model.score_members("question?", ["answer"])
    (expected,) = load_reward_model(str(base)).score_members("question?", ["answer"])
    assert found == pytest.approx(expected, abs=1e-5)
    merged = merge(str(tmp_path / "a"), tmp_path / "m", base=str(base)).output
    heads, before = Heads.read(merged), Heads.read(base)
    assert heads is not None
    assert before is not None
    assert heads.members == before.members
    assert torch.equal(heads.weight_MD, before.weight_MD)


def test_logged_rewards_hold_the_offset_of_the_model_that_training_started_from(
    make: MakeRecipe, tiny_reward: Path, tmp_path: Path
) -> None:
    """As those of its evaluation do; the loss of several heads does not see it."""
    begun = {}
    for offset in (0.0, 5.0):
        start = tmp_path / f"start-{offset}"
        shutil.copytree(tiny_reward, start)
        about = json.loads((start / METADATA_FILE).read_text()) | {"reward_offset": offset}
        (start / METADATA_FILE).write_text(json.dumps(about))
        recipe = make(
            tmp_path / f"run-{offset}", LOSSES["ensemble"], max_steps=1, model={"path": str(start)}
        )
        begun[offset] = log_of(train(recipe).run)[0]
    assert begun[5.0]["reward_mean"] - begun[0.0]["reward_mean"] == pytest.approx(5, abs=1e-5)
    assert begun[5.0]["loss"] == pytest.approx(begun[0.0]["loss"], abs=1e-6)


def test_what_the_model_cannot_read_has_no_members_values(runs: dict[str, Path]) -> None:
    model = load_reward_model(str(runs["ensemble"] / "model"))
    assert model.score_members("question?", []) == []
    with pytest.raises(AssayError, match="longer than the model's context"):
        model.score_members("question?", ["so " * 600])


def test_a_bfloat16_model_gives_rewards_by_its_row(make: MakeRecipe, tmp_path: Path) -> None:
    """As any other loader: the row is the mean of the members, rounded as all weights are."""
    run = train(
        make(tmp_path / "run", LOSSES["ensemble"], max_steps=2, model={"dtype": "bfloat16"})
    ).run
    heads, row_1D = (
        Heads.read(run / "model"),
        load_file(run / "model" / "model.safetensors")["score.weight"],
    )
    assert heads is not None
    assert heads.weight_MD.dtype == torch.float32
    assert torch.equal(row_1D[0], heads.mean_row().bfloat16())


def test_a_model_of_one_head_has_no_members(tiny_reward: Path) -> None:
    with pytest.raises(AssayError, match="the model has one head"):
        load_reward_model(str(tiny_reward)).score_members("question?", ["answer"])


def test_a_frozen_backbone_trains_the_members(make: MakeRecipe, tmp_path: Path) -> None:
    for name in ("free", "frozen"):
        changes = {"freeze": "backbone"} if name == "frozen" else {}
        train(make(tmp_path / name, LOSSES["ensemble"], max_steps=3, **changes))
    found = {name: load_file(tmp_path / name / "model" / "model.safetensors") for name in CHANGED}
    begun = load_file(tmp_path / "free" / "checkpoints" / "step-1" / "model" / "model.safetensors")
    for name, changed in CHANGED.items():
        key = "model.layers.0.mlp.up_proj.weight"
        assert torch.equal(found[name][key], begun[key]) != changed
        assert not torch.equal(found[name]["score.weight"], begun["score.weight"])


CHANGED = {"free": True, "frozen": False}
"""Whether the backbone is trained. (The first step of a warm-up trains nothing.)"""


def test_transformers_gives_the_same_rewards(runs: dict[str, Path]) -> None:
    """And reads no other file than the model's own."""
    from transformers import AutoModelForSequenceClassification

    directory = runs["ensemble"] / "model"
    model = load_reward_model(str(directory), engine="padded")
    (ids, *_) = sequences_of(model)
    theirs = AutoModelForSequenceClassification.from_pretrained(directory)
    with torch.no_grad():
        expected = theirs(input_ids=torch.tensor([ids])).logits[0, 0].item()
        found = rewards_of_sequences(model, [ids], max_tokens=64).item()
    assert found == pytest.approx(expected, rel=1e-6)


def test_loaders_of_every_file_find_an_index_without_the_members(runs: dict[str, Path]) -> None:
    directory = runs["ensemble"] / "model"
    index = json.loads((directory / "model.safetensors.index.json").read_text(encoding="utf-8"))
    assert set(index["weight_map"].values()) == {"model.safetensors"}
    assert set(index["weight_map"]) == set(load_file(directory / "model.safetensors"))


def test_offsets_are_mean_ratings_and_the_log_has_each_attribute(runs: dict[str, Path]) -> None:
    heads = Heads.read(runs["regression"] / "model")
    assert heads is not None
    assert heads.names == ["good", "long"]
    assert heads.members[0].offset == 2.0  # 4, 2 and 0 in every group.
    step = next(entry for entry in log_of(runs["regression"]) if entry["kind"] == "train")
    mean = (step["squared_error/good"] + step["squared_error/long"]) / 2
    assert step["loss"] == pytest.approx(mean, rel=1e-5)
    assert all(
        entry["gap_std"] > 0 for entry in log_of(runs["ensemble"]) if entry["kind"] == "train"
    )


def test_members_begin_apart_where_the_head_is_new(make: MakeRecipe, tmp_path: Path) -> None:
    first = log_of(train(make(tmp_path / "run", LOSSES["ensemble"], max_steps=1)).run)[0]
    assert first["loss"] == pytest.approx(0.69, abs=0.2)
    assert first["gap_std"] > 0


def test_a_kept_head_is_where_all_members_begin(
    make: MakeRecipe, runs: dict[str, Path], tmp_path: Path, tiny_reward: Path
) -> None:
    """T24: the reward at step 0 is that of the model that training started from."""
    before = load_reward_model(str(tiny_reward), engine="padded")
    start = make(tmp_path / "one", LOSSES["ensemble"], model={"path": str(tiny_reward)})
    model = build_for_training(start.model, None, seed=3, max_length=128, device="cpu")
    prepare_objective(start, model, [])
    sequences = sequences_of(model)
    with torch.no_grad():
        expected = rewards_of_sequences(before, sequences, max_tokens=64)
        found = rewards_of_sequences(model, sequences, max_tokens=64)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_training_on_keeps_the_members_that_are_there(
    make: MakeRecipe, runs: dict[str, Path], tmp_path: Path
) -> None:
    before = Heads.read(runs["ensemble"] / "model")
    again = make(
        tmp_path / "again", LOSSES["ensemble"], model={"path": str(runs["ensemble"] / "model")}
    )
    model = build_for_training(again.model, None, seed=3, max_length=128, device="cpu")
    prepare_objective(again, model, [])
    assert before is not None
    assert model.heads is not None
    assert torch.equal(model.heads.weight_MD, before.weight_MD)


@pytest.mark.parametrize(
    ("loss", "says"),
    [({"ensemble": 3}, "begin with the row of its reward"), ({}, "its several heads end here")],
    ids=["other heads", "one head"],
)
def test_members_that_are_not_kept_are_named(
    loss: dict[str, Any],
    says: str,
    make: MakeRecipe,
    runs: dict[str, Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logging.getLogger("assay"), "propagate", True)
    caplog.set_level(logging.INFO, logger="assay")
    start = runs["ensemble"] / "model"
    recipe = make(tmp_path / "run", loss, model={"path": str(start)})
    model = build_for_training(recipe.model, None, seed=3, max_length=128, device="cpu")
    prepare_objective(recipe, model, [])
    assert any(says in message for message in caplog.messages)
    sequences = sequences_of(model)
    with torch.no_grad():
        found = rewards_of_sequences(model, sequences, max_tokens=64)
        expected = rewards_of_sequences(load_reward_model(str(start)), sequences, max_tokens=64)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_an_adapter_has_its_members_beside_it(make: MakeRecipe, tmp_path: Path) -> None:
    run = train(make(tmp_path / "run", LOSSES["ensemble"], lora=ADAPTERS, max_steps=2)).run
    merged, adapter = Heads.read(run / "model"), Heads.read(run / "adapter")
    assert merged is not None
    assert adapter is not None
    assert torch.equal(merged.weight_MD, adapter.weight_MD)
    assert rewards(run / "adapter") == pytest.approx(rewards(run / "model"), abs=1e-5)


def test_a_checkpoint_of_other_heads_is_refused(make: MakeRecipe, tmp_path: Path) -> None:
    run = train(make(tmp_path / "run", LOSSES["ensemble"], max_steps=2)).run
    other = make(tmp_path / "run", {"ensemble": 3}, max_steps=2)
    with pytest.raises(AssayError):
        train(other, resume=str(run / "checkpoints" / "step-1"))


def test_a_damaged_file_of_members_is_named(runs: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(runs["ensemble"] / "model", tmp_path / "model")
    (tmp_path / "model" / HEADS_FILE).write_bytes(b"no tensors")
    with pytest.raises(ModelError, match="its heads cannot be read"):
        load_reward_model(str(tmp_path / "model"))
