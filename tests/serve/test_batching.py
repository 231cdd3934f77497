"""Requests that wait together are computed together: what is shared, and whose fault a fault is."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from asking import Make, Served
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.model.prompt_keys import BLOCK
from assay.model.reward_model import RewardModel
from assay.serve.items import Reading
from assay.serve.jobs import Job
from assay.serve.rounds import distinct_sequences, next_round
from assay.tree.packing import tree_tokens

QUESTION = "How does one keep a cast iron pan from rusting over a wet winter?"
ANSWERS = [f"Answer {number}: " + "dry it well " * (number % 4) for number in range(16)]


@contextmanager
def held(model: RewardModel) -> Iterator[tuple[threading.Event, threading.Event]]:
    """The model's passes wait: the first event says that one has begun, the second lets them go."""
    begun, go = threading.Event(), threading.Event()

    def wait(module: object, inputs: object) -> None:
        begun.set()
        assert go.wait(60)

    hook = model.register_forward_pre_hook(wait)
    try:
        yield begun, go
    finally:
        go.set()
        hook.remove()


def single(answer: str) -> tuple[str, str, Any]:
    return ("POST", "/v1/reward", {"prompt": QUESTION, "responses": [answer]})


class _Waiting:
    def __init__(self, *sequences: tuple[tuple[int, ...], str | None]) -> None:
        self.readings = [Reading(ids, family) for ids, family in sequences]


def test_sixteen_single_requests_share_their_prompt(serving: Make, model: RewardModel) -> None:
    server = serving(prompt_cache_bytes=0)
    sequences = [model.renderer.render_text(text).ids for text in _texts(model)]
    offline = model.score(QUESTION, ANSWERS)
    with held(model) as (begun, go):
        blocked = threading.Thread(target=server.rewards, args=({"texts": ["first"]},))
        blocked.start()
        assert begun.wait(60)
        before = model.computed.tokens
        queue = server.app.models.named(None).batcher

        def let_go() -> None:
            deadline = threading.Event()
            while len(queue._waiting) < len(ANSWERS):
                assert not deadline.wait(0.005)
            go.set()

        watch = threading.Thread(target=let_go)
        watch.start()
        answers = server.ask(*map(single, ANSWERS))
        watch.join()
        blocked.join()
    rewards = [answer.json()["rewards"][0] for answer in answers]
    assert rewards == pytest.approx(offline, rel=1e-6)
    first = len(model.renderer.render_text("first").ids)
    assert model.computed.tokens - before == first + tree_tokens(sequences)
    assert tree_tokens(sequences) < 0.6 * sum(map(len, sequences))


def _texts(model: RewardModel) -> list[str]:
    ask = f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
    return [f"{ask}{answer}<|im_end|>\n" for answer in ANSWERS]


def test_an_idle_model_waits_for_those_that_are_being_read(
    server: Served, model: RewardModel
) -> None:
    before = model.computed.passes
    server.ask(*map(single, ANSWERS))
    assert model.computed.passes - before < len(ANSWERS) / 2


def test_a_prompt_that_comes_back_is_not_computed_again(serving: Make, model: RewardModel) -> None:
    served, forgetful = serving(), serving(prompt_cache_bytes=0)
    offline = model.score(QUESTION, ANSWERS)
    sequences = [model.renderer.render_text(text).ids for text in _texts(model)]

    def one_by_one(server: Served) -> int:
        before = model.computed.tokens
        rewards = [server.ask(single(answer))[0].json()["rewards"][0] for answer in ANSWERS]
        assert rewards == pytest.approx(offline, rel=1e-5)
        return model.computed.tokens - before

    assert one_by_one(forgetful) == sum(map(len, sequences))
    computed = one_by_one(served)
    prompt = len(model.renderer.render_text(_texts(model)[0].partition("Answer")[0]).ids)
    # The first is seen, the second kept, in whole blocks.
    assert computed <= sum(map(len, sequences)) - (len(ANSWERS) - 2) * (prompt - BLOCK)
    told = served.get("/metrics").text
    assert f'assay_prompt_cache_hits_total{{model="rm"}} {len(ANSWERS) - 2}.0' in told
    saved = re.search(r'assay_prompt_cache_saved_tokens_total{model="rm"} (\S+)', told)
    assert saved is not None
    assert float(saved[1]) == sum(map(len, sequences)) - computed
    taken = re.search(r'assay_prompt_cache_bytes{model="rm"} (\S+)', told)
    assert taken is not None
    assert float(taken[1]) > 0
    assert 'assay_prompt_cache_bytes{model="rm"} 0.0' in forgetful.get("/metrics").text


def test_equal_texts_are_computed_once(serving: Make, model: RewardModel) -> None:
    served = serving()
    before = model.computed.tokens
    rewards = served.rewards({"prompt": "a", "responses": ["same"] * 50})
    assert len(set(rewards)) == 1
    assert len(rewards) == 50
    assert model.computed.tokens - before == len(model.renderer.render_text(_chat("a", "same")).ids)


def _chat(prompt: str, response: str) -> str:
    return f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n{response}<|im_end|>\n"


def test_a_full_queue_says_when_to_come_again(serving: Make, model: RewardModel) -> None:
    served = serving(max_queue_tokens=100, max_request_tokens=100)
    with held(model) as (begun, go):
        first = threading.Thread(target=served.rewards, args=({"texts": ["x" * 90]},))
        first.start()
        assert begun.wait(60)
        told = served.get("/metrics").text
        assert 'assay_queue_requests{model="rm"} 0.0' in told  # It is computed, and does not wait.
        assert 'assay_queue_tokens{model="rm"} 90.0' in told
        refused = served.post("/v1/reward", {"texts": ["y" * 20]})
        go.set()
        first.join()
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert "max_queue_tokens" in refused.json()["error"]["message"]
    assert len(served.rewards({"texts": ["y" * 20]})) == 1


def test_bodies_that_wait_are_bounded_too(serving: Make, model: RewardModel) -> None:
    served = serving(max_body_bytes=500, max_held_bytes=600)
    with held(model) as (begun, go):
        first = threading.Thread(target=served.rewards, args=({"texts": ["x" * 400]},))
        first.start()
        assert begun.wait(60)
        refused = served.post("/v1/reward", {"texts": ["y" * 400]})
        go.set()
        first.join()
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "1"
    assert len(served.rewards({"texts": ["y" * 400]})) == 1


def test_a_deadline_ends_the_waiting(serving: Make, model: RewardModel) -> None:
    served = serving(deadline=0.1, prompt_cache_bytes=0)
    with held(model) as (begun, go):
        late, later = served.ask(
            ("POST", "/v1/reward", {"texts": ["late"]}),
            ("POST", "/get_reward", {"prompts": ["later"], "responses": ["a"]}),
        )
        assert begun.is_set()
        go.set()
    assert late.status_code == later.status_code == 503
    assert "retry-after" in late.headers
    assert "deadline" in late.json()["error"]["message"]
    assert isinstance(later.json()["error"], str)
    while served.post("/v1/reward", {"texts": ["in time"]}).status_code != 200:
        pass
    saved = re.search(r'assay_share_saved{model="rm"} (\S+)', served.get("/metrics").text)
    assert saved is not None
    assert float(saved[1]) >= 0  # What was computed for nobody was asked for, too.


def test_a_deadline_counts_while_texts_are_read(
    serving: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = serving(deadline=0.1)
    reader = served.app.models.named(None).reader
    begun, go = [], threading.Event()

    def waits(asked: Any) -> Any:
        begun.append(asked)
        assert go.wait(10)
        return []

    monkeypatch.setattr(reader, "read", waits)
    answers = served.ask(single("first"), single("second"))
    go.set()
    assert [answer.status_code for answer in answers] == [503, 503]
    served.app.models.named(None).readers.submit(int).result()
    assert len(begun) == 1, "nobody waits for the second any more, and it is not read"


def test_a_request_that_is_given_up_leaves_the_queue(server: Served, model: RewardModel) -> None:
    """The client goes away while its request waits: it is not computed."""
    queue = server.app.models.named(None).batcher
    with held(model) as (begun, go):
        first = threading.Thread(target=server.rewards, args=({"texts": ["first one"]},))
        first.start()
        assert begun.wait(60)
        before = model.computed.tokens
        asyncio.run(_gives_up(server, b'{"texts":["nobody waits for this"]}'))
        assert not queue._waiting
        go.set()
        first.join()
    assert model.computed.tokens - before == len(model.renderer.render_text("first one").ids)
    assert 'status="499"' in server.get("/metrics").text


def test_one_that_is_given_up_while_the_idle_model_waits_for_another(
    serving: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = serving()
    served.rewards({"texts": ["the thread is there"]})
    queue = served.app.models.named(None).batcher
    monkeypatch.setattr(queue, "_linger", lambda: 30.0)

    async def one_goes_away() -> None:
        await asyncio.sleep(0.1)
        with queue.arriving():
            job = Job([Reading((1,) * 500, None)], asyncio.get_running_loop().create_future())
            queue.submit(job)
            await asyncio.sleep(0.2)
            queue.cancel(job)

    asyncio.run(one_goes_away())
    assert queue._thread is not None
    queue._thread.join(0.3)
    assert queue.alive
    assert len(served.rewards({"texts": ["the next one"]})) == 1


async def _gives_up(server: Served, body: bytes) -> None:
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])
    queue = server.app.models.named(None).batcher

    async def receive() -> dict[str, Any]:
        found = next(messages, None)
        if found is None:
            while not queue._waiting:
                await asyncio.sleep(0.005)
            return {"type": "http.disconnect"}
        return found

    async def send(message: Any) -> None:
        pass

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/reward",
        "raw_path": b"/v1/reward",
        "query_string": b"",
        "headers": [],
        "http_version": "1.1",
        "scheme": "http",
        "server": ("test", 80),
        "client": ("test", 1),
        "root_path": "",
    }
    await server.app.asgi(scope, receive, send)


@pytest.mark.parametrize("kind", ["raises", "nan"])
def test_a_request_that_fails_fails_alone(
    server: Served, model: RewardModel, monkeypatch: pytest.MonkeyPatch, kind: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Four in one pass, one of which the model cannot do: three rewards, and one 500 with an id."""
    (poison,) = {*model.renderer.render_text("~").ids}
    plain = model.forward

    def forward(batch: Any) -> Any:
        found = plain(batch)
        ids = batch.ids_T if hasattr(batch, "ids_T") else batch.ids_NL
        if not bool((ids == poison).any()):
            return found
        if kind == "raises":
            raise ValueError("the secret prompt stands in this message")
        return torch.full_like(found, float("nan"))

    texts = ["one fine text", "two fine texts", "bad ~ text of somebody", "three fine texts"]
    expected = [server.rewards({"texts": [text]})[0] for text in texts if "~" not in text]
    monkeypatch.setattr(model, "forward", forward)
    answers = server.ask(*[("POST", "/v1/reward", {"texts": [text]}) for text in texts])
    assert [answer.status_code for answer in answers] == [200, 200, 500, 200]
    found = [answer.json()["rewards"][0] for answer in answers if answer.status_code == 200]
    assert found == pytest.approx(expected, rel=1e-6)
    number = answers[2].json()["error"]["message"].partition("(failure ")[2][:12]
    assert number in caplog.text
    assert "secret" not in caplog.text + answers[2].text
    assert "somebody" not in caplog.text


def test_what_has_failed_is_not_computed_further(
    serving: Make, model: RewardModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = 0

    def forward(batch: Any) -> Any:
        nonlocal passes
        passes += 1
        raise ValueError

    monkeypatch.setattr(model, "forward", forward)
    answer = serving().post("/v1/reward", {"prompt": "a", "responses": ["b", "c", "d", "e"]})
    assert answer.status_code == 500
    assert passes == 2  # All together, and the first alone.


def test_nothing_of_a_request_stays(server: Served, model: RewardModel) -> None:
    reader = server.app.models.named(None).reader
    encoder = reader.renderer._encoder
    server.rewards({"prompt": "a text that must not stay", "responses": ["b"]})
    assert any("must not stay" in piece for piece in encoder._known)
    assert " must" in encoder._words._known
    server.ask(
        *[
            ("POST", "/get_reward", {"query": ["x" * 500] * 500})
            for _ in range(1 + 262_144 // 250_000)
        ]
    )
    server.rewards({"prompt": "last", "responses": ["b"]})
    assert not any("must not stay" in piece for piece in encoder._known)
    assert not {"must", " must"} & encoder._words._known.keys()
    queue = server.app.models.named(None).batcher
    assert (len(queue._waiting), queue._held_tokens, queue._arriving) == (0, 0, 0)


SEQUENCES = st.lists(
    st.tuples(
        st.lists(st.integers(0, 2), min_size=1, max_size=5).map(tuple),
        st.sampled_from([None, "a", "b"]),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=30)
@given(st.lists(SEQUENCES, max_size=12), st.integers(1, 20))
def test_rounds_lose_and_double_nothing(jobs: list[Any], budget: int) -> None:
    waiting = [_Waiting(*job) for job in jobs]
    taken: list[_Waiting] = []
    while waiting:
        now = next_round(waiting, budget)
        assert now[0] is waiting[0], "the oldest never waits for others"
        assert [id(job) for job in waiting if job in now] == list(map(id, now))
        for job in now:
            waiting.remove(job)
        taken += now
        places, families = distinct_sequences(now)
        assert len(places) == len(families)
        found = {(id(job), place) for owners in places.values() for job, place in owners}
        assert found == {(id(job), n) for job in now for n in range(len(job.readings))}
    assert len(taken) == len(jobs)
    assert len(set(map(id, taken))) == len(taken)


def test_companions_come_along_and_strangers_wait() -> None:
    prompt = tuple(range(100))
    group = [_Waiting(((*prompt, 200 + n), "p")) for n in range(40)]
    stranger = _Waiting((tuple(range(300, 400)), "q"))
    assert next_round([group[0], stranger, *group[1:]], 150) == group
    assert next_round([group[0], group[1], stranger], 110) == group[:2]
    assert next_round([stranger, *group], 90) == [stranger]


def test_a_job_of_a_closed_loop_harms_nobody() -> None:
    loop = asyncio.new_event_loop()
    job = Job([], loop.create_future())
    loop.close()
    job.fail(ValueError())
