"""A real server under a mixed load, and how it ends. The tests of a server run in their order."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from processes import Process, start

from assay.model.reward_model import RewardModel
from assay.model.rewards import score_sequences

pytestmark = pytest.mark.slow

REQUESTS = 200
CLIENTS = 64
SECRET = "zebra"
"""A word of every text; no log may hold it."""


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory, tiny_reward: Path) -> Iterator[Process]:
    started = start(
        tmp_path_factory.mktemp("server"),
        *("--model", f"rm={tiny_reward}", "--device", "cpu", "--max-body-bytes", 20_000),
        *("--drain-delay", 2),
    )
    yield started
    started.process.kill()
    started.process.wait()


def _chat(prompt: str, response: str) -> str:
    return f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n{response}<|im_end|>\n"


def _request(number: int) -> tuple[str, Any, list[str]]:
    """A path, a body, and the texts whose rewards the answer has to hold, by the kind of request.

    Without texts the request is to be refused; without a path its client goes away.
    """
    draw = random.Random(number)
    prompt = f"{SECRET} question {number % 9} " + "and so on " * draw.randrange(12)
    answers = [f"{SECRET} answer {draw.random()}" for _ in range(draw.randrange(1, 5))]
    texts = [_chat(prompt, answer) for answer in answers]
    kinds: list[tuple[str, Any, list[str]]] = [
        ("/v1/reward", {"prompt": prompt, "responses": answers}, texts),
        ("/classify", {"model": "rm", "input": texts, "use_activation": False}, texts),
        ("/classify", {"text": texts}, texts),
        ("/get_reward", {"query": texts}, texts),
        ("/get_reward", {"prompts": [prompt], "responses": answers[:1]}, texts[:1]),
        ("/v1/score/evaluation", {"model": "model", "messages": texts}, texts),
        ("/v1/embeddings", {"input": texts}, texts),
        ("/pooling", {"input": texts}, texts),
        ("/get_reward", {"query": texts, "input_template": "chatml"}, texts),
        ("/v1/reward", b'{"prompt": "' + SECRET.encode(), []),
        ("/classify", b'{"input": "' + SECRET.encode() * 5000 + b'"}', []),
        ("/classify", {"input": [SECRET, 3]}, []),
        ("", {"prompt": prompt, "responses": answers}, []),
    ]
    return kinds[number % len(kinds)]


def _rewards(answer: Any) -> list[float]:
    if isinstance(answer, list):
        return [entry["embedding"][0] for entry in answer]
    if "data" in answer:
        keys = ("probs", "data", "embedding")
        return [next(entry[key] for key in keys if key in entry)[0] for entry in answer["data"]]
    return answer["rewards"] if "rewards" in answer else answer["scores"]


async def _goes_away(url: str, body: Any) -> None:
    place = urlsplit(url)
    _, writer = await asyncio.open_connection(place.hostname, place.port)
    content = str(body).encode()
    writer.write(
        b"POST /get_reward HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(content)
    )
    writer.write(content[: len(content) // 2] if len(content) % 2 else content)
    await writer.drain()
    writer.transport.abort()


async def _load(url: str) -> list[httpx.Response | None]:
    turns = asyncio.Semaphore(CLIENTS)
    limits = httpx.Limits(max_connections=CLIENTS)

    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as client:

        async def one(number: int) -> httpx.Response | None:
            path, body, _ = _request(number)
            async with turns:
                if not path:
                    return await _goes_away(url, body)
                if isinstance(body, bytes):
                    return await client.post(path, content=body)
                return await client.post(path, json=body)

        return list(await asyncio.gather(*map(one, range(REQUESTS))))


def test_every_request_gets_its_own_rewards(process: Process, model: RewardModel) -> None:
    answers = asyncio.run(_load(process.url))
    for number, answer in enumerate(answers):
        _, body, texts = _request(number)
        if answer is None:
            continue
        if not texts:
            large = isinstance(body, bytes) and len(body) > 20_000
            expected = 413 if large else 400 if isinstance(body, bytes) else 422
            assert answer.status_code == expected, answer.text
            continue
        assert answer.status_code == 200, answer.text
        offline = score_sequences(model, [model.renderer.render_text(text).ids for text in texts])
        assert _rewards(answer.json()) == pytest.approx(offline, rel=1e-6, abs=1e-6)


def test_what_metrics_say_of_it(process: Process) -> None:
    text = httpx.get(f"{process.url}/metrics").text
    counts = {
        line.split(" ")[0]: float(line.split(" ")[1])
        for line in text.splitlines()
        if not line.startswith("#")
    }
    requests = {name: count for name, count in counts.items() if "assay_requests_total" in name}
    assert not any('status="5' in name for name in requests)
    refused = sum(count for name, count in requests.items() if 'status="4' in name)
    expected = [_request(number) for number in range(REQUESTS)]
    assert refused >= sum(bool(path) and not texts for path, _, texts in expected)
    answered = sum(count for name, count in requests.items() if 'status="200"' in name)
    assert answered == sum(bool(texts) for _, _, texts in expected)
    assert counts['assay_queue_tokens{model="rm"}'] == 0
    assert counts['assay_queue_requests{model="rm"}'] == 0
    assert counts["assay_requests_in_flight"] == 1
    assert 0 < counts['assay_share_saved{model="rm"}'] < 1


async def _until_the_end(url: str, sent: list[tuple[float, Any]], process: Process) -> float:
    """Clients that ask without a pause while the server is told to end; when it was told."""
    told = 0.0
    body = {"prompt": f"{SECRET}?", "responses": [f"{SECRET} {n} " + "so " * n for n in range(40)]}

    async with httpx.AsyncClient(base_url=url, timeout=120) as client:

        async def ask_on() -> None:
            while True:
                begun = time.monotonic()
                try:
                    answer = await client.post("/v1/reward", json=body)
                except httpx.TransportError as error:
                    sent.append((begun, error))
                    return
                sent.append((begun, answer))

        asking = [asyncio.ensure_future(ask_on()) for _ in range(16)]
        await asyncio.sleep(0.5)
        told = time.monotonic()
        process.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.2)
        ready = await client.get("/ready")
        assert ready.status_code == 503
        await asyncio.gather(*asking)
    return told


def test_sigterm_under_load(process: Process, model: RewardModel) -> None:
    sent: list[tuple[float, Any]] = []
    told = asyncio.run(_until_the_end(process.url, sent, process))
    assert process.end() == 0
    answers = [found for _, found in sent if isinstance(found, httpx.Response)]
    assert {answer.status_code for answer in answers} == {200}
    first, *others = (answer.json()["rewards"] for answer in answers)
    # The prompt's keys are remembered once it has come back: the last bits may be others.
    assert all(rewards == pytest.approx(first, abs=1e-5) for rewards in others)
    unanswered = [begun for begun, found in sent if not isinstance(found, httpx.Response)]
    # Connections are taken until the delay is over; what was begun before is answered.
    assert all(begun > told + 1.5 for begun in unanswered)
    assert sum(begun > told for begun, found in sent if isinstance(found, httpx.Response)) > 0
    assert "all requests answered" in process.logged


def test_no_log_holds_a_text(process: Process) -> None:
    assert SECRET not in process.logged
    assert "Traceback" not in process.logged


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory, tiny_reward: Path) -> Iterator[Process]:
    """A server with TLS and a key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate with")
    directory = tmp_path_factory.mktemp("closed")
    certificate, key, keys = (directory / name for name in ("cert.pem", "key.pem", "keys"))
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    keys.write_text("the key\n", encoding="utf-8")
    started = start(
        directory,
        *("--model", tiny_reward, "--served-model-name", "rm", "--api-key-file", keys),
        *("--tls-cert", certificate, "--tls-key", key, "--drain-delay", 60, "--device", "cpu"),
    )
    yield started
    started.process.kill()
    started.process.wait()


def test_tls_keys_and_a_second_signal(closed: Process) -> None:
    assert closed.url.startswith("https://127.0.0.1:")
    trust = ssl.create_default_context(cafile=str(closed.output.parent / "cert.pem"))
    with httpx.Client(base_url=closed.url, verify=trust) as client:
        body = {"prompt": "a", "responses": ["b"]}
        assert client.post("/v1/reward", json=body).status_code == 401
        allowed = {"Authorization": "Bearer the key"}
        assert client.post("/v1/reward", json=body, headers=allowed).json()["model"] == "rm"
        closed.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 30
        while client.get("/ready").status_code != 503:
            assert time.monotonic() < deadline
    closed.process.send_signal(signal.SIGTERM)
    assert closed.end(10) == 128 + signal.SIGTERM
    assert "left without an answer" in closed.logged
    assert "others can read the keys" in closed.logged
