"""A run directory: its files and fields, what is refused, and one reward wherever it is asked."""

from __future__ import annotations

import json
import logging
import re
import shutil
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.numpy import load_file
from tiny_runs import log_of, recipe, rows, write_lines

from assay.config import Recipe
from assay.data.sources import DataSource
from assay.errors import CheckpointError, ConfigError, DataError, OutputError
from assay.evaluate.command import EvalOptions, evaluate_command
from assay.evaluate.metrics import METRICS, Scored, comparison_metrics
from assay.model.loading import load_reward_model
from assay.score.files import ScoreOptions, score_source
from assay.score.rewarder import OneModel
from assay.train import loop
from assay.train.log import RunLog
from assay.train.loop import train
from assay.train.run import alone_in, check_same_data

NOT_JSON = '{"prompt": "q"'
LONG = "so " * 200


def data_files(folder: Path) -> tuple[Path, Path, Path]:
    """Training rows with three rows that cannot be used, and two evaluation files."""
    lines: list[Any] = list(rows(5))
    identical = lines[0] | {"neg_resp": lines[0]["pos_resp"]}
    over_length = lines[0] | {"prompt": "long?", "pos_resp": LONG}
    train_rows = write_lines(
        folder / "train.jsonl", [*lines[:2], NOT_JSON, *lines[2:], identical, over_length]
    )
    unseen = rows(4, prefix="unseen ")
    too_long = unseen[0] | {"prompt": "long?", "pos_resp": LONG}
    test = write_lines(folder / "test.jsonl", [*unseen, too_long])
    other = write_lines(folder / "other.jsonl", [*rows(3, prefix="other "), "[]"])
    return train_rows, test, other


@dataclass(frozen=True)
class Run:
    """A finished run and what it was made from."""

    path: Path
    recipe: Recipe
    train: Path
    test: Path

    def entries(self, kind: str) -> list[dict[str, Any]]:
        return [entry for entry in log_of(self.path) if entry["kind"] == kind]

    def json(self, name: str) -> Any:
        return json.loads((self.path / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Run:
    """5 usable prompts in batches of 2 over 2 epochs: 6 steps."""
    folder = tmp_path_factory.mktemp("finished")
    train_rows, test, other = data_files(folder)
    checked = recipe(
        tiny_base,
        train_rows,
        folder / "run",
        evals=[{"path": str(test), "name": "unseen"}, str(other)],
        data={"on_bad_row": "skip"},
        save_total_limit=2,
        logging_steps=2,
        eval_steps=2,
        report_to=["tensorboard"],
    )
    result = train(checked)
    assert (result.step, result.num_steps, result.stopped_by) == (6, 6, None)
    return Run(folder / "run", checked, train_rows, test)


def test_a_run_holds_these_files_and_no_others(finished: Run) -> None:
    top = {path.name for path in finished.path.iterdir()}
    assert top == {
        "recipe.resolved.yaml",
        "run.json",
        "train.log",
        "train_log.jsonl",
        "bad_rows.jsonl",
        "bad_rows.other.jsonl",
        "checkpoints",
        "eval",
        "model",
        "tensorboard",
    }
    assert {path.name for path in (finished.path / "eval").iterdir()} == {"unseen", "other"}
    for name in ("unseen", "other"):
        files = {path.name for path in (finished.path / "eval" / name).iterdir()}
        assert files == {"results.json", "comparisons.jsonl"}
    checkpoint = {path.name for path in (finished.path / "checkpoints/step-6").iterdir()}
    assert checkpoint == {
        *("model", "optimizer.safetensors", "trainer.json", "manifest.json"),
        *("recipe.resolved.yaml", "run.json"),
    }


def test_the_resolved_recipe_is_the_recipe(finished: Run) -> None:
    text = (finished.path / "recipe.resolved.yaml").read_text(encoding="utf-8")
    assert Recipe.model_validate(yaml.safe_load(text)) == finished.recipe
    # Defaults are written out: a later version with other defaults must not change the run.
    assert yaml.safe_load(text)["train"]["adam_beta2"] == 0.999


def test_run_json_accounts_for_every_row(finished: Run) -> None:
    # T15, T17: 11 good rows of 5 prompts (numbers 0 and 3 have one comparison, the others three),
    # one identical, one over length, one that is no JSON: 14 lines.
    import hashlib

    described = finished.json("run.json")
    assert described["seed"] == 3
    assert described["versions"].keys() >= {"torch", "transformers", "peft"}
    assert described["num_threads"] >= 1
    digest = hashlib.sha256(finished.train.read_bytes()).hexdigest()
    assert described["data"] == {str(finished.train): digest}
    counts = described["train"]
    assert (counts["rows"], counts["groups"], counts["comparisons"]) == (14, 5, 11)
    assert counts["dropped"] == {"identical answers": 1, "over 128 tokens": 1, "bad row": 1}
    assert {entry["row"] for entry in counts["dropped_rows"]} == {
        f"{finished.train}:13",
        f"{finished.train}:14",
    }
    # 8 good rows (1 + 3 + 3 + 1) and one over length; 7 (1 + 3 + 3) and one that is no object.
    unseen, other = described["eval"]["unseen"], described["eval"]["other"]
    assert (unseen["rows"], unseen["comparisons"]) == (9, 8)
    assert unseen["dropped"] == {"over 128 tokens": 1}
    assert (other["rows"], other["comparisons"]) == (8, 7)
    assert other["dropped"] == {"bad row": 1}


def test_bad_rows_stand_aside_with_place_and_original(finished: Run) -> None:
    [aside] = (finished.path / "bad_rows.jsonl").read_text(encoding="utf-8").splitlines()
    record = json.loads(aside)
    assert (record["source"], record["raw"]) == (f"{finished.train}:3", NOT_JSON)
    assert record["what"]
    assert record["mend"]


LINE = re.compile(
    r"Epoch:\[(?P<epoch>\d+)/(?P<epochs>\d+)\], step:\[(?P<step>\d+)/(?P<steps>\d+)\], "
    r"loss:\[(?P<loss>\d+\.\d{3})/(?P<mean>\d+\.\d{3})\], time:\d+\.\d{3} ms, "
    r"lr:(?P<lr>\d[\d.e-]*), grad_norm:(?P<norm>\d+\.\d{3}), acc:(?P<acc>[01]\.\d{4}), "
    r"pairs/s:\d+\.\d{2}, tokens:\d+, tree tokens:\d+ \(\d+% saved\), pack fill:\d+%"
)


def test_lines_for_people_have_the_published_form(finished: Run) -> None:
    # `Epoch:[1/2], step:[2/29134], loss:[0.442/0.442], time:68580.279 ms, lr:8e-08, grad_norm:..,
    # acc:.., pairs/s:..`; logging_steps 2 of 6 steps: the first, then 2, 4, 6.
    text = (finished.path / "train.log").read_text(encoding="utf-8").splitlines()
    lines = [match for line in text if (match := LINE.fullmatch(line))]
    assert [line.startswith("Epoch:") for line in text].count(True) == len(lines)
    assert [(line["step"], line["steps"]) for line in lines] == [
        ("1", "6"),
        ("2", "6"),
        ("4", "6"),
        ("6", "6"),
    ]
    assert [(line["epoch"], line["epochs"]) for line in lines] == [
        ("1", "2"),
        ("1", "2"),
        ("2", "2"),
        ("2", "2"),
    ]
    entries = {entry["step"]: entry for entry in finished.entries("train")}
    for line in lines:
        entry = entries[int(line["step"])]
        assert line["loss"] == f"{entry['loss']:.3f}"
        assert line["mean"] == f"{entry['mean_loss']:.3f}"
        assert line["lr"] == f"{entry['learning_rate']:.3g}"


def documented(text: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", text))


def test_the_documented_fields_are_the_written_ones(finished: Run) -> None:
    about = str(RunLog.__doc__)
    train_part, eval_part = about.split("of kind `train`:")[1].split("Of kind `eval`:")
    train_entries, eval_entries = finished.entries("train"), finished.entries("eval")
    for entry in train_entries:
        assert entry.keys() == documented(train_part) | {"kind"}
    metrics = comparison_metrics([Scored("p", 1.0, 0.0, 1, 1)]).keys()
    for entry in eval_entries:
        final = {"final"} if entry["step"] == 6 else set()
        assert entry.keys() == {"kind", "step", "name", "seconds"} | metrics | final
    assert documented(eval_part) >= {"step", "name", "seconds"}


def test_the_log_holds_every_step_and_evaluation(finished: Run) -> None:
    entries = finished.entries("train")
    assert [entry["step"] for entry in entries] == [1, 2, 3, 4, 5, 6]
    assert [entry["epoch"] for entry in entries] == [1, 1, 1, 2, 2, 2]
    losses = [entry["loss"] for entry in entries]
    assert [entry["mean_loss"] for entry in entries] == pytest.approx(
        [sum(losses[: n + 1]) / (n + 1) for n in range(6)]
    )
    # Each comparison of the data once an epoch.
    assert sum(entry["num_comparisons"] for entry in entries) == 2 * 11
    for entry in entries:
        assert len(entry["rewards"]) == entry["num_sequences"]
        mean = sum(entry["rewards"]) / len(entry["rewards"])
        assert entry["reward_mean"] == pytest.approx(mean, rel=1e-6, abs=1e-7)
    # eval_steps 2: after 2 and 4, and once at the end, each set.
    evaluated = [(entry["step"], entry["name"]) for entry in finished.entries("eval")]
    assert evaluated == [(step, name) for step in (2, 4, 6) for name in ("unseen", "other")]


def test_the_rate_follows_the_schedule_over_all_epochs(finished: Run) -> None:
    # T50: cosine over 6 steps with ceil(0.1 * 6) = 1 of warm-up: 0 at first, then
    # (1 + cos(pi * k / 5)) / 2 of 1e-3 for k = 0..4; the next would be zero.
    import math

    expected = [0.0] + [1e-3 * (1 + math.cos(math.pi * k / 5)) / 2 for k in range(5)]
    rates = [entry["learning_rate"] for entry in finished.entries("train")]
    assert rates == pytest.approx(expected, rel=1e-9)


def test_the_newest_checkpoints_are_kept(finished: Run) -> None:
    kept = sorted(path.name for path in (finished.path / "checkpoints").iterdir())
    assert kept == ["step-5", "step-6"]


def test_the_model_is_the_last_checkpoint(finished: Run) -> None:
    model = load_file(finished.path / "model/model.safetensors")
    last = load_file(finished.path / "checkpoints/step-6/model/model.safetensors")
    assert {k: v.tobytes() for k, v in model.items()} == {k: v.tobytes() for k, v in last.items()}


# From a transitive dependency of tensorboard, on import and on reading its own files.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_has_every_number(finished: Run) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished.path / "tensorboard"))
    events.Reload()
    tags = set(events.Tags()["scalars"])
    assert tags == {
        *(f"train/{n}" for n in ("loss", "accuracy", "learning_rate", "grad_norm", "reward_mean")),
        *(f"eval/{name}/{n}" for name in ("unseen", "other") for n in METRICS),
    }
    losses = [(event.step, event.value) for event in events.Scalars("train/loss")]
    logged = [(entry["step"], entry["loss"]) for entry in finished.entries("train")]
    assert [step for step, _ in losses] == [step for step, _ in logged]
    # TensorBoard holds float32: 2^-24 relative.
    assert [v for _, v in losses] == pytest.approx([v for _, v in logged], rel=1e-7)


def test_training_teaches(tiny_base: Path, tmp_path: Path) -> None:
    train_rows = write_lines(tmp_path / "train.jsonl", list(rows(6)))
    result = train(
        recipe(tiny_base, train_rows, tmp_path / "run", num_train_epochs=15, save_steps=None)
    )
    losses = [entry["loss"] for entry in log_of(result.run)]
    assert 0.5 <= losses[0] <= 1.2
    assert sum(losses[-3:]) / 3 < 0.2


def rewards_of_comparisons(directory: Path) -> dict[str, tuple[float, float]]:
    lines = (directory / "comparisons.jsonl").read_text(encoding="utf-8").splitlines()
    found = map(json.loads, lines)
    return {row["row"]: (row["chosen_reward"], row["rejected_reward"]) for row in found}


def rewards_by_score(model: Path, data: Path, output: Path) -> dict[str, tuple[float, float]]:
    score_source(
        OneModel(load_reward_model(str(model)), "m"), DataSource(str(data)), output, ScoreOptions()
    )
    lines = output.read_text(encoding="utf-8").splitlines()
    scores = [json.loads(line)["assay"]["scores"] for line in lines]
    return {f"{data}:{n}": (one, two) for n, (one, two) in enumerate(scores, 1)}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("group_by", ["prompt", "row"])
def test_training_evaluating_and_scoring_agree(
    tiny_base: Path, tmp_path: Path, dtype: str, group_by: str
) -> None:
    # T10, T42: the evaluation at the end of training, `assay eval` and `assay score` of model/.
    train_rows = write_lines(tmp_path / "train.jsonl", list(rows(4)))
    test = write_lines(tmp_path / "test.jsonl", list(rows(70, prefix="unseen ")))
    result = train(
        recipe(
            tiny_base,
            train_rows,
            tmp_path / "run",
            evals=[str(test)],
            data={"group_by": group_by},
            model={"dtype": dtype},
            num_train_epochs=1,
        )
    )
    model, trained = result.run / "model", result.run / "eval/test"
    evaluate_command(str(model), DataSource(str(test)), EvalOptions(output=tmp_path / "eval"))
    at_training = rewards_of_comparisons(trained)
    later = rewards_of_comparisons(tmp_path / "eval")
    scored = rewards_by_score(model, test, tmp_path / "scores.jsonl")
    assert at_training.keys() == later.keys() == scored.keys()
    one, two = (
        json.loads((place / "results.json").read_text(encoding="utf-8"))
        for place in (trained, tmp_path / "eval")
    )
    assert (one["dtype"], one["max_length"]) == (two["dtype"], two["max_length"])
    if group_by == "prompt":
        # The same groups in the same windows: the same numbers to the last bit.
        assert at_training == later
        assert {k: v for k, v in one.items() if k not in ("name", "model", "step")}.items() <= (
            two.items()
        )
    # Other rows stand in a batch: float32 rounding, 6e-8 of numbers near 1, over a few hundred
    # additions in another order. 70 prompts are more than one window of evaluation.
    for other in (at_training, later):
        for row, rewards in scored.items():
            assert other[row] == pytest.approx(rewards, rel=1e-6, abs=1e-6)


def test_one_window_of_rows_scores_to_the_bit_as_it_evaluates(
    finished: Run, tmp_path: Path
) -> None:
    # The same distinct sequences in the same order make the same batches.
    good = write_lines(tmp_path / "test.jsonl", list(rows(4, prefix="unseen ")))
    scored = rewards_by_score(finished.path / "model", good, tmp_path / "scores.jsonl")
    evaluated = rewards_of_comparisons(finished.path / "eval/unseen")
    assert list(evaluated.values()) == list(scored.values())


def test_a_lora_run_leaves_model_and_adapter_with_equal_rewards(
    tiny_base: Path, tmp_path: Path
) -> None:
    # T23: the head is trained, saved in both, and is not the one drawn from the seed.
    train_rows = write_lines(tmp_path / "train.jsonl", list(rows(5)))
    lora = {"r": 4, "alpha": 8, "dropout": 0.1, "target_modules": "all-linear"}
    result = train(recipe(tiny_base, train_rows, tmp_path / "run", lora=lora))
    merged = load_file(result.run / "model/model.safetensors")
    adapter = load_file(result.run / "adapter/adapter_model.safetensors")
    [head] = [tensor for name, tensor in adapter.items() if name.endswith("score.weight")]
    assert head.tobytes() == merged["score.weight"].tobytes()
    first = load_file(result.run / "checkpoints/step-1/adapter/adapter_model.safetensors")
    [early] = [tensor for name, tensor in first.items() if name.endswith("score.weight")]
    assert early.tobytes() != head.tobytes()
    one, two = (load_reward_model(str(result.run / name)) for name in ("model", "adapter"))
    # Merging adds B A to W once instead of to each output: float32 rounding of a two-layer model.
    answers = ["good answer", "bad answer so so"]
    assert one.score("question?", answers) == pytest.approx(
        two.score("question?", answers), rel=1e-5, abs=1e-5
    )
    assert {path.name for path in (result.run / "checkpoints").iterdir()} == {
        f"step-{step}" for step in range(1, 7)
    }


# What is refused, and that nothing is lost by it.


@pytest.fixture
def small(tiny_base: Path, tmp_path: Path) -> Run:
    """A finished run of two steps."""
    train_rows = write_lines(tmp_path / "train.jsonl", list(rows(4)))
    checked = recipe(tiny_base, train_rows, tmp_path / "run", num_train_epochs=1)
    train(checked)
    return Run(tmp_path / "run", checked, train_rows, train_rows)


def changed(checked: Recipe, **changes: object) -> Recipe:
    tree = checked.model_dump(mode="json")
    for dotted, value in changes.items():
        at = tree
        *parts, last = dotted.split("__")
        for part in parts:
            at = at[part]
        at[last] = value
    return Recipe.model_validate(tree)


def snapshot(run: Path) -> dict[str, bytes]:
    return {str(p.relative_to(run)): p.read_bytes() for p in run.rglob("*") if p.is_file()}


def test_an_output_dir_that_is_not_empty_is_refused(small: Run) -> None:
    before = snapshot(small.path)
    with pytest.raises(OutputError, match=r"is not empty; add --resume auto .* --overwrite"):
        train(small.recipe)
    assert snapshot(small.path) == before


@pytest.mark.parametrize("how", [{"overwrite": True}, {"resume": "auto"}])
def test_a_directory_of_someone_elses_is_left_alone(
    small: Run, tmp_path: Path, how: dict[str, Any]
) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "thesis.tex").write_text("years", encoding="utf-8")
    with pytest.raises(OutputError, match="is not a run directory"):
        train(changed(small.recipe, output_dir=str(theirs)), **how)
    assert snapshot(theirs) == {"thesis.tex": b"years"}


def test_overwrite_leaves_nothing_of_the_old_run(small: Run, tmp_path: Path) -> None:
    # Reached through a link too, which shutil.rmtree refuses.
    (small.path / "checkpoints/step-99").mkdir()
    link = tmp_path / "link"
    link.symlink_to(small.path, target_is_directory=True)
    other = changed(small.recipe, output_dir=str(link), train__max_steps=1, train__seed=4)
    train(other, overwrite=True)
    assert link.is_symlink()
    assert {path.name for path in (small.path / "checkpoints").iterdir()} == {"step-1"}
    assert len(Run(small.path, other, small.train, small.test).entries("train")) == 1


@pytest.mark.parametrize("how", [{"overwrite": True}, {"resume": "auto"}])
def test_a_run_that_another_command_is_in_is_left_alone(small: Run, how: dict[str, Any]) -> None:
    before = snapshot(small.path)
    with (
        alone_in(small.path),
        pytest.raises(OutputError, match="another command is training in it"),
    ):
        train(small.recipe, **how)
    assert snapshot(small.path) == before
    train(small.recipe, **how)


def test_a_run_that_another_command_made_meanwhile_is_left_alone(
    small: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Both began where nothing was; the other was faster.
    output = tmp_path / "new"
    prepare = loop.prepare_recipe

    def slowly(*args: Any) -> Any:
        shutil.copytree(small.path, output)
        return prepare(*args)

    monkeypatch.setattr(loop, "prepare_recipe", slowly)
    with pytest.raises(OutputError, match="is not empty"):
        train(changed(small.recipe, output_dir=str(output)))
    assert snapshot(output) == snapshot(small.path)


def test_overwriting_with_bad_data_keeps_the_old_run(small: Run, tmp_path: Path) -> None:
    before = snapshot(small.path)
    bad = write_lines(tmp_path / "bad.jsonl", [NOT_JSON])
    with pytest.raises(DataError, match=r"bad\.jsonl:1"):
        train(changed(small.recipe, data__train=[{"path": str(bad)}]), overwrite=True)
    assert snapshot(small.path) == before


def test_bad_data_leaves_no_directory_behind(small: Run, tmp_path: Path) -> None:
    bad = write_lines(tmp_path / "bad.jsonl", [NOT_JSON])
    output = tmp_path / "new" / "run"
    other = changed(small.recipe, data__train=[{"path": str(bad)}], output_dir=str(output))
    with pytest.raises(DataError, match=r"bad\.jsonl:1"):
        train(other)
    assert not output.parent.exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("train__learning_rate", 2e-3),
        ("train__seed", 4),
        ("train__global_batch_size", 3),
        ("train__num_train_epochs", 3),
        ("train__max_length", 64),
        ("loss__weight_by", "prompt"),
        ("data__group_by", "row"),
        ("lora", {"r": 4}),
    ],
)
def test_resuming_with_another_recipe_names_the_field(
    small: Run, field: str, value: object
) -> None:
    before = snapshot(small.path)
    name = re.escape(field.replace("__", "."))
    with pytest.raises(CheckpointError, match=rf"the recipe differs from the run's: {name}\b"):
        train(changed(small.recipe, **{field: value}), resume="auto")
    assert snapshot(small.path) == before


def test_resuming_with_other_data_is_refused(small: Run) -> None:
    lines = small.train.read_text(encoding="utf-8").splitlines()
    write_lines(small.train, [lines[0].replace("question", "Question"), *lines[1:]])
    with pytest.raises(CheckpointError, match="the training data changed since this run began"):
        train(small.recipe, resume="auto")


def test_all_fields_that_differ_are_named(small: Run) -> None:
    both = changed(small.recipe, train__learning_rate=2e-3, train__max_grad_norm=3.0)
    named = r"learning_rate was 0\.001, now 0\.002; train\.max_grad_norm was 1\.0, now 3\.0"
    with pytest.raises(CheckpointError, match=named):
        train(both, resume="auto")


def test_a_resolved_recipe_that_is_none_any_more_is_refused(small: Run) -> None:
    path = small.path / "recipe.resolved.yaml"
    path.write_text("train: [1, 2", encoding="utf-8")
    with pytest.raises(CheckpointError, match="cannot be read") as caught:
        train(small.recipe, resume="auto")
    assert caught.value.where == str(path)


def test_fields_that_are_newer_than_the_run_stop_no_resuming(small: Run) -> None:
    path = small.path / "recipe.resolved.yaml"
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    del written["train"]["top_layers"], written["data"]["part"]
    path.write_text(yaml.safe_dump(written), encoding="utf-8")
    assert train(small.recipe, resume="auto").stopped_by is None


@pytest.mark.parametrize(
    ("stores", "evaluated", "refused"),
    [
        ({"train t": "1", "eval e": "2"}, True, None),
        ({"train t": "9", "eval e": "2"}, False, "train t"),
        ({"train t": "1", "eval e": "9"}, True, "eval e"),
        ({"train t": "1", "eval e": "9"}, False, None),
        ({"train t": "1", "eval new": "9"}, True, None),
    ],
)
def test_rows_that_are_read_otherwise_are_other_data(
    tmp_path: Path, stores: dict[str, str], evaluated: bool, refused: str | None
) -> None:
    # A plug-in, a tokenizer, an evaluation file: none of them shows in the bytes of training data.
    before = {"data": {"t": "x"}, "stores": {"train t": "1", "eval e": "2"}}
    (tmp_path / "run.json").write_text(json.dumps(before), encoding="utf-8")
    expected = pytest.raises(CheckpointError, match=refused) if refused else nullcontext()
    with expected:
        check_same_data(tmp_path, {"t": "x"}, stores, evaluated=evaluated)


def test_a_checkpoint_of_another_run_must_fit_too(small: Run, tmp_path: Path) -> None:
    checkpoint = str(small.path / "checkpoints/step-1")
    other = changed(small.recipe, output_dir=str(tmp_path / "other"))
    with pytest.raises(CheckpointError, match=r"train\.learning_rate was 0\.001, now 0\.002"):
        train(changed(other, train__learning_rate=2e-3), resume=checkpoint)
    assert not (tmp_path / "other").exists()
    assert train(other, resume=checkpoint).step == 2


def test_going_back_behind_a_newer_checkpoint_is_refused(small: Run) -> None:
    before = snapshot(small.path)
    with pytest.raises(CheckpointError, match=r"newer checkpoint, step-2.*; resume auto, or"):
        train(small.recipe, resume=str(small.path / "checkpoints/step-1"))
    assert snapshot(small.path) == before


@pytest.mark.parametrize("where", ["nowhere", "."])
def test_what_is_no_checkpoint_is_refused(small: Run, tmp_path: Path, where: str) -> None:
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        train(small.recipe, resume=str(tmp_path / where))


def test_what_sets_memory_may_change_on_resuming(
    small: Run, caplog: pytest.LogCaptureFixture
) -> None:
    # An out-of-memory error says to lower max_tokens_per_pack: that must then be possible.
    with caplog.at_level(logging.WARNING, "assay"):
        result = train(
            changed(small.recipe, train__max_tokens_per_pack=128, train__save_steps=5),
            resume="auto",
        )
    assert result.step == 2
    assert "resuming with train.max_tokens_per_pack 128, the run began with 160" in caplog.text


def test_the_budget_of_auto_is_kept_on_resuming(
    small: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It depends on the memory that is free, and the last bits of the weights depend on it.
    checked = changed(
        small.recipe, train__max_tokens_per_pack="auto", output_dir=str(tmp_path / "auto")
    )
    run = train(checked).run
    log = (run / "train.log").read_text(encoding="utf-8")
    assert "packs of at most 2560 tokens" in log
    monkeypatch.setattr("assay.train.memory.free_bytes", lambda device: 0)
    train(checked, resume="auto")
    assert (run / "train.log").read_text(encoding="utf-8").count("at most 2560 tokens") == 2


def test_two_evaluation_sets_of_one_name_are_refused(small: Run, tmp_path: Path) -> None:
    other = changed(
        small.recipe,
        output_dir=str(tmp_path / "other"),
        data__eval=[{"path": str(small.train)}, {"path": str(small.train)}],
    )
    with pytest.raises(ConfigError, match="two evaluation sets are named 'train'"):
        train(other)
    assert not (tmp_path / "other").exists()
