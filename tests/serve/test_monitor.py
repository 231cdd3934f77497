"""The monitor in a server: tags of requests, when a step is over, its log, and metrics."""

from __future__ import annotations

import errno
import json
import logging
import os
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from asking import Make, Served
from browsing import live

from assay.data.records import Group, Message, Response, Source
from assay.errors import OutputError
from assay.model.reward_model import RewardModel
from assay.serve.app import ServeSettings, create_app
from assay.serve.items import Asked, Conversation, Ids, Text
from assay.serve.jobs import Scored
from assay.serve.metrics import Metrics
from assay.serve.monitor import watching
from assay.serve.monitor.answers import answers_of
from assay.serve.monitor.baseline import Baseline
from assay.serve.monitor.log import MonitorLog
from assay.serve.monitor.tags import Tag, tag_of
from assay.serve.monitor.watching import Monitor, MonitorSettings
from assay.serve.refusals import Refusal

SECRET = "zebra"
BODY = {"prompt": f"{SECRET}?", "responses": [f"{SECRET} one", f"{SECRET}, two words", SECRET]}


def asked(*texts: str) -> Asked:
    responses = tuple(Response((Message("assistant", text),)) for text in texts)
    group = Group("g", Source("request", 1), (Message("user", "q"),), responses)
    return Asked((Conversation(group, texts),))


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class Watching:
    """A monitor with a log, told of requests by hand."""

    def __init__(self, log: Path, baseline: Baseline | None = None) -> None:
        self.metrics = Metrics()
        known = {} if baseline is None else {"rm": baseline}
        self.monitor = Monitor(MonitorSettings(log, known), self.metrics)
        self.log = log

    def note(self, run: str, step: int | None, *rewards: float, model: str = "rm") -> None:
        texts = [f"answer {reward}" for reward in rewards]
        self.monitor.note(Tag(run, step), model, asked(*texts), Scored([], list(rewards)))

    @property
    def steps(self) -> list[tuple[str, int | None, int]]:
        return [(line["run"], line["step"], line["responses"]) for line in lines_of(self.log)]

    @property
    def text(self) -> str:
        return self.metrics.text().decode()


@pytest.fixture
def watching_(tmp_path: Path) -> Watching:
    return Watching(tmp_path / "monitor.jsonl")


def test_a_step_is_over_when_a_later_one_begins(watching_: Watching) -> None:
    w = watching_
    w.note("a", 1, 0.5)
    w.note("a", 1, 1.5, 2.5)
    w.note("b", 9, 1.0)
    assert w.steps == []
    w.note("a", 2, 1.0)
    assert w.steps == [("a", 1, 3)]
    w.note("a", 1, 4.0)  # Late: by itself, and over with the next step.
    w.note("a", 2, 1.0)
    assert w.steps == [("a", 1, 3)]
    w.note("a", 4, 1.0)
    assert w.steps[1:] == [("a", 2, 2), ("a", 1, 1)] or w.steps[1:] == [("a", 1, 1), ("a", 2, 2)]
    w.note("a", None, 1.0)
    w.monitor.close()
    assert sorted(w.steps[3:], key=str) == [("a", 4, 1), ("a", None, 1), ("b", 9, 1)]


def test_a_step_that_nothing_comes_for_is_over(watching_: Watching) -> None:
    w = watching_
    w.note("a", 1, 0.5)
    w.monitor.close_idle()
    assert w.steps == []
    w.monitor.close_idle(time.monotonic() + watching.IDLE_SECONDS + 1)
    assert w.steps == [("a", 1, 1)]
    w.note("a", 1, 0.5)
    w.monitor.close()
    assert w.steps == [("a", 1, 1)] * 2


def test_metrics_have_labels_for_recent_runs_alone(watching_: Watching) -> None:
    w = watching_
    for number in range(watching.RECENT_RUNS + 5):
        w.note(f"run-{number}", 3, 1.0, 1.0)
        w.note(f"run-{number}", 4, 2.0)
    text = w.text
    assert text.count("assay_run_reward_mean{") == watching.RECENT_RUNS
    assert text.count("assay_run_reward_count{") == watching.RECENT_RUNS
    assert 'run="run-4"' not in text
    assert 'assay_run_step{model="rm",run="run-5"} 3.0' in text
    assert 'assay_run_duplicate_share{model="rm",run="run-5"} 0.5' in text
    assert "assay_run_reference_distance{" not in text
    assert "step=" not in text
    w.note("run-0", 5, 1.0)
    assert 'run="run-5"' not in w.text
    assert ("run-5", 4, 1) in w.steps


def test_steps_that_are_counted_at_once_are_bounded(watching_: Watching) -> None:
    w = watching_
    w.note("a", 1000, 1.0)
    for step in range(watching.MOST_OPEN + 8):
        w.note("a", step, 1.0)
    assert len(w.steps) == 9
    assert w.steps[0] == ("a", 1000, 1)


def test_what_is_compared_with_a_reference(tmp_path: Path) -> None:
    known = Baseline(mean=0.0, std=2.0, low=-5.0, high=5.0, rewards=10, source="x")
    w = Watching(tmp_path / "log", known)
    w.note("a", 1, 4.0, 8.0)
    w.note("a", 2, 0.0)
    w.note("a", 1, 0.0, model="other")
    w.monitor.close()
    assert 'assay_run_reference_distance{model="rm",run="a"} 0.0' in w.text
    first, second, third = lines_of(w.log)
    assert (first["below"], first["above"], first["distance"]) == (0, 1, 3.0)
    assert (second["above"], second["reference"]["source"]) == (0, "x")
    assert (third["model"], third["reference"]) == ("other", None)


def test_lengths_and_hashes_of_what_is_asked() -> None:
    tools = ({"function": {"name": "f"}},)
    odd = Response((Message("assistant", "four", tools), Message("tool", "five5")))
    group = Group("g", Source("r", 1), (Message("user", "q"),), (odd,))
    found = [
        *answers_of(asked("abc", "abc", "abd")),
        *answers_of(Asked((Text("a prompt, abc", "t", prompt="a prompt, "), Text("abcd", "t")))),
        *answers_of(Asked((Ids((1, 2), "i"), Conversation(group, ("x",))))),
    ]
    assert [one.length for one in found] == [3, 3, 3, 3, 4, 2, 9]
    assert [one.unit.split(" of ")[1] for one in found] == ["the answer"] * 4 + [
        *("the text", "the text", "the answer")
    ]
    assert found[0].hash == found[1].hash == found[3].hash
    assert len({one.hash for one in found}) == 5


@pytest.mark.parametrize(
    ("headers", "body", "tag"),
    [
        ({}, (None, None), None),
        ({"X-Assay-Run": "a", "X-Assay-Step": " 3 "}, (None, None), Tag("a", 3)),
        ({"X-Assay-Run": "a", "X-Assay-Step": "3"}, ("b", 4), Tag("b", 4)),
        ({"X-Assay-Step": "3"}, (None, None), Tag("default", 3)),
        ({"X-Assay-Run": "a"}, (None, None), Tag("a")),
        ({"X-Assay-Run": "中".encode().decode("latin-1")}, (None, 0), Tag("中", 0)),
    ],
)
def test_tags(headers: dict[str, str], body: Any, tag: Tag | None) -> None:
    assert tag_of(headers, *body) == tag


@pytest.mark.parametrize(
    ("headers", "body", "field"),
    [
        ({"X-Assay-Step": "x"}, ("a", None), "X-Assay-Step"),
        ({"X-Assay-Step": "-1"}, ("a", None), "X-Assay-Step"),
        ({"X-Assay-Step": "²"}, ("a", None), "X-Assay-Step"),
        ({"X-Assay-Step": "9" * 16}, ("a", None), "X-Assay-Step"),
        ({"X-Assay-Run": ""}, (None, 1), "X-Assay-Run"),
        ({"X-Assay-Run": "a" * 129}, (None, 1), "X-Assay-Run"),
        ({}, ("a\nb", 1), "run"),
        ({}, (" ", 1), "run"),
        ({}, ("a", 10**15), "step"),
    ],
)
def test_tags_that_cannot_be(headers: dict[str, str], body: Any, field: str) -> None:
    with pytest.raises(Refusal) as refusal:
        tag_of(headers, *body)
    assert (refusal.value.status, refusal.value.param) == (422, field)


def test_every_protocol_is_watched(serving: Make, tmp_path: Path) -> None:
    log = tmp_path / "below" / "monitor.jsonl"
    served = serving(monitor=MonitorSettings(log))
    tags = {"X-Assay-Run": "ppo 3", "X-Assay-Step": "1"}
    chat = [{"role": "user", "content": SECRET}, {"role": "assistant", "content": SECRET}]
    answers = served.ask(
        ("POST", "/v1/reward", BODY),
        ("POST", "/classify", {"messages": chat}),
        ("POST", "/classify", {"text": [SECRET, "b"]}),
        ("POST", "/get_reward", {"query": ["c"], "prompts": ["c"]}),
        ("POST", "/get_reward", {"prompts": ["d"], "responses": ["e"]}),
        ("POST", "/v1/score/evaluation", {"messages": ["f"]}),
        ("POST", "/classify", {"input": [5, 6]}),
        headers=tags,
    )
    assert [answer.status_code for answer in answers] == [200] * 7
    assert served.post("/v1/reward", BODY).status_code == 200  # Without a tag nothing is noted.
    served.app.monitor.close()
    (line,) = lines_of(log)
    assert (line["run"], line["step"], line["model"]) == ("ppo 3", 1, "rm")
    assert (line["requests"], line["responses"], line["duplicates"]) == (7, 10, 2)
    assert SECRET not in log.read_text(encoding="utf-8")
    refused = served.ask(("POST", "/get_reward", {"query": ["c"]}), headers={"X-Assay-Step": "one"})
    assert refused[0].status_code == 422
    assert refused[0].json()["error"]["param"] == "X-Assay-Step"


def test_the_own_body_has_tags(serving: Make, tmp_path: Path) -> None:
    log = tmp_path / "monitor.jsonl"
    served = serving(monitor=MonitorSettings(log))
    first = served.post("/v1/reward", BODY | {"run": "mine", "step": 1}).json()["rewards"]
    served.post("/v1/reward", BODY | {"run": "mine", "step": 2})
    (line,) = lines_of(log)
    lengths = [len(text) for text in BODY["responses"]]
    assert line["reward_mean"] == pytest.approx(sum(first) / 3)
    assert line["length_mean"] == pytest.approx(sum(lengths) / 3)
    assert (line["reward_min"], line["reward_max"]) == (min(first), max(first))
    text = served.get("/metrics").text
    assert 'assay_run_step{model="rm",run="mine"} 1.0' in text
    assert 'assay_run_reward_count{model="rm",run="mine"} 6.0' in text
    for field, value in (("step", "3"), ("step", -1), ("step", True), ("run", ""), ("run", 3)):
        answer = served.post("/v1/reward", BODY | {"run": "mine"} | {field: value})
        assert answer.status_code == 422, (field, value)
        assert answer.json()["error"]["param"] == field
    served.app.monitor.close()
    assert lines_of(log)[1]["step"] == 2


def test_the_end_of_a_server_ends_all_steps(model: RewardModel, tmp_path: Path) -> None:
    log = tmp_path / "monitor.jsonl"
    settings = ServeSettings(monitor=MonitorSettings(log))
    with live(create_app({"rm": model}, settings)) as url:
        body = BODY | {"run": "a", "step": 7}
        assert httpx.post(f"{url}/v1/reward", json=body, timeout=200).status_code == 200
        assert log.read_text(encoding="utf-8") == ""
    assert [line["step"] for line in lines_of(log)] == [7]


def test_openapi_knows_the_tags(server: Served) -> None:
    described = server.get("/openapi.json").json()
    for path in ("/v1/reward", "/classify", "/get_reward"):
        names = [one["name"] for one in described["paths"][path]["post"]["parameters"]]
        assert names == ["X-Assay-Run", "X-Assay-Step"]
    fields = described["components"]["schemas"]["AssayRewardBody"]["properties"]
    assert {"run", "step", "members"} <= set(fields)
    assert "members" in described["components"]["schemas"]["RewardAnswer"]["properties"]


def test_a_log_is_gone_on_with(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = tmp_path / "monitor.jsonl"
    for step in (1, 2):
        w = Watching(log)
        w.note("a", step, 1.0)
        w.monitor.close()
    assert w.steps == [("a", 1, 1), ("a", 2, 1)]
    whole = log.read_bytes()
    log.write_bytes(whole + b'{"run":"a","st')
    with caplog.at_level(logging.INFO, "assay"):
        MonitorLog(log).close()
    assert "cut off" in caplog.text
    assert log.read_bytes() == whole


@pytest.mark.parametrize("content", ["my notes\n", '{"a": 1}\n', "no line end", '{"run":"x'])
def test_another_file_is_left_alone(tmp_path: Path, content: str) -> None:
    log = tmp_path / "notes.txt"
    log.write_text(content, encoding="utf-8")
    if content == '{"run":"x':  # A kill may have left just this of a log.
        content = ""
        MonitorLog(log).close()
    else:
        with pytest.raises(OutputError, match="something else"):
            MonitorLog(log)
    assert log.read_text(encoding="utf-8") == content
    with pytest.raises(OutputError, match="is a directory"):
        MonitorLog(tmp_path)


def test_a_full_disk_loses_lines_and_no_requests(
    watching_: Watching, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    w = watching_
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, content: write(file, content[:10]))
    w.note("a", 1, 1.0)
    w.note("a", 2, 1.0)
    w.note("a", 3, 1.0)
    monkeypatch.setattr(os, "write", write)
    assert caplog.text.count(os.strerror(errno.ENOSPC)) == 1
    w.monitor.close()
    assert w.steps == [("a", 3, 1)]


def test_a_response_costs_microseconds(watching_: Watching) -> None:
    texts = [f"{number} " + "x" * 2000 for number in range(64)]
    rewards = [float(number) for number in range(64)]
    request, scored = asked(*texts), Scored([], rewards)
    best = min(_seconds(watching_, request, scored) for _ in range(20))
    watching_.monitor.close()
    assert best / 64 < 50e-6  # A tenth of that where nothing else runs.


def _seconds(w: Watching, request: Asked, scored: Scored) -> float:
    started = time.process_time()
    for _ in range(5):
        w.monitor.note(Tag("a", 1), "rm", request, scored)
    return (time.process_time() - started) / 5
