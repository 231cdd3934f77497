"""`assay eval --benchmark` on a real tiny model, and the same numbers again from stored scores."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from benchmark_rows import ROWS, cvalues, llmbar, rewardbench, rewardbench2, rm_bench, rmb, write

from assay.data.records import Source
from assay.data.sources import DataSource
from assay.errors import ConfigError, DataError, OutputError
from assay.evaluate.benchmarks import ScoredItem, benchmarks, get_benchmark
from assay.evaluate.benchmarks.command import benchmark_command, scores_command
from assay.evaluate.benchmarks.stored import lines_of
from assay.evaluate.command import EvalOptions, stored_scores_command

OURS = ("model", "scores", "scores_sha256", "split", "label", "limit")
"""Fields that say where numbers come from; the others say what they are."""
OF_MODEL = ("template_hash", "max_length", "dtype", "engine")

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tiny_reward: Path, tmp_path: Path) -> Run:
    """Evaluates rows and returns what stands in `results.json`, as other tools read it."""

    def evaluate(name: str, file: Path, **options: Any) -> dict[str, Any]:
        output = options.pop("output", tmp_path / "out")
        source = DataSource(str(file))
        given = {"device": "cpu", "overwrite": True} | options
        benchmark_command(name, str(tiny_reward), source, EvalOptions(output=output, **given))
        return results_in(output)

    return evaluate


def results_in(output: Path) -> dict[str, Any]:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    text = (output / "results.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text, parse_constant=refuse)
    return found


def again(name: str, scores: Path, output: Path, **options: Any) -> dict[str, Any]:
    scores_command(name, str(scores), EvalOptions(output=output, overwrite=True, **options))
    return results_in(output)


def numbers(results: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in results.items() if k not in (*OURS, *OF_MODEL)}


def accounted(results: dict[str, Any]) -> int:
    scored = results["benchmark"]["strict"]["num_items"]
    return int(scored + results["skipped"]["count"] + results["bad_rows"])


def test_every_benchmark_has_rows_here() -> None:
    assert sorted(ROWS) == [known.name for known in benchmarks()]


@pytest.mark.parametrize("name", sorted(ROWS))
def test_every_row_is_scored_and_stored_scores_give_the_same(
    run: Run, tmp_path: Path, name: str
) -> None:
    """12 rows, one of them over the length: it is left out whole, and listed."""
    rows = [ROWS[name](number) for number in range(12)]
    for field in ("prompt", "question", "input"):
        if field in rows[5]:
            rows[5][field] += " word" * 300
    if name == "rmb":
        rows[5]["conversation_input"][0]["content"] += " word" * 300
    file = write(tmp_path / "rows.jsonl", rows)
    results = run(name, file)
    assert (results["rows"], accounted(results)) == (12, 12)
    assert results["skipped"]["rows"] == [{"row": f"{file}:6", "reason": "over 256 tokens"}]
    lines = (tmp_path / "out" / "items.jsonl").read_text(encoding="utf-8").splitlines()
    items = [json.loads(line) for line in lines]
    assert sorted(int(item["row"].split(":")[-1]) for item in items[:-1]) == [*range(1, 13)]
    assert [item["row"] for item in items if "skipped" in item] == [f"{file}:6"]
    assert items[-1]["input_sha256"] == results["input_sha256"]
    found = results["benchmark"]
    assert sum(part["num_items"] for part in found["by_subset"].values()) == 11
    assert (found["name"], found["partial"]) == (name, False)
    stored = again(name, tmp_path / "out" / "items.jsonl", tmp_path / "again")
    assert numbers(stored) == numbers(results)
    for file_name in ("items.jsonl", "comparisons.jsonl"):
        files = [(tmp_path / place / file_name).read_bytes() for place in ("out", "again")]
        assert files[0] == files[1]


@pytest.mark.parametrize(
    "name", [known.name for known in benchmarks() if known.write_results is not None]
)
def test_the_authors_files_give_the_authors_numbers(run: Run, tmp_path: Path, name: str) -> None:
    # Of RMB, pairs alone: there is no format for best-of-n.
    numbered = [n for n in range(24) if name != "rmb" or n % 4 < 2]
    results = run(name, write(tmp_path / "rows.jsonl", map(ROWS[name], numbered)))
    written = [path for path in (tmp_path / "out" / "results").rglob("*") if path.is_file()]
    [scores] = [path for path in written if path.parent.name != "eval-set"]
    stored = again(name, scores, tmp_path / "again")
    ours, theirs = results["benchmark"], stored["benchmark"]
    assert theirs["headline"] == ours["headline"]
    official = {key: part["official"] for key, part in ours["by_subset"].items()}
    assert {key: part["official"] for key, part in theirs["by_subset"].items()} == official
    assert stored["accuracy"] == results["accuracy"]
    # Their files say nothing of tokens.
    assert stored["length_baseline"] is None
    assert results["length_baseline"] is not None


def test_rewardbench_files_are_laid_out_as_the_authors_do(run: Run, tmp_path: Path) -> None:
    run("rewardbench", write(tmp_path / "rows.jsonl", map(rewardbench, range(6))))
    [scores] = (tmp_path / "out" / "results" / "eval-set").iterdir()
    text = scores.read_text(encoding="utf-8")
    table = json.loads(text)
    assert text == json.dumps(table, indent=4, sort_keys=True)
    assert set(table) == {
        *("model", "model_type", "chat_template"),
        *("alpacaeval-easy", "donotanswer", "hep-go"),
    }
    [columns] = (tmp_path / "out" / "results" / "eval-set-scores").iterdir()
    found = json.loads(columns.read_text(encoding="utf-8"))
    assert found["text_chosen"][1] == [
        {"role": "user", "content": "question 1?"},
        {"role": "assistant", "content": "a good answer 1"},
    ]
    assert len(found["scores_chosen"]) == len(found["results"]) == 6


def test_prior_sets_are_known_by_their_file(run: Run, tmp_path: Path) -> None:
    row = {key: value for key, value in rewardbench(1).items() if key != "subset"}
    file = write(tmp_path / "shp-00000-of-00001.jsonl", [row])
    assert list(run("rewardbench", file)["benchmark"]["by_subset"]) == ["shp"]
    assert (tmp_path / "out" / "results" / "pref-sets").is_dir()


def test_subsets_by_directory(run: Run, tmp_path: Path) -> None:
    row = {key: value for key, value in llmbar(0).items() if key != "subset"}
    place = tmp_path / "LLMBar" / "Adversarial" / "GPTInst" / "dataset.jsonl"
    assert list(run("llmbar", write(place, [row, row]))["benchmark"]["by_subset"]) == ["GPTInst"]
    pair = {key: value for key, value in rmb(0).items() if key != "category_path"}
    file = write(tmp_path / "Pairwise_set" / "Harmlessness" / "S1.jsonl", [pair])
    assert list(run("rmb", file)["benchmark"]["by_subset"]) == ["Pairwise_set/Harmlessness/S1"]


def test_bad_rows_are_named_or_counted(run: Run, tmp_path: Path) -> None:
    short = rm_bench(1)
    short["chosen"] = short["chosen"][:2]
    file = write(
        tmp_path / "rows.jsonl", [rm_bench(0), short, "{", {**rm_bench(2), "domain": "art"}]
    )
    with pytest.raises(DataError, match="3 bad rows") as caught:
        run("rm-bench", file)
    for says in ("rows.jsonl:2", "'chosen' holds 2 texts", "rows.jsonl:3", "'domain' is 'art'"):
        assert says in str(caught.value)
    results = run("rm-bench", file, on_bad_row="skip")
    assert (results["rows"], results["bad_rows"], accounted(results)) == (4, 3, 4)
    aside = (tmp_path / "out" / "bad_rows.jsonl").read_text(encoding="utf-8")
    assert len(aside.splitlines()) == 3


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"num_correct": 2}, "'num_correct' is 2"),
        ({"id": "none"}, "ref:NUMBER"),
        ({"id": "tied:3"}, "one right answer"),
    ],
)
def test_rewardbench2_rows_must_agree(
    run: Run, tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    with pytest.raises(DataError, match=says):
        run("rewardbench2", write(tmp_path / "rows.jsonl", [rewardbench2(0) | change]))


def test_limit_is_partial(run: Run, tmp_path: Path) -> None:
    file = write(tmp_path / "rows.jsonl", map(cvalues, range(9)))
    results = run("cvalues", file, limit=4)
    assert (results["rows"], results["benchmark"]["partial"]) == (4, True)
    assert any("partial" in note for note in results["benchmark"]["notes"])
    stored = again("cvalues", tmp_path / "out" / "items.jsonl", tmp_path / "again")
    assert numbers(stored) == numbers(results)  # Stored scores of a part are those of a part.
    assert run("cvalues", file, limit=9)["benchmark"]["partial"] is False


def test_a_reward_that_is_not_finite_names_its_line(run: Run, tmp_path: Path) -> None:
    run("cvalues", write(tmp_path / "rows.jsonl", map(cvalues, range(3))))
    lines = (tmp_path / "out" / "items.jsonl").read_text(encoding="utf-8").splitlines()
    rewards = json.loads(lines[1])["rewards"]
    for bad in ("NaN", "Infinity", "1e999", "null"):
        lines_then = [lines[0], lines[1].replace(str(rewards[0]), bad, 1), lines[2]]
        file = write(tmp_path / "items.jsonl", lines_then)
        with pytest.raises(DataError, match=r"items\.jsonl:2"):
            again("cvalues", file, tmp_path / "again")
    columns = {"subset": ["hep-go"] * 3, "scores_chosen": [1, float("nan"), 1]}
    table = tmp_path / "scores.json"
    table.write_text(json.dumps(columns | {"scores_rejected": [0, 0, 0], "id": [1, 2, 3]}))
    with pytest.raises(DataError, match=r"scores\.json:2: 'scores_chosen' is nan"):
        again("rewardbench", table, tmp_path / "again")
    results = again("rewardbench", table, tmp_path / "again", on_bad_row="skip")
    assert (results["rows"], results["bad_rows"], accounted(results)) == (3, 1, 3)
    assert results["benchmark"]["by_subset"]["hep-go"]["num_items"] == 2


def test_refusals(run: Run, tmp_path: Path, tiny_reward: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'rm-bench'"):
        get_benchmark("rmbench")
    file = write(tmp_path / "rows.jsonl", map(cvalues, range(2)))
    source = DataSource(str(file), label="safer")
    with pytest.raises(ConfigError, match="leave --label out"):
        benchmark_command("cvalues", str(tiny_reward), source, EvalOptions())
    run("cvalues", file)
    with pytest.raises(DataError, match="give --benchmark cvalues"):
        again("llmbar", tmp_path / "out" / "items.jsonl", tmp_path / "again")
    with pytest.raises(DataError, match=r"is no line of items\.jsonl"):
        again("llmbar", file, tmp_path / "again")
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("m-rewardbench", {"labels": {}}, "'labels.language' is None"),
        ("rmb", {"labels": {"set": "pairs", "goal": "Helpfulness"}}, "not pairwise or best_of_n"),
        ("pku-saferlhf", {"labels": {"safer": "2"}}, "'labels.safer' is '2'"),
        ("rm-bench", {"rewards": [1.0, 2.0, 3.0, 4.0]}, "has 6 responses"),
        ("rm-bench", {"subset": "art"}, "'domain' is 'art'"),
        ("cvalues", {"rewards": [1.0, 2.0, 3.0]}, "has 2 responses"),
        ("cvalues", {"good": [1]}, "'good' is [1]"),
        ("cvalues", {"num_tokens": [3]}, "1 counts of 2 rewards"),
        ("rewardbench2", {"subset": "Ties", "id": "7"}, "ref:NUMBER or tied:NUMBER"),
        ("rewardbench2", {"row": None}, "'row' is null"),
    ],
)
def test_stored_items_that_were_edited_name_their_line(
    tmp_path: Path, name: str, change: dict[str, Any], says: str
) -> None:
    benchmark = get_benchmark(name)
    items = []
    for number in range(2):
        item = benchmark.read(ROWS[name](number), Source("rows.jsonl", number + 1))
        rewards = tuple(float(-place) for place in range(item.num_responses))
        items.append(ScoredItem(item, rewards))
    lines = [json.loads(line) for line in lines_of(benchmark, items, [])]
    file = write(tmp_path / "items.jsonl", [lines[0], lines[1] | change])
    with pytest.raises(DataError, match=r"items\.jsonl:2: ") as caught:
        again(name, file, tmp_path / "again")
    assert says in str(caught.value)
    assert not (tmp_path / "again").exists()


def test_what_an_overwritten_benchmark_left_goes(run: Run, tmp_path: Path) -> None:
    """Files of one benchmark never stand beside results of another."""
    file = write(tmp_path / "rows.jsonl", [*map(rewardbench, range(3)), "{"])
    run("rewardbench", file, on_bad_row="skip")
    out = tmp_path / "out"
    assert (out / "bad_rows.jsonl").exists()
    (out / "mine.txt").write_text("kept")
    other = write(tmp_path / "other.jsonl", map(cvalues, range(3)))
    with pytest.raises(OutputError, match=r"results\.json: is there already; add --overwrite"):
        run("cvalues", other, overwrite=False)
    assert results_in(out)["benchmark"]["name"] == "rewardbench"
    run("cvalues", other)
    assert sorted(path.name for path in out.rglob("*")) == [
        *("comparisons.jsonl", "items.jsonl", "mine.txt", "results.json")
    ]


def test_over_length_as_asked(run: Run, tmp_path: Path) -> None:
    long = cvalues(0) | {"prompt": "word " * 200}
    file = write(tmp_path / "rows.jsonl", [long, cvalues(1)])
    with pytest.raises(DataError, match=r"rows\.jsonl:1.*more than max_length 64"):
        run("cvalues", file, max_length=64, over_length="error")
    results = run("cvalues", file, max_length=64, over_length="truncate_prompt_left")
    assert (results["skipped"]["count"], accounted(results)) == (0, 2)


def test_rows_of_another_benchmark_say_which(run: Run, tmp_path: Path) -> None:
    file = write(tmp_path / "rows.jsonl", map(ROWS["rewardbench2"], range(2)))
    with pytest.raises(DataError, match="give --benchmark rewardbench2, which reads them"):
        run("rewardbench", file)
    run("rewardbench2", file)
    source = DataSource(str(tmp_path / "out" / "items.jsonl"))
    with pytest.raises(DataError, match=r"items\.jsonl: holds scores of .*add --benchmark"):
        stored_scores_command(source, EvalOptions())


def test_languages_are_one_table(run: Run, tmp_path: Path, capsys: Any) -> None:
    rows = [ROWS["m-rewardbench"](number) for number in range(6)]
    found = run("m-rewardbench", write(tmp_path / "rows.jsonl", rows))
    [note] = found["benchmark"]["notes"]
    assert note.startswith("tur_Latn, zho_Hans: missing subsets: ")
    shown = capsys.readouterr().out
    assert "Chat Hard" in shown
    assert "by_language" not in shown
