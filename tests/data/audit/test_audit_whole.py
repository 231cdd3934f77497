"""Whole audits: of rows with known flaws, of cleaned copies, and of real files."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from assay.data.audit import Audit, AuditReport, audit, check_fix, write_fixed
from assay.data.audit import thresholds as limit
from assay.data.audit.findings import Example, Finding
from assay.data.audit.page import html_page
from assay.data.audit.places import without_directory
from assay.data.audit.report import FileAccount, Reason, SpecialTokens
from assay.data.audit.shortcuts import Shortcut
from assay.data.audit.verdict import judge
from assay.data.loading import load_groups
from assay.data.sources import DataSource
from assay.errors import ConfigError, DataError, OutputError

WriteRows = Callable[..., Path]

LONG = " ".join(f"word{number}" for number in range(20))


def row(prompt: str, chosen: str, rejected: str, **more: Any) -> dict[str, Any]:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **more}


def clean_rows(count: int) -> list[dict[str, Any]]:
    """Rows without any flaw; each prompt and answer is long and its own, winners alternate."""
    rows = []
    for number in range(count):
        name = f"{number * 7919 % 104729:x}" * 3
        answers = f"{name} stays short.", f"No, {name} is told at some length here."
        good, bad = answers if number % 2 else answers[::-1]
        rows.append(row(f"What about {name}?", good, bad))
    return rows


def sources(*paths: object) -> list[DataSource]:
    return [DataSource(str(path)) for path in paths]


def count_of(report: AuditReport, name: str) -> int:
    return next(finding.count for finding in report.findings if finding.name == name)


def found(report: AuditReport) -> dict[str, int]:
    return {finding.name: finding.count for finding in report.findings if finding.count}


@pytest.fixture
def flawed(write_rows: WriteRows, tmp_path: Path) -> tuple[Path, Path, Path]:
    """Training rows with one of each flaw, the test split, and a benchmark of text lines."""
    rows = [
        *clean_rows(100),
        row("q1", "A", "B"),
        row("q1", "A", "B"),  # 102: repeats 101
        row("q2", "same", "same"),  # 103: identical answers
        row("q3", "A", "B"),
        row("q3", "B", "A"),  # 104 and 105 contradict each other
        row("q4", "A", "B"),
        row("q4", "B", "C"),
        row("q4", "C", "A"),  # 106 to 108: a circle
        row("In  the TEST split?", "A", "B"),  # 109
        row(f"I ask you: {LONG}", "A", "B"),  # 110: contaminated
        row("q5", "", "B"),  # 111: an empty answer
        {"prompt": "q6", "chosen": "A"},  # 112: a bad row
    ]
    test = write_rows([row("in the test split?", "x", "y"), row("other", "x", "y")], "test.jsonl")
    benchmark = tmp_path / "benchmark.txt"
    benchmark.write_text(f"{LONG}\n\nsomething else\n", encoding="utf-8")
    return write_rows(rows, "train.jsonl"), test, benchmark


def audited(flawed: tuple[Path, Path, Path], train: Path | None = None) -> Audit:
    return audit(sources(train or flawed[0]), test=sources(flawed[1]), against=sources(flawed[2]))


def test_every_flaw_is_found(flawed: tuple[Path, Path, Path]) -> None:
    report = audited(flawed).report
    assert found(report) == {
        "prompts in the test split": 1,
        "contaminated": 1,
        "bad rows": 1,
        "contradictory pairs": 2,
        "preference cycles": 3,
        "exact duplicates": 1,
        "identical answers": 1,
        "empty answers": 1,
        "duplicate prompts": 7,
    }
    places = {f.name: f.examples[0].places for f in report.findings if f.examples}
    name = flawed[0]
    assert places["exact duplicates"] == [f"{name}:102", f"{name}:101"]
    assert places["contradictory pairs"] == [f"{name}:104", f"{name}:105"]
    assert places["preference cycles"] == [f"{name}:{line}" for line in (106, 107, 108)]
    assert places["prompts in the test split"] == [f"{name}:109", f"{flawed[1]}:1"]
    assert places["contaminated"] == [f"{name}:110", f"{flawed[2]}:1"]
    assert places["bad rows"] == [f"{name}:112"]
    # Half of the test prompts and half of the benchmark's texts: each alone says no.
    assert report.verdict.safe_to_train == "no"
    assert [reason.severity for reason in report.verdict.reasons[:2]] == ["stops", "stops"]
    assert "1 of 2 test prompts" in report.verdict.reasons[0].text


def test_a_cleaned_file_has_none_of_these_findings(
    flawed: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    train = flawed[0]
    before = train.read_bytes()
    out = tmp_path / "out" / "clean.jsonl"
    fixed = write_fixed(audited(flawed), sources(train), out)
    lines = before.decode().splitlines(keepends=True)
    gone = {102, 103, 104, 105, 109, 110, 112}
    kept = [line for number, line in enumerate(lines, start=1) if number not in gone]
    assert out.read_text(encoding="utf-8") == "".join(kept)
    assert train.read_bytes() == before
    removed = [json.loads(line) for line in fixed.removed_file.read_text("utf-8").splitlines()]
    assert fixed.removed_file == tmp_path / "out" / "clean.removed.jsonl"
    assert {(item["source"], item["reason"]) for item in removed} == {
        (f"{train}:102", "exact duplicates"),
        (f"{train}:103", "identical answers"),
        (f"{train}:104", "contradictory pairs"),
        (f"{train}:105", "contradictory pairs"),
        (f"{train}:109", "prompts in the test split"),
        (f"{train}:110", "contaminated"),
        (f"{train}:112", "bad rows"),
    }
    assert removed[0]["detail"] == f"of {train}:101"
    assert removed[0]["raw"] == lines[101].strip()
    assert (fixed.kept, sum(fixed.removed.values())) == (105, 7)
    again = audited(flawed, out).report
    assert found(again).keys() == {"preference cycles", "empty answers", "duplicate prompts"}
    assert sorted(path.name for path in out.parent.iterdir()) == [
        "clean.jsonl",
        "clean.removed.jsonl",
    ]


def test_reasons_of_the_rows_that_go(write_rows: WriteRows, tmp_path: Path) -> None:
    rows = [row("q", "A", "A"), row("q", "A", "B"), row("q", "A", "B"), row("q", "B", "C")]
    train = write_rows(rows)
    fixed = write_fixed(audit(sources(train)), sources(train), tmp_path / "clean.jsonl")
    assert fixed.removed == {"identical answers": 1, "exact duplicates": 1}


def test_rows_of_a_json_list_become_lines_with_the_same_values(tmp_path: Path) -> None:
    rows = [row("q\u2028\n", "A", "B", margin=1.50), row("r", "A", "A"), row("ü", "A", "B")]
    train = tmp_path / "rows.json"
    train.write_text(json.dumps(rows, indent=4, ensure_ascii=False), encoding="utf-8")
    write_fixed(audit(sources(train)), sources(train), tmp_path / "clean.jsonl")
    lines = (tmp_path / "clean.jsonl").read_text("utf-8").rstrip("\n").split("\n")
    assert [json.loads(line) for line in lines] == [rows[0], rows[2]]


def test_rows_of_a_table_become_json_that_is_read_as_they_were(tmp_path: Path) -> None:
    train = tmp_path / "rows.csv"
    with train.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["prompt", "chosen", "rejected", "margin", "note"])
        table.writerow(["q, 1", "two\nlines", "bad", "1.50", "7"])
        table.writerow(["same", "x", "x", "1", ""])
        table.writerow(["42", "true", '[{"a": 1}]', "", "ü"])
    fixed = write_fixed(audit(sources(train)), sources(train), tmp_path / "clean.jsonl")
    lines = fixed.output.read_text("utf-8").rstrip("\n").split("\n")
    assert [json.loads(line) for line in lines] == [
        row("q, 1", "two\nlines", "bad", margin=1.5, note="7"),
        row("42", "true", '[{"a": 1}]', margin=None, note="ü"),
    ]
    before, after = (
        [(g.prompt, g.responses, g.comparisons[0].margin) for g in load_groups(source).groups]
        for source in (sources(train), sources(fixed.output))
    )
    assert before == after
    (removed,) = fixed.removed_file.read_text("utf-8").splitlines()
    assert json.loads(removed)["raw"] == "same,x,x,1,\r\n"


def test_a_source_that_changed_in_between_leaves_no_cleaned_file(
    write_rows: WriteRows, tmp_path: Path
) -> None:
    train = write_rows(clean_rows(3))
    result = audit(sources(train))
    write_rows(clean_rows(4))
    with pytest.raises(DataError, match="has changed since"):
        write_fixed(result, sources(train), tmp_path / "clean.jsonl")
    assert {path.name for path in tmp_path.iterdir()} == {"rows.jsonl"}


def test_files_of_two_formats_are_not_cleaned_into_one(
    write_rows: WriteRows, tmp_path: Path
) -> None:
    cvalues = {"prompt": "q", "pos_resp": "a", "neg_resp": "b"}
    both = sources(write_rows(clean_rows(2), "a.jsonl"), write_rows([cvalues], "b.jsonl"))
    with pytest.raises(ConfigError, match="several formats"):
        write_fixed(audit(both), both, tmp_path / "clean.jsonl")
    assert not (tmp_path / "clean.jsonl").exists()


def test_what_may_not_be_written(write_rows: WriteRows, tmp_path: Path) -> None:
    train = write_rows(clean_rows(2), "rows.removed.jsonl")
    source = sources(train)
    with pytest.raises(OutputError, match="never overwritten"):
        check_fix(train, source, overwrite=True)
    with pytest.raises(OutputError, match="never overwritten"):
        check_fix(tmp_path / "rows.jsonl", source, overwrite=True)  # its list would be the input
    with pytest.raises(OutputError, match="never overwritten"):  # Nor what lies in a directory.
        check_fix(train, sources(tmp_path), overwrite=True)
    other = write_rows(clean_rows(2), "test.jsonl")
    with pytest.raises(OutputError, match="never overwritten"):  # Nor what is only compared with.
        check_fix(other, source, sources(other), overwrite=True)
    check_fix(other, source, sources(tmp_path / "lines.txt"), overwrite=True)
    (tmp_path / "there.removed.jsonl").touch()
    with pytest.raises(OutputError, match="is there already"):
        check_fix(tmp_path / "there.jsonl", source, overwrite=False)
    check_fix(tmp_path / "there.jsonl", source, overwrite=True)
    with pytest.raises(ConfigError, match="jsonl"):
        check_fix(tmp_path / "clean.json", source, overwrite=False)
    with pytest.raises(ConfigError, match="twice"):
        check_fix(tmp_path / "clean.jsonl", sources("-"), overwrite=False)


def test_composition(write_rows: WriteRows) -> None:
    system = {"role": "system", "content": "Be brief."}
    ask = {"role": "user", "content": "Why?"}
    answer = {"role": "assistant", "content": "Because."}
    rows = [
        row([system, ask], "One.", "Two.", margin=2),
        row([ask, answer, ask], "为什么不呢？", "Two.", margin=-1),
        row("怎么样？", "好", "坏"),
    ]
    made = audit(sources(write_rows(rows))).report.composition
    assert made.user_turns == {1: 2, 2: 1}
    assert (made.with_system, made.system_prompts) == (1, 1)
    assert made.most_common_system == "Be brief."
    assert made.prompt_scripts == {"latin": 2, "han": 1}
    assert made.answer_scripts == {"latin": 3, "han": 3}
    assert made.script_changes == 1
    assert made.responses_per_prompt == {2: 3}
    margins = made.margins
    assert (margins.stated, margins.missing, margins.not_positive) == (2, 1, 1)
    assert (margins.low, margins.mean, margins.high) == (-1, 0.5, 2)


def test_tags_and_the_first_position(write_rows: WriteRows) -> None:
    """Of 4 rows the safe answer wins 3 against an unsafe one; in one both are safe."""
    safe = [(True, False, 0), (False, True, 1), (True, False, 1), (True, True, 0), (True, False, 0)]
    rows = [
        {
            "prompt": f"q{number}",
            "response_0": "a",
            "response_1": "b",
            "is_response_0_safe": first,
            "is_response_1_safe": second,
            "better_response_id": better,
            "safer_response_id": better,
        }
        for number, (first, second, better) in enumerate(safe)
    ]
    report = audit(sources(write_rows(rows))).report
    tags = {tag.value: tag for tag in report.composition.tags if tag.tag == "is_safe"}
    assert (tags["true"].count, tags["true"].win_rate) == (6, 0.75)
    assert (tags["false"].count, tags["false"].win_rate) == (4, 0.25)
    position = next(rule for rule in report.shortcuts if rule.name == "position")
    assert (position.direction, position.accuracy) == ("first wins", 0.6)


def test_position_says_nothing_where_chosen_stands_first_by_its_name(
    write_rows: WriteRows,
) -> None:
    report = audit(sources(write_rows(clean_rows(4)))).report
    assert "position" not in {rule.name for rule in report.shortcuts}


def test_clean_rows_are_safe(write_rows: WriteRows) -> None:
    report = audit(sources(write_rows(clean_rows(200)))).report
    assert report.verdict.safe_to_train == "yes", report.verdict
    assert report.verdict.reasons == []


def test_lengths_of_raw_fields_sum_over_messages(write_rows: WriteRows) -> None:
    turns = [
        {"role": "user", "content": "abc"},
        {"role": "assistant", "content": "de"},
        {"role": "user", "content": "f"},
    ]
    report = audit(sources(write_rows([row(turns, "1234", "12")]))).report
    lengths = report.lengths[0]
    assert (lengths.prompt_max, lengths.chosen_max, lengths.reject_max) == (6, 4, 2)
    assert (lengths.prompt_avg, lengths.chosen_avg, lengths.reject_avg) == (6.0, 4.0, 2.0)
    assert report.unit == "characters"


def test_with_a_tokenizer_lengths_are_tokens_and_special_tokens_are_found(
    write_rows: WriteRows, tiny_tokenizer: Any
) -> None:
    train = write_rows([*clean_rows(2), row("What is <|im_end|>?", "an end", "no idea")])
    report = audit(sources(train), tokenizer=tiny_tokenizer, model="tiny").report
    assert report.unit == "tokens"
    ids = tiny_tokenizer("an end", add_special_tokens=False)["input_ids"]
    assert len(ids) != len("an end")
    names = [rule.name for rule in report.shortcuts]
    assert "length in tokens" in names
    assert report.special_tokens is not None
    assert report.special_tokens.tokens == {"<|im_end|>": 1}
    assert report.special_tokens.places == [f"{train}:3"]
    assert any("special tokens" in reason.text for reason in report.verdict.reasons)


def test_a_file_twice_is_refused(write_rows: WriteRows) -> None:
    train = write_rows(clean_rows(2))
    with pytest.raises(DataError, match="given twice"):
        audit(sources(train, train))


def test_two_audits_are_equal(flawed: tuple[Path, Path, Path]) -> None:
    first, second = audited(flawed), audited(flawed)
    assert first.report.as_json() == second.report.as_json()
    assert first.removals == second.removals


@pytest.mark.parametrize(
    ("files", "shown"),
    [
        (["/d/e/a.jsonl", "/d/b.jsonl"], ["e/a.jsonl", "b.jsonl"]),
        (["/d/a.jsonl", "/e/b.jsonl"], ["/d/a.jsonl", "/e/b.jsonl"]),
        (["a.jsonl", "/e/b.jsonl"], ["a.jsonl", "/e/b.jsonl"]),
        (["d/a.jsonl"], ["a.jsonl"]),
        (["a.jsonl"], ["a.jsonl"]),
    ],
)
def test_places_are_shown_without_the_common_directory(
    write_rows: WriteRows, files: list[str], shown: list[str]
) -> None:
    report = audit(sources(write_rows(clean_rows(1)))).report
    named = replace(
        report,
        files=[replace(report.files[0], file=file) for file in files],
        lengths=[replace(report.lengths[0], file=file) for file in files],
    )
    assert [row.file for row in without_directory(named).lengths] == shown


def test_the_page_escapes_what_the_data_holds(write_rows: WriteRows) -> None:
    evil = "<script>alert('x')</script> & more of it"
    rows = [row(evil, "A", "B", source="<b>"), row(evil, "A", "B", source="<b>")]
    page = html_page(audit(sources(write_rows(rows, "a&b.jsonl"))).report)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "a&amp;b.jsonl" in page
    assert "http" not in page.replace("http-equiv", "")


# Several files: which one it is.


def test_the_file_that_is_unsafe_is_named(write_rows: WriteRows) -> None:
    clean = write_rows(clean_rows(300), "clean.jsonl")
    bad = [{"prompt": "q", "chosen": "a"}, {"prompt": 1, "chosen": "a", "rejected": "b"}]
    few = clean_rows(309)[300:]
    broken = write_rows([*few, *bad], "broken.jsonl")
    report = audit(sources(clean, broken)).report
    # 2 of 311 rows are below 5%, 2 of 11 above.
    assert [(file.file, file.rows, file.safe_to_train) for file in report.by_file] == [
        (str(clean), 300, "yes"),
        (str(broken), 11, "no"),
    ]
    (reason,) = report.by_file[1].reasons
    assert reason.text == "2 of 11 rows cannot be read (18.2%)"
    assert reason.places == [f"{broken}:10", f"{broken}:11"]
    assert report.verdict.safe_to_train == "yes, with care"
    assert [r.text for r in report.verdict.reasons] == [
        "2 of 311 rows cannot be read (0.6%)",
        f"by itself no: {broken}",
    ]
    (finding,) = (f for f in report.findings if f.name == "bad rows")
    assert finding.by_file == {str(broken): 2}
    assert [(flaw.count, flaw.first) for flaw in report.bad_rows] == [
        (1, f"{broken}:10"),
        (1, f"{broken}:11"),
    ]
    # Shown without the directory, and in the page.
    assert without_directory(report).by_file[1].file == "broken.jsonl"
    assert "File by file" in html_page(report)
    alone = audit(sources(broken)).report
    assert [file.safe_to_train for file in alone.by_file] == ["no"]
    assert "File by file" not in html_page(alone)


def test_leaks_and_rules_of_each_file(write_rows: WriteRows) -> None:
    leak = write_rows([*clean_rows(60), row("Test 1?", "aaaa", "bbbb")], "leak.jsonl")
    longer = [row(f"{n} of what?", f"{n} " * 9, f"{n}") for n in range(100)]
    skewed = write_rows(longer, "skewed.jsonl")
    test = write_rows([row(f"test {n}?", "x", "y") for n in range(50)], "test.jsonl")
    report = audit(sources(leak, skewed), test=sources(test)).report
    reasons = {Path(file.file).name: file.reasons for file in report.by_file}
    # 1 of 50 test prompts is above 1%, whatever its share of the rows.
    assert [(r.severity, r.text) for r in reasons["leak.jsonl"]] == [
        ("stops", "1 of 61 rows have a prompt of the test split (1.6%)")
    ]
    told = [r.text for r in reasons["skewed.jsonl"]]
    assert any(text.startswith("'longer wins' alone is right on 100.0%") for text in told)
    assert not any("test split" in text for text in told)


def test_two_files_that_contradict_each_other(write_rows: WriteRows) -> None:
    one = write_rows([*clean_rows(20), row("q1", "AAA", "BBB")], "one.jsonl")
    two = write_rows([*clean_rows(40)[20:], row("q1", "BBB", "AAA")], "two.jsonl")
    report = audit(sources(one, two)).report
    (finding,) = (f for f in report.findings if f.name == "contradictory pairs")
    assert finding.by_file == {str(one): 1, str(two): 1}
    assert all("1 of 21 rows prefer A to B" in f.reasons[0].text for f in report.by_file)


def test_rows_are_used_bad_or_left_out(write_rows: WriteRows) -> None:
    def answers(count: int, comparisons: list[dict[str, Any]]) -> dict[str, Any]:
        made = [{"messages": [{"role": "assistant", "content": f"r{n}"}]} for n in range(count)]
        prompt = [{"role": "user", "content": f"{count} answers"}]
        return {
            "assay_group": 1,
            "prompt": prompt,
            "responses": made,
            "comparisons": comparisons,
        }

    first = {"a": 0, "b": 1, "outcome": "a"}
    groups = write_rows([answers(3, [first]), answers(2, []), {"assay_group": 1}], "g.jsonl")
    rated = {"correctness": 4, "coherence": 4, "complexity": 2, "verbosity": 2}
    rows = [
        {"prompt": "q", "response": "r1", "helpfulness": 1} | rated,
        {"prompt": "q", "response": "r2", "helpfulness": 2} | rated,
        {"prompt": "alone", "response": "r", "helpfulness": 2} | rated,
        {"prompt": "q", "response": "r1", "helpfulness": 1} | rated,
    ]
    ratings = write_rows(rows, "r.jsonl")
    report = audit(sources(groups, ratings)).report
    numbers = [(f.rows, f.used, f.bad_rows, f.left_out) for f in report.files]
    assert numbers == [
        (3, 1, 1, {"no comparison": 1}),
        (4, 2, 0, {"repeated response": 1, "no other response to its prompt": 1}),
    ]
    assert report.as_json()["files"][1]["used"] == 2
    (bad,) = (f for f in report.findings if f.name == "bad rows")
    assert (bad.count, bad.of) == (1, 7)


def test_the_documentation_names_every_key_of_the_report(write_rows: WriteRows) -> None:
    text = (Path(__file__).parents[3] / "docs" / "audit.md").read_text(encoding="utf-8")
    table = text[text.index("## `report.json`") : text.index("## Cost")]
    said = set(re.findall(r"`(\w+)`", table))
    report = audit(sources(write_rows([*clean_rows(2), row("q", "a", "a"), {"prompt": 1}]))).report
    whole = report.as_json()
    keys = set(whole) | set(whole["composition"])
    for part in ("by_file", "files", "bad_rows", "histograms", "findings", "shortcuts"):
        keys |= set(whole[part][0])
    for part in (whole["verdict"], whole["verdict"]["reasons"][0]):
        keys |= set(part)
    keys |= {field.name for field in fields(SpecialTokens)} | {
        field.name for field in fields(Example)
    }
    assert keys <= said
    assert said <= keys | {
        "yes",
        "no",
        "stops",
        "care",
        "train",
        "test",
        "against",
        "characters",
    } | {
        "left_out",
        "tokens",
    }


# The verdict's limits: a share on either side of each.


def finding(name: str, share: float) -> Finding:
    return Finding(name, "are so", 1, 100, "rows", share, "", [])


def rule(accuracy: float, low: float) -> Shortcut:
    return Shortcut("length", "longer wins", accuracy, low, 1.0, 500, 500, accuracy)


def severities(findings: Iterable[Finding] = (), rules: Iterable[Shortcut] = ()) -> list[str]:
    verdict = judge(list(findings), list(rules), 500, None, {})
    reasons: list[Reason] = verdict.reasons
    return [reason.severity for reason in reasons]


@pytest.mark.parametrize(
    ("name", "share", "expected"),
    [
        ("bad rows", 0.001, ["care"]),
        ("bad rows", limit.BAD_ROWS_STOP, ["stops"]),
        ("exact duplicates", limit.DUPLICATES_CARE, []),
        ("exact duplicates", 0.011, ["care"]),
        ("exact duplicates", limit.DUPLICATES_STOP, ["stops"]),
        ("contradictory pairs", 0.001, ["care"]),
        ("contradictory pairs", limit.CONTRADICTIONS_STOP, ["stops"]),
        ("preference cycles", 0.9, ["care"]),
        ("empty answers", 0.9, ["care"]),
        ("identical answers", 0.19, ["care"]),
        ("identical answers", limit.IDENTICAL_STOP, ["stops"]),
        ("near-duplicate prompts", limit.NEAR_PROMPTS_CARE, []),
        ("near-duplicate prompts", 0.11, ["care"]),
        ("near-duplicate answers", 0.9, []),
        ("duplicate prompts", 1.0, []),
        ("contaminated", 0.001, ["care"]),
        ("contaminated", limit.CONTAMINATION_STOP, ["stops"]),
        ("prompts in the test split", limit.LEAK_STOP, ["stops"]),
    ],
)
def test_limits_of_findings(name: str, share: float, expected: list[str]) -> None:
    assert severities([finding(name, share)]) == expected
    assert severities([replace(finding(name, share), count=0)]) == []


@pytest.mark.parametrize(
    ("accuracy", "low", "expected"),
    [
        (0.59, 0.55, []),
        (0.6, 0.51, ["care"]),
        (0.7, 0.49, []),
        (0.9, 0.74, ["care"]),
        (0.9, 0.76, ["stops"]),
    ],
)
def test_limits_of_shortcuts(accuracy: float, low: float, expected: list[str]) -> None:
    assert severities(rules=[rule(accuracy, low)]) == expected


def test_few_or_no_comparisons() -> None:
    assert judge([], [], 99, None, {}).safe_to_train == "yes, with care"
    assert judge([], [], 100, None, {}).safe_to_train == "yes"
    assert judge([], [], 0, None, {}).safe_to_train == "no"


# Real files.


def test_cvalues_sample_is_one_row_eight_times(shared_data: Callable[[str], Path]) -> None:
    report = audit(sources(shared_data("cvalues_sample.jsonl"))).report
    assert count_of(report, "exact duplicates") == 7
    assert report.verdict.safe_to_train == "no"
    assert "7 of 8 rows repeat earlier ones (87.5%)" in report.verdict.reasons[0].text


def test_jade_is_solved_by_length_alone(shared_data: Callable[[str], Path]) -> None:
    report = audit(sources(shared_data("jade_medium_zh_cvalues_schema.jsonl"))).report
    length = next(rule for rule in report.shortcuts if rule.name == "length")
    assert length.direction == "shorter wins"
    assert round(length.accuracy, 2) == 0.69
    assert any("'shorter wins'" in reason.text for reason in report.verdict.reasons)


def test_hh_is_usable(shared_data: Callable[[str], Path]) -> None:
    path = shared_data("hh_harmless.jsonl")
    report = audit(sources(path)).report
    assert report.files == [
        FileAccount(str(path), "train", "hh", 1800, 1800, 0, report.files[0].sha256)
    ]
    assert report.verdict.safe_to_train == "yes, with care"
    assert count_of(report, "empty answers") == 4
    assert report.composition.prompt_scripts == {"latin": 1800}
