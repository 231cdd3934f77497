"""Requests drawn at random, a short edition of benchmarks/fuzz_server.py with the same draws."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from processes import Process, start

from benchmarks.fuzzed_requests import PATHS, Answer, Sent, fault, requests, send

SECONDS = 60
FIXED = {"prompt": "a", "responses": ["b", "c"]}


@pytest.fixture(scope="module")
def process(tiny_reward: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A server that lives to the end, gives the same rewards then, and logged nothing of note."""
    directory = tmp_path_factory.mktemp("fuzzed")
    limits = ("--max-body-bytes", 50_000, "--monitor-log", directory / "monitor.jsonl")
    found = start(directory, "--model", f"rm={tiny_reward}", "--device", "cpu", *limits)
    before = rewards(found)
    yield found
    after = rewards(found)
    found.process.terminate()
    assert found.end() == 0
    assert after == pytest.approx(before, abs=1e-5)
    # Uvicorn itself stumbles over a broken chunk of a HEAD; all else is answered.
    failures = [line for line in found.logged.splitlines() if "failure" in line]
    assert not [line for line in failures if "_writers.py" not in line]
    assert "Traceback" not in found.logged


def rewards(process: Process) -> list[float]:
    answer = httpx.post(f"{process.url}/v1/reward", json=FIXED, timeout=SECONDS)
    return answer.raise_for_status().json()["rewards"]


def test_no_request_makes_a_5xx(process: Process) -> None:
    statuses: Counter[int | None] = Counter()

    @settings(
        max_examples=250,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(PATHS).flatmap(requests))
    def ask(sent: Sent) -> None:
        answer = send(process.url, sent, SECONDS)
        statuses[answer.status] += 1
        flaw = fault(sent, answer)
        assert flaw is None, f"{flaw}\n{sent.shell(process.url)}"

    ask()
    assert {200, 400, 405, 413, 422} <= set(statuses), statuses


def test_the_description_is_kept(process: Process, tmp_path: Path) -> None:
    if find_spec("schemathesis") is None:
        pytest.skip("schemathesis is not installed")
    checks = (
        *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
        *("response_schema_conformance", "unsupported_method", "allow_header_conformance"),
    )
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{process.url}/openapi.json"]
    command += ["--phases", "examples,coverage", "--no-color"]
    command += ["--checks", ",".join(checks), "--generation-deterministic"]
    command += ["--request-timeout", str(SECONDS), "--warnings", "off"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr


def test_words_in_a_broken_chunk_are_not_logged(process: Process) -> None:
    place = urlsplit(process.url)
    head = b"HEAD /v1/reward HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection((place.hostname, place.port), SECONDS) as connection:
        connection.sendall(head + b"what somebody wrote\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")
        while connection.recv(1000):
            pass
    assert "somebody" not in process.logged


ERROR = {"message": "m", "type": "t", "param": None, "code": 422}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(None), "no answer"),
        (Answer(503, "application/json", b"{}"), "status 503"),
        (Answer(400, "text/plain", b"Invalid"), "text/plain"),
        (Answer(200, "application/json", b'{"rewards": [NaN]}'), "NaN is no number"),
        (Answer(422, "application/json", b'{"detail": 1}'), "without an error"),
        (Answer(400, "application/json", json.dumps({"error": ERROR}).encode()), "status 400"),
    ],
)
def test_what_is_found_fault_with(answer: Answer, words: str) -> None:
    sent = Sent("POST", "/v1/reward", (), b"{}")
    assert words in str(fault(sent, answer))
    hung_up = Sent("POST", "/v1/reward", (), b"{}", "short")
    assert fault(hung_up, Answer(None)) is None


def test_a_request_as_a_line_of_the_shell() -> None:
    sent = Sent("PUT", "/classify", (("Accept", "it's"),), b'{"a": "100%\\\xff\'\n"}')
    line = sent.shell("http://127.0.0.1:8000")
    told, _, asked = line.partition(" | ")
    assert subprocess.run(told, shell=True, capture_output=True, check=True).stdout == sent.body
    assert asked == (
        "curl -s -X PUT -H 'Accept: it'\"'\"'s' --data-binary @- http://127.0.0.1:8000/classify"
    )
    broken = Sent("PUT", "/classify", (), b"{}", "bad chunks").shell("http://127.0.0.1:8000")
    told, _, asked = broken.partition(" | ")
    assert subprocess.run(told, shell=True, capture_output=True, check=True).stdout.endswith(
        b"chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"
    )
    assert asked == "nc -q 9 127.0.0.1 8000"
