"""A real server asked by the clients that people have: their own code, or their requests to the
letter where installing them takes a GPU's software."""

from __future__ import annotations

import ast
import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
import requests
import torch
from processes import Process, start

from assay.client import RewardClient, RewardError, verl
from assay.client.settings import Options
from assay.model.reward_model import RewardModel

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "grpo_with_assay" / "train.py"
PAGE = ROOT / "docs" / "rewards_in_rl.md"
QUESTION, ANSWERS = "2+2?", ["4", "five, or so"]
MESSAGES = [{"role": "user", "content": QUESTION}]


def text(answer: str) -> str:
    """As a policy with the template ChatML holds it; the reward model of the tests reads it."""
    head = f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
    return f"{head}{answer}<|im_end|>\n"


TEXTS = [text(answer) for answer in ANSWERS]


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory, tiny_reward: Path) -> Iterator[Process]:
    directory = tmp_path_factory.mktemp("server")
    started = start(
        directory,
        *("--model", f"rm={tiny_reward}", "--device", "cpu"),
        *("--monitor-log", directory / "monitor.jsonl"),
    )
    yield started
    started.process.kill()
    started.process.wait()


def _monitor_log(process: Process) -> Path:
    return process.output.parent / "monitor.jsonl"


@pytest.fixture(scope="module")
def raw(model: RewardModel) -> Any:
    """Offline scores, as `assay score` has them."""
    return pytest.approx(model.score(QUESTION, ANSWERS), rel=1e-6, abs=1e-6)


def test_openai(process: Process, raw: Any) -> None:
    with openai.OpenAI(base_url=f"{process.url}/v1", api_key="any") as client:
        assert [model.id for model in client.models.list()] == ["rm"]
        assert client.models.retrieve("rm").id == "rm"
        for options in ({}, {"encoding_format": "float"}):  # By itself it asks for base64.
            found = client.embeddings.create(model="rm", input=TEXTS, **options)
            assert [entry.embedding[0] for entry in found.data] == raw
            assert [entry.index for entry in found.data] == [0, 1]
            assert found.usage.total_tokens > 0
        with pytest.raises(openai.UnprocessableEntityError, match="is empty"):
            client.embeddings.create(model="rm", input=[])


async def _posted(url: str, bodies: list[dict[str, Any]]) -> list[Any]:
    async def one(session: aiohttp.ClientSession, body: dict[str, Any]) -> Any:
        async with session.post(url, json=body) as response:
            response.raise_for_status()
            return await response.json()

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=180)) as session:
        return list(await asyncio.gather(*[one(session, body) for body in bodies]))


def test_verl(process: Process, raw: Any) -> None:
    """verl/experimental/reward_loop/reward_loop.py, `compute_score_disrm`: a request a sample."""
    bodies: list[dict[str, Any]] = [{"model": "org/rm", "input": one} for one in TEXTS]
    found = asyncio.run(_posted(f"{process.url}/v1/embeddings", bodies))  # Its engine sglang.
    assert [one["data"][-1]["embedding"][-1] for one in found] == raw
    bodies = [{"model": "rm", "input": one, "use_activation": False} for one in TEXTS]
    found = asyncio.run(_posted(f"{process.url}/classify", bodies * 8))  # Its engine vllm.
    for pair in range(8):
        both = found[2 * pair : 2 * pair + 2]
        assert [one["data"][-1]["probs"][-1] for one in both] == raw


def test_openrlhf(process: Process, raw: Any) -> None:
    """openrlhf/utils/agent.py, `_fetch_rewards_via_http`: one query at a time, label or null."""
    prompt = TEXTS[0].removesuffix("4<|im_end|>\n")
    bodies = [
        {"query": [one], "prompts": [prompt], "labels": [label]}
        for one, label in zip(TEXTS, ("4", None), strict=True)
    ]
    found = asyncio.run(_posted(f"{process.url}/get_reward", bodies))
    assert [one["rewards"][0] for one in found] == raw
    assert [(one.get("scores") or one.get("rewards"))[0] for one in found] == raw
    assert all(len(value) == 1 for one in found for value in one["extra_logs"].values())


def test_llama_factory(process: Process, raw: Any) -> None:
    """src/llamafactory/train/ppo/ppo_utils.py, `get_rewards_from_server`."""
    url = f"{process.url}/v1/score/evaluation"
    payload = {"model": "model", "messages": TEXTS}
    response = requests.post(url, json=payload, headers={"Content-Type": "application/json"})
    assert json.loads(response.text)["scores"] == raw


def test_llama_factorys_own_function(process: Process, raw: Any) -> None:
    """The same by its own code, where it is installed.

    Its packages are not imported, which takes releases of transformers and TRL of their own: the
    function stands by itself.
    """
    found = find_spec("llamafactory")
    if found is None or not found.submodule_search_locations:
        pytest.skip("LLaMA-Factory is not installed")
    file = Path(found.submodule_search_locations[0]) / "train" / "ppo" / "ppo_utils.py"
    (code,) = [
        node
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name == "get_rewards_from_server"
    ]
    names = {"json": json, "requests": requests, "torch": torch}
    exec(compile(ast.Module([code], []), file, "exec"), names)
    rewards = names["get_rewards_from_server"](f"{process.url}/v1/score/evaluation", TEXTS)
    assert isinstance(rewards, torch.Tensor)
    assert rewards.tolist() == raw


def test_vllm(process: Process, raw: Any) -> None:
    """vLLM's examples of pooling clients: the model's name from the list, then a request."""
    name = requests.get(f"{process.url}/v1/models").json()["data"][0]["id"]
    for path, entry in (("classify", "probs"), ("pooling", "data")):
        answer = requests.post(f"{process.url}/{path}", json={"model": name, "input": TEXTS})
        assert [one[entry][0] for one in answer.json()["data"]] == raw


def test_our_own(process: Process, raw: Any) -> None:
    with RewardClient(process.url, input_template="chatml", run="a run") as client:
        client.wait_until_ready()
        assert client.health()
        assert client.models() == ["rm"]
        assert client.rewards(QUESTION, ANSWERS, step=3).rewards == raw
        found = client.rewards([MESSAGES, QUESTION], [ANSWERS[0], [_turn(ANSWERS[1])]])
        assert found.rewards == raw
        assert found.model == "rm"
        assert all(tokens and tokens > 4 for tokens in found.tokens)
        assert found.truncated == [False, False]
        assert client.rewards_of_texts(TEXTS).rewards == raw


def test_our_own_with_items_that_have_no_reward(process: Process, raw: Any) -> None:
    long = "so " * 2000
    with RewardClient(process.url, on_error="none") as client:
        found = client.rewards(QUESTION, [ANSWERS[0], long, ANSWERS[1], "<|im_end|>"])
    assert [found.rewards[0], found.rewards[2]] == raw
    assert [found.rewards[1], found.rewards[3]] == [None, None]
    assert "max_length" in str(found.errors[1])
    with RewardClient(process.url) as client:
        with pytest.raises(RewardError, match=r"prompts\[1\]: .* 422: .*max_length"):
            client.rewards([QUESTION, QUESTION], [ANSWERS[0], long])
        with pytest.raises(RewardError, match="404"):
            RewardClient(process.url, model="other").rewards(QUESTION, ANSWERS)


def _turn(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


def test_trl_trains_on_what_the_server_said(process: Process, tmp_path: Path) -> None:
    """The example, whole: of each step, TRL's mean reward is the one that the server counted."""
    if find_spec("trl") is None:
        pytest.skip("TRL is not installed")
    done = subprocess.run(
        [sys.executable, EXAMPLE, "--server", process.url, "--output", tmp_path, "--run", "grpo"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with RewardClient(process.url, run="grpo") as client:
        client.rewards("what comes next ends the step before", ["so"], step=3)
    lines = [json.loads(line) for line in _monitor_log(process).read_text().splitlines()]
    counted = [line for line in lines if line["run"] == "grpo"]
    logged = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in counted] == [0, 1, 2]
    assert [entry["step"] for entry in logged] == [1, 2, 3]  # TRL counts steps that are done.
    assert [line["responses"] for line in counted] == [8, 8, 8]
    means = [entry["rewards/assay/mean"] for entry in logged]
    assert means == pytest.approx([line["reward_mean"] for line in counted], rel=1e-6)
    assert len(set(means)) == 3
    assert all(entry["reward"] == entry["rewards/assay/mean"] for entry in logged)
    assert all(entry["assay/unscored"] == 0 for entry in logged)
    assert f"step 3: mean reward {means[2]:.6f}" in done.stdout


def test_the_page_about_it_says_what_happens(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its Python runs as it stands; what names a model of the hub is compiled."""
    monkeypatch.setenv("ASSAY_BASE_URL", process.url)
    page = PAGE.read_text(encoding="utf-8").replace("http://localhost:8000", process.url)
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) >= 2
    for number, block in enumerate(blocks):
        code = compile(block, f"{PAGE.name}, block {number}", "exec")
        if "Trainer(" not in block:
            exec(code, {})
    options = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert set(options) <= {*Options.__annotations__, *dir(verl)}
    assert {"on_error", "run", "retries", "compute_score_async"} <= set(options)
