"""A monitor's log as a page: lines put together, warnings by hand, what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_report_page import Outline

from assay.errors import AssayError
from assay.report import ReportOptions, report_command
from assay.report.monitor_log import Step, read_monitor_log
from assay.report.monitor_warnings import WINDOW, warnings_of
from assay.serve.monitor import tally
from assay.serve.monitor.answers import Answer
from assay.serve.monitor.baseline import Baseline
from assay.serve.monitor.log import MIXED, SHARES

KNOWN = Baseline(mean=0.0, std=1.0, low=-2.6, high=2.6, rewards=500, source="scored.jsonl")
RNG = np.random.default_rng(5)


def line(
    step: int | None,
    rewards: Any,
    lengths: Any,
    *,
    run: str = "ppo",
    baseline: Baseline | None = KNOWN,
    equal: int = 0,
    truncated: int = 0,
) -> dict[str, Any]:
    """A line as the server writes it; so many answers equal the first."""
    found = tally.Tally("rm", run, step, baseline)
    hashes = [0 if place <= equal else place for place in range(len(rewards))]
    answers = [
        Answer(digest, int(length), "characters of the answer")
        for digest, length in zip(hashes, lengths, strict=True)
    ]
    found.add([float(reward) for reward in rewards], answers, truncated)
    return found.line()


def usual(step: int, **more: Any) -> dict[str, Any]:
    return line(step, RNG.normal(0, 1, 64), RNG.integers(50, 150, 64), **more)


def log_of(path: Path, *lines: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in lines), encoding="utf-8")
    return path


def steps_of(path: Path, *lines: dict[str, Any]) -> list[Step]:
    (run,) = read_monitor_log(log_of(path, *lines))
    return run.steps


def test_the_server_and_the_page_agree() -> None:
    assert (tally.SHARES, tally.MIXED) == (SHARES, MIXED)


def test_two_lines_of_a_step_are_put_together(tmp_path: Path) -> None:
    rewards, lengths = RNG.normal(3, 2, 400), RNG.integers(1, 900, 400)
    parts = [line(7, rewards[:90], lengths[:90], equal=3), line(7, rewards[90:], lengths[90:])]
    (step,) = steps_of(tmp_path / "log", *parts)
    assert (step.responses, step.requests, step.duplicates, step.lines) == (400, 2, 3, 2)
    assert step.mean == pytest.approx(rewards.mean(), rel=1e-7)
    assert step.std == pytest.approx(rewards.std(ddof=1), rel=1e-6)
    assert step.length == pytest.approx(lengths.mean(), rel=1e-7)
    assert step.correlation == pytest.approx(np.corrcoef(rewards, lengths)[0, 1], abs=1e-6)
    assert step.quantiles == pytest.approx(np.quantile(rewards, SHARES), abs=step.bins.width)
    assert step.distance == pytest.approx(rewards.mean(), rel=1e-7)
    beyond = (rewards < -2.6).sum() + (rewards > 2.6).sum()
    assert step.beyond == pytest.approx(beyond / 400)


def test_no_warning_of_usual_steps_or_of_few(tmp_path: Path) -> None:
    assert warnings_of(steps_of(tmp_path / "a", *map(usual, range(30)))) == []
    odd = [line(step, [9.0] * 8, [9] * 8, equal=7) for step in range(WINDOW - 1)]
    assert warnings_of(steps_of(tmp_path / "b", *odd)) == []


def test_reward_that_rises_with_length(tmp_path: Path) -> None:
    lines = [usual(step) for step in range(100, 110)]
    for step in range(110, 120):
        lengths = RNG.integers(50, 150, 64)
        lines.append(line(step, (lengths - 100) / 25 + RNG.normal(0, 0.4, 64), lengths))
    (said,) = warnings_of(steps_of(tmp_path / "log", *lines))
    found = int(said.split("Since step ")[1].split(",")[0])
    assert 107 <= found <= 110  # The first window of five steps whose mean is above 0.5.
    assert "reward rises with length" in said
    assert "longer answers" in said


def test_a_stretch_by_hand(tmp_path: Path) -> None:
    """Duplicates 0 0 0 0 0, then 3 of 8 in five steps, then none in six: judged by means of 5."""
    counts = [0] * 5 + [3] * 5 + [0] * 6
    lines = [
        line(10 * place, [-1.0, 1.0] * 4, range(8), equal=equal)
        for place, equal in enumerate(counts)
    ]
    # Means of five are 0.075 n for n such steps in the window: two of them are enough.
    (said,) = warnings_of(steps_of(tmp_path / "log", *lines))
    mean = 100 * 3 / 8 * 5 / 11
    assert said.startswith(f"From step 20 to step 120, {mean:.0f}% of the answers equal an earlier")


def test_every_warning(tmp_path: Path) -> None:
    lines = [usual(step, baseline=KNOWN) for step in range(10)]
    for step in range(10, 20):
        rewards = 4 + RNG.normal(0, 0.1, 64)
        lengths = 200 - 20 * (rewards - 4) + RNG.normal(0, 1, 64)
        lines.append(line(step, rewards, lengths, equal=20, truncated=6))
    said = warnings_of(steps_of(tmp_path / "log", *lines))
    for words in (
        "reward falls with length",
        "beyond the range of the reference, most of them above",
        "standard deviations above that of the reference",
        "equal an earlier one",
        "hardly differ",
        "times as long as in the first 5 steps",
        "without their beginning",
    ):
        assert sum(words in text for text in said) == 1, words
    assert len(said) == 7
    assert all(text.startswith("Since step") for text in said)


def test_the_page(tmp_path: Path) -> None:
    lines = [usual(step) for step in range(400)]
    lines += [usual(3), usual(None), *(usual(s, run="<b>x</b>", baseline=None) for s in (2, 1))]
    path = log_of(tmp_path / "monitor.jsonl", *lines)
    page = report_command(path, ReportOptions())
    assert page == tmp_path / "monitor.html"
    html = page.read_text(encoding="utf-8")
    outline = Outline(html)
    words = " ".join(outline.words)
    for part in (
        *("Monitor of monitor.jsonl", "2 runs", "Rewards by step", "Distribution of rewards"),
        *("Reward against length", "Distance from the reference", "Duplicates", "Spread"),
        *("Rewards beyond the range", "1 step got answers after", "64 answers named no step"),
        *("Run: <b>x</b> (rm)", "The model had no reference", "2 steps: warnings take 5"),
        *("500 rewards of scored.jsonl", "0 to 399", "1 to 2", "Thresholds"),
    ):
        assert part in words, part
    assert _warnings_in_summary(html) == ["0", "–"]
    assert "no number of warnings (–) where there are fewer than 5 steps" in words
    assert len(outline.ids) == len(set(outline.ids))
    assert all(link[1:] in outline.ids for link in outline.links)
    assert len(html) < 250_000
    assert report_command(path, ReportOptions(title="Mine")) == page  # Its own page is replaced.
    assert "Mine</h1>" in page.read_text(encoding="utf-8")


def _warnings_in_summary(html: str) -> list[str]:
    body = html.partition("<tbody>")[2].partition("</tbody>")[0]
    return [re.findall(r"<td[^>]*>(.*?)</td>", row)[1] for row in body.split("</tr>")[:-1]]


def test_one_step_of_one_answer(tmp_path: Path) -> None:
    path = log_of(tmp_path / "log", line(0, [1.5], [4], baseline=None))
    html = report_command(path, ReportOptions(output=tmp_path / "out.html")).read_text("utf-8")
    assert "nan" not in html
    assert _warnings_in_summary(html) == ["–"]
    assert "Distance" not in " ".join(Outline(html).words).split("Thresholds")[0].split("h with")[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "holds no step yet"),
        ("notes\n", "is no directory, and no monitor's log; name a run"),
        ('{"kind": "train", "step": 1}\n', "is no directory, and no monitor's log"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "file.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(AssayError) as error:
        report_command(path, ReportOptions())
    assert said in str(error.value)
    assert not path.with_suffix(".html").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"responses": 0},
        {"responses": None},
        {"histogram": {"width": 0.25}},
        {"histogram": {"width": 0, "counts": [[1, 1]]}},
        {"histogram": {"width": 1, "counts": [1]}},
        {"reward_quantiles": [1, 2]},
        {"reference": {"mean": 1}},
        {"reference": {"mean": 1, "std": 0, "low": 0, "high": 1, "rewards": 1, "source": ""}},
        {"below": "x"},
        {"correlation": "x"},
    ],
    ids=str,
)
def test_lines_that_are_not_as_written_are_named(tmp_path: Path, change: dict[str, Any]) -> None:
    path = log_of(tmp_path / "log", usual(1), usual(2) | change)
    with pytest.raises(AssayError) as error:
        read_monitor_log(path)
    assert f"{path}:2: is no line of a monitor's log" in str(error.value)


def test_a_last_line_that_a_kill_has_cut_is_left_out(tmp_path: Path) -> None:
    path = log_of(tmp_path / "log", usual(1))
    path.write_text(path.read_text("utf-8") + '{"run": "ppo", "st', encoding="utf-8")
    assert [step.number for step in read_monitor_log(path)[0].steps] == [1]


def test_a_log_has_no_probe(tmp_path: Path) -> None:
    path = log_of(tmp_path / "log", usual(1))
    with pytest.raises(AssayError, match="has no probe"):
        report_command(path, ReportOptions(probe=tmp_path))
