"""The data of a recipe: mixed, split, counted; each number is computed by hand beside it."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import log_of, recipe, rows, write_lines

from assay.config import Recipe
from assay.data.loading import load_groups
from assay.data.prompts import normalised, normalised_prompt_hash
from assay.data.records import Message
from assay.data.rendering import Renderer
from assay.data.sources import DataSource
from assay.data.store.joining import JoinedData
from assay.data.templates import resolve_template
from assay.errors import ConfigError, DataError
from assay.evaluate.command import EvalOptions, evaluate_command
from assay.recipe import load_recipe
from assay.train.loop import train
from assay.train.recipe_data import (
    RecipeData,
    check_recipe_data,
    data_source,
    mix_and_split,
    prepare_recipe,
    prompts_in_training,
    warn_about_overlap,
)

Prepare = Callable[..., tuple[Recipe, RecipeData]]


@pytest.fixture
def prepare(tmp_path: Path, tiny_tokenizer: Any) -> Prepare:
    """Prepare sources as a recipe's sections name them; nothing goes to the cache."""
    renderer = Renderer(tiny_tokenizer, resolve_template("auto", tiny_tokenizer))
    prepared: dict[str, RecipeData] = {}

    def run(sources: list[Any], *, seed: int = 3, **data: Any) -> tuple[Recipe, RecipeData]:
        checked = recipe(Path("base"), Path(), tmp_path / "run", data={"train": sources} | data)
        checked = checked.model_copy(
            update={"train": checked.train.model_copy(update={"seed": seed})}
        )
        # What is taken of a store is decided behind it: stores are made once.
        sides = (checked.data.train, checked.data.eval)
        read = [[data_source(one, "auto") for one in side] for side in sides]
        key = f"{read} {checked.data.group_by}"
        if key not in prepared:
            place = tmp_path / f"stores-{len(prepared)}"
            prepared[key] = prepare_recipe(checked, renderer, workers=1, output=place)
        return checked, prepared[key]

    return run


def source(folder: Path, name: str, prompts: int) -> str:
    """A file of `prompts` prompts: every third has one comparison, the others three."""
    lines: list[Any] = list(rows(prompts, prefix=f"{name} "))
    return str(write_lines(folder / f"{name}.jsonl", lines))


def prompts_of(data: JoinedData | None) -> list[str]:
    assert data is not None
    return [group.group.prompt[0].content for group in data.groups]


def taken(prepared: tuple[Recipe, RecipeData]) -> list[str]:
    return prompts_of(mix_and_split(*prepared)[0])


def by_source(prompts: list[str], *names: str) -> list[int]:
    return [sum(prompt.startswith(f"{name} ") for prompt in prompts) for name in names]


# --- mixing --------------------------------------------------------------------------------------


def test_counts_and_proportions_of_several_sources(prepare: Prepare, tmp_path: Path) -> None:
    a, b, c = (source(tmp_path, name, count) for name, count in (("a", 20), ("b", 10), ("c", 8)))
    shares: list[Any] = [{"path": a, "count": 7}, {"path": b, "proportion": 0.25}, c]
    checked, data = prepare(shares)
    found, held_out = mix_and_split(checked, data)
    prompts = prompts_of(found)
    assert held_out is None
    # 2.5 of 10 is rounded to the even number; c is taken whole.
    assert by_source(prompts, "a", "b", "c") == [7, 2, 8]
    assert len(set(prompts)) == 17
    # Sources one after the other, each in the order of its file.
    everything = [prompt for store in data.train for prompt in prompts_of(store)]  # type: ignore[arg-type]
    assert [prompt for prompt in everything if prompt in set(prompts)] == prompts
    # The comparisons of c's prompts 0..7: numbers 0, 3, 6 have one, the others three.
    in_c = [len(group.comparisons) for group in found.groups][9:]
    assert in_c == [1, 3, 3, 1, 3, 3, 1, 3]
    assert found.num_comparisons == sum(len(group.comparisons) for group in found.groups)
    assert found.num_tokens == sum(group.num_tokens for group in found.groups)


def test_a_mixture_is_of_its_seed_alone(prepare: Prepare, tmp_path: Path) -> None:
    a, b = source(tmp_path, "a", 20), source(tmp_path, "b", 20)
    shares: list[Any] = [{"path": a, "count": 9}, {"path": b, "count": 9}]
    first = taken(prepare(shares))
    assert first == taken(prepare(shares))
    assert first != taken(prepare(shares, seed=4))
    assert [prompt[2:] for prompt in first[:9]] != [prompt[2:] for prompt in first[9:]]
    # What is taken of the second does not change the first.
    other = taken(prepare([shares[0], {"path": b, "count": 2}]))
    assert other[:9] == first[:9]


def test_weights_of_several_sources(prepare: Prepare, tmp_path: Path) -> None:
    a, b = source(tmp_path, "a", 20), source(tmp_path, "b", 12)

    def mixture(of_a: float, of_b: float) -> list[int]:
        shares: list[Any] = [{"path": a, "weight": of_a}, {"path": b, "weight": of_b}]
        return by_source(taken(prepare(shares)), "a", "b")

    assert mixture(1, 3) == [4, 12]  # b is used up.
    assert mixture(5, 1) == [20, 4]  # a is used up.
    assert mixture(0.02, 1) == [1, 12]  # 0.24 of a: one, so that what is named is there.


def test_a_source_with_too_few_prompts(prepare: Prepare, tmp_path: Path) -> None:
    # 8 prompts in 18 rows: it is prompts that are counted.
    path = source(tmp_path, "a", 8)
    shares: list[Any] = [{"path": path, "count": 8}]
    assert len(taken(prepare(shares))) == 8
    with pytest.raises(ConfigError, match=r"a.jsonl has 8 groups, fewer than count: 9; lower"):
        mix_and_split(*prepare([{"path": path, "count": 9}]))
    # What is held out is a part of what is counted.
    kept, held = mix_and_split(*prepare(shares, held_out=0.4))
    assert len(kept.groups) + len(prompts_of(held)) == 8
    assert len(taken(prepare([{"path": path, "proportion": 0.01}]))) == 1
    # By rows there are 18, of which more can be taken.
    shares = [{"path": path, "count": 18}]
    assert len(taken(prepare(shares, group_by="row"))) == 18


# --- held_out ------------------------------------------------------------------------------------

SAME = [("Question 5?", "question  5?"), ("ＡＢＣ", "abc"), ("Straße 2", "STRASSE 2\n")]


def spelt_twice(folder: Path) -> tuple[str, str]:
    """Two files with prompts in common, spelt alike and otherwise; more of each for itself."""
    files = []
    for place, name in enumerate(("one", "two")):
        shared = [pair[place] for pair in SAME] + [f"shared {number}" for number in range(20)]
        own = [f"{name} {number}" for number in range(30)]
        lines: list[Any] = [
            {"prompt": prompt, "pos_resp": f"good {name} {at}", "neg_resp": f"bad {at}"}
            for prompt in [*shared, *own]
            for at in range(2)
        ]
        files.append(str(write_lines(folder / f"{name}.jsonl", lines)))
    return files[0], files[1]


@pytest.mark.parametrize("group_by", ["prompt", "row"])
def test_no_prompt_is_on_both_sides(prepare: Prepare, tmp_path: Path, group_by: str) -> None:
    files = spelt_twice(tmp_path)
    everything = {normalised(p) for p in taken(prepare([*files], group_by=group_by))}
    assert len(everything) == 3 + 20 + 60
    sides = set()
    for seed in range(6):
        checked, data = prepare([*files], seed=seed, held_out=0.3, group_by=group_by)
        kept, held = mix_and_split(checked, data)
        assert held is not None
        on = [{normalised(prompt) for prompt in prompts_of(side)} for side in (kept, held)]
        assert on[0].isdisjoint(on[1])
        assert on[0] | on[1] == everything
        assert len(kept.groups) + len(held.groups) == sum(len(s.groups) for s in data.train)
        assert kept.num_comparisons + held.num_comparisons == 4 * 53
        # Five standard deviations of 83 draws of 0.3: sqrt(83 * 0.3 * 0.7) is 4.2.
        assert abs(len(on[1]) - 25) < 21
        sides |= {(one, one in on[1]) for one, _ in (map(normalised, pair) for pair in SAME)}
        if group_by == "prompt":
            # In one file an answer to it, in the other another: two groups, one side.
            assert all(
                prompts_of(held).count(prompt) == 2 for prompt in on[1] if "shared" in prompt
            )
    assert len(sides) > len(SAME)  # Not always the same side.


def test_the_split_is_of_prompt_and_seed_alone(prepare: Prepare, tmp_path: Path) -> None:
    one, two = spelt_twice(tmp_path)
    held = set(prompts_of(mix_and_split(*prepare([one], held_out=0.3))[1]))
    lines = Path(one).read_text(encoding="utf-8").splitlines()
    random.Random(0).shuffle(lines)
    shuffled = str(write_lines(tmp_path / "other name.jsonl", list(lines)))
    assert set(prompts_of(mix_and_split(*prepare([shuffled], held_out=0.3))[1])) == held
    both = prompts_of(mix_and_split(*prepare([two, one], held_out=0.3))[1])
    assert held < set(both)
    assert set(prompts_of(mix_and_split(*prepare([one], held_out=0.3, seed=4))[1])) != held
    # More is held out besides, nothing instead.
    assert held < set(prompts_of(mix_and_split(*prepare([one], held_out=0.5))[1]))


ELSEWHERE = """
import json, sys
from pathlib import Path
from transformers import PreTrainedTokenizerFast
from assay.data.rendering import Renderer
from assay.data.templates import resolve_template
from assay.recipe import load_recipe
from assay.train.recipe_data import mix_and_split, prepare_recipe

tokenizer = PreTrainedTokenizerFast.from_pretrained(sys.argv[2])
recipe = load_recipe(sys.argv[1])
data = prepare_recipe(recipe, Renderer(tokenizer, resolve_template("auto", tokenizer)),
                      workers=1, output=Path(sys.argv[3]))
print(json.dumps([[g.group.prompt[0].content for g in side.groups]
                  for side in mix_and_split(recipe, data)]))
"""


@pytest.mark.slow
def test_another_process_mixes_and_splits_alike(
    prepare: Prepare, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    one, two = spelt_twice(tmp_path)
    shares: list[Any] = [{"path": one, "weight": 1}, {"path": two, "weight": 2}]
    checked, data = prepare(shares, held_out=0.3)
    here = [prompts_of(side) for side in mix_and_split(checked, data)]
    tiny_tokenizer.save_pretrained(tmp_path / "tokenizer")
    (tmp_path / "recipe.yaml").write_text(checked.model_dump_json())
    arguments = [tmp_path / "recipe.yaml", tmp_path / "tokenizer", tmp_path / "elsewhere"]
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, *map(str, arguments)],
        env=os.environ | {"PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == here


def test_what_is_held_out_is_a_part_of_the_mixture(prepare: Prepare, tmp_path: Path) -> None:
    one, two = spelt_twice(tmp_path)
    shares: list[Any] = [{"path": one, "count": 13}, {"path": two, "proportion": 0.5}]
    mixture = taken(prepare(shares))
    assert len(mixture) == 13 + 26  # Of 53 prompts each; 26.5 is rounded to the even number.
    kept, held = (prompts_of(side) for side in mix_and_split(*prepare(shares, held_out=0.3)))
    assert len(kept) + len(held) == 39
    assert sorted(kept + held) == sorted(mixture)
    for side in (kept, held):
        remaining = iter(mixture)
        assert all(prompt in remaining for prompt in side)  # In their order.
    # The rule is the prompt's own: the mixture does not move it to the other side.
    whole = {
        normalised(p) for p in prompts_of(mix_and_split(*prepare([one, two], held_out=0.3))[1])
    }
    assert {normalised(prompt) for prompt in held} == {
        normalised(prompt) for prompt in mixture if normalised(prompt) in whole
    }


def test_the_part_held_out_is_one_of_what_is_used(prepare: Prepare, tmp_path: Path) -> None:
    # 5% of 400 used prompts is 20; of the 2,000 in the file it would be 100.
    lines: list[Any] = [
        {"prompt": f"{n} of them?", "pos_resp": "a", "neg_resp": "b"} for n in range(2000)
    ]
    path = str(write_lines(tmp_path / "many.jsonl", lines))
    shares: list[Any] = [{"path": path, "count": 400}]
    kept, held = mix_and_split(*prepare(shares, held_out=0.05))
    # Five standard deviations: sqrt(400 * 0.05 * 0.95) is 4.4.
    assert abs(len(prompts_of(held)) - 20) < 22
    assert len(kept.groups) == 400 - len(prompts_of(held))


def test_a_side_without_anything_is_said_before_training(prepare: Prepare, tmp_path: Path) -> None:
    path = source(tmp_path, "a", 6)
    with pytest.raises(ConfigError, match=r"held_out 1e-09 with seed 3 holds back no prompt: noth"):
        mix_and_split(*prepare([path], held_out=1e-9))
    with pytest.raises(ConfigError, match=r"0.999999 with seed 3 holds back every prompt; lower"):
        mix_and_split(*prepare([path], held_out=0.999999))
    ties: list[Any] = [
        {"question": f"q {n}", "answer_0": "a", "answer_1": "b", "score_0": 0.5, "score_1": 0.5}
        for n in range(9)
    ]
    tied = str(write_lines(tmp_path / "ties.jsonl", ties))
    with pytest.raises(ConfigError, match=r"holds back \d prompts with ties alone: nothing to"):
        mix_and_split(*prepare([tied], held_out=0.5))


def test_a_run_evaluates_on_what_it_held_out(tiny_base: Path, tmp_path: Path) -> None:
    files = spelt_twice(tmp_path)
    checked = recipe(
        tiny_base,
        Path(),
        tmp_path / "run",
        data={"train": [*files], "held_out": 0.2},
        num_train_epochs=1,
        global_batch_size=16,
        save_steps=None,
        seed=1,
    )
    run = train(checked).run
    assert [path.name for path in (run / "eval").iterdir()] == ["held-out"]
    results = json.loads((run / "eval/held-out/results.json").read_text(encoding="utf-8"))
    text = (run / "eval/held-out/comparisons.jsonl").read_text(encoding="utf-8")
    compared = [json.loads(line) for line in text.splitlines()]
    described = json.loads((run / "run.json").read_text(encoding="utf-8"))
    held, kept = described["eval"]["held-out"], described["train"]
    assert results["num_comparisons"] == results["rows"] == held["comparisons"] == len(compared)
    assert results["num_comparisons"] > 20
    assert held["comparisons"] + kept["comparisons"] == kept["rows"] == 4 * 53
    assert (results["input"], results["held_out"]) == (list(files), 0.2)
    assert results["input_sha256"] == list(described["data"].values())
    # Each prompt's rows, in both files, on one side: those of the other were trained on.
    loaded = load_groups([DataSource(path) for path in files], group_by="row")
    on_held = {row["prompt"][0]["content"] for row in compared}
    on_held = {normalised_prompt_hash([Message("user", prompt)]) for prompt in on_held}
    rows_held = {
        str(g.source) for g in loaded.groups if normalised_prompt_hash(g.prompt) in on_held
    }
    assert {row["row"] for row in compared} == rows_held
    trained = sum(entry["num_comparisons"] for entry in log_of(run) if entry["kind"] == "train")
    assert trained == kept["comparisons"] == len(loaded.groups) - len(rows_held)
    # The numbers are the artefact's: `assay eval` of these rows gives them again.
    lines = [line for path in files for line in Path(path).read_text(encoding="utf-8").splitlines()]
    places = [f"{path}:{n}" for path in files for n in range(1, 2 * 53 + 1)]
    again = write_lines(
        tmp_path / "held.jsonl",
        [line for line, at in zip(lines, places, strict=True) if at in rows_held],
    )
    (later,) = evaluate_command(
        str(run / "model"), DataSource(str(again)), EvalOptions(output=tmp_path / "eval")
    )
    assert later["num_comparisons"] == results["num_comparisons"]
    # Other groups stand in a batch: float32 rounding.
    for name in ("mean_margin", "reward_mean", "chosen_mean", "rejected_mean"):
        assert later[name] == pytest.approx(results[name], rel=1e-5, abs=1e-6)


# --- prompts in common ----------------------------------------------------------------------------


def test_prompts_that_are_evaluated_and_trained_on(
    prepare: Prepare, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = str(write_lines(tmp_path / "one.jsonl", [_answered("Why?"), _answered("a  B")]))
    other = str(write_lines(tmp_path / "o.jsonl", [_answered(p) for p in ("A b", "c", "WHY?")]))
    recipe, data = prepare([one], eval=[other])
    train, _ = mix_and_split(recipe, data)
    ((name, _, store),) = data.evals
    assert prompts_in_training(train, store) == (2, 3)
    with caplog.at_level("WARNING", logger="assay"):
        assert warn_about_overlap(name, train, store) == 2
    (record,) = caplog.records
    assert record.getMessage().startswith(
        "2 of 3 prompts of the evaluation set 'o' are in the training data"
    )
    # What the recipe does not take of a source is not trained on.
    shares: list[Any] = [{"path": one, "count": 1}]
    recipe, data = prepare(shares, eval=[other])
    assert prompts_in_training(mix_and_split(recipe, data)[0], data.evals[0][2]) == (1, 3)


def _answered(prompt: str) -> dict[str, Any]:
    return {"prompt": prompt, "pos_resp": "good", "neg_resp": "bad"}


# --- said at once -------------------------------------------------------------------------------


def test_a_template_that_leaves_out_what_was_thought(
    tiny_tokenizer: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    thought = [{"role": "assistant", "content": "yes", "reasoning_content": "I wonder"}]
    row: Any = {"prompt": "q", "chosen": thought, "rejected": "no"}
    other: Any = {"prompt": "other", "chosen": "yes", "rejected": "no"}
    path = str(write_lines(tmp_path / "thought.jsonl", [row, other]))
    checked = recipe(Path("base"), Path(), tmp_path / "run", data={"train": [path], "eval": path})
    renderer = Renderer(tiny_tokenizer, resolve_template("chatml", tiny_tokenizer))
    stores = tmp_path / "stores"
    with caplog.at_level("WARNING", logger="assay"):
        data = prepare_recipe(checked, renderer, workers=1, output=stores)
    (record,) = caplog.records
    assert "the template 'chatml' leaves out the reasoning of 2 responses" in record.getMessage()
    assert [store.account.unread_thoughts for _, store in data.stores()] == [1, 1]
    assert json.loads((stores / "train-1" / "prepare.json").read_text())["unread_thoughts"] == 1


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (
            {"train": [{"path": "a", "weight": 1}, "b"]},
            r"'data.train': some sources have a weight, and b has none; give each a weight",
        ),
        ({"train": [{"path": "a", "proportion": 1.5}]}, r"proportion: should be less than or"),
        (
            {"train": [{"path": "a", "count": 1, "weight": 1}]},
            r"count and weight contradict each other; give one",
        ),
        (
            {"train": "a", "eval": {"path": "b", "count": 3}},
            r"'data.eval': b has a count, which is for data.train",
        ),
    ],
)
def test_shares_that_cannot_be_meant_are_refused_unread(data: dict[str, Any], what: str) -> None:
    flags = [text for key, value in data.items() for text in (f"--data.{key}", json.dumps(value))]
    with pytest.raises(ConfigError, match=what):
        load_recipe(None, ["--model.path", "m", "--output_dir", "o", *flags])


# --- what is dropped, refused and named ----------------------------------------------------------


def test_the_share_that_may_be_dropped(prepare: Prepare, tmp_path: Path) -> None:
    good: list[Any] = [
        {"prompt": f"q {n}", "pos_resp": f"good {n}", "neg_resp": f"bad {n}"} for n in range(38)
    ]
    same: list[Any] = [{"prompt": f"s {n}", "pos_resp": "a", "neg_resp": "a"} for n in range(2)]
    path = str(write_lines(tmp_path / "rows.jsonl", [*good, *same]))
    clean = str(write_lines(tmp_path / "clean.jsonl", good))
    check_recipe_data(*prepare([path], max_dropped=0.05))  # 2 of 40, exactly.
    what = r"rows.jsonl: 2 of 40 comparisons would be dropped \(5.0%, more than data.max_dropped"
    with pytest.raises(DataError, match=f"^train .*{what} 4.9%\\): 2 identical answers"):
        check_recipe_data(*prepare([path], max_dropped=0.049))
    # Each source by itself: a large one does not hide a small one; sets to evaluate on, too.
    with pytest.raises(DataError, match=f"^train .*{what}"):
        check_recipe_data(*prepare([clean, path], max_dropped=0.049))
    with pytest.raises(DataError, match=r"^eval rows: 2 of 40"):
        check_recipe_data(*prepare([clean], eval=[path], max_dropped=0.049))
    check_recipe_data(*prepare([path], max_dropped=1))


def test_a_source_of_which_nothing_is_left(prepare: Prepare, tmp_path: Path) -> None:
    long: list[Any] = [
        {"prompt": "q", "pos_resp": "so " * 200, "neg_resp": f"bad {n}"} for n in range(3)
    ]
    path = str(write_lines(tmp_path / "long.jsonl", long))
    good = source(tmp_path, "a", 4)
    with pytest.raises(DataError, match=r"nothing is left to train on of 3 rows \(3 over 128 tok"):
        check_recipe_data(*prepare([path], max_dropped=1))
    with pytest.raises(DataError, match=r"^eval long: nothing is left to evaluate on of 3 rows"):
        check_recipe_data(*prepare([good], eval=[path], max_dropped=1))


def test_names_of_sources(prepare: Prepare, tmp_path: Path) -> None:
    a = source(tmp_path, "a", 4)
    sample: list[Any] = [{"path": "sample:values", "split": split} for split in ("train", "test")]
    _, data = prepare([*sample, a], eval=[{"path": a, "name": "held-out"}, *sample])
    assert [name for name, _ in data.table()] == [
        "train sample:values:train",
        "train sample:values:test",
        f"train {a}",
        "eval held-out",
        "eval values-train",
        "eval values-test",
    ]
    with pytest.raises(ConfigError, match="two evaluation sets are named 'held-out'"):
        prepare([a], eval=[{"path": a, "name": "held-out"}], held_out=0.1)
    with pytest.raises(ConfigError, match="two evaluation sets are named 'a'"):
        prepare([a], eval=[a, {"path": a, "label": "x"}])


def test_what_is_not_there_is_said_before_anything_is_prepared(
    prepare: Prepare, tmp_path: Path
) -> None:
    a = source(tmp_path, "a", 4)
    missing = [str(tmp_path / f"{name}.jsonl") for name in "bc"]
    with pytest.raises(DataError) as caught:
        prepare([a, missing[0]], eval=[missing[1], a])
    said = [line.split("; ")[0] for line in str(caught.value).splitlines()]
    assert said == [f"{path}: no such file" for path in missing]
    with pytest.raises(ConfigError, match="standard input is named twice, and can be read once"):
        prepare(["-", a], eval=["-"])
    assert not list(tmp_path.glob("stores-*"))


def test_an_evaluation_set_of_ties_is_refused_before_training(
    prepare: Prepare, tmp_path: Path
) -> None:
    answers: dict[str, Any] = {"answer_0": "a", "answer_1": "b", "score_0": 0.5, "score_1": 0.5}
    ties: list[Any] = [{"question": f"q {number}", **answers} for number in range(3)]
    tied = str(write_lines(tmp_path / "ties.jsonl", ties))
    good = source(tmp_path, "a", 4)
    with pytest.raises(DataError, match=r"^eval ties: every comparison is labelled a tie: nothin"):
        check_recipe_data(*prepare([good], eval=[tied]))
    check_recipe_data(*prepare([tied], eval=[good]))
