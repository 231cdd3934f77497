r"""The server under load, and what serving costs against computing; float32, CPU.

    .venv/bin/python benchmarks/serve_load.py [--requests 20000] [--clients 64] [--rounds 3]
        [--texts 48] [--groups 3] [--threads 2] [--skip load|ratios]

`assay serve` runs in a process of its own, the clients in this one, on the same cores.

- load: a random tiny model, one thread; so many requests of so many clients at once in all
  protocols, of which 1% are malformed, 1% too large, and 1% from clients that go away. Every
  well-formed request has to be answered once with its own rewards (those computed here, to 1e-4),
  none with a 5xx; resident memory of the server is read ten times on the way. (Remembered prompts
  may take 8 MiB, which are full soon, so that memory has no reason to grow.) The clients' share of
  the processor time is told: it is time that the server did not have. Then it gets SIGTERM while
  all clients ask on: what was sent while it took connections has to be answered, rightly too, and
  it has to end with 0.
- ratios: SmolLM2-135M with a seeded head. Texts of 256 tokens, a request each, all at once, against
  `score_sequences` on the same texts, rendering included; groups of 16 answers (128 tokens) to a
  prompt (128 tokens), sent as 16 single requests at once, a group after the other, against
  `RewardModel.score` of each group; the time of one request of 256 tokens on an idle server
  against the bare forward pass. Both sides take turns, another first each round.

Bars: 85% of the offline rate, 60% of the rate of groups, 1.3 times the forward pass. A missed one
is printed and is no error; wrong, lost or doubled answers and a 5xx are exit code 1. Figures go to
benchmarks/results/serve_load.json; a part that is skipped stays there as it was. Takes five to ten
minutes on 2 idle cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import torch
from result_file import RESULTS, write_result
from starting_model import SMOLLM2, save_starting_model
from tables import bar, commit, print_bars, ratio

from assay import RewardModel
from assay.model.rewards import score_sequences
from assay.process import settle

SEED = 42
PARTS = ("load", "ratios")
SCORES_AGREE = 1e-4
MAX_BODY_BYTES, PROMPT_CACHE_BYTES = 50_000, 8 * 2**20
DRAIN_DELAY, MARGIN = 2.0, 0.5
"""Seconds after SIGTERM in which connections are taken; and by which a connection that comes last
may not have been taken, because the loop had others to take."""
OWN_PACKAGES = ("torch", "transformers", "fastapi", "uvicorn", "h11", "httpx")
TOKENS, ANSWERS, REPEATS = 256, 16, 5
WORDS = (
    *("river", "stone", "quiet", "market", "candle", "winter", "garden", "letter"),
    *("copper", "window", "harbour", "evening", "ladder", "simple", "yellow", "bridge"),
    *("answer", "paper", "morning", "kettle", "island", "forest", "silver", "thread"),
)


def main() -> int:
    arguments = parsed()
    settle()
    place = RESULTS / "serve_load.json"
    before = json.loads(place.read_text(encoding="utf-8")) if place.exists() else {}
    figures: dict[str, Any] = {"bars": {}}
    for part in PARTS:
        if part in arguments.skip and part in before:
            figures[part] = before[part]
    with tempfile.TemporaryDirectory() as scratch:
        if "load" not in arguments.skip:
            figures["load"] = asyncio.run(measure_load(arguments, Path(scratch)))
        if "ratios" not in arguments.skip:
            figures["ratios"] = asyncio.run(measure_ratios(arguments, Path(scratch)))
    faults = figures["load"]["faults"] if "load" not in arguments.skip else []
    if "ratios" in figures:
        found = figures["ratios"]
        figures["bars"] = {
            "served against offline": bar(found["served_over_offline"], 0.85),
            "single requests of groups against groups": bar(found["singles_over_groups"], 0.6),
            "one request against the forward pass": bar(
                found["request_over_forward"], 1.3, at_most=True
            ),
        }
    print_bars(figures["bars"])
    print(*faults[:10], sep="\n")
    write_result(place, figures, OWN_PACKAGES)
    return 1 if faults else 0


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=48, help="of the ratios")
    parser.add_argument("--groups", type=int, default=3, help="of the ratios")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of the ratios")
    parser.add_argument("--skip", action="append", default=[], choices=PARTS)
    return parser.parse_args()


# The server


@dataclass
class Server:
    """A process that serves; `told` is when it was told to end."""

    url: str
    process: subprocess.Popen[str]
    told: float | None = None

    def end(self) -> None:
        self.told = time.monotonic()
        self.process.terminate()


@contextmanager
def server(model: Path, threads: int, *options: object) -> Iterator[Server]:
    """It has to end with 0."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "assay", "serve", "--model", f"rm={model}", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--device", "cpu", *map(str, options)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("serving at "):
            break
    else:
        raise SystemExit(f"the server did not start: exit code {process.wait()}")
    served = Server(line.split()[2], process)
    try:
        yield served
    finally:
        if served.told is None:
            served.end()
        code = process.wait(60)
        if code != 0:
            raise SystemExit(f"the server ended with {code}")


def metric(url: str, name: str) -> float:
    text = httpx.get(f"{url}/metrics", timeout=60).text
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def tiny_model(directory: Path) -> Path:
    """Two random layers that read with SmolLM2's tokenizer."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from assay.model.locate import locate_model

    torch.manual_seed(SEED)
    tokenizer = AutoTokenizer.from_pretrained(locate_model(SMOLLM2).path)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(directory / "base")
    tokenizer.save_pretrained(directory / "base")
    save_starting_model(str(directory / "base"), directory / "tiny", max_length=1024)
    return directory / "tiny"


# The load


@dataclass
class Asked:
    """A request: texts whose rewards have to come, or the status that has to."""

    path: str
    body: Any
    texts: list[str] = field(default_factory=list)
    status: int = 200


@dataclass
class Answered:
    status: int
    rewards: list[float]
    seconds: float


def chat(prompt: str, answer: str) -> str:
    return f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>\n"


def request(number: int) -> Asked:
    draw = random.Random(number)
    kind = number % 100
    # Every second prompt comes back.
    of_prompt = random.Random(-1 - number % 61) if number % 2 else draw
    prompt = " ".join(of_prompt.choices(WORDS, k=of_prompt.randrange(5, 60))) + "?"
    answers = [" ".join(draw.choices(WORDS, k=draw.randrange(5, 60))) for _ in range(2)]
    texts = [chat(prompt, answer) for answer in answers]
    if kind == 17:
        return Asked("/v1/reward", b'{"prompt": "no end', status=400)
    if kind == 42:
        large = b'{"input": "' + b"x" * (MAX_BODY_BYTES + draw.randrange(20_000)) + b'"}'
        return Asked("/classify", large, status=413)
    if kind == 77:
        return Asked("", {"query": texts}, status=0)
    kinds = (
        Asked("/v1/reward", {"texts": texts}, texts),
        Asked("/classify", {"model": "rm", "input": texts[0], "use_activation": False}, texts[:1]),
        Asked("/classify", {"text": texts}, texts),
        Asked("/pooling", {"model": "rm", "input": texts}, texts),
        Asked("/v1/embeddings", {"model": "rm", "input": texts}, texts),
        Asked(
            "/get_reward", {"query": texts[:1], "prompts": [prompt], "labels": [None]}, texts[:1]
        ),
        Asked("/v1/score/evaluation", {"model": "model", "messages": texts}, texts),
    )
    return kinds[number % len(kinds)]


def rewards_in(answer: Any) -> list[float]:
    if isinstance(answer, list):
        return [entry["embedding"][0] for entry in answer]
    if "data" in answer:
        keys = ("probs", "data", "embedding")
        return [next(entry[key] for key in keys if key in entry)[0] for entry in answer["data"]]
    found: list[float] = answer["rewards"] if "rewards" in answer else answer["scores"]
    return found


async def goes_away(url: str, body: Any) -> None:
    place = urlsplit(url)
    _, writer = await asyncio.open_connection(place.hostname, place.port)
    content = json.dumps(body).encode()
    head = f"POST /get_reward HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n"
    writer.write(head.encode() + content)
    await writer.drain()
    writer.transport.abort()


async def measure_load(arguments: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    model = tiny_model(scratch)
    found: dict[int, Answered] = {}
    memory: list[float] = []
    # A second thread has nothing to do in so small a model, and would wait for the clients' core.
    torch.set_num_threads(1)
    options = ("--max-body-bytes", MAX_BODY_BYTES, "--prompt-cache-bytes", PROMPT_CACHE_BYTES)
    with server(model, 1, *options, "--drain-delay", DRAIN_DELAY) as served:
        url = served.url
        own, began = time.process_time(), time.monotonic()
        theirs = metric(url, "process_cpu_seconds_total")
        for part in range(10):
            numbers = range(part * arguments.requests // 10, (part + 1) * arguments.requests // 10)
            found |= await send(url, numbers, arguments.clients)
            memory.append(metric(url, "process_resident_memory_bytes") / 2**20)
            print(f"{len(found)} requests, {memory[-1]:.0f} MiB", flush=True)
        seconds = time.monotonic() - began
        own = time.process_time() - own
        theirs = metric(url, "process_cpu_seconds_total") - theirs
        of_model = {
            name: metric(url, f'assay_{name}{{model="rm"}}')
            for name in (
                "share_saved",
                "prompt_cache_hits_total",
                "prompt_cache_saved_tokens_total",
            )
        }
        before = dict(found)
        end = await until_the_end(served, found, arguments.clients)
    offline = RewardModel.load(str(model), device="cpu")
    faults = faults_in(offline, found)
    faults += [f"lost {late:.2f} seconds after SIGTERM" for late in end["lost_too_early"]]
    found = before
    latencies = sorted(answered.seconds for answered in found.values() if answered.status == 200)
    return {
        "commit": commit(),
        "requests": arguments.requests,
        "clients": arguments.clients,
        "seconds": seconds,
        "requests_per_second": len(found) / seconds,
        "statuses": dict(Counter(answered.status for answered in found.values())),
        "latency_seconds": {
            name: latencies[int(share * (len(latencies) - 1))]
            for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
        },
        "processor_seconds": {"server": theirs, "clients": own},
        "clients_share_of_processor_time": own / (own + theirs),
        **of_model,
        "server_memory_mib": [round(value, 1) for value in memory],
        "memory_growth_after_first_tenth": memory[-1] / memory[0],
        "after_sigterm": end,
        "faults": faults,
    }


async def send(url: str, numbers: range, clients: int) -> dict[int, Answered]:
    found: dict[int, Answered] = {}
    left = iter(numbers)
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    async with httpx.AsyncClient(base_url=url, timeout=600, limits=limits) as client:

        async def work() -> None:
            for number in left:
                found[number] = await answered(client, request(number), url)

        await asyncio.gather(*[work() for _ in range(clients)])
    return found


async def answered(client: httpx.AsyncClient, asked: Asked, url: str) -> Answered:
    if not asked.path:
        await goes_away(url, asked.body)
        return Answered(0, [], 0)
    began = time.monotonic()
    raw = isinstance(asked.body, bytes)
    given = {"content": asked.body} if raw else {"json": asked.body}
    answer = await client.post(asked.path, **given)
    seconds = time.monotonic() - began
    rewards = rewards_in(answer.json()) if answer.status_code == 200 else []
    return Answered(answer.status_code, rewards, seconds)


async def until_the_end(served: Server, found: dict[int, Answered], clients: int) -> dict[str, Any]:
    """Let clients ask on while the server is told to end, until none of them gets through."""
    left = (number for number in count(len(found)) if request(number).path)
    sent: list[float] = []
    lost: list[float] = []
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    async with httpx.AsyncClient(base_url=served.url, timeout=600, limits=limits) as client:

        async def work() -> None:
            for number in left:
                began = time.monotonic()
                try:
                    found[number] = await answered(client, request(number), served.url)
                except httpx.TransportError:
                    lost.append(began)
                    return
                sent.append(began)

        working = [asyncio.ensure_future(work()) for _ in range(clients)]
        await asyncio.sleep(1)
        served.end()
        await asyncio.gather(*working)
    assert served.told is not None
    late = [began - served.told for began in lost]
    return {
        "answered": len(sent),
        "of_these_sent_after_it": sum(began > served.told for began in sent),
        "not_taken": len(lost),
        "first_not_taken_seconds": min(late),
        "lost_too_early": [began for began in late if began < DRAIN_DELAY - MARGIN],
        "exit_code": served.process.wait(60),
    }


def faults_in(model: RewardModel, found: dict[int, Answered]) -> list[str]:
    """What is not as it has to be: statuses, and rewards that are not the text's own."""
    faults = []
    everyone = sorted(found)
    for start in range(0, len(everyone), 2000):
        numbers = everyone[start : start + 2000]
        asked = {number: request(number) for number in numbers}
        texts = list(dict.fromkeys(text for one in asked.values() for text in one.texts))
        ids = [model.renderer.render_text(text).ids for text in texts]
        own = dict(zip(texts, score_sequences(model, ids), strict=True))
        for number, one in asked.items():
            answered = found[number]
            if answered.status != one.status:
                faults.append(f"request {number}: status {answered.status}, not {one.status}")
                continue
            expected = [own[text] for text in one.texts]
            apart = [abs(a - b) for a, b in zip(answered.rewards, expected, strict=True)]
            if any(difference > SCORES_AGREE for difference in apart):
                faults.append(f"request {number}: rewards {answered.rewards}, not {expected}")
    return faults


# The ratios


async def measure_ratios(arguments: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    torch.set_num_threads(arguments.threads)
    save_starting_model(SMOLLM2, scratch / "smollm2", max_length=2048)
    model = RewardModel.load(str(scratch / "smollm2"), device="cpu")
    draw = random.Random(SEED)
    # Of each round its own, and of the warming up: what came before would be remembered.
    everything = range(arguments.rounds + 1)
    texts = [[long_text(model, draw) for _ in range(arguments.texts)] for _ in everything]
    groups = [[long_group(model, draw) for _ in range(arguments.groups)] for _ in everything]
    alone = [[long_text(model, draw) for _ in range(REPEATS)] for _ in everything]

    def offline(turn: int) -> None:
        score_sequences(model, [model.renderer.render_text(text).ids for text in texts[turn]])

    def offline_groups(turn: int) -> None:
        for prompt, answers in groups[turn]:
            model.score(prompt, answers)

    ids = [[model.renderer.render_text(text).ids for text in some] for some in alone]

    def forward(turn: int) -> None:
        bare_passes(model, ids[turn])

    with server(scratch / "smollm2", arguments.threads) as served_by:
        async with httpx.AsyncClient(base_url=served_by.url, timeout=600) as client:

            async def ask(*bodies: dict[str, Any]) -> None:
                answers = await asyncio.gather(
                    *[client.post("/v1/reward", json=body) for body in bodies]
                )
                assert {answer.status_code for answer in answers} == {200}

            async def served(turn: int) -> None:
                await ask(*[{"texts": [text]} for text in texts[turn]])

            async def singles(turn: int) -> None:
                for prompt, answers in groups[turn]:
                    await ask(*[{"prompt": prompt, "responses": [answer]} for answer in answers])

            async def requests(turn: int) -> None:
                for text in alone[turn]:
                    await ask({"texts": [text]})

            pairs = {
                "served_over_offline": (offline, served),
                "singles_over_groups": (offline_groups, singles),
                "forward_over_request": (forward, requests),
            }
            ratios = {
                name: await turns(name, *sides, arguments.rounds) for name, sides in pairs.items()
            }
    inverse = [1 / value for value in ratios.pop("forward_over_request")]
    figures: dict[str, Any] = {"commit": commit(), "rounds": arguments.rounds}
    figures["threads"] = torch.get_num_threads()
    figures |= {"texts": arguments.texts, "groups": arguments.groups}
    for name, values in ratios.items():
        figures |= ratio(name, values)
    return figures | ratio("request_over_forward", inverse)


@torch.inference_mode()
def bare_passes(model: RewardModel, sequences: Sequence[tuple[int, ...]]) -> None:
    for ids in sequences:
        model(model.engine.batch([ids], [0], model.pad_id, model.device))


async def turns(
    name: str, offline: Callable[[int], None], served: Callable[[int], Awaitable[None]], rounds: int
) -> list[float]:
    """Offline seconds over served ones of each round; each side has been warmed up."""
    found = []
    offline(rounds)
    await served(rounds)
    for number in range(rounds):
        seconds = {}
        for side in ("offline", "served") if number % 2 else ("served", "offline"):
            began = time.perf_counter()
            if side == "offline":
                offline(number)
            else:
                await served(number)
            seconds[side] = time.perf_counter() - began
        found.append(seconds["offline"] / seconds["served"])
        print(f"{name}: {statistics.median(found):.3f} {seconds}", flush=True)
    return found


def long_text(model: RewardModel, draw: random.Random) -> str:
    return chat("", words(model, draw, TOKENS - len(model.renderer.render_text(chat("", "")).ids)))


def long_group(model: RewardModel, draw: random.Random) -> tuple[str, Sequence[str]]:
    half = TOKENS // 2
    return words(model, draw, half), [words(model, draw, half) for _ in range(ANSWERS)]


def words(model: RewardModel, draw: random.Random, tokens: int) -> str:
    """So many tokens of words."""
    text = " ".join(draw.choices(WORDS, k=2 * tokens))
    tokenizer = model.renderer.tokenizer
    return str(tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"][:tokens]))


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    sys.exit(main())
