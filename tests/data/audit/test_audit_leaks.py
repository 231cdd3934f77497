"""Prompts that stand in the test split, and texts of benchmarks."""

from __future__ import annotations

import pytest

from assay.data.audit.leaks import Benchmark, ExactPrompts, ngrams
from assay.data.prompts import normalised

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"


def benchmark(*texts: str) -> Benchmark:
    made = Benchmark()
    for number, text in enumerate(texts, start=1):
        made.add(text, f"b:{number}")
    made.close()
    return made


def found(texts: Benchmark, prompt: str) -> list[tuple[str, str]]:
    return [(match.place, match.how) for match in texts.find(prompt, normalised(prompt))]


def test_the_same_prompt_in_another_dress() -> None:
    prompts = ExactPrompts()
    prompts.add("Why is the  sky BLUE?", "t:1")
    prompts.add("why is the sky blue?", "t:2")
    assert prompts.places == ["t:1"]
    match = prompts.find(normalised("Why is the sky\nblue？"))
    assert match is not None
    assert match.place == "t:1"
    assert prompts.find(normalised("Why is the sea blue?")) is None


def test_short_texts_meet_only_as_a_whole() -> None:
    texts = benchmark("What is two plus two?")
    assert found(texts, "what is two plus two?") == [("b:1", "same prompt")]
    assert found(texts, "Tell me: What is two plus two?") == []


def test_half_of_the_ngrams_is_enough() -> None:
    # 15 words: 3 13-grams. The first 14 words hold 2 of them, the first 13 one.
    texts = benchmark(LONG)
    words = LONG.split()
    assert found(texts, f"Please: {' '.join(words[:14])}!") == [("b:1", "67% of its 13-grams")]
    assert found(texts, f"Please: {' '.join(words[:13])}!") == []


def test_chinese_characters_are_words() -> None:
    texts = benchmark("请解释为什么天空在晴朗的白天看起来是蓝色的")
    assert found(texts, "你好，请解释为什么天空在晴朗的白天看起来是蓝色的，谢谢") == [
        ("b:1", "100% of its 13-grams")
    ]


def test_instructions_that_many_texts_share_count_for_nothing() -> None:
    texts = benchmark(*(f"{LONG} question {number}" for number in range(11)))
    # 16 and 17 words: the 3 n-grams of the shared part stand in 11 texts.
    assert found(texts, f"{LONG} and something of my own") == []
    few = benchmark(*(f"{LONG} question {number}" for number in range(10)))
    assert len(found(few, f"{LONG} and something of my own")) == 10


@pytest.mark.parametrize(("count", "grams"), [(12, 0), (13, 1), (20, 8)])
def test_ngrams(count: int, grams: int) -> None:
    assert len(ngrams(" ".join(map(str, range(count))))) == grams


def test_empty_benchmark() -> None:
    assert found(benchmark(), LONG) == []
