"""Each protocol with the bodies that its clients send, word for word, and what they read."""

from __future__ import annotations

import base64
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from asking import Make, Served, asking

from assay.model.heads import Heads, Member, ensemble_of
from assay.model.reward_model import RewardModel
from assay.model.rewards import score_sequences
from assay.serve.app import create_app
from assay.serve.protocols import endpoints, protocol_names
from assay.serve.protocols.own import RewardAnswer

CHAT = [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]
TEXT = "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n4<|im_end|>\n"
OTHER = "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\nfive<|im_end|>\n"


@pytest.fixture(scope="module")
def raw(model: RewardModel) -> dict[str, float]:
    """Offline scores, as `assay score` has them."""
    four, five = model.score("2+2?", ["4", "five"])
    return {TEXT: four, OTHER: five}


def sigmoid(reward: float) -> float:
    return 1 / (1 + math.exp(-reward))


def same(found: Any, expected: float) -> None:
    assert found == pytest.approx(expected, rel=1e-6)


def json_of(answer: Any) -> Any:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


@pytest.mark.parametrize(
    "asked", [{"input": TEXT}, {"input": [TEXT]}, {"messages": CHAT}], ids=["text", "list", "chat"]
)
def test_vllm_classify(server: Served, raw: dict[str, float], asked: dict[str, Any]) -> None:
    answer = json_of(server.post("/classify", {"model": "rm", "use_activation": False} | asked))
    assert re.fullmatch(r"classify-[0-9a-f]{32}", answer.pop("id"))
    assert isinstance(answer.pop("created"), int)
    (entry,) = answer.pop("data")
    (reward,) = entry.pop("probs")
    same(reward, raw[TEXT])
    tokens = answer["usage"]["prompt_tokens"]
    assert entry == {"index": 0, "label": "LABEL_0", "num_classes": 1}
    assert answer == {
        "object": "list",
        "model": "rm",
        "usage": {
            "prompt_tokens": tokens,
            "total_tokens": tokens,
            "completion_tokens": 0,
            "prompt_tokens_details": None,
        },
    }
    assert tokens > 4


def test_verl_reads_the_last_number(server: Served, raw: dict[str, float]) -> None:
    body = {"model": "rm", "input": TEXT, "use_activation": False}
    same(json_of(server.post("/classify", body))["data"][-1]["probs"][-1], raw[TEXT])
    body = {"model": "rm", "input": TEXT}
    same(json_of(server.post("/v1/embeddings", body))["data"][-1]["embedding"][-1], raw[TEXT])


def test_vllm_pooling(server: Served, raw: dict[str, float]) -> None:
    body = {
        "model": "rm",
        "input": [TEXT, OTHER],
        "task": "classify",
        "encoding_format": "float",
        "use_activation": False,
    }
    answer = json_of(server.post("/pooling", body))
    assert answer["id"].startswith("pool-")
    assert [set(entry) for entry in answer["data"]] == [{"index", "object", "data"}] * 2
    assert [entry["index"] for entry in answer["data"]] == [0, 1]
    assert {entry["object"] for entry in answer["data"]} == {"pooling"}
    same([entry["data"][0] for entry in answer["data"]], [raw[TEXT], raw[OTHER]])
    one = json_of(server.post("/pooling", body | {"encoding_format": "base64"}))["data"][0]
    same(np.frombuffer(base64.b64decode(one["data"]), "<f4")[0], raw[TEXT])
    chat = json_of(server.post("/pooling", {"model": "rm", "messages": CHAT}))
    same(chat["data"][0]["data"], [raw[TEXT]])


def test_vllm_takes_token_ids(server: Served, model: RewardModel, raw: dict[str, float]) -> None:
    ids = [list(model.renderer.render_text(text).ids) for text in (TEXT, OTHER)]
    one = json_of(server.post("/classify", {"model": "rm", "input": ids[0]}))["data"]
    both = json_of(server.post("/classify", {"model": "rm", "input": ids}))["data"]
    same([entry["probs"][0] for entry in one + both], [raw[TEXT], raw[TEXT], raw[OTHER]])


def test_sglang_classify(server: Served, raw: dict[str, float]) -> None:
    one = json_of(server.post("/classify", {"model": "rm", "text": TEXT}))
    same(one["embedding"], [raw[TEXT]])
    assert set(one) == {"embedding", "meta_info"}
    assert set(one["meta_info"]) == {"id", "prompt_tokens"}
    several = json_of(server.post("/classify", {"model": "any", "text": [TEXT, OTHER]}))
    same([entry["embedding"][0] for entry in several], [raw[TEXT], raw[OTHER]])
    put = json_of(server.ask(("PUT", "/classify", {"text": [OTHER]}))[0])
    same(put[0]["embedding"], [raw[OTHER]])


def test_sglang_takes_ids(server: Served, model: RewardModel, raw: dict[str, float]) -> None:
    ids = list(model.renderer.render_text(TEXT).ids)
    one = json_of(server.post("/classify", {"input_ids": ids, "rid": "mine"}))
    same(one["embedding"], [raw[TEXT]])
    assert one["meta_info"] == {"id": "mine", "prompt_tokens": len(ids)}


def test_embeddings_as_openai_clients_ask(server: Served, raw: dict[str, float]) -> None:
    body = {"model": "rm", "input": [TEXT, OTHER], "encoding_format": "base64"}
    answer = json_of(server.post("/v1/embeddings", body))
    found = [np.frombuffer(base64.b64decode(one["embedding"]), "<f4")[0] for one in answer["data"]]
    same(found, [raw[TEXT], raw[OTHER]])
    assert answer["object"] == "list"
    assert answer["model"] == "rm"
    assert {entry["object"] for entry in answer["data"]} == {"embedding"}


def test_openrlhf(server: Served, raw: dict[str, float]) -> None:
    body = {"query": [TEXT, OTHER], "prompts": [TEXT[:20], ""], "labels": ["4", None]}
    answer = json_of(server.post("/get_reward", body))
    assert set(answer) == {"rewards", "scores", "extra_logs"}
    same(answer["rewards"], [raw[TEXT], raw[OTHER]])
    assert answer["scores"] == answer["rewards"] == answer["extra_logs"]["dummy_scores"]


def test_align_anything(server: Served, raw: dict[str, float]) -> None:
    body = {"prompts": ["2+2?", "2+2?"], "responses": ["4", "five"], "golden_responses": ["4", "4"]}
    answer = json_of(server.post("/get_reward", body))
    assert set(answer) == {"rewards"}
    same(answer["rewards"], [raw[TEXT], raw[OTHER]])
    wrong = server.post("/get_reward", {"prompts": ["a"], "responses": []})
    assert wrong.status_code == 422
    assert isinstance(wrong.json()["error"], str)


def test_llama_factory(server: Served, raw: dict[str, float]) -> None:
    answer = json_of(
        server.post("/v1/score/evaluation", {"model": "model", "messages": [TEXT, OTHER]})
    )
    assert answer.pop("id").startswith("scoreval-")
    same(answer.pop("scores"), [raw[TEXT], raw[OTHER]])
    assert answer == {"object": "score.evaluation", "model": "rm"}


def test_the_own_endpoint(server: Served, raw: dict[str, float]) -> None:
    asked = (
        {"prompt": "2+2?", "responses": ["4", "five"]},
        {"messages": CHAT[:1], "responses": [CHAT[1], [{"role": "assistant", "content": "five"}]]},
        {"texts": [TEXT, OTHER]},
        {"texts": [TEXT, OTHER], "input_template": "chatml"},
    )
    for answer in map(json_of, server.ask(*[("POST", "/v1/reward", body) for body in asked])):
        RewardAnswer.model_validate(answer)
        same(answer["rewards"], [raw[TEXT], raw[OTHER]])
        assert answer["truncated"] == [False, False]
        assert answer["usage"]["total_tokens"] == sum(answer["tokens"])
    same(server.rewards({"messages": CHAT}), [raw[TEXT]])


def test_an_activation_only_where_it_is_asked_for(server: Served, raw: dict[str, float]) -> None:
    on = {"use_activation": True}
    expected = sigmoid(raw[TEXT])
    found = [
        json_of(server.post("/classify", {"input": TEXT} | on))["data"][0]["probs"],
        json_of(server.post("/pooling", {"input": TEXT} | on))["data"][0]["data"],
        json_of(server.post("/classify", {"text": TEXT} | on))["embedding"],
        json_of(server.post("/v1/embeddings", {"input": TEXT} | on))["data"][0]["embedding"],
        json_of(server.post("/get_reward", {"query": [TEXT]} | on))["rewards"],
        json_of(server.post("/get_reward", {"prompts": ["2+2?"], "responses": ["4"]} | on))[
            "rewards"
        ],
        json_of(server.post("/v1/score/evaluation", {"messages": [TEXT]} | on))["scores"],
    ]
    same(np.array(found), np.full((7, 1), expected))
    for off in ({"use_activation": False}, {"use_activation": None}, {}):
        same(
            json_of(server.post("/classify", {"input": TEXT} | off))["data"][0]["probs"],
            [raw[TEXT]],
        )


@pytest.mark.parametrize(
    "field",
    [
        {"add_generation_prompt": True},
        {"continue_final_message": True},
        {"chat_template": "x"},
        {"task": "embed"},
        {"dimensions": 3},
        {"encoding_format": "bytes"},
        {"truncate_prompt_tokens": 0},
        {"truncate_prompt_tokens": -2},
        {"truncate_prompt_tokens": 5, "truncation_side": "right"},
        {"chat_template_kwargs": {"tokenize": True}},
        {"use_activation": "yes"},
    ],
    ids=lambda field: ",".join(field),
)
def test_what_would_change_rewards_is_not_ignored(server: Served, field: dict[str, Any]) -> None:
    answer = server.post("/classify", {"messages": CHAT} | field)
    assert answer.status_code == 422
    assert answer.json()["error"]["param"] in field


def test_two_servers_at_one_path(server: Served, serving: Make) -> None:
    both = server.post("/classify", {"input": TEXT, "text": TEXT})
    assert both.status_code == 422
    assert "several protocols" in both.text
    only = serving(protocols=("vllm",))
    assert only.post("/classify", {"text": TEXT}).status_code == 422
    assert only.post("/classify", {"input": TEXT}).status_code == 200
    assert only.post("/get_reward", {"query": [TEXT]}).status_code == 404


def test_every_path_and_protocol_is_described(server: Served) -> None:
    described = server.get("/openapi.json").json()
    for path, candidates in endpoints().items():
        for candidate in candidates:
            for method in candidate.methods:
                operation = described["paths"][path][method.lower()]
                examples = operation["requestBody"]["content"]["application/json"]["examples"]
                assert candidate.protocol in examples

    def references(value: Any) -> set[str]:
        if isinstance(value, dict):
            own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
            return own.union(*map(references, value.values()))
        if isinstance(value, list):
            return set().union(*map(references, value))
        return set()

    known = {f"#/components/schemas/{name}" for name in described["components"]["schemas"]}
    assert references(described) <= known
    assert set(protocol_names()) == {
        *("assay", "vllm", "sglang", "openrlhf", "align-anything", "llamafactory")
    }


def test_examples_are_bodies_that_are_answered(server: Served) -> None:
    for path, candidates in endpoints().items():
        for candidate in candidates:
            answer = json_of(server.post(path, dict(candidate.example[0])))
            shown = candidate.example[1]
            if isinstance(answer, list):
                answer, shown = answer[0], shown[0]
            assert set(shown) <= set(answer), path


def test_digits_are_those_of_float32(server: Served, model: RewardModel) -> None:
    texts = [f"{TEXT}{'x' * number}" for number in range(20)]
    found = json_of(server.post("/get_reward", {"query": texts}))["rewards"]
    offline = score_sequences(model, [model.renderer.render_text(text).ids for text in texts])
    same(found, offline)
    for reward in found:
        assert repr(reward) == repr(float(str(np.float32(reward))))


@pytest.mark.parametrize("kind", ["ensemble", "attributes"])
def test_what_heads_say(tiny_reward: Path, kind: str) -> None:
    """The spread of an ensemble and the ratings of attributes stand beside the same rewards."""
    model = RewardModel.load(str(tiny_reward), device="cpu")
    names = ("helpful", "brief")
    members = ensemble_of(2) if kind == "ensemble" else [Member(name, 1.0, 2.5) for name in names]
    row_1D = model.head_weight
    assert row_1D is not None
    row_D = row_1D.detach()[0]
    model.heads = Heads(members, torch.stack([0.5 * row_D, 1.5 * row_D]))
    served = asking(create_app({"rm": model}))
    body = {"prompt": "2+2?", "responses": ["4", "five"]}
    answer = json_of(served.post("/v1/reward", body))
    passes = model.computed.passes
    asked = served.post("/v1/reward", body | {"members": True})
    passes = model.computed.passes - passes
    about = json_of(served.get("/v1/models"))["data"][0]
    plain = json_of(served.post("/classify", {"messages": CHAT}))["data"][0]["probs"][0]
    served.app.models.close()
    RewardAnswer.model_validate(answer)
    model.heads = None
    expected = model.score("2+2?", ["4", "five"])
    same(answer["rewards"], expected)
    same(plain, expected[0])
    if kind == "ensemble":
        same(answer["uncertainty"], [abs(reward) * 0.5**0.5 for reward in expected])
        assert {"components", "members"}.isdisjoint(answer)
        RewardAnswer.model_validate(json_of(asked))
        given = [[entry[name] for name in about["members"]] for entry in json_of(asked)["members"]]
        same(np.array(given), np.array([[0.5 * reward, 1.5 * reward] for reward in expected]))
        assert about["components"] is None
    else:
        found = [[entry[name] for name in names] for entry in answer["components"]]
        same(np.array(found), np.array([[0.5 * r + 2.5, 1.5 * r + 2.5] for r in expected]))
        assert "uncertainty" not in answer
        assert asked.status_code == 422
        assert asked.json()["error"]["param"] == "members"
        assert passes == 0
        assert (about["components"], about["members"]) == (list(names), None)
