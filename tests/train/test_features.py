"""A frozen backbone is computed once, and the head trains as if it were computed each time."""

from __future__ import annotations

import logging
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import (
    Fault,
    Processes,
    differences,
    log_of,
    recipe,
    recipe_file,
    rows,
    write_lines,
)

from assay.config import Recipe
from assay.model.loading import load_reward_model
from assay.model.reward_model import RewardModel
from assay.train import features, loop
from assay.train.loop import train

STEPS = 6
"""5 prompts in batches of 2, so 3 steps an epoch; 2 epochs."""

MakeRecipe = Callable[..., Recipe]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> MakeRecipe:
    folder = tmp_path_factory.mktemp("data")
    train_rows = write_lines(folder / "train.jsonl", list(rows(5)))
    evals = [str(write_lines(folder / "one.jsonl", list(rows(2, prefix="one "))))]

    def build(output: Path, **changes: object) -> Recipe:
        return recipe(
            tiny_base, train_rows, output, evals=evals, eval_steps=2, freeze="backbone", **changes
        )

    return build


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, make: MakeRecipe) -> Path:
    checked = make(tmp_path_factory.mktemp("unbroken") / "run")
    with one_thread():
        train(checked)
    return Path(checked.output_dir)


@contextmanager
def one_thread() -> Iterator[None]:
    """As the processes of these tests have it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def said(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(logging.getLogger("assay"), "propagate", True)
    caplog.set_level(logging.INFO, logger="assay")
    return caplog


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


def test_only_the_head_is_trained_and_everything_is_computed_once(
    unbroken: Path, tiny_base: Path
) -> None:
    before = load_file(tiny_base / "model.safetensors")
    after = weights(unbroken)
    assert all(torch.equal(before[name], after[name]) for name in after if name != "score.weight")
    steps = [line for line in log_of(unbroken) if line["kind"] == "train"]
    assert len(steps) == STEPS
    assert {line["num_tree_tokens"] for line in steps} == {0}, "no token went through the layers"
    assert {line["num_packs"] for line in steps} == {1}
    text = (unbroken / "train.log").read_text()
    assert text.count("computing the hidden states of 7 groups, once") == 1, "5 to train on, 2 more"
    assert not (unbroken / "features").exists(), "the run has ended"
    assert load_reward_model(str(unbroken)).score("q", ["a", "b"])


def test_the_weights_are_those_without_keeping(
    unbroken: Path, make: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hidden states of other packs differ by roundings of 6e-8; the head's path is smooth."""
    monkeypatch.setattr(loop, "keep_features", lambda *_: None)
    with one_thread():
        train(make(tmp_path / "run"))
    computed = [line for line in log_of(tmp_path / "run") if line["kind"] == "train"]
    assert all(line["num_tree_tokens"] > 0 for line in computed)
    kept = [line for line in log_of(unbroken) if line["kind"] == "train"]
    for one, other in zip(kept, computed, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-6)
        assert one["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-5)
        assert sorted(one["rewards"]) == pytest.approx(sorted(other["rewards"]), abs=1e-5)
    torch.testing.assert_close(
        weights(unbroken)["score.weight"],
        weights(tmp_path / "run")["score.weight"],
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.fixture
def processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Processes:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return Processes(tmp_path)


FAULTS = {
    "while the states are written": Fault((("os.rename", ".features.partial"),)),
    "in the second epoch": Fault((("os.rename", ".step-5.partial"),)),
}


@pytest.mark.parametrize("moment", FAULTS)
def test_a_killed_run_ends_as_if_unbroken(
    moment: str, unbroken: Path, make: MakeRecipe, processes: Processes, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    file = recipe_file(tmp_path / "recipe.yaml", make(run))
    ended = processes.run("train", file, fault=FAULTS[moment])
    assert ended.code == -signal.SIGKILL, ended.said
    assert (run / "features").exists() == (moment == "in the second epoch")
    ended = processes.run("train", file, "--resume", "auto")
    assert ended.code == 0, ended.said
    assert ("computing the hidden states" in ended.said) == (moment != "in the second epoch")
    assert differences(run, unbroken) == []


def test_a_run_that_has_ended_computes_no_states_again(
    unbroken: Path, make: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    shutil.copytree(unbroken, run)
    shutil.rmtree(run / "model")
    monkeypatch.setattr(features, "_compute", lambda *_: pytest.fail("computed again"))
    with one_thread():
        train(make(run), resume="auto")
    assert differences(run, unbroken) == []


def test_a_signal_while_states_are_computed_stops_at_once(
    unbroken: Path, make: MakeRecipe, processes: Processes, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    file = recipe_file(tmp_path / "recipe.yaml", make(run))
    writing = Fault((("open", ".features.partial/rows.bin"),), sent=signal.SIGTERM)
    ended = processes.run("train", file, fault=writing)
    assert ended.code == 0, ended.said
    assert "stopped before all was written" in ended.said
    assert "stopped after step 0 of 6" in ended.said
    assert not list(run.glob(".features*"))
    assert not (run / "features").exists()
    ended = processes.run("train", file, "--resume", "auto")
    assert ended.code == 0, ended.said
    assert differences(run, unbroken) == []


def stopped(make: MakeRecipe, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that ended after its fourth step, its hidden states still there."""
    step = loop.train_step
    count = 0

    def counting(*args: Any, **named: Any) -> Any:
        nonlocal count
        count += 1
        if count == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(*args, **named)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", counting)
        assert train(make(run)).step == 4
    assert (run / "features" / "manifest.json").exists()


def test_a_run_that_goes_on_elsewhere_computes_the_same_bits(
    unbroken: Path, make: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with one_thread():
        stopped(make, tmp_path / "run", monkeypatch)
        train(make(tmp_path / "other"), resume=str(tmp_path / "run" / "checkpoints" / "step-4"))
    a, b = weights(tmp_path / "other"), weights(unbroken)
    assert all(torch.equal(a[name], b[name]) for name in b)


@pytest.mark.parametrize("fault", ["other model", "torn"])
def test_states_that_are_not_this_models_are_computed_again(
    fault: str,
    unbroken: Path,
    make: MakeRecipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    said: pytest.LogCaptureFixture,
) -> None:
    run = tmp_path / "run"
    with one_thread():
        stopped(make, run, monkeypatch)
        place = run / "features" / "rows.bin"
        if fault == "torn":
            place.write_bytes(place.read_bytes()[:-4])
        else:
            from assay.model.manifest import whole_directory

            content = {p.name: p.read_bytes() for p in (run / "features").iterdir()}
            wrong = 1.5 * np.frombuffer(content["rows.bin"], np.float32)
            with whole_directory(run / "features", replace=True) as directory:
                for name in ("keys.bin", "about.json"):
                    (directory / name).write_bytes(content[name])
                (directory / "rows.bin").write_bytes(wrong.tobytes())
        train(make(run), resume="auto")
    assert ("another model" in said.text) == (fault == "other model")
    a, b = weights(run), weights(unbroken)
    assert all(torch.equal(a[name], b[name]) for name in b)


def test_what_is_not_kept_is_computed(make: MakeRecipe, tiny_base: Path, tmp_path: Path) -> None:
    """The engine of the file, before a run and by hand: alone, and beside sequences it lacks."""
    from assay.config import ModelConfig
    from assay.data.encoding import EncodedData, EncodedGroup
    from assay.data.formats.building import answer, row_group
    from assay.data.records import Message, Source
    from assay.model.batch import HiddenBatch
    from assay.model.loading import build_for_training
    from assay.model.rewards import score_sequences
    from assay.train.plan import Plan
    from assay.train.strategy.single import Single

    model = build_for_training(
        ModelConfig(path=str(tiny_base)), None, seed=3, max_length=64, device="cpu", frozen=True
    )
    group = row_group(
        Source("x", 1), (Message("user", "q"),), (answer((Message("assistant", "a"),), "a"),)
    )
    known = [(5, 6, 7), (5, 6, 9, 9)]
    data = EncodedData([EncodedGroup(group, tuple(known))])
    unknown = [(5, 6, 8), (40, 41)]
    expected = score_sequences(model, [*known, *unknown])
    strategy = Single(model, torch.optim.SGD([model.head_weight]))
    features.keep_features(
        strategy, make(tmp_path), Plan(1, 1, 0, 1), data, [], tmp_path, lambda _: None
    )
    batch = model.engine.batch(known, [0, 0], model.pad_id, model.device)
    assert isinstance(batch, HiddenBatch)
    before = model.computed.tokens
    assert score_sequences(model, known) == pytest.approx(expected[:2], abs=1e-6)
    assert model.computed.tokens == before
    assert score_sequences(model, [*known, *unknown]) == pytest.approx(expected, abs=1e-6)
    assert score_sequences(model, unknown) == pytest.approx(expected[2:], abs=1e-6)
    starts = model.engine.batch(known, [0, 0], model.pad_id, model.device, [0, 0])
    assert not isinstance(starts, HiddenBatch), "more than the last token is scored"


def test_an_encoder_trains_its_head_without_keeping(
    make: MakeRecipe,
    tiny_tokenizer: Any,
    tmp_path: Path,
    said: pytest.LogCaptureFixture,
) -> None:
    from transformers import BertConfig, BertForMaskedLM

    small = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 48}
    torch.manual_seed(0)
    config = BertConfig(**small, num_hidden_layers=1, num_attention_heads=4)
    BertForMaskedLM(config).save_pretrained(tmp_path / "m")
    tiny_tokenizer.save_pretrained(tmp_path / "m")
    train(make(tmp_path / "run", max_steps=2, model={"path": str(tmp_path / "m")}))
    assert "hidden states are not kept: the head is not one row" in said.text
    before, after = load_file(tmp_path / "m" / "model.safetensors"), weights(tmp_path / "run")
    same = [name for name in after if name in before]
    assert len(same) > 10
    assert all(torch.equal(before[name], after[name]) for name in same)


def test_a_bfloat16_backbone_is_held_in_bfloat16_below_a_float32_head(
    make: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[dict[str, torch.dtype]] = []
    chosen = loop.choose_trained

    def looking(model: RewardModel, config: Any) -> None:
        chosen(model, config)
        held.append({name: p.dtype for name, p in model.named_parameters()})

    monkeypatch.setattr(loop, "choose_trained", looking)
    train(make(tmp_path / "run", max_steps=2, model={"dtype": "bfloat16"}))
    dtypes = held[0]
    assert dtypes.pop("inner.score.weight") == torch.float32
    assert set(dtypes.values()) == {torch.bfloat16}


def test_a_loss_of_every_token_is_computed_each_time(
    make: MakeRecipe, tmp_path: Path, said: pytest.LogCaptureFixture
) -> None:
    checked = make(tmp_path / "run", max_steps=1)
    loss = checked.loss.model_copy(update={"kind": "token_level"})
    train(checked.model_copy(update={"loss": loss}))
    assert "the loss reads those of every token" in said.text
