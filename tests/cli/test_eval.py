"""`assay eval`: the running lines, both files that it writes, and a number for every row."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import Assay, Models, cvalues_rows, ids_that_reach_the_model, tree

WriteRows = Callable[..., Path]

METRICS = {
    *("accuracy", "wins", "ties", "losses", "num_comparisons", "num_prompts", "accuracy_se"),
    *("accuracy_ci95", "length_baseline", "mean_margin", "reward_mean", "reward_std"),
    *("chosen_mean", "rejected_mean", "loss", "by_tag", "skipped"),
    *("num_near_ties", "calibration", "by_length", "by_language", "shortcuts"),
}
"""The fields of the issue."""
ABOUT = {
    *("model", "input", "input_sha256", "format", "split", "label", "limit", "rows", "bad_rows"),
    *("template_hash", "max_length", "dtype", "engine"),
}
"""What was measured."""


def strict_json(text: str) -> Any:
    """JSON as other tools read it: no NaN, no Infinity."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture
def evaluate(assay: Assay, models: Models, write_rows: WriteRows, tmp_path: Path) -> Any:
    """Evaluates rows and returns what was printed, `results.json` and the comparisons."""

    def run(
        rows: list[dict[str, Any]] | Path, *flags: object
    ) -> tuple[str, dict[str, Any], list[dict[str, Any]]]:
        file = rows if isinstance(rows, Path) else write_rows(rows)
        output = tmp_path / "out"
        fixed = ("--model", models.reward, "--input", file, "--output", output, "--overwrite")
        ran = assay("eval", *fixed, *flags)
        assert ran.code == 0, ran.err
        results = strict_json((output / "results.json").read_text(encoding="utf-8"))
        lines = (output / "comparisons.jsonl").read_text(encoding="utf-8").splitlines()
        return ran.out, results, [strict_json(line) for line in lines]

    return run


def running(out: str) -> list[tuple[str, str]]:
    return re.findall(r"^acc: \[([\d.]+)\]; avg acc: \[([\d.]+)\]$", out, re.MULTILINE)


def test_running_lines_are_exact_counts_not_means_of_means(evaluate: Any) -> None:  # T39
    """150 prompts are windows of 64, 64 and 22: a mean of the three shares is another number."""
    out, results, comparisons = evaluate(cvalues_rows(150))
    wins = [row["result"] == "win" for row in comparisons]
    windows = [wins[:64], wins[64:128], wins[128:]]
    shown = []
    won = seen = 0
    for window in windows:
        won, seen = won + sum(window), seen + len(window)
        shown.append((f"{sum(window) / len(window):.4g}", f"{won / seen:.4f}"))
    assert running(out) == shown
    assert shown[-1][1] == f"{results['accuracy']:.4f}"
    assert results["accuracy"] == sum(wins) / 150
    mean_of_means = sum(sum(window) / len(window) for window in windows) / 3
    assert f"{mean_of_means:.4f}" != shown[-1][1]  # else these rows could not tell the two apart


def test_results_hold_the_fields_of_the_issue_and_what_was_measured(
    evaluate: Any, models: Models, write_rows: WriteRows
) -> None:
    rows = write_rows(cvalues_rows(9))
    out, results, _ = evaluate(rows)
    assert set(results) == METRICS | ABOUT
    assert results["model"] == str(models.reward)
    assert (results["input"], results["format"]) == (str(rows), "cvalues")
    assert (results["rows"], results["bad_rows"], results["max_length"]) == (9, 0, 256)
    assert results["engine"] == "tree"
    assert (results["dtype"], results["split"], results["limit"]) == ("float32", None, None)
    assert results["skipped"] == {"count": 0, "reasons": {}, "rows": []}
    assert list(results["by_tag"]) == ["拒绝为主/风险回复"]
    assert "拒绝为主/风险回复" in out
    assert "skipped: 0" in out


def test_results_agree_with_the_comparisons(evaluate: Any) -> None:
    _, results, comparisons = evaluate(cvalues_rows(40))
    margins = [row["chosen_reward"] - row["rejected_reward"] for row in comparisons]
    assert [row["margin"] for row in comparisons] == margins
    counts = {
        "wins": sum(margin > 0 for margin in margins),
        "ties": sum(margin == 0 for margin in margins),
        "losses": sum(margin < 0 for margin in margins),
    }
    assert {key: results[key] for key in counts} == counts
    chosen = [row["chosen_reward"] for row in comparisons]
    rejected = [row["rejected_reward"] for row in comparisons]
    assert results["chosen_mean"] == pytest.approx(sum(chosen) / 40, rel=1e-12)
    assert results["rejected_mean"] == pytest.approx(sum(rejected) / 40, rel=1e-12)
    assert results["mean_margin"] == pytest.approx(sum(margins) / 40, rel=1e-9)
    mean = sum(chosen + rejected) / 80
    assert results["reward_mean"] == pytest.approx(mean, rel=1e-12)
    variance = sum((one - mean) ** 2 for one in chosen + rejected) / 79
    assert results["reward_std"] == pytest.approx(math.sqrt(variance), rel=1e-12)
    longer = sum(row["chosen_tokens"] > row["rejected_tokens"] for row in comparisons)
    equal = sum(row["chosen_tokens"] == row["rejected_tokens"] for row in comparisons)
    assert results["length_baseline"] == pytest.approx((longer + equal / 2) / 40)
    # One comparison a prompt: the clustered error is that of independent trials, n / (n - 1).
    share = results["accuracy"]
    error = math.sqrt(share * (1 - share) / 39)
    assert results["accuracy_se"] == pytest.approx(error, rel=1e-9)
    low, high = results["accuracy_ci95"]
    assert 0 <= low <= share <= high <= 1


def test_comparisons_say_which_row_they_are(evaluate: Any, write_rows: WriteRows) -> None:
    rows = write_rows(cvalues_rows(3))
    _, _, comparisons = evaluate(rows)
    assert [row["row"] for row in comparisons] == [f"{rows}:{line}" for line in (1, 2, 3)]
    first = comparisons[0]
    assert first["tags"] == {"pos_type": "拒绝为主", "neg_type": "风险回复"}
    assert first["prompt"] == [{"role": "user", "content": "question 0?"}]
    assert first["chosen"] == [{"role": "assistant", "content": "a good answer 0"}]


def test_rewards_are_those_of_score(
    evaluate: Any, assay: Assay, models: Models, write_rows: WriteRows, tmp_path: Path
) -> None:
    rows = write_rows(cvalues_rows(10))
    _, _, comparisons = evaluate(rows)
    output = tmp_path / "o.jsonl"
    assay("score", "--model", models.reward, "--input", rows, "--output", output)
    scored = [json.loads(line)["assay"]["scores"] for line in output.read_text().splitlines()]
    found = [[row["chosen_reward"], row["rejected_reward"]] for row in comparisons]
    assert found == scored  # the same batches of the same ids: the same bits


def test_every_row_has_a_number(  # T17, T40
    evaluate: Any, write_rows: WriteRows, tiny_tokenizer: Any
) -> None:
    """12 rows = 6 scored + 2 identical + 1 identical once rendered + 2 over length + 1 bad."""
    good = cvalues_rows(6)
    same = [
        row | {"prompt": f"same {n}", "neg_resp": row["pos_resp"]} for n, row in enumerate(good)
    ]
    long = [row | {"prompt": f"long {n}", "neg_resp": "so " * 200} for n, row in enumerate(good)]
    stripped = {"prompt": "q", "pos_resp": "a", "neg_resp": " a "}  # the format strips both
    lines = [*good[:3], same[0], long[0], stripped, *good[3:], same[1], long[1]]
    file = write_rows(lines)
    with file.open("a", encoding="utf-8") as end:
        end.write("{not json\n")
    out, results, comparisons = evaluate(file, "--max-length", 64, "--on-bad-row", "skip")
    assert results["rows"] == 12
    assert results["num_comparisons"] == len(comparisons) == 6
    skipped = results["skipped"]
    assert skipped["count"] == len(skipped["rows"]) == sum(skipped["reasons"].values()) == 5
    assert skipped["reasons"] == {"identical answers": 3, "over 64 tokens": 2}
    assert results["bad_rows"] == 1
    assert results["rows"] == 6 + skipped["count"] + results["bad_rows"]
    places = {row["row"]: row["reason"] for row in skipped["rows"]}
    assert places == {
        **{f"{file}:{line}": "identical answers" for line in (4, 6, 10)},
        **{f"{file}:{line}": "over 64 tokens" for line in (5, 11)},
    }
    assert "skipped: 5 (" in out
    aside = file.parent / "out" / "bad_rows.jsonl"
    assert json.loads(aside.read_text())["source"] == f"{file}:12"


def test_answers_that_render_alike_are_counted(evaluate: Any, tmp_path: Path) -> None:
    template = tmp_path / "short.jinja"
    template.write_text("{{ messages[0].content }} {{ messages[1].content[:1] }}")
    rows = [
        {"prompt": f"q{n}", "chosen": chosen, "rejected": "ab"}
        for n, chosen in enumerate(["ax", "b", "c"])
    ]
    _, results, _ = evaluate(rows, "--template", template)
    assert results["num_comparisons"] == 2
    assert results["skipped"]["reasons"] == {"identical after rendering": 1}


def test_no_row_over_length_reaches_the_model(evaluate: Any) -> None:  # T18
    rows = cvalues_rows(4)
    rows.append(rows[0] | {"prompt": "other", "neg_resp": "so " * 30_000})
    with ids_that_reach_the_model() as seen:
        _, results, _ = evaluate(rows)
    assert max(map(len, seen)) <= 256  # what the model was trained at
    assert results["skipped"]["reasons"] == {"over 256 tokens": 1}


def test_limit_reads_so_many_rows(evaluate: Any) -> None:
    _, results, comparisons = evaluate(cvalues_rows(9), "--limit", 4)
    assert (results["rows"], results["limit"], len(comparisons)) == (4, 4, 4)
    assert comparisons == evaluate(cvalues_rows(4))[2]


def test_label_decides_who_should_win(evaluate: Any) -> None:
    rows = [
        {"prompt": f"q{n}", "response_0": "yes " * n, "response_1": "no."}
        | {"better_response_id": 0, "safer_response_id": 1}
        for n in range(1, 12)
    ]
    _, better, _ = evaluate(rows)
    _, explicit, _ = evaluate(rows, "--label", "better")
    _, safer, comparisons = evaluate(rows, "--label", "safer")
    assert {**explicit, "label": None} == better
    # All labels turned round: wins and losses change places.
    assert (safer["wins"], safer["losses"]) == (better["losses"], better["wins"])
    assert safer["mean_margin"] == -better["mean_margin"]
    assert all(row["chosen"][0]["content"] == "no." for row in comparisons)


def test_split_chooses_the_split_of_a_sample(assay: Assay, models: Models, tmp_path: Path) -> None:
    flags = ("--split", "test", "--limit", 4, "--max-length", 512, "--output", tmp_path / "out")
    ran = assay("eval", "--model", models.reward, "--input", "sample:values", *flags)
    assert ran.code == 0, ran.err
    results = strict_json((tmp_path / "out" / "results.json").read_text())
    assert (results["split"], results["rows"]) == ("test", 4)
    first = json.loads((tmp_path / "out" / "comparisons.jsonl").read_text().splitlines()[0])
    assert first["row"] == "sample:values/test:1"


def test_another_template_is_warned_of(assay: Assay, models: Models, write_rows: WriteRows) -> None:
    rows = write_rows(cvalues_rows(3))
    evaluation = ("eval", "--model", models.reward, "--input", rows)
    assert assay(*evaluation).err == ""
    warned = assay(*evaluation, "--template", "homework")
    assert warned.code == 0
    assert warned.err.startswith("warning: ")
    assert "rewards are not comparable" in warned.err


def test_one_prompt_gives_results_that_every_tool_can_read(evaluate: Any) -> None:
    """One prompt has no standard error; JSON has no NaN."""
    _, results, _ = evaluate(cvalues_rows(1))
    assert results["accuracy_se"] is None
    assert results["accuracy_ci95"] == [0.0, 1.0]


def test_a_model_that_cannot_tell_has_ties_and_no_wins(  # T38
    assay: Assay, models: Models, write_rows: WriteRows, tmp_path: Path
) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    model = tmp_path / "numb"
    shutil.copytree(models.reward, model)
    weights = load_file(model / "model.safetensors")
    weights["score.weight"] *= 0
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    rows = write_rows(cvalues_rows(5))
    assay("eval", "--model", model, "--input", rows, "--output", tmp_path / "out")
    results = strict_json((tmp_path / "out" / "results.json").read_text())
    assert (results["accuracy"], results["wins"], results["ties"]) == (0.0, 0, 5)


def test_tags_are_data_not_markup(evaluate: Any) -> None:
    types = {"pos_type": "[/bold]", "neg_type": "all"}
    rows = [row | types for row in cvalues_rows(4)]
    rows += [{**row, "pos_type": "all", "neg_type": None} for row in cvalues_rows(8)[4:]]
    out, results, _ = evaluate(rows)
    assert set(results["by_tag"]) == {"[/bold]/all", "all"}
    assert "[/bold]/all" in out
    assert results["num_comparisons"] == 8
    assert [line for line in out.splitlines() if re.match(r"\W*all\W", line)].__len__() == 2


def test_without_output_nothing_is_written(
    assay: Assay, models: Models, write_rows: WriteRows, tmp_path: Path
) -> None:
    rows = write_rows([*cvalues_rows(3), {"promt": "?"}])
    before = tree(tmp_path)
    ran = assay("eval", "--model", models.reward, "--input", rows, "--on-bad-row", "skip")
    assert ran.code == 0
    assert ran.err == (
        "warning: 1 bad row was skipped; give --output to have bad rows written aside\n"
    )
    assert tree(tmp_path) == before


def test_rows_from_stdin(assay: Assay, models: Models, evaluate: Any) -> None:
    rows = cvalues_rows(5)
    data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    ran = assay("eval", "--model", models.reward, "--input", "-", stdin=data)
    assert ran.code == 0
    assert running(ran.out) == running(evaluate(rows)[0])


ABOUT_SCORES = {"scores", "rows_sha256"}


def test_stored_scores_give_the_same_numbers_without_a_model(
    evaluate: Any, assay: Assay, models: Models, tmp_path: Path
) -> None:
    """What `score` and what `eval` wrote of the rows; only lengths of prompts are not in them."""
    rows = [row | {"prompt": f"q {n % 3}?"} for n, row in enumerate(cvalues_rows(9))]
    file = tmp_path / "rows.jsonl"
    _, results, comparisons = evaluate(rows)
    scored, again = tmp_path / "scored.jsonl", tmp_path / "again"
    assert assay("score", "--model", models.reward, "--input", file, "--output", scored).code == 0
    from_eval = tmp_path / "out" / "comparisons.jsonl"
    for scores in (scored, from_eval):
        ran = assay("eval", "--scores", scores, "--output", again, "--overwrite")
        assert ran.code == 0, ran.err
        assert "accuracy" in ran.out
        stored = strict_json((again / "results.json").read_text(encoding="utf-8"))
        lines = (again / "comparisons.jsonl").read_text(encoding="utf-8").splitlines()
        assert set(stored) == (METRICS | ABOUT | ABOUT_SCORES) - {
            *("by_length", "template_hash", "max_length", "dtype", "engine")
        }
        assert (stored["model"], stored["scores"], stored["rows"]) == (None, str(scores), 9)
        exact = scores == from_eval
        for key in METRICS - {"by_length", "skipped", "calibration", "shortcuts"}:
            if not isinstance(results[key], dict):
                wanted = results[key] if exact else pytest.approx(results[key], abs=1e-5)
                assert stored[key] == wanted, key
        for mine, theirs in zip(map(strict_json, lines), comparisons, strict=True):
            assert mine["margin"] == pytest.approx(theirs["margin"], abs=1e-5)
            for key in ("result", "tags", "chosen_tokens", "prompt", "chosen", "group"):
                assert mine[key] == theirs[key], key
            assert (mine["row"] == theirs["row"]) == exact
        assert stored["shortcuts"].keys() == results["shortcuts"].keys()
        assert stored["by_tag"].keys() == results["by_tag"].keys()


def test_results_that_are_there_are_kept_unless_asked(
    evaluate: Any, assay: Assay, models: Models, tmp_path: Path
) -> None:
    evaluate([*cvalues_rows(2), {"promt": "?"}], "--on-bad-row", "skip")
    out, file = tmp_path / "out", tmp_path / "rows.jsonl"
    argv = ("eval", "--model", models.reward, "--input", file, "--output", out)
    before = tree(tmp_path)
    ran = assay(*argv)
    assert (ran.code, len(ran.errors)) == (2, 1)
    assert f"{out / 'results.json'}: is there already; add --overwrite" in ran.errors[0]
    assert tree(tmp_path) == before
    assert (out / "bad_rows.jsonl").exists()
    (out / "notes.txt").write_text("mine")
    evaluate(cvalues_rows(2))
    names = sorted(path.name for path in out.iterdir())
    assert names == ["comparisons.jsonl", "notes.txt", "results.json"]


def test_all_checkpoints_of_a_run(
    assay: Assay, models: Models, write_rows: WriteRows, tmp_path: Path
) -> None:
    """Each has a directory of its own and is what that checkpoint alone gives; torn ones do not."""
    rows = write_rows(cvalues_rows(8))
    run = tmp_path / "run"
    trained = assay(
        *("train", "--model.path", models.base, "--data.train", rows, "--output_dir", run),
        *("--train.max_length", 128, "--train.global_batch_size", 4, "--train.max_steps", 4),
        *("--train.save_steps", 1, "--train.save_total_limit", 4, "--train.learning_rate", 1e-3),
    )
    assert trained.code == 0, trained.err
    manifest = run / "checkpoints" / "step-2" / "manifest.json"
    manifest.unlink()
    out = tmp_path / "out"
    evaluation = ("eval", "--input", rows, "--output")
    ran = assay(*evaluation, out, "--model", run, "--all-checkpoints")
    assert ran.code == 0, ran.err
    assert "step-2: checkpoint skipped: manifest.json is missing" in ran.err
    assert sorted(path.name for path in out.iterdir()) == ["step-1", "step-3", "step-4"]
    assert re.findall(r"^step-(\d): accuracy ", ran.out, re.MULTILINE) == ["1", "3", "4"]
    again = assay(*evaluation, out, "--model", run, "--all-checkpoints")
    assert "step-1/results.json: is there already" in again.errors[0]
    for name in ("results.json", "bad_rows.jsonl"):  # Of an evaluation of another kind.
        (out / name).write_text("{}")
    (out / "notes.txt").write_text("mine")
    over = assay(*evaluation, out, "--model", run, "--all-checkpoints", "--overwrite")
    assert over.code == 0, over.err
    left = sorted(path.name for path in out.iterdir())
    assert left == ["notes.txt", "step-1", "step-3", "step-4"]
    margins = set()
    for step in ("step-1", "step-3", "step-4"):
        alone = tmp_path / f"alone-{step}"
        assay(*evaluation, alone, "--model", run / "checkpoints" / step)
        files = [strict_json((place / "results.json").read_text()) for place in (out / step, alone)]
        assert files[0] == files[1] | {"model": files[0]["model"]}
        margins.add(files[0]["mean_margin"])
    assert len(margins) == 3
