"""The client against servers that answer what a test says, over real sockets."""

from __future__ import annotations

import asyncio
import base64
import gc
import logging
import multiprocessing
import pickle
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
from scripted import Answer, rewards_of, scripted

from assay.client import AsyncRewardClient, RewardClient, RewardError
from assay.errors import ConfigError

CLOSED = "http://127.0.0.1:9"
"""Nobody listens there."""


def plain(number: int, body: dict[str, Any]) -> Answer:
    return 200, rewards_of(body)


def refusal(status: int, message: str, param: str | None = None) -> Answer:
    return status, {"error": {"message": message, "param": param, "code": status}}


def test_rewards_in_order_from_several_requests() -> None:
    def slower_first(number: int, body: dict[str, Any]) -> Answer:
        time.sleep(0.03 if number == 0 else 0)
        return 200, rewards_of(body)

    with (
        scripted(slower_first) as server,
        RewardClient(server.url, responses_per_request=2, model="rm") as client,
    ):
        found = client.rewards(["p", "q", "p", "p"], ["a", "bb", "ccc", "dddd"])
    assert found.rewards == [1.0, 2.0, 3.0, 4.0]
    assert found.tokens == [1, 2, 3, 4]
    assert found.model == "rm"
    assert len(found) == 4
    assert sorted(len(body["responses"]) for body in server.bodies) == [1, 1, 2]
    assert {body["model"] for body in server.bodies} == {"rm"}


def test_no_more_requests_at_once_than_allowed() -> None:
    def slow(number: int, body: dict[str, Any]) -> Answer:
        time.sleep(0.005)
        return 200, rewards_of(body)

    prompts = [f"{place}" for place in range(12)]
    with scripted(slow) as server, RewardClient(server.url, concurrency=3) as client:
        together = [
            threading.Thread(target=client.rewards, args=(prompts[half::2], prompts[half::2]))
            for half in (0, 1)
        ]
        for thread in together:
            thread.start()
        for thread in together:
            thread.join()
    assert len(server.asked) == 12
    assert 2 <= server.most_at_once <= 3


def test_headers_hold_key_run_and_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_API_KEY", "secret")
    with scripted(plain) as server, RewardClient(server.url, run="größer") as client:
        client.rewards("p", ["a"], step=7)
        client.rewards_of_texts(["a"])
    first, second = ({k.lower(): v for k, v in one.headers.items()} for one in server.asked)
    assert first["authorization"] == "Bearer secret"
    assert first["x-assay-run"].encode("latin-1").decode() == "größer"
    assert first["x-assay-step"] == "7"
    assert "x-assay-step" not in second
    assert set(server.bodies[0]) == {"prompt", "responses"}
    with pytest.raises(ConfigError, match="step"):
        client.rewards("p", ["a"], step=-1)


def test_texts_name_their_template_and_conversations_do_not() -> None:
    with scripted(plain) as server, RewardClient(server.url, input_template="qwen") as client:
        client.rewards_of_texts(["a"])
        client.rewards("p", ["a"], tools=[{"type": "function"}], chat_template_kwargs={"x": 1})
    assert server.bodies == [
        {"input_template": "qwen", "texts": ["a"]},
        {
            "tools": [{"type": "function"}],
            "chat_template_kwargs": {"x": 1},
            "prompt": "p",
            "responses": ["a"],
        },
    ]


def test_nothing_to_ask_is_no_request() -> None:
    with scripted(plain) as server, RewardClient(server.url) as client:
        assert client.rewards("p", []).rewards == []
        assert client.rewards([], []).rewards == []
    assert server.asked == []


@pytest.mark.parametrize("status", [429, 502, 503, 504, 0])
def test_a_busy_server_is_asked_again(status: int) -> None:
    def busy_twice(number: int, body: dict[str, Any]) -> Answer:
        return (status, {}, {"Retry-After": "0"}) if number < 2 else (200, rewards_of(body))

    with scripted(busy_twice) as server, RewardClient(server.url) as client:
        assert client.rewards("p", ["a"]).rewards == [1.0]
    assert len(server.asked) == 3


@pytest.mark.parametrize("status", [400, 408, 413, 422, 500])
def test_other_refusals_are_final(status: int) -> None:
    with (
        scripted(lambda number, body: refusal(status, "no; mend it")) as server,
        RewardClient(server.url) as client,
        pytest.raises(RewardError, match=rf"^responses\[0\]: .* {status}: no; mend it$") as caught,
    ):
        client.rewards("p", ["a"])
    assert len(server.asked) == 1
    assert caught.value.status == status
    assert caught.value.index == 0
    assert pickle.loads(pickle.dumps(caught.value)).index == 0


def test_a_server_that_is_away() -> None:
    with (
        RewardClient(CLOSED, retries=2) as client,
        pytest.raises(RewardError, match=r"prompts\[0\]: no answer .* \(asked 3 times\); is the"),
    ):
        client.rewards(["p"], ["a"])
    assert client.health() is False
    with pytest.raises(RewardError, match="nobody answers"):
        client.wait_until_ready(0)


def too_long(number: int, body: dict[str, Any]) -> Answer:
    """Refuses the first response that is too long, as the server does."""
    for place, response in enumerate(body["responses"]):
        if len(response) > 4:
            where = f"responses[{place}]"
            return refusal(422, f"{where}: has 9 tokens; shorten it", where)
    return 200, rewards_of(body)


def test_the_item_that_was_refused_is_named_as_the_caller_counts() -> None:
    with (
        scripted(too_long) as server,
        RewardClient(server.url) as client,
        pytest.raises(RewardError) as caught,
    ):
        client.rewards(["p", "q", "p"], ["a", "b", "ccccc"])
    assert str(caught.value) == ("prompts[2]: the server answered 422: has 9 tokens; shorten it")


def test_without_errors_only_what_failed_has_no_reward(caplog: pytest.LogCaptureFixture) -> None:
    responses = ["a", "bbbbb", "cc", "ddddd", "eee"]
    with scripted(too_long) as server, RewardClient(server.url, on_error="none") as client:
        found = client.rewards("p", responses)
    assert found.rewards == [1.0, None, 2.0, None, 3.0]
    assert sorted(found.errors) == [1, 3]
    assert "2 of 5 rewards are missing: responses[1]: " in caplog.text
    assert [len(body["responses"]) for body in server.bodies] == [5, 4, 3]
    with pytest.raises(RewardError, match=r"responses\[1\]"):
        found.complete()


@pytest.mark.parametrize("on_error", ["raise", "none"])
def test_what_is_too_large_is_asked_in_parts(on_error: Any) -> None:
    def small(number: int, body: dict[str, Any]) -> Answer:
        if len(body["texts"]) > 2:
            return refusal(422, "9 tokens are more than ... (max_request_tokens)")
        return 200, rewards_of(body)

    texts = ["a", "bb", "ccc", "dddd", "eeeee"]
    with scripted(small) as server, RewardClient(server.url, on_error=on_error) as client:
        assert client.rewards_of_texts(texts).rewards == [1.0, 2.0, 3.0, 4.0, 5.0]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wrong_key_is_no_missing_reward(status: int) -> None:
    with (
        scripted(lambda number, body: refusal(status, "no")) as server,
        RewardClient(server.url, on_error="none") as client,
        pytest.raises(RewardError) as caught,
    ):
        client.rewards("p", ["a", "b"])
    assert caught.value.status == status
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "content",
    [b"<html>", b"[1.0]", b'{"rewards": []}', b'{"rewards": [NaN]}', b'{"rewards": [null]}'],
)
def test_an_answer_that_holds_no_reward_is_no_reward(content: bytes) -> None:
    with scripted(lambda number, body: (200, content)) as server:
        with RewardClient(server.url) as client, pytest.raises(RewardError, match=r"responses\[0"):
            client.rewards("p", ["a"])
        with RewardClient(server.url, on_error="none") as client:
            assert client.rewards("p", ["a"]).rewards == [None]
    assert len(server.asked) == 2


def test_health_and_models() -> None:
    def answer(number: int, body: Any) -> Answer:
        path = server.asked[number].path
        if path == "/v1/models":
            return 200, {"data": [{"id": "rm"}, {"id": "other"}]}
        return (503 if path == "/ready" and number < 3 else 200), {}

    with scripted(answer) as server, RewardClient(server.url) as client:
        assert client.health()
        assert client.models() == ["rm", "other"]
        client.wait_until_ready(5)
    assert len(server.asked) == 4


def test_other_servers_have_no_models() -> None:
    for content in ({"hello": 1}, [], {"data": [1]}):
        with (
            scripted(lambda number, body, content=content: (200, content)) as server,  # type: ignore[misc]
            RewardClient(server.url) as client,
            pytest.raises(RewardError, match="lists no models"),
        ):
            client.models()


def test_waiting_ends_in_time_where_nobody_answers() -> None:
    begun = time.monotonic()
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,  # Takes connections, and says nothing.
        RewardClient(f"http://127.0.0.1:{listener.getsockname()[1]}") as client,
        pytest.raises(RewardError, match="nobody answers"),
    ):
        client.wait_until_ready(0.3)
    assert time.monotonic() - begun < 20


def test_a_failure_ends_what_is_still_on_its_way() -> None:
    ended = threading.Event()

    def one_fails(number: int, body: dict[str, Any]) -> Answer:
        if body["prompt"] == "bad":
            return refusal(422, "no")
        ended.wait(10)
        return 200, rewards_of(body)

    begun = time.monotonic()
    with scripted(one_fails) as server, RewardClient(server.url) as client:
        with pytest.raises(RewardError, match="no"):
            client.rewards(["good", "bad"], ["a", "b"])
        assert time.monotonic() - begun < 5
        ended.set()


def threads_of_clients() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "rewards"]


def test_a_client_can_be_closed_used_again_and_forgotten() -> None:
    before = threads_of_clients()
    with scripted(plain) as server:
        client = RewardClient(server.url)
        assert client.rewards("p", ["a"]).rewards == [1.0]
        client.close()
        client.close()
        assert client.rewards("p", ["a"]).rewards == [1.0]
        threads = [one for one in threads_of_clients() if one not in before]
        assert threads
        del client
        gc.collect()
        for thread in threads:
            thread.join(10)
        assert not any(thread.is_alive() for thread in threads)


def test_closing_ends_what_other_threads_have_on_its_way() -> None:
    """Whatever they wait for: an answer, their turn, or the time to ask again."""
    asked, go = threading.Semaphore(0), threading.Event()

    def held(number: int, body: dict[str, Any]) -> Answer:
        asked.release()
        if body["prompt"] == "busy":
            return 503, {}, {"Retry-After": "60"}
        go.wait(30)
        return 200, rewards_of(body)

    ended: list[Exception] = []

    def ask(prompts: list[str]) -> None:
        try:
            client.rewards(prompts, prompts)
        except Exception as error:
            ended.append(error)

    before = threads_of_clients()
    with scripted(held) as server:
        client = RewardClient(server.url, concurrency=2, on_error="none")
        askers = [
            threading.Thread(target=ask, args=(prompts,), daemon=True)
            for prompts in (["busy"], ["slow", "waits"])
        ]
        for thread in askers:
            thread.start()
        assert asked.acquire(timeout=20)
        assert asked.acquire(timeout=20)
        future = client.start(lambda one: one.rewards("q", ["a"]))
        begun = time.monotonic()
        client.close()
        assert time.monotonic() - begun < 4
        for thread in askers:
            thread.join(20)
            assert not thread.is_alive()
        ended.append(future.exception(20))  # type: ignore[arg-type]
        assert [str(error) for error in ended] == [
            "the client was closed before the answer came; close it after the last request"
        ] * 3
        assert all(isinstance(error, RewardError) for error in ended)
        assert threads_of_clients() == before
        go.set()
        assert client.rewards("p", ["a"]).rewards == [1.0], "the next request opens new ones"
        client.close()
        client.close()
    assert threads_of_clients() == before


@pytest.mark.slow
def test_threads_that_ask_while_others_close() -> None:
    before = threads_of_clients()
    until = time.monotonic() + 1.5
    found: list[Any] = []

    def ask() -> None:
        while time.monotonic() < until:
            try:
                found.append(client.rewards("p", ["a"]).rewards)
            except RewardError as error:
                found.append(error.what)
            except Exception as error:
                found.append(repr(error))

    def close() -> None:
        while time.monotonic() < until:
            client.close()

    with scripted(plain) as server:
        client = RewardClient(server.url)
        threads = [threading.Thread(target=one, daemon=True) for one in (ask, ask, close, close)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
        client.close()
    assert found
    assert all(one in ([1.0], "the client was closed before the answer came") for one in found), (
        set(map(str, found))
    )
    assert threads_of_clients() == before


def test_a_client_that_its_own_coroutine_closes() -> None:
    before = threads_of_clients()
    client = RewardClient(CLOSED)

    async def close(one: AsyncRewardClient) -> None:
        client.close()
        await asyncio.sleep(60)

    with pytest.raises(RewardError, match="was closed"):
        client.run(close)
    for thread in set(threads_of_clients()) - set(before):
        thread.join(20)
    assert threads_of_clients() == before


@pytest.mark.slow
def test_a_request_that_waits_to_be_repeated_is_not_sent_on_what_is_closed() -> None:
    def busy(number: int, body: dict[str, Any]) -> Answer:
        return 503, {}, {"Retry-After": "1"}

    async def ask(url: str) -> None:
        client = AsyncRewardClient(url)
        asking = asyncio.ensure_future(client.rewards("p", ["a"]))
        while not server.asked:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        await client.close()
        await asking

    with (
        scripted(busy) as server,
        pytest.raises(RewardError, match=r"^responses\[0\]: the client was closed"),
    ):
        asyncio.run(ask(server.url))
    assert len(server.asked) == 1


# Logins in addresses


def with_login(url: str) -> str:
    return url.replace("//", "//me:se%2Fcret@")


def test_a_login_in_the_address_is_sent_and_never_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with scripted(plain) as server, RewardClient(with_login(server.url)) as client:
        assert client.rewards("p", ["a"]).rewards == [1.0]
        copy = pickle.loads(pickle.dumps(client))
        assert copy.rewards("p", ["a"]).rewards == [1.0]
        copy.close()
    for one in server.asked:
        sent = {name.lower(): text for name, text in one.headers.items()}
        assert base64.b64decode(sent["authorization"].removeprefix("Basic ")) == b"me:se/cret"
    said = [repr(client), repr(client.settings), str(client.settings), caplog.text]
    away = RewardClient(with_login(CLOSED), retries=0)
    with (
        away,
        pytest.raises(RewardError, match=r"no answer from http://127\.0\.0\.1:9 ") as refused,
    ):
        away.rewards("p", ["a"])
    said.append(str(refused.value))
    with away, pytest.raises(RewardError, match="is not ready") as refused:
        away.wait_until_ready(0)
    said.append(str(refused.value))
    assert not [text for text in said if "cret" in text or "me:" in text]


@pytest.mark.parametrize(
    "address",
    [
        "http://me:secret@host:99999",
        "htp://me:secret@host",
        "me:secret@host",
        "http://me:secret@",
        "http://me:sec/secret@host",
        "http://me:1/secret@host",
        "http://me:1?secret@host",
        "http://me:1#secret@host",
        "http://me:secret\n@[host",
    ],
)
def test_an_address_that_is_none_is_said_without_its_login(address: str) -> None:
    with pytest.raises(ConfigError, match=r"\*\*\*@.*' is no address") as refused:
        RewardClient(address)
    assert "sec" not in str(refused.value)
    assert "me:" not in str(refused.value)


def test_an_address_is_text() -> None:
    with pytest.raises(ConfigError, match="8000 is no address of a server"):
        RewardClient(8000)  # type: ignore[arg-type]


def _in_a_child(client: RewardClient, queue: Any) -> None:
    queue.put(client.rewards("p", ["abc"]).rewards)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_other_processes_open_connections_of_their_own(method: str) -> None:
    context: Any = multiprocessing.get_context(method)
    with scripted(plain) as server, RewardClient(server.url) as client:
        assert client.rewards("p", ["a"]).rewards == [1.0]
        queue = context.Queue()
        child = context.Process(target=_in_a_child, args=(client, queue))
        child.start()
        assert queue.get(timeout=120) == [3.0]
        child.join()


def test_in_an_event_loop() -> None:
    async def ask(url: str) -> list[float]:
        async with AsyncRewardClient(url) as client:
            found = await asyncio.gather(*[client.rewards("p", ["a" * n]) for n in range(1, 6)])
        return [one.complete()[0] for one in found]

    with scripted(plain) as server:
        assert asyncio.run(ask(server.url)) == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_certificates_that_cannot_be_read(tmp_path: Any) -> None:
    with pytest.raises(ConfigError, match=r"no\.pem"):
        RewardClient(CLOSED, ca_file=str(tmp_path / "no.pem")).rewards("p", ["a"])
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("no certificate", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"wrong\.pem"):
        RewardClient(CLOSED, ca_file=str(wrong)).rewards("p", ["a"])


def test_a_server_without_tls_is_asked_for_it_once() -> None:
    with scripted(plain) as server:
        client = RewardClient(server.url.replace("http", "https"))
        with client, pytest.raises(RewardError, match="ca_file") as refused:
            client.rewards("p", ["a"])
    assert "SSL" in refused.value.what
    assert "asked" not in refused.value.what


@pytest.mark.slow
def test_the_client_needs_nothing_but_python_until_it_asks() -> None:
    code = (
        "import sys; before = set(sys.modules)\n"
        "import assay.client.trl, assay.client.verl, assay.client.openrlhf\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "sys.exit(str(sorted(new - {*sys.stdlib_module_names, 'assay'}) or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
