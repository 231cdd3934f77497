"""A recipe is read strictly: every mistake is named with its place and its mend."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.config import LoraConfig, Recipe, StrategyChoice
from assay.errors import ConfigError
from assay.recipe import dump_recipe, load_recipe, recipe_fields

MINIMAL = "model: {path: base}\ndata: {train: rows.jsonl}\noutput_dir: out\n"
"""Three lines: what is added stands on line 4."""

WriteRecipe = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> WriteRecipe:
    def write(text: str, name: str = "r.yaml") -> str:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def refusal(path: str | None, *flags: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_recipe(path, flags)
    return caught.value


def test_a_minimal_recipe_has_every_default(write: WriteRecipe) -> None:
    recipe = load_recipe(write(MINIMAL))
    assert recipe.model.path == "base"
    assert [source.path for source in recipe.data.train] == ["rows.jsonl"]
    assert (recipe.lora, recipe.data.eval, recipe.data.group_by) == (None, [], "prompt")
    assert (recipe.train.learning_rate, recipe.train.over_length) == (1e-5, "drop")
    assert (recipe.train.global_batch_size, recipe.train.max_tokens_per_pack) == (64, "auto")
    assert (recipe.loss.kind, recipe.loss.weight_by) == ("bradley_terry", "comparison")


def test_the_recipe_of_the_documents_loads(write: WriteRecipe) -> None:
    text = """
model: {path: Qwen/Qwen2-7B-Instruct, dtype: bfloat16, template: chatml}
lora:  {r: 16, alpha: 32, target_modules: [q_proj, k_proj, v_proj]}
data:  {train: [{path: train.jsonl, format: auto}], eval: [{path: test.jsonl, name: cvalues}],
        group_by: prompt, on_bad_row: error}
train: {learning_rate: 1.0e-5, lr_scheduler_type: cosine, warmup_ratio: 0.1, weight_decay: 0.0,
        max_grad_norm: 1.0, num_train_epochs: 2, max_steps: null, max_length: 1024,
        over_length: drop, global_batch_size: 64, max_tokens_per_pack: auto, logging_steps: 5,
        eval_steps: 100, save_steps: 100, save_total_limit: 2, seed: 42, report_to: [tensorboard]}
loss:  {kind: bradley_terry, weight_by: comparison}
output_dir: runs/qwen2-cvalues
"""
    recipe = load_recipe(write(text))
    assert recipe.lora == LoraConfig(r=16, alpha=32, target_modules=["q_proj", "k_proj", "v_proj"])
    assert recipe.data.eval[0].name == "cvalues"
    assert recipe.train.report_to == ["tensorboard"]


# YAML 1.1 reads 1e-5 (no point) as a text.
@pytest.mark.parametrize("number", ["1e-5", "1.0e-5", "0.00001", "'1e-5'"])
def test_a_learning_rate_is_a_number_however_it_is_written(write: WriteRecipe, number: str) -> None:
    in_file = load_recipe(write(f"{MINIMAL}train: {{learning_rate: {number}}}\n"))
    by_flag = load_recipe(write(MINIMAL), ["--train.learning_rate", number.strip("'")])
    assert in_file.train.learning_rate == by_flag.train.learning_rate == 1e-5


@pytest.mark.parametrize(
    ("train", "paths"),
    [
        ("a.jsonl", ["a.jsonl"]),
        ("[a.jsonl, b.jsonl]", ["a.jsonl", "b.jsonl"]),
        ("{path: a.jsonl}", ["a.jsonl"]),
        ("[a.jsonl, {path: 'sample:values', split: train}]", ["a.jsonl", "sample:values"]),
    ],
)
def test_sources_are_a_path_or_a_list(write: WriteRecipe, train: str, paths: list[str]) -> None:
    text = f"model: {{path: m}}\ndata: {{train: {train}}}\noutput_dir: o\n"
    assert [s.path for s in load_recipe(write(text)).data.train] == paths
    flags = ["--model.path", "m", "--output_dir", "o", "--data.train", train]
    assert [s.path for s in load_recipe(None, flags).data.train] == paths


@pytest.mark.parametrize(
    ("line", "key", "mend"),
    [
        ("modle: {path: x}", "modle", "did you mean 'model'?"),
        ("trian: {seed: 1}", "trian", "did you mean 'train'?"),
        ("outptu_dir: x", "outptu_dir", "did you mean 'output_dir'?"),
        ("learning_rate: 1e-5", "learning_rate", "did you mean 'train.learning_rate'?"),
        ("train: {learning_rat: 1}", "train.learning_rat", "did you mean 'train.learning_rate'?"),
        ("train: {lr: 1}", "train.lr", "did you mean 'train.learning_rate'?"),
        ("train: {epochs: 1}", "train.epochs", "did you mean 'train.num_train_epochs'?"),
        ("train: {batch_size: 1}", "train.batch_size", "did you mean 'train.global_batch_size'?"),
        ("train: {dtype: float32}", "train.dtype", "did you mean 'model.dtype'?"),
        ("lora: {lora_alpha: 1}", "lora.lora_alpha", "did you mean 'lora.alpha'?"),
        ("lora: {target_module: [a]}", "lora.target_module", "did you mean 'lora.target_modules'?"),
        ("loss: {wieght_by: x}", "loss.wieght_by", "did you mean 'loss.weight_by'?"),
        ("qqqqqq: 1", "qqqqqq", "see assay train --help"),
        ("bf16: true", "bf16", "write model.dtype: bfloat16"),
        ("train: {fp16: true}", "train.fp16", "write model.dtype: bfloat16 (float16 overflows in "
         "training)"),
    ],
)  # fmt: skip
def test_an_unknown_key_names_line_and_nearest(
    write: WriteRecipe, line: str, key: str, mend: str
) -> None:
    path = write(f"{MINIMAL}{line}\n")
    assert str(refusal(path)) == f"{path}:4: unknown key '{key}'; {mend}"


def test_an_unknown_key_of_a_source_is_found_at_depth(write: WriteRecipe) -> None:
    path = write(
        "model: {path: m}\ndata:\n  train:\n  - path: a\n  - path: b\n    formt: auto\n"
        "output_dir: o\n"
    )
    assert str(refusal(path)) == (
        f"{path}:6: unknown key 'data.train.1.formt'; did you mean 'format'?"
    )


@pytest.mark.parametrize("name", ["per_device_train_batch_size", "gradient_accumulation_steps"])
@pytest.mark.parametrize("how", ["file", "top", "flag"])
def test_batch_fields_of_other_trainers_name_the_equivalent(
    write: WriteRecipe, name: str, how: str
) -> None:
    if how == "flag":
        error, where = refusal(write(MINIMAL), f"--train.{name}", "8"), f"--train.{name}"
    else:
        line = f"train: {{{name}: 8}}" if how == "file" else f"{name}: 8"
        path = write(f"{MINIMAL}{line}\n")
        error, where = refusal(path), f"{path}:4"
    assert error.where == where
    assert error.mend is not None
    assert error.mend.startswith(
        "set train.global_batch_size to per_device_train_batch_size x gradient_accumulation_steps "
        "x devices"
    )
    assert "train.max_tokens_per_pack" in error.mend


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train: {learning_rate: fast}",
         "'train.learning_rate': should be a valid number, unable to parse string as a number, "
         "not 'fast'"),
        ("train: {seed: 1.5}",
         "'train.seed': should be a valid integer, got a number with a fractional part, not 1.5"),
        ("train: {max_steps: 0}",
         "'train.max_steps': should be greater than or equal to 1, not 0"),
        ("train: {lr_scheduler_type: cosin}",
         "'train.lr_scheduler_type': should be 'linear', 'cosine', 'constant' or "
         "'constant_with_warmup', not 'cosin'"),
        ("train: {max_tokens_per_pack: lots}",
         "'train.max_tokens_per_pack': should be a valid integer, unable to parse string as an "
         "integer or should be 'auto', not 'lots'"),
        ("lora: {target_modules: 5}",
         "'lora.target_modules': should be a valid list or should be 'all-linear', not 5"),
        ("lora: {target_modules: [q_proj, 5]}",
         "'lora.target_modules': should be a valid string or should be 'all-linear', "
         "not ['q_proj', 5]"),
        ("train: {report_to: [mlflow]}",
         "'train.report_to.0': should be 'tensorboard', 'wandb', 'trackio' or 'swanlab', "
         "not 'mlflow'"),
        ("train: 5", "'train': should be a mapping of fields, not 5"),
        ("train:", "'train': should be a mapping of fields, not None"),
        ("train: {logging_steps: true}",
         "'train.logging_steps': should not be true or false, not True"),
        ("train: {gradient_checkpointing: maybe}",
         "'train.gradient_checkpointing': should be a valid boolean, unable to interpret input, "
         "not 'maybe'"),
        ("train: {learning_rate: .inf}",
         "'train.learning_rate': should be a finite number, not inf"),
        ("train: {weight_decay: .nan}",
         "'train.weight_decay': should be a finite number, not nan"),
        ("train: {1: 2}", "'train.1': keys should be strings, not 1"),
    ],
)  # fmt: skip
def test_a_wrong_value_names_line_key_and_value(
    write: WriteRecipe, line: str, message: str
) -> None:
    path = write(f"{MINIMAL}{line}\n")
    assert str(refusal(path)) == f"{path}:4: {message}"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("model: {path: m}\nmodel: {path: m}\n", 2,
         "model is given twice (first on line 1); keep one"),
        ("model:\n  path: a\n  dtype: float32\n  path: b\n", 4,
         "model.path is given twice (first on line 2); keep one"),
        ("data:\n  train:\n  - path: a\n    path: b\n", 4,
         "data.train.0.path is given twice (first on line 3); keep one"),
        ("a: b: c\n", 1, "not valid YAML (mapping values are not allowed here)"),
        ("a: 1\n\t- x\n", 2,
         "not valid YAML (found character '\\t' that cannot start any token)"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_meant_names_its_line(
    write: WriteRecipe, text: str, line: int, message: str
) -> None:
    path = write(text)
    assert str(refusal(path)).startswith(f"{path}:{line}: {message}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no recipe; a recipe is a mapping"),
        ("- a\n", "holds no recipe; a recipe is a mapping"),
        ("just words\n", "holds no recipe; a recipe is a mapping"),
        ("a: \x01\n", "not valid YAML"),
        ("a: 2024-13-45\n", "not valid YAML (month must be in 1..12); quote it"),
        ("a: &x [*x]\n", "nested too deeply"),
        ("a: " + "[" * 5000, "nested too deeply"),
    ],
)
def test_a_file_that_is_no_recipe_is_named(write: WriteRecipe, text: str, message: str) -> None:
    path = write(text)
    assert str(refusal(path)).startswith(f"{path}: {message}")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing = str(tmp_path / "no.yaml")
    assert str(refusal(missing)) == f"{missing}: no such recipe; check the path"
    assert str(refusal(str(tmp_path))).startswith(f"{tmp_path}: cannot be read")
    (tmp_path / "latin.yaml").write_bytes(b"model: {path: caf\xe9}\n")
    assert "cannot be read" in str(refusal(str(tmp_path / "latin.yaml")))


def test_a_byte_order_mark_is_passed_over(write: WriteRecipe) -> None:
    assert load_recipe(write("\ufeff" + MINIMAL)).output_dir == "out"


@pytest.mark.parametrize(
    ("text", "key", "flag", "line"),
    [
        ("data: {train: a}\noutput_dir: o\n", "model", "model.path", None),
        ("model: {path: m}\noutput_dir: o\n", "data", "data.train", None),
        ("model: {path: m}\ndata: {eval: a}\noutput_dir: o\n", "data.train", "data.train", 2),
        (
            "model: {dtype: float32}\ndata: {train: a}\noutput_dir: o\n",
            "model.path",
            "model.path",
            1,
        ),
        ("model: {path: m}\ndata: {train: a}\n", "output_dir", "output_dir", None),
    ],
)
def test_a_missing_key_is_named_with_both_ways_to_give_it(
    write: WriteRecipe, text: str, key: str, flag: str, line: int | None
) -> None:
    path = write(text)
    place = path if line is None else f"{path}:{line}"
    assert str(refusal(path)) == (
        f"{place}: '{key}' is missing; add it to {path} or give --{flag} VALUE"
    )


def test_what_is_missing_in_a_list_is_added_in_the_file(write: WriteRecipe) -> None:
    path = write("model: {path: m}\ndata: {train: [{name: a}]}\noutput_dir: o\n")
    assert str(refusal(path)) == f"{path}:2: 'data.train.0.path' is missing; add it to {path}"


def test_a_pack_must_hold_the_longest_sequence(write: WriteRecipe) -> None:
    path = write(f"{MINIMAL}train: {{max_length: 100, max_tokens_per_pack: 99}}\n")
    assert "train.max_length (100) is above train.max_tokens_per_pack (99)" in str(refusal(path))
    load_recipe(path, ["--train.max_tokens_per_pack", "100"])


def test_several_mistakes_are_all_named(write: WriteRecipe) -> None:
    path = write("model: {path: m, dtyp: x}\ndata: {train: a}\ntrain: {seed: x}\n")
    lines = str(refusal(path)).splitlines()
    assert f"{path}:1: unknown key 'model.dtyp'; did you mean 'model.dtype'?" in lines
    assert any(line.startswith(f"{path}:3: 'train.seed': should be a valid int") for line in lines)
    assert any("'output_dir' is missing" in line for line in lines)
    assert len(lines) == 3


def test_names_may_stand_between_commas() -> None:
    flags = ["--model.path", "m", "--data.train", "t", "--output_dir", "o"]
    flags += ["--train.report_to", "wandb,trackio", "--lora.target_modules"]
    read = load_recipe(None, [*flags, "q_proj, v_proj"])
    assert read.train.report_to == ["wandb", "trackio"]
    assert read.lora == LoraConfig(target_modules=["q_proj", "v_proj"])
    assert load_recipe(None, [*flags, "all-linear"]).lora == LoraConfig()
    assert load_recipe(None, [*flags, "q_proj"]).lora == LoraConfig(target_modules=["q_proj"])


def test_groups_are_called_what_they_are() -> None:
    flags = ["--model.path", "m", "--data.train", "t", "--output_dir", "o", "--data.group_by"]
    names = [load_recipe(None, [*flags, by]).data.group_name for by in ("prompt", "row")]
    assert names == ["prompts", "groups"]


def test_flags_override_the_file_and_later_flags_the_earlier(write: WriteRecipe) -> None:
    path = write(f"{MINIMAL}train: {{seed: 1, max_steps: 7}}\n")
    flags = ["--train.seed", "2", "--train.seed=3", "--lora.r", "4", "--data.train", "[x, y]"]
    recipe = load_recipe(path, flags)
    assert (recipe.train.seed, recipe.train.max_steps) == (3, 7)
    assert recipe.lora == LoraConfig(r=4)
    assert [source.path for source in recipe.data.train] == ["x", "y"]
    assert load_recipe(path, ["--train.max_steps", "null"]).train.max_steps is None


def test_flags_alone_are_a_recipe() -> None:
    flags = ["--model.path", "m", "--data.train", "a", "--output_dir", "o", "--train.seed", "5"]
    assert load_recipe(None, flags).train.seed == 5
    assert str(refusal(None, *flags[2:])) == "recipe: 'model' is missing; give --model.path VALUE"


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("output_dir", "2024"),
        ("output_dir", "2024-13-45"),
        ("output_dir", "on"),
        ("output_dir", "a: b"),
        ("output_dir", "C#: [x"),
        ("model.path", "modelscope:org/name"),
        ("model.revision", "0123"),
        ("model.revision", "1234567"),
        ("model.revision", "12e7"),
    ],
)
def test_a_flag_that_takes_text_takes_it_as_it_stands(
    write: WriteRecipe, field: str, text: str
) -> None:
    recipe = load_recipe(write(MINIMAL), [f"--{field}", text])
    value: Any = recipe
    for part in field.split("."):
        value = getattr(value, part)
    assert value == text


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--train.sed", "3"], "--train.sed: unknown key 'train.sed'; did you mean 'train.seed'?"),
        (["--trian.seed", "3"], "--trian.seed: unknown key 'trian'; did you mean 'train'?"),
        (["--train.seed", "-1"],
         "--train.seed: should be greater than or equal to 0, not -1"),
        (["--train.seed"], "--train.seed has no value; write --train.seed VALUE"),
        (["--train.seed", ""], "--train.seed: should be a valid integer, not None"),
        (["--train.max_tokens_per_pack", "x"],
         "--train.max_tokens_per_pack: should be a valid integer, "
         "unable to parse string as an integer or should be 'auto', not 'x'"),
        (["seed", "3"],
         "unexpected argument 'seed'; a recipe comes first, then --section.field VALUE"),
        (["--", "3"],
         "unexpected argument '--'; a recipe comes first, then --section.field VALUE"),
        (["--model", "foo"], "--model: should be a mapping of fields, not 'foo'"),
        (["--train.top_layers", "--train.seed", "3"],
         "--train.top_layers has no value; write --train.top_layers VALUE"),
        (["--loss.label_smoothing", "0.1", "--loss.ties", "davidson"],
         "--loss.ties: loss.ties davidson needs loss.tie_probability, the share of ties among "
         "equally good responses"),
        (["--output_dir.x", "4"],
         "--output_dir.x: 'output_dir' is no section that a flag can reach into; "
         "give all of it, as YAML: --output_dir VALUE"),
        (["--data.train.0.path", "x"],
         "--data.train.0.path: 'data.train' is no section that a flag can reach into; "
         "give all of it, as YAML: --data.train VALUE"),
    ],
)  # fmt: skip
def test_a_wrong_flag_is_named(write: WriteRecipe, flags: list[str], message: str) -> None:
    assert str(refusal(write(MINIMAL), *flags)) == message


def test_a_flag_cannot_reach_into_a_list_without_a_file() -> None:
    flags = ["--model.path", "m", "--output_dir", "o", "--data.train.0.path", "x"]
    assert "give all of it, as YAML: --data.train VALUE" in str(refusal(None, *flags))


def test_every_field_has_a_description_a_type_and_a_default() -> None:
    fields = recipe_fields()
    assert len({field.path for field in fields}) == len(fields) > 30
    for field in fields:
        assert field.description
        assert field.type
        assert field.default
        assert not re.search(r"[\[\]]|Annotated|typing|Config", field.type), field
    required = {field.path for field in fields if field.default == "required"}
    assert required == {"model.path", "data.train", "output_dir"}


def test_every_field_can_be_given_as_a_flag(write: WriteRecipe) -> None:
    recipe = load_recipe(write(MINIMAL + "lora: {}\n"))
    path = write(MINIMAL)
    for field in recipe_fields():
        if field.path == "data.train":
            continue
        value: Any = recipe
        for part in field.path.split("."):
            value = getattr(value, part)
        text = "null" if value is None else str(value)
        assert load_recipe(path, [f"--{field.path}", text]) is not None, field.path


def test_a_recipe_is_read_without_torch_and_transformers() -> None:
    code = (
        "import sys, assay.recipe\n"
        f"assay.recipe.load_recipe(None, {FLAGS!r})\n"
        "heavy = {'torch', 'transformers', 'peft', 'numpy', 'tokenizers'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


FLAGS = ["--model.path", "m", "--data.train", "a", "--output_dir", "o"]

# --- Round trip ----------------------------------------------------------------------------------

TEXT = st.text(min_size=1, max_size=12) | st.sampled_from(
    [
        "1e-5",
        "null",
        "~",
        "yes",
        "0123",
        "2024-01-01",
        "a: b",
        "- x",
        "#c",
        "'",
        '"',
        "路径/a b",
        "\x85",
        "\u2028",
        "\ufeff",
        "",
    ]
)
UNIT = st.floats(0, 1, exclude_max=True)
POSITIVE = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
COUNT = st.integers(1, 2**40)
SOURCE = st.fixed_dictionaries(
    {"path": TEXT},
    optional={name: TEXT for name in ("format", "split", "revision", "label", "name")}
    | {"columns": st.dictionaries(TEXT, TEXT, max_size=2)},
)
SHARED_SOURCE = SOURCE | st.builds(lambda source, count: source | {"count": count}, SOURCE, COUNT)
VALUES: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "model": {
        "path": TEXT,
        "revision": st.none() | TEXT,
        "dtype": st.sampled_from(["auto", "float32", "bfloat16"]),
        "head": st.sampled_from(["keep", "new"]),
        "template": TEXT,
        "template_end": st.sampled_from(["auto", "eos", "none"]),
        "special_tokens_in_content": st.sampled_from(["text", "special", "error"]),
        "thinking": st.sampled_from(["keep", "strip"]),
    },
    "lora": {
        "r": COUNT,
        "alpha": POSITIVE,
        "dropout": UNIT,
        "target_modules": st.just("all-linear") | st.lists(TEXT, max_size=3),
        "quantize": st.sampled_from(["none", "nf4", "int8"]),
    },
    "data": {
        "train": st.lists(SHARED_SOURCE, min_size=1, max_size=3),
        "eval": st.lists(SOURCE, max_size=2),
        "group_by": st.sampled_from(["prompt", "row"]),
        "on_bad_row": st.sampled_from(["error", "skip"]),
        "held_out": UNIT,
        "max_dropped": UNIT,
        "part": st.floats(0, 1, exclude_min=True),
        "seed": st.none() | st.integers(0, 2**63),
    },
    "train": {
        "learning_rate": POSITIVE,
        "lr_scheduler_type": st.sampled_from(["linear", "constant"]),
        "warmup_ratio": UNIT,
        "weight_decay": st.floats(0, 10),
        "adam_beta1": UNIT,
        "adam_beta2": UNIT,
        "adam_epsilon": POSITIVE,
        "max_grad_norm": POSITIVE,
        "num_train_epochs": POSITIVE,
        "max_steps": st.none() | COUNT,
        "max_length": st.integers(2, 100),
        "over_length": st.sampled_from(["drop", "error", "drop_oldest_turns"]),
        "global_batch_size": COUNT,
        "max_tokens_per_pack": st.just("auto") | st.integers(100, 10**9),
        "engine": st.sampled_from(["auto", "tree", "packed", "padded"]),
        "freeze": st.just("none"),
        "top_layers": st.none(),
        "strategy": st.sampled_from(get_args(StrategyChoice)),
        "gradient_checkpointing": st.booleans(),
        "logging_steps": COUNT,
        "eval_steps": COUNT,
        "metric_for_best_model": st.none() | TEXT,
        "early_stopping_patience": st.none() | COUNT,
        "load_best_model_at_end": st.booleans(),
        "save_steps": st.none() | COUNT,
        "save_total_limit": st.none() | COUNT,
        "seed": st.integers(0, 2**63),
        "device": TEXT,
        "report_to": st.sampled_from([[], ["tensorboard"], ["wandb", "trackio", "swanlab"]]),
    },
    "loss": {
        "kind": st.just("bradley_terry"),
        "weight_by": st.sampled_from(["prompt"]),
        "margin_scale": st.floats(0, 10),
        "label_smoothing": st.floats(0, 0.4),
        "center_coefficient": st.floats(0, 10),
        "ties": st.just("half"),
        "tie_probability": st.none(),
        "ranking_ties": st.just("breslow"),
        "attributes": st.just({}),
        "ensemble": st.integers(1, 64),
    },
}
SECTIONS = {name: st.fixed_dictionaries(fields) for name, fields in VALUES.items()}
SECTIONS["loss"] |= st.fixed_dictionaries(
    {
        "kind": st.just("regression"),
        "attributes": st.dictionaries(TEXT, st.floats(0.1, 10), min_size=1, max_size=3),
    }
)
SECTIONS["loss"] |= st.fixed_dictionaries(
    {"ties": st.sampled_from(["rao_kupper", "davidson"]), "tie_probability": st.floats(0.01, 0.99)}
)
RECIPES = st.fixed_dictionaries(
    {"model": SECTIONS["model"], "data": SECTIONS["data"], "output_dir": TEXT},
    optional={name: SECTIONS[name] for name in ("lora", "train", "loss")}
    | {"plugins": st.lists(TEXT, max_size=2)},
)


def test_the_round_trip_covers_every_field() -> None:
    covered = {f"{section}.{name}" for section, fields in VALUES.items() for name in fields}
    assert covered | {"output_dir", "plugins"} == {field.path for field in recipe_fields()}


@settings(max_examples=60, deadline=None)
@given(values=RECIPES)
def test_what_is_dumped_loads_as_the_same_recipe(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]
) -> None:
    if not values["data"]["eval"]:
        needs = ("eval_steps", "metric_for_best_model", "early_stopping_patience")
        for name in (*needs, "load_best_model_at_end"):
            values.get("train", {}).pop(name, None)
    recipe = Recipe.model_validate(values)
    path = tmp_path_factory.getbasetemp() / "round-trip.yaml"
    path.write_text(dump_recipe(recipe), encoding="utf-8")
    again = load_recipe(str(path))
    assert again == recipe
    assert dump_recipe(again) == dump_recipe(recipe)


def test_evaluating_every_so_often_needs_something_to_evaluate_on() -> None:
    with pytest.raises(ConfigError, match=r"train.eval_steps is set and data.eval names no file"):
        load_recipe(
            None,
            ["--model.path", "m", "--data.train", "t", "--output_dir", "o", "--train.eval_steps=5"],
        )
