"""The page: what stands in it, what is not there and how to get it, and that no text breaks it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report_runs import EVIL, comparison_rows, evaluation, odd_texts, results_of, run, write_json
from report_runs import write_lines as write

from assay.errors import OutputError
from assay.pages.charts import counted, edges_around_zero, smoothed, thinned
from assay.pages.document import document, table
from assay.pages.escaping import text
from assay.pages.svg import axis, number
from assay.report import ReportOptions, find, report_command, report_page

VOID = {"meta", "br", "circle", "rect", "line", "path", "polyline"}


class Outline(HTMLParser):
    """Reads a page strictly: every element is closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[int] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        if tag[0] == "h" and tag[1:].isdigit():
            self.headings.append(int(tag[1:]))
        known = dict(attrs)
        self.ids += [known["id"]] if known.get("id") else []
        self.links += [known["href"]] if known.get("href") else []
        assert not any(name.startswith("on") or name == "src" for name in known)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def page_of(directory: Path, *, texts: bool = True) -> str:
    return report_page(find(directory, rows=10), texts=texts)


def test_a_run_has_every_part(tmp_path: Path) -> None:
    page = page_of(run(tmp_path / "run"))
    outline = Outline(page)
    words = " ".join(outline.words)
    parts = ["Loss", "Accuracy", "Margins", "Calibration", "Better against worse answer"]
    parts += ["Reward against length", "Accuracy by category", "Best of 4", "Worst mistakes"]
    parts += ["Closest calls", "hackable", "over 512 tokens", "cd" * 32, "bradley_terry"]
    parts += ["torch 2.13.0", "resumed once", "stopped early", "数学", "4 prompts of test were"]
    for part in parts:
        assert part in words, part
    assert "finished after step 40 of 40" in words
    assert outline.headings[0] == 1
    pairs = zip(outline.headings, outline.headings[1:], strict=False)
    assert all(after - before <= 1 for before, after in pairs)
    assert len(outline.ids) == len(set(outline.ids))
    assert all(link[0] == "#" and link[1:] in outline.ids for link in outline.links)
    assert {"script", "link", "img", "iframe"}.isdisjoint(outline.tags)
    assert "http" not in page
    assert "url(" not in page


def test_texts_of_rows_cannot_break_the_page(tmp_path: Path) -> None:
    page = page_of(run(tmp_path / "run", texts=odd_texts))
    outline = Outline(page)
    assert "script" not in outline.tags
    shown = "".join(outline.words)
    assert "alert('x')" in shown
    assert "␀␇␛␡\\u0085 \\ud800 </article></main>" in shown
    page.encode()  # No half of a pair is left.
    assert "code & <b>" in shown
    assert 'dir="auto" lang="zh"' in page
    assert 'lang="und-Arab"' in page
    assert 'lang="he"' in page


def test_no_texts_leaves_them_out(tmp_path: Path) -> None:
    page = page_of(run(tmp_path / "run"), texts=False)
    assert "A good answer" not in page
    assert "Question" not in page
    assert text(EVIL) not in page
    assert "rows.jsonl:" in page
    assert "--no-texts" in page


def test_what_is_not_there_is_said_with_how_to_get_it(tmp_path: Path) -> None:
    words = " ".join(Outline(page_of(evaluation(tmp_path / "e"))).words)
    for absent in ("assay probe --model", "rows with two rated answers", "assay report RUN"):
        assert absent in words
    directory = run(tmp_path / "run", sets=())
    assert "No evaluation was logged" in page_of(directory)
    (directory / "model" / "config.json").unlink()
    page = page_of(directory)
    assert "not finished: step 40 of 40" in page
    assert "model/ is not evaluated yet" in page


def test_a_benchmark_without_texts_and_lengths(tmp_path: Path) -> None:
    rows = comparison_rows(30)
    whole = results_of(rows)
    hidden = ("calibration", "by_length", "by_language", "shortcuts")
    results = {name: value for name, value in whole.items() if name not in hidden}
    strict = {"num_items": 30, "accuracy": 0.8, "accuracy_se": 0.1, "accuracy_ci95": [0.6, 0.9]}
    results["benchmark"] = {
        "name": "rewardbench",
        "title": "RewardBench",
        "headline": {"name": "final score", "value": None},
        "partial": True,
        "strict": strict,
        "by_subset": {"<hard>": {"official": 0.7, **strict}},
        "by_section": {},
        "sections": {"Chat": None},
        "notes": ["partial: --limit left rows unread"],
    }
    results["length_baseline"] = None
    for row in rows:
        row |= {"chosen_tokens": None, "rejected_tokens": None}
        for name in ("prompt", "chosen", "rejected"):
            del row[name]
    write(tmp_path / "comparisons.jsonl", rows)
    write_json(tmp_path / "results.json", results)
    words = " ".join(Outline(page_of(tmp_path)).words)
    for part in ("final score: –", "Strict accuracy", "<hard>", "sections / Chat", "partial: "):
        assert part in words
    for part in ("Lengths are not known", "Texts are not known", "hold no lengths", "ECE 0."):
        assert part in words


@pytest.mark.parametrize(
    "rewards",
    [
        [(1.0, 0.0)],  # One comparison, no interval.
        [(1.0, 1.0)] * 3,  # Ties alone: every margin is 0.
        [(0.0, 1e9), (1e-9, 0.0)],
        [(1.0, 0.0)] * 3,  # Nothing lost: no temperature.
    ],
)
def test_few_and_extreme_rewards(tmp_path: Path, rewards: list[tuple[float, float]]) -> None:
    rows = comparison_rows(len(rewards))
    for place, (row, (better, worse)) in enumerate(zip(rows, rewards, strict=True)):
        row |= {"group": f"{place}", "chosen_reward": better, "rejected_reward": worse}
    write(tmp_path / "comparisons.jsonl", rows)
    write_json(tmp_path / "results.json", results_of(rows))
    page = page_of(tmp_path)
    Outline(page)
    assert "nan" not in page.lower().replace("finance", "")


def test_messages_of_tools_and_several_turns(tmp_path: Path) -> None:
    rows = comparison_rows(3)
    call = {"role": "assistant", "content": None, "tool_calls": [{"name": "<look>"}]}
    for row in rows:
        row["chosen"] = [call, {"role": "tool", "content": "found"}, *row["chosen"]]
        row["prompt"] = [{"role": "system", "content": ""}, "odd", {"content": ["a", {"b": 1}]}]
    write(tmp_path / "comparisons.jsonl", rows)
    write_json(tmp_path / "results.json", results_of(rows))
    shown = "".join(Outline(page_of(tmp_path)).words)
    assert 'tool_calls: [{"name": "<look>"}]' in shown
    assert '["a", {"b": 1}]' in shown


def test_the_command_replaces_its_own_page_and_no_other(tmp_path: Path) -> None:
    directory = evaluation(tmp_path / "e")
    first = report_command(directory, ReportOptions())
    assert first == directory / "report.html"
    assert report_command(directory, ReportOptions(title="A <title>")) == first
    assert '<h1 dir="auto">A &lt;title&gt;</h1>' in first.read_text(encoding="utf-8")


def test_another_file_is_not_replaced(tmp_path: Path) -> None:
    directory = evaluation(tmp_path / "e", 6)
    for content in ("", "<!doctype html>somebody's page"):
        (directory / "report.html").write_text(content, encoding="utf-8")
        with pytest.raises(OutputError, match="assay report did not write it"):
            report_command(directory, ReportOptions())
        assert (directory / "report.html").read_text(encoding="utf-8") == content
    with pytest.raises(OutputError, match="is a directory"):
        report_command(directory, ReportOptions(output=tmp_path))
    with pytest.raises(OutputError, match="cannot be made"):
        report_command(directory, ReportOptions(output=directory / "results.json" / "x.html"))
    names = {"comparisons.jsonl", "results.json", "report.html"}
    assert {path.name for path in directory.iterdir()} == names


@pytest.mark.slow
def test_reading_a_report_needs_no_torch(tmp_path: Path) -> None:
    directory = evaluation(tmp_path / "e", 9)
    code = (
        "import sys; from pathlib import Path; from assay.report import *; "
        f"report_command(Path({str(directory)!r}), ReportOptions()); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_fifty_thousand_comparisons(tmp_path: Path) -> None:
    def texts(number: int) -> tuple[str, str, str]:
        return f"Question {number}? " * 5, f"word {number} " * 60, f"other {number} " * 60

    rows = comparison_rows(50_000, texts)
    write(tmp_path / "comparisons.jsonl", rows)
    write_json(tmp_path / "results.json", results_of(rows, ratings=True))
    started = time.process_time()
    path = report_command(tmp_path, ReportOptions())
    assert time.process_time() - started < 15
    assert path.stat().st_size < 1_000_000


# What charts and pages are made of.


def test_axes_have_round_numbers() -> None:
    assert axis(0.13, 0.87, 0, 100, "").ticks == pytest.approx((0, 0.2, 0.4, 0.6, 0.8, 1.0))
    snug = axis(0.13, 0.87, 0, 100, "", snug=True)
    assert snug.ticks == pytest.approx((0.2, 0.4, 0.6, 0.8))
    assert (snug(0.13), snug(0.5), snug(5)) == pytest.approx((0, 50, 100))
    flat = axis(3, 3, 0, 100, "")
    assert flat.low < 3 < flat.high
    assert [number(value) for value in (-0.5, 12000, 1e-5)] == ["−0.5", "12k", "1e−5"]


def test_bins_hold_everything_and_zero_is_an_edge() -> None:
    import numpy as np

    values = np.random.default_rng(0).normal(0.4, 1, 1000)
    edges = edges_around_zero(values)
    assert 0.0 in edges.tolist()
    counts = counted(values, edges)
    assert sum(counts) == 1000
    below = sum(n for n, high in zip(counts, edges[1:], strict=True) if high <= 0)
    assert below == int((values < 0).sum())


def test_long_curves_are_thinned_and_smoothed() -> None:
    assert thinned([1.0, 2.0, 3.0]) == [1.0, 2.0, 3.0]
    assert thinned([float(n) for n in range(1000)], 4) == [124.5, 374.5, 624.5, 874.5]
    assert smoothed([1.0, 3.0, float("nan"), 5.0], 2) == [1.0, 2.0, 3.0, 5.0]


def test_controls_become_visible_and_lines_stay() -> None:
    assert text("a\r\nb\tc") == "a\nb\tc"
    assert text("\x00\x1f\x7f\x9f\ud800\ufffe") == "␀␟␡\\u009f\\ud800\\ufffe"
    assert text(json.loads('"\\ud83d\\ude00"')) == "😀"


def test_a_table_names_its_rows_and_columns() -> None:
    made = table(["a", "b"], [["x", 1]], "<caption>")
    assert '<th scope="col" class="left">a</th><th scope="col">b</th>' in made
    assert '<th scope="row" dir="auto" class="left">x</th><td>1</td>' in made
    assert "&lt;caption&gt;" in made
    assert 'tabindex="0"' in made
    assert "<title>&lt;t&gt;</title>" in document("<t>", "")
