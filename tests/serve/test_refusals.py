"""What gets no rewards: each limit by its name, each mistake by its field, and never a 5xx."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from asking import Make, Served
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from assay.errors import ConfigError
from assay.serve.auth import Keys
from assay.serve.limits import Limits
from assay.serve.protocols import endpoints

GOOD = {"prompt": "a", "responses": ["b"]}


def refused(answer: httpx.Response, status: int, *words: str) -> None:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == status
    for word in words:
        assert word in error["message"]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, ["not JSON"]),
        (b"{", 400, ["not JSON", "line 1"]),
        (b'{"a": 1} x', 400, ["not JSON"]),
        (b'\xff{"prompt": "a"}', 400, ["UTF-8"]),
        (b'{"prompt": NaN}', 400, ["NaN"]),
        (b'{"prompt": 1e999}', 400, ["too large"]),
        (b'{"prompt": "a", "prompt": "b"}', 400, ["twice"]),
        (b'{"prompt": "\\ud800", "responses": ["a"]}', 400, ["surrogate"]),
        (b"[" * 100_000, 400, ["deep"]),
        (b'{"a":' * 200 + b"1" + b"}" * 200, 400, ["deep"]),
        (b"[]", 422, ["object"]),
        (b"{}", 422, ["nothing to score"]),
        (b'{"model": 3}', 422, ["model"]),
        (b'{"promt": "a", "responses": ["b"]}', 422, ["promt", "did you mean 'prompt'? known: mo"]),
        (b'{"prompt": 3, "responses": ["b"]}', 422, ["prompt: is a number, not text; put it in q"]),
        (b'{"prompt": "a", "responses": ["b"], "step": 1.5}', 422, ["1.5, not a whole number"]),
        (b'{"prompt": "a", "responses": ["b"], "step": -1}', 422, ["step: is below 0; send 0 or"]),
        (b'{"prompt": "a", "responses": ["b"], "run": ""}', 422, ["run: is empty; write"]),
        (b'{"texts": ["a", null]}', 422, ["texts[1]: is null, not text; send text"]),
        (b'{"prompt": "a"}', 422, ["responses"]),
        (b'{"prompt": "a", "responses": []}', 422, ["responses"]),
        (b'{"prompt": "a", "responses": "b"}', 422, ["responses: is text, not a list; put it bet"]),
        (b'{"prompt": "a", "responses": ["b", 3]}', 422, ["responses[1]", "text"]),
        (b'{"prompt": " ", "responses": ["b"]}', 422, ["prompt: the prompt is empty"]),
        (b'{"messages": [], "responses": ["b"]}', 422, ["messages: the prompt is empty"]),
        (b'{"prompt": "a", "messages": [], "responses": ["b"]}', 422, ["prompt and messages"]),
        (b'{"messages": [{"role": "user"}], "responses": ["b"]}', 422, ["content"]),
        (b'{"messages": [{"role": "user", "content": "a"}]}', 422, ["answer"]),
        (b'{"messages": [{"role": "king", "content": "a"}]}', 422, ["king"]),
        (b'{"texts": [""]}', 422, ["texts[0]", "empty"]),
        (b'{"texts": ["a"], "responses": ["b"]}', 422, ["responses"]),
        (b'{"texts": ["a"], "input_template": "quen"}', 422, ["did you mean 'qwen'"]),
    ],
)  # fmt: skip
def test_a_mistake_has_its_place(
    server: Served, body: bytes, status: int, words: list[str]
) -> None:
    refused(server.post("/v1/reward", body), status, *words)


def test_a_mistake_in_a_large_body_takes_no_time(server: Served) -> None:
    """All other requests would wait for it."""
    fields = [f'"{number}": 0' for number in [*range(30_000), 29_999]]
    began = time.process_time()
    refused(server.post("/v1/reward", f"{{{', '.join(fields)}}}".encode()), 400, "'29999' is given")
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    "body", dict.fromkeys(one.body for candidates in endpoints().values() for one in candidates)
)
def test_of_a_list_of_mistakes_one_is_told(body: type[BaseModel]) -> None:
    """Each is an object in memory: a small body could take gigabytes."""
    for field in body.model_fields:
        for wrong in ([None, 1.5] * 50, [[None] * 100] * 100):
            with pytest.raises(ValidationError) as raised:
                body.model_validate({field: wrong, "no such field": 1, "step": "none"})
            assert raised.value.error_count() < 10, field


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/classify", {"input": [[999_999]]}, "input[0]"),
        ("/classify", {"input": [-1]}, "input"),
        ("/classify", {"input": [[]]}, "input[0]"),
        ("/classify", {"input": []}, "input"),
        ("/classify", {"input": [1, "a"]}, "input"),
        ("/classify", {"text": []}, "text"),
        ("/pooling", {"input": 3}, "input"),
        ("/get_reward", {"query": [1]}, "query"),
        ("/get_reward", {"query": ["a"], "prompts": ["a", "b"]}, "prompts"),
        ("/v1/score/evaluation", {"messages": [{"role": "user"}]}, "messages[0]"),
        ("/v1/score/evaluation", {"messages": ["a"], "max_length": 0}, "max_length"),
        ("/v1/embeddings", {}, "input"),
        ("/v1/embeddings", {"input": "a", "encoding_format": "x"}, "encoding_format"),
    ],
)
def test_mistakes_of_other_protocols(
    server: Served, path: str, body: dict[str, Any], param: str
) -> None:
    answer = server.post(path, body)
    refused(answer, 422)
    assert answer.json()["error"]["param"].startswith(param)


def test_mistakes_have_no_words_of_a_library(server: Served) -> None:
    """What pydantic says of a value of another kind is put in words, whatever the field."""
    for path in PATHS:
        for field in ("input", "text", "input_ids", "query", "messages", "texts", "prompts"):
            for value in (3, True, {"a": 1}, [1.5], [[True]], None):
                body = {"model": "rm", "query": "a", "responses": ["b"]} | {field: value}
                answer = server.post(path, body)
                assert "Input" not in answer.text, (path, body)
                assert "valid" not in answer.text, (path, body)


def test_names_of_models(serving: Make) -> None:
    one, two = serving(), serving(names=("first", "second"))
    refused(one.post("/v1/reward", GOOD | {"model": "rn"}), 404, "served: rm")
    refused(one.post("/classify", {"input": "a", "model": "x"}), 404)
    assert one.post("/v1/score/evaluation", {"model": "x", "messages": ["a"]}).status_code == 200
    refused(two.post("/v1/score/evaluation", {"model": "x", "messages": ["a"]}), 404, "first")
    assert two.post("/v1/reward", GOOD).json()["model"] == "first"
    assert two.post("/v1/reward", GOOD | {"model": "second"}).json()["model"] == "second"
    assert [each["id"] for each in two.get("/v1/models").json()["data"]] == ["first", "second"]
    assert two.get("/v1/models/second").json()["id"] == "second"
    refused(two.get("/v1/models/third"), 404)


def test_limits_are_named(serving: Make) -> None:
    served = serving(max_body_bytes=2000, max_request_tokens=270, max_responses=3, max_length=100)
    post = served.post
    refused(post("/v1/reward", {"texts": ["x" * 3000]}), 413, "2000 bytes", "max_body_bytes")
    refused(post("/v1/reward", {"texts": ["x" * 50_000]}), 413, "max_body_bytes")
    refused(post("/v1/reward", {"texts": ["a"] * 4}), 422, "limit of 3", "max_responses")
    refused(post("/get_reward", {"query": ["a"] * 4}), 422, "max_responses")
    long = {"prompt": "x" * 120, "responses": ["b"]}
    refused(post("/v1/reward", long), 422, "responses[0]", "limit of 100", "max_length")
    refused(post("/classify", {"input": "x" * 101}), 422, "max_length")
    refused(post("/classify", {"input": [5] * 101}), 422, "max_length")
    wide = {"messages": [{"role": "user", "content": "x" * 80}], "responses": ["b" * 5, "c", "d"]}
    refused(post("/v1/reward", wide | {"responses": ["b", "c", "d"]}), 422, "max_request_tokens")
    assert post("/v1/reward", wide | {"responses": ["b", "c"]}).status_code == 200


def test_a_body_without_length_is_bounded(serving: Make) -> None:
    import asyncio

    served = serving(max_body_bytes=100)
    read = 0

    async def chunks() -> Any:
        nonlocal read
        for _ in range(1000):
            read += 100
            yield b" " * 100

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=served.app.asgi)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.post("/v1/reward", content=chunks())

    refused(asyncio.run(ask()), 413, "max_body_bytes")
    assert read < 2000


def test_limits_that_cannot_be(serving: Make) -> None:
    with pytest.raises(ConfigError, match="max-request-tokens"):
        Limits(max_request_tokens=10, max_queue_tokens=5)
    with pytest.raises(ConfigError, match="context of 512"):
        serving(max_length=513)


def test_paths_and_methods(server: Served) -> None:
    refused(server.post("/v1/rewards", GOOD), 404)
    refused(server.ask(("GET", "/v1/reward", None))[0], 405)
    refused(server.ask(("PUT", "/get_reward", {}))[0], 405)
    for path in ("/docs", "/redoc"):
        refused(server.get(path), 404)
    preflight = server.ask(
        ("OPTIONS", "/v1/reward", None),
        headers={"Origin": "http://elsewhere", "Access-Control-Request-Method": "POST"},
    )[0]
    assert not any(name.startswith("access-control") for name in preflight.headers)


def test_keys(serving: Make, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("\ufefffirst-key\n# of the trainer\n\n  second key \n", encoding="utf-8")
    file.chmod(0o600)
    served = serving(keys=Keys.read(file))
    closed = served.post("/v1/reward", b"x" * 10)
    refused(closed, 401)
    assert ": " not in closed.text.replace(closed.json()["error"]["message"], "")
    assert closed.headers["www-authenticate"] == "Bearer"
    for path in ("/v1/models", "/metrics", "/openapi.json", "/nowhere"):
        refused(served.get(path), 401)
    for path in ("/health", "/ready", "/ping"):
        assert served.get(path).status_code == 200
        assert served.ask(("HEAD", path, None))[0].status_code == 200
    for wrong in ("Bearer first-ke", "Bearer first-key2", "Basic first-key", "first-key", "Bearer"):
        refused(served.post("/v1/reward", GOOD, Authorization=wrong), 401)
    for right in ("Bearer first-key", "bearer second key", "Bearer  first-key "):
        assert served.post("/v1/reward", GOOD, Authorization=right).status_code == 200
    assert served.post("/v1/reward", GOOD, X_API_Key="first-key").status_code == 200


def test_key_files_that_cannot_be(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    empty = tmp_path / "empty"
    empty.write_text("# nothing\n\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="holds no key"):
        Keys.read(empty)
    with pytest.raises(ConfigError, match="cannot be read"):
        Keys.read(tmp_path / "none")
    empty.write_text("key", encoding="utf-8")
    empty.chmod(0o644)
    Keys.read(empty)
    assert "chmod 600" in caplog.text


def test_draining_shows(serving: Make) -> None:
    served = serving()
    assert served.get("/ready").json() == {"ready": True}
    served.app.draining.begun = True
    assert served.get("/ready").status_code == 503
    answer = served.post("/v1/reward", GOOD)
    assert answer.status_code == 200
    assert answer.headers["connection"] == "close"
    assert served.get("/health").status_code == 200
    served.app.models.close()
    assert served.get("/health").status_code == 503
    refused(served.post("/v1/reward", GOOD), 503, "shutting down")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    [
        *("model", "prompt", "messages", "responses", "texts", "input_template", "tools"),
        *("chat_template_kwargs", "input", "text", "input_ids", "query", "prompts", "rid"),
        *("use_activation", "max_length", "truncate_prompt_tokens", "request_id", "task"),
    ]
)
PATHS = (
    *("/v1/reward", "/classify", "/pooling", "/v1/embeddings", "/get_reward"),
    "/v1/score/evaluation",
)


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PATHS), st.dictionaries(FIELDS, VALUES)), min_size=8))
def test_no_body_makes_a_5xx(server: Served, bodies: list[tuple[str, dict[str, Any]]]) -> None:
    requests = [("POST", path, json.dumps(body).encode()) for path, body in bodies]
    for answer, request in zip(server.ask(*requests), requests, strict=True):
        assert answer.status_code < 500, (request, answer.text)
        assert "NaN" not in answer.text or answer.status_code == 400
