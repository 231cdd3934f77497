"""`--backend vllm`: our token ids, its passes, the same rewards; and what it cannot serve."""

from __future__ import annotations

import json
import math
import subprocess
import sysconfig
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from vllm_server import environment, server, vllm_python

import assay
from assay.config import ModelConfig
from assay.data.sources import DataSource
from assay.errors import (
    AssayError,
    ConfigError,
    DataError,
    ModelError,
    OutputError,
    ResourceError,
)
from assay.model.heads import Heads, ensemble_of
from assay.model.loading import build_for_training
from assay.model.locate import locate_model
from assay.model.saving import save_plain
from assay.model.vllm import by_url
from assay.model.vllm.in_process import InProcess
from assay.model.vllm.model import in_portions
from assay.model.vllm.opening import check_servable, load_vllm_model
from assay.score.files import ScoreOptions, score_source
from assay.score.opening import RewarderChoice

CLOSE = 1e-3
TEXTS = [("Why?", ["Because.", "So it is.", "so " * 40]), ("什么？", ["好", "不好"]), ("a", ["b"])]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Any) -> Path:
    """A reward model with heads as wide as vLLM's kernels for CPUs need them."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tiny_tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=512,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    base = tmp_path_factory.mktemp("vllm-base")
    LlamaForCausalLM(config).save_pretrained(base)
    tiny_tokenizer.save_pretrained(base)
    directory = tmp_path_factory.mktemp("vllm-reward")
    config_of = ModelConfig(path=str(base))
    save_plain(build_for_training(config_of, None, seed=7, max_length=256, device="cpu"), directory)
    return directory


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    lines = [json.dumps({"prompt": asked, "responses": said}) for asked, said in TEXTS]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def known(model: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> list[list[float]]:
    """What Assay gives."""
    return scored(RewarderChoice(str(model)), rows, tmp_path_factory.mktemp("known") / "o.jsonl")


def scored(choice: RewarderChoice, rows: Path, output: Path) -> list[list[float]]:
    score_source(choice.open(), DataSource(str(rows)), output, ScoreOptions())
    return scores_in(output)


def scores_in(output: Path) -> list[list[float]]:
    return [json.loads(line)["assay"]["scores"] for line in output.read_text().splitlines()]


def assert_close(found: list[list[float]], known: list[list[float]]) -> None:
    assert [len(row) for row in found] == [len(row) for row in known]
    pairs = [(a, b) for row in zip(found, known, strict=True) for a, b in zip(*row, strict=True)]
    assert all(abs(a - b) < CLOSE for a, b in pairs), pairs
    spread = max(b for _, b in pairs) - min(b for _, b in pairs)
    assert spread > 100 * CLOSE, "rewards that are all alike show nothing"


# vLLM itself


@pytest.fixture(scope="module")
def url(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with server(model, tmp_path_factory.mktemp("vllm") / "log.txt", "rm") as found:
        yield found


@pytest.mark.timeout(1200)
def test_a_server_by_url_gives_the_same_rewards(
    model: Path, rows: Path, known: list[list[float]], url: str, tmp_path: Path
) -> None:
    choice = RewarderChoice(str(model), backend="vllm", vllm_url=url)
    assert_close(scored(choice, rows, tmp_path / "o.jsonl"), known)
    opened = load_vllm_model(str(model), url=f"{url}/v1")
    assert opened.pooling.name == f"vllm at {url}"
    assert opened.max_length == 512
    assert opened.weights is not None
    with pytest.raises(DataError, match="a sequence has 513 tokens, and vLLM takes 1 to 512"):
        opened.rewards([(5,) * 513])
    serve_from(url, model, known)


def serve_from(url: str, model: Path, known: list[list[float]]) -> None:
    """Behind our own server, with its protocols and its queue."""
    from fastapi.testclient import TestClient

    from assay.serve.app import create_app

    served = create_app({"rm": load_vllm_model(str(model), url=url)})
    with TestClient(served.asgi) as client:
        asked, said = TEXTS[0]
        answer = client.post("/v1/reward", json={"prompt": asked, "responses": said})
        assert answer.status_code == 200
        assert_close([answer.json()["rewards"]], known[:1])
        assert client.get("/v1/models/rm").json()["engine"] == f"vllm at {url}"


@pytest.mark.timeout(1200)
def test_an_engine_in_the_process_gives_the_same_rewards(
    model: Path, rows: Path, known: list[list[float]], tmp_path: Path
) -> None:
    """In vLLM's environment, which borrows the packages that it lacks from this one."""
    here = [str(Path(assay.__file__).parents[1]), sysconfig.get_path("purelib")]
    program = f"import sys; sys.path += {here}; from assay.cli import main; main()"
    output = tmp_path / "o.jsonl"
    flags = ("--backend", "vllm", "--model", model, "--input", rows, "--output", output)
    command = [str(vllm_python()), "-c", program, "score", *map(str, flags)]
    given = environment() | {"PYTHONSAFEPATH": "1"}
    ran = subprocess.run(command, capture_output=True, text=True, env=given, check=False)
    assert ran.returncode == 0, ran.stderr[-4000:]
    assert_close(scores_in(output), known)
    assert "engine: vllm" in ran.stdout


# What is refused, and what a server may answer


def test_without_vllm_it_says_how_to_start_it(model: Path) -> None:
    with pytest.raises(ConfigError, match="vLLM is not installed in this environment") as refused:
        load_vllm_model(str(model))
    assert f"vllm serve {model} --runner pooling" in str(refused.value)
    assert "--vllm-url" in str(refused.value)


def test_several_values_in_the_process_are_no_reward() -> None:
    """What vLLM gives of a classifier into several labels, told as a server's is."""

    class Classifier:
        def classify(self, prompts: list[Any], **options: Any) -> list[Any]:
            return [SimpleNamespace(outputs=SimpleNamespace(probs=[0.5, 0.5])) for _ in prompts]

    engine = object.__new__(InProcess)
    engine._llm, engine._raw, engine._directory = Classifier(), None, Path("runs/two")
    with pytest.raises(ModelError, match="runs/two: gives 2 values a text, not one reward"):
        engine.raw([(1,), (2,)])


def test_models_that_it_would_serve_as_something_else(
    model: Path, tiny_base: Path, tmp_path: Path
) -> None:
    import shutil

    import torch
    from safetensors.torch import load_file, save_file

    def refusal(path: Path) -> str:
        with pytest.raises(ModelError) as refused:
            check_servable(locate_model(str(path)))
        return str(refused.value)

    assert "is LlamaForCausalLM, and vLLM gives rewards of sequence" in refusal(tiny_base)
    ensemble = tmp_path / "ensemble"
    shutil.copytree(model, ensemble)
    Heads(ensemble_of(2), torch.ones(2, 64)).write(ensemble)
    assert "has an ensemble beside its head" in refusal(ensemble)
    headless = tmp_path / "headless"
    shutil.copytree(model, headless)
    weights = load_file(headless / "model.safetensors")
    weights["other.weight"] = weights.pop("score.weight")
    save_file(weights, headless / "model.safetensors", metadata={"format": "pt"})
    assert "has no score.weight" in refusal(headless)
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    assert "assay merge" in refusal(adapter)


def test_a_reward_file_is_refused() -> None:
    with pytest.raises(ConfigError, match="--backend vllm computes one model"):
        RewarderChoice(None, Path("reward.yaml"), backend="vllm")


def test_portions() -> None:
    sequences = [(1,) * size for size in (3, 3, 9, 1, 2)]
    assert in_portions(sequences, 6) == [[0, 1], [2], [3, 4]]
    assert in_portions([], 6) == []


Answers = dict[str, Callable[[dict[str, Any]], tuple[int, Any]]]
CARDS = {"data": [{"id": "rm", "max_model_len": 64}]}


@contextmanager
def answering(answers: Answers) -> Iterator[str]:
    """A server that speaks as it is told to."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(size) or b"{}")
            known = answers.get(self.path, lambda body: (404, {"error": {"message": "no route"}}))
            status, answer = known(body)
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()


def classified(body: dict[str, Any], *values: float) -> tuple[int, Any]:
    assert body["use_activation"] is False
    found = [
        {"index": index, "probs": [*values] or [float(sum(ids))]}
        for index, ids in enumerate(body["input"])
    ]
    return 200, {"data": found[::-1]}


OK: Answers = {"/v1/models": lambda body: (200, CARDS), "/classify": classified}


def test_values_come_back_in_the_order_of_the_ids() -> None:
    with answering(OK) as url:
        pooling = by_url.ByUrl(url, ["rm"])
        assert pooling.max_length == 64
        sequences = [(n, n + 1) for n in range(5)] + [(7,) * 20_000, (1,)]
        assert pooling.raw(sequences) == [float(sum(ids)) for ids in sequences]


def test_equal_sequences_are_asked_once_and_offsets_added(model: Path) -> None:
    asked: list[list[int]] = []

    def classify(body: dict[str, Any]) -> tuple[int, Any]:
        asked.extend(body["input"])
        return classified(body, 0.1)

    with answering(OK | {"/classify": classify}) as url:
        opened = load_vllm_model(str(model), url=url)
        del asked[:]
        assert opened.rewards([(5, 6), (7,), (5, 6)]) == [0.1, 0.1, 0.1]
    assert asked == [[5, 6], [7]]


@pytest.mark.parametrize(
    ("answers", "error", "says"),
    [
        ({"/v1/models": lambda body: (401, {"error": "key"})}, ModelError, r"401: key.*VLLM_API"),
        ({"/v1/models": lambda body: (503, {})}, ResourceError, "does not answer"),
        ({"/v1/models": lambda body: (200, {"data": []})}, ConfigError, "serves no model"),
        ({"/classify": lambda body: classified(body, 0.5, 0.5)}, ModelError, "gives 2 values"),
        ({"/classify": lambda body: (200, {"data": []})}, ModelError, "not answer as vLLM's"),
        ({"/classify": lambda body: classified(body, math.nan)}, ModelError, "not finite"),
        ({"/tokenize": lambda body: (200, {"tokens": [1]})}, ModelError, "another tokenizer"),
    ],
)
def test_servers_that_are_something_else(
    answers: Answers,
    error: type[AssayError],
    says: str,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(by_url, "_WAITS", (0.0,))
    with answering(OK | answers) as url, pytest.raises(error, match=says):
        load_vllm_model(str(model), url=url).rewards([(5,)])


@pytest.mark.parametrize("field", ["id", "root"])
def test_a_job_does_not_go_on_with_another_served_model(
    field: str, model: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The local weights are the same, and so is the address."""
    monkeypatch.setattr(by_url, "_WAITS", (0.0,))
    card = {"id": "rm", "root": "/models/first", "max_model_len": 512}
    left = iter(range(2))  # The check when it is opened, and one window.

    def classify(body: dict[str, Any]) -> tuple[int, Any]:
        return (503, {}) if next(left, None) is None else classified(body)

    served: Answers = {"/v1/models": lambda body: (200, {"data": [card]}), "/classify": classify}
    with answering(served) as url:

        def go_on() -> None:
            choice = RewarderChoice(str(model), backend="vllm", vllm_url=url)
            source = DataSource(str(rows))
            score_source(choice.open(), source, tmp_path / "o.jsonl", ScoreOptions(window=1))

        with pytest.raises(ResourceError, match="does not answer"):
            go_on()
        left = iter(range(100))
        first, card[field] = card[field], "other"
        with pytest.raises(OutputError, match=rf"served {field} was '?{first}'?, is '?other'?"):
            go_on()
        card[field] = first
        go_on()
    assert len(scores_in(tmp_path / "o.jsonl")) == len(TEXTS)


def test_addresses_that_nobody_answers_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_url, "_WAITS", (0.0,))
    for address in ("http://me:secret@localhost:8000", "http://me:1/secret@localhost"):
        with pytest.raises(ConfigError, match="holds an '@'") as refused:
            by_url.ByUrl(address, ["rm"])
        assert "secret" not in str(refused.value)
    with pytest.raises(ConfigError, match="'localhost:8000' is no URL of a server"):
        by_url.ByUrl("localhost:8000", ["rm"])
    with pytest.raises(ResourceError, match="does not answer"):
        by_url.ByUrl("http://127.0.0.1:9", ["rm"])
