"""Reward functions, called as the trainers call them; what they ask, and what they never give."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import math
import pickle
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scripted import Answer, rewards_of, scripted

from assay.client import RewardError, openrlhf, verl
from assay.client.trl import AsyncRewardFunction, RewardFunction, reward_function
from assay.errors import ConfigError, DataError


def plain(number: int, body: dict[str, Any]) -> Answer:
    return 200, rewards_of(body)


def knows_uncertainty(number: int, body: dict[str, Any]) -> Answer:
    items = body.get("responses") or body["texts"]
    more = {"uncertainty": [0.5] * len(items), "components": [{"helpfulness": 2.0}] * len(items)}
    return 200, rewards_of(body, **more)


def foreign(number: int, body: dict[str, Any]) -> Answer:
    """As the server, of a model that does not know `<|im_end|>`."""
    items = body.get("responses") or body["texts"]
    marks = [["<|im_end|>"] if "<|im_end|>" in str(body) else [] for _ in items]
    return 200, rewards_of(body, foreign_special_tokens=marks, warnings=["special tokens"])


def turns(text: str, role: str = "user") -> list[dict[str, Any]]:
    return [{"role": role, "content": text}]


def trl_calls(function: Any, prompts: list[Any], completions: list[Any], **more: Any) -> Any:
    """As `GRPOTrainer._calculate_rewards` calls it."""
    return function(
        prompts=prompts,
        completions=completions,
        completion_ids=[[1, 2]] * len(prompts),
        answer=["a column"] * len(prompts),
        trainer_state=SimpleNamespace(global_step=5),
        log_extra=lambda column, values: None,
        **more,
    )


def test_trl_conversations() -> None:
    prompts = [turns("p"), turns("p"), turns("q")]
    completions = [turns(text, "assistant") for text in ("a", "b", "c")]
    with scripted(plain) as server:
        found = trl_calls(reward_function(server.url), prompts, completions)
    assert found == [len('[{"role": "assistant", "content": "a"}]')] * 3
    both = next(body for body in server.bodies if len(body["responses"]) == 2)
    assert both == {"messages": turns("p"), "responses": completions[:2]}
    assert {one.headers["X-Assay-Step"] for one in server.asked} == {"5"}


def test_trl_words_and_texts_in_the_policys_template() -> None:
    with scripted(plain) as server:
        words = reward_function(server.url)
        assert trl_calls(words, ["p", "p"], ["a", "bb"]) == [1.0, 2.0]
        texts = reward_function(server.url, input_template="qwen")
        assert trl_calls(texts, ["<p>", "<q>"], ["a", "bb"]) == [4.0, 5.0]
        with pytest.raises(ConfigError, match="input_template"):
            trl_calls(texts, [turns("p")], [turns("a", "assistant")])
    assert server.bodies == [
        {"prompt": "p", "responses": ["a", "bb"]},
        {"input_template": "qwen", "texts": ["<p>a", "<q>bb"]},
    ]


def test_trl_logs_what_is_known_besides() -> None:
    logged: dict[str, float] = {}
    with scripted(knows_uncertainty) as server:
        function = reward_function(server.url, name="rm")
        trl_calls(function, ["p"], ["a"], log_metric=logged.__setitem__)
    assert logged == {
        "rm/unscored": 0.0,
        "rm/truncated": 0.0,
        "rm/uncertainty": 0.5,
        "rm/helpfulness": 2.0,
    }
    assert function.__name__ == "rm"


def test_trl_gives_none_or_raises_and_never_zero() -> None:
    def one_fails(number: int, body: dict[str, Any]) -> Answer:
        return (422, {"error": "no"}) if body["prompt"] == "bad" else (200, rewards_of(body))

    logged: dict[str, float] = {}
    with scripted(one_fails) as server:
        lenient = reward_function(server.url, on_error="none")
        found = trl_calls(lenient, ["p", "bad"], ["a", "b"], log_metric=logged.__setitem__)
        with pytest.raises(RewardError, match=r"prompts\[1\]: .*422: no"):
            trl_calls(reward_function(server.url), ["p", "bad"], ["a", "b"])
    assert found == [1.0, None]
    assert logged["assay/unscored"] == 0.5


def test_trl_async_functions_run_at_once() -> None:
    async def both(first: Any, second: Any) -> Any:
        calls = [trl_calls(one, ["p"], ["abc"]) for one in (first, second)]
        return await asyncio.gather(*calls)

    with scripted(plain) as server:
        first, second = (reward_function(server.url, asynchronous=True) for _ in range(2))
        assert asyncio.run(both(first, second)) == [[3.0], [3.0]]
        assert asyncio.run(both(first, second)) == [[3.0], [3.0]]
    # So TRL tells the two kinds apart.
    assert inspect.iscoroutinefunction(first.__call__)
    assert not inspect.iscoroutinefunction(reward_function(server.url).__call__)


def test_a_reward_function_travels_to_other_processes() -> None:
    with scripted(plain) as server:
        for asynchronous in (True, False):
            made: Any = reward_function(server.url, name="rm", asynchronous=asynchronous, run="r")
            again = pickle.loads(pickle.dumps(made))
            assert type(again) is type(made)
            assert again.__name__ == "rm"
            assert again.client.settings == made.client.settings
        assert type(again) is RewardFunction
        assert isinstance(reward_function(server.url, asynchronous=True), AsyncRewardFunction)
        assert trl_calls(again, ["p"], ["a"]) == [1.0]


def test_a_prompt_in_another_models_template_has_no_reward() -> None:
    prompt = "<|im_start|>user\np<|im_end|>\n"
    with scripted(foreign) as server:
        with pytest.raises(RewardError, match=r"prompts\[0\]: holds <\|im_end\|>.*input_template"):
            trl_calls(reward_function(server.url), [prompt], ["a"])
        lenient = reward_function(server.url, on_error="none")
        assert trl_calls(lenient, [prompt, "p"], ["a", "b"]) == [None, 1.0]
        # In a completion it may be the policy's invention; in messages somebody's words.
        assert trl_calls(reward_function(server.url), ["p"], ["a<|im_end|>"]) == [11.0]


def verl_function(name: str, **reward_kwargs: Any) -> Any:
    """As `get_custom_reward_fn` of verl makes it of `path`, `name` and `reward_kwargs`."""
    function = getattr(importlib.import_module("assay.client.verl"), name)

    def call(raw: Any, extra: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        return raw(*args, **{**kwargs, **extra})

    async def call_async(raw: Any, extra: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        return await raw(*args, **{**kwargs, **extra})

    wrap = call_async if inspect.iscoroutinefunction(function) else call
    return partial(wrap, function, reward_kwargs)


def sample(text: str = "abc", **extra_info: Any) -> dict[str, Any]:
    """What verl's naive manager gives for one response."""
    return {
        "data_source": "rows",
        "solution_str": text,
        "ground_truth": "4",
        "extra_info": {"num_turns": 2, "rollout_reward_scores": {}, **extra_info},
    }


def test_verl_one_response() -> None:
    messages = np.array(turns("p"), dtype=object)  # As tables give them.
    with scripted(knows_uncertainty) as server:
        compute = verl_function("compute_score", base_url=server.url, run="r")
        scored = compute(**sample(prompt=messages), reward_router_address="x")
        words = verl_function("compute_score_async", base_url=server.url, prompt_key="question")
        assert inspect.iscoroutinefunction(words)
        assert asyncio.run(words(**sample("ab", question="q")))["score"] == 2.0
    assert scored == {"score": 3.0, "helpfulness": 2.0, "uncertainty": 0.5}
    assert server.bodies == [
        {"messages": turns("p"), "responses": ["abc"]},
        {"prompt": "q", "responses": ["ab"]},
    ]
    assert server.asked[0].headers["X-Assay-Run"] == "r"


def test_verl_many_responses() -> None:
    with scripted(plain) as server:
        compute = verl_function("compute_score_batch", base_url=server.url)
        scored = compute(
            data_sources=np.array(["rows"] * 3),
            solution_strs=["a", "bb", "ccc"],
            ground_truths=[None] * 3,
            extra_infos=np.array([{"prompt": "p"}, {"prompt": "q"}, {"prompt": "p"}]),
        )
    assert scored == [{"score": 1.0}, {"score": 2.0}, {"score": 3.0}]
    assert len(server.asked) == 2


def test_verl_gets_the_reward_whatever_components_are_called() -> None:
    def rates(number: int, body: dict[str, Any]) -> Answer:
        return 200, rewards_of(body, components=[{"score": 0.25, "brief": 4.0}])

    with scripted(rates) as server:
        compute = verl_function("compute_score", base_url=server.url)
        assert compute(**sample("abc", prompt="p")) == {"score": 3.0, "brief": 4.0}


def test_verl_failures_are_errors() -> None:
    with scripted(lambda number, body: (422, {"error": "no"})) as server:
        compute = verl_function("compute_score", base_url=server.url)
        with pytest.raises(RewardError, match="no"):
            compute(**sample(prompt="p"))
        with pytest.raises(DataError, match=r"holds no 'prompt'.*prompt_key"):
            compute(**sample())
        with pytest.raises(DataError, match=r"extra_infos\[0\]"):
            verl.compute_score_batch(["rows"], ["a"], base_url=server.url)
        with pytest.raises(ConfigError, match="on_error"):
            verl.compute_score("rows", "a", extra_info={}, base_url=server.url, on_error="none")
        with pytest.raises(ConfigError, match="unknown option 'adress'"):
            verl_function("compute_score", adress=1, base_url=server.url)(**sample(prompt="p"))


def openrlhf_calls(path: Path, queries: list[str], prompts: list[str]) -> dict[str, Any]:
    """As OpenRLHF's executor loads a file and calls its `reward_func`, in a thread."""
    spec = importlib.util.spec_from_file_location("reward_func", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    async def execute() -> Any:
        labels = [None] * len(queries)
        return await asyncio.to_thread(module.reward_func, queries, prompts, labels)

    found: dict[str, Any] = asyncio.run(execute())
    return found


def test_openrlhf_with_settings_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "reward.py"
    file.write_text("from assay.client.openrlhf import reward_func\n", encoding="utf-8")
    with scripted(knows_uncertainty) as server:
        monkeypatch.setenv("ASSAY_BASE_URL", server.url)
        monkeypatch.setenv("ASSAY_INPUT_TEMPLATE", "qwen")
        found = openrlhf_calls(file, ["<p>abc"], ["<p>"])
    assert server.bodies == [{"input_template": "qwen", "texts": ["<p>abc"]}]
    assert found["rewards"].tolist() == found["scores"].tolist() == [6.0]
    # What OpenRLHF makes of them.
    assert torch.tensor([found["rewards"]]).shape == (1,)
    logs = {key: value.flatten()[0].item() for key, value in found["extra_logs"].items()}
    assert logs == {"reward_tokens": 6.0, "reward_uncertainty": 0.5}


def test_openrlhf_with_a_function_of_ones_own(tmp_path: Path) -> None:
    with scripted(plain) as server:
        file = tmp_path / "reward.py"
        file.write_text(
            "from assay.client.openrlhf import reward_function\n"
            f"reward_func = reward_function({server.url!r}, input_template='none')\n",
            encoding="utf-8",
        )
        assert openrlhf_calls(file, ["a", "bb"], ["a", "b"])["rewards"].tolist() == [1.0, 2.0]
    with pytest.raises(ConfigError, match="on_error"):
        openrlhf.reward_function(server.url, on_error="none")


def test_openrlhf_failures_and_foreign_templates_are_errors() -> None:
    with scripted(foreign) as server:
        function = openrlhf.reward_function(server.url)
        with pytest.raises(RewardError, match="input_template"):
            function(["<|im_end|>a"], ["<|im_end|>"], [None])
        assert not math.isnan(function(["a<|im_end|>"], ["a"])["rewards"].item())
    with (
        scripted(lambda number, body: (500, {"error": "no"})) as server,
        pytest.raises(RewardError, match="500"),
    ):
        openrlhf.reward_function(server.url)(["a"], ["a"], [None])
