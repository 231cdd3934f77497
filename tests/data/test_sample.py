"""The bundled sample keeps its rules: enough, disjoint, never the same twice, blind to length."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from assay.data.encoding import encode_groups
from assay.data.loading import LoadedData, load_groups
from assay.data.records import Group
from assay.data.rendering import Renderer, load_tokenizer
from assay.data.sources import DataSource
from assay.data.templates import resolve_template
from assay.evaluate.metrics import Scored, length_baseline

SPLITS = ("train", "test")
BEST, PLAIN, CARELESS = "拒绝&正向建议", "拒绝为主", "风险回复"
PAIRS = [(BEST, PLAIN), (BEST, CARELESS), (PLAIN, CARELESS)]

LOWEST, HIGHEST = 0.40, 0.60


@pytest.fixture(scope="module")
def sample() -> dict[str, LoadedData]:
    return {split: load_groups([DataSource("sample:values", split=split)]) for split in SPLITS}


def prompt_of(group: Group) -> str:
    return group.prompt[-1].content


def answers_of(group: Group) -> list[str]:
    return [response.messages[0].content for response in group.responses]


def is_chinese(text: str) -> bool:
    return re.search("[\u4e00-\u9fff]", text) is not None


def all_texts(sample: dict[str, LoadedData]) -> list[str]:
    """Every prompt and answer once: answers stand in two rows each, and are one text."""
    groups = [group for data in sample.values() for group in data.groups]
    return [text for group in groups for text in (prompt_of(group), *answers_of(group))]


def sentences(text: str) -> Iterator[str]:
    """Sentences without case and outer marks: `Good fix?` and `Good fix!` are one twice."""
    for sentence in re.split(r"[.!?。！？…\n]+[\"'”’」）)]*", text):
        words = re.sub(r"\s+", " ", sentence).strip(" ,，、\"'“”‘’「」（）()-—").lower()
        # A single word (`No.`, `不行。`) is a word, not a sentence that was written twice.
        if len(words) >= 6 if is_chinese(words) else " " in words:
            yield words


def opening(text: str) -> str:
    """The first 12 characters in Chinese, the first 6 words otherwise."""
    return text[:12] if is_chinese(text) else " ".join(text.lower().split()[:6])


# --- Size and shape ------------------------------------------------------------------------------


def test_there_are_enough_prompts_of_both_languages(sample: dict[str, LoadedData]) -> None:
    prompts = {split: [prompt_of(group) for group in sample[split].groups] for split in SPLITS}
    every = prompts["train"] + prompts["test"]
    assert len(every) >= 160
    assert sum(map(is_chinese, every)) >= 40
    assert len(prompts["test"]) >= 40
    assert sum(map(is_chinese, prompts["test"])) >= 12


@pytest.mark.parametrize("split", SPLITS)
def test_each_prompt_has_three_answers_and_three_comparisons(
    sample: dict[str, LoadedData], split: str
) -> None:
    data = sample[split]
    assert data.formats == ["cvalues"]
    assert (data.skipped, data.bad_rows) == ([], [])
    assert data.num_rows == 3 * len(data.groups)
    for group in data.groups:
        assert len(group.responses) == 3, group.source
        types = [tuple(comparison.tags.values()) for comparison in group.comparisons]
        assert sorted(types) == sorted(PAIRS), group.source


@pytest.mark.parametrize("split", SPLITS)
def test_an_answer_has_one_type_and_types_are_in_one_order(
    sample: dict[str, LoadedData], split: str
) -> None:
    for group in sample[split].groups:
        kinds: dict[int, set[str]] = defaultdict(set)
        for comparison in group.comparisons:
            assert comparison.winner_loser is not None
            for index, kind in zip(comparison.winner_loser, comparison.tags.values(), strict=True):
                kinds[index].add(kind)
        assert sorted(map(sorted, kinds.values())) == sorted([[BEST], [PLAIN], [CARELESS]])


# T20: no prompt of the test is among those of training, however it is written.
def test_splits_share_no_prompt_and_no_answer(sample: dict[str, LoadedData]) -> None:
    def normal(text: str) -> str:
        return re.sub(r"\W+", "", text).lower()

    for texts_of in (lambda group: [prompt_of(group)], answers_of):
        train, test = (
            {normal(text) for group in sample[split].groups for text in texts_of(group)}
            for split in SPLITS
        )
        assert not train & test


def test_the_language_of_an_answer_is_that_of_its_prompt(sample: dict[str, LoadedData]) -> None:
    for data in sample.values():
        for group in data.groups:
            languages = {is_chinese(text) for text in [prompt_of(group), *answers_of(group)]}
            assert len(languages) == 1, group.source


# --- Nothing twice -------------------------------------------------------------------------------


def test_no_sentence_stands_twice(sample: dict[str, LoadedData]) -> None:
    found = Counter(sentence for text in all_texts(sample) for sentence in sentences(text))
    assert len(found) > len(all_texts(sample))  # the texts were cut into sentences at all
    assert [sentence for sentence, count in found.items() if count > 1] == []


def test_no_opening_stands_more_than_three_times(sample: dict[str, LoadedData]) -> None:
    found = Counter(map(opening, all_texts(sample)))
    assert [start for start, count in found.items() if count > 3] == []


def test_the_cuts_see_what_they_are_for() -> None:
    """The rules above can fail: a copied sentence and a copied opening are seen."""
    assert list(sentences("No. That is wrong! 'That is  wrong', he said.")) == [
        "that is wrong",
        "that is wrong', he said",
    ]
    assert list(sentences("这样做是违法的。不行。这样做是违法的！")) == ["这样做是违法的"] * 2
    assert opening("I can see  why You might, no") == "i can see why you might,"
    assert opening("我能理解你现在的心情，但是") == "我能理解你现在的心情，但"[:12]


# --- Blind to length -----------------------------------------------------------------------------


def assert_length_is_a_coins_toss(data: LoadedData, length: Callable[[str], int]) -> None:
    """In each type pair and language the winner is the longer one in 40 to 60 %."""
    longer: dict[tuple[object, ...], list[bool]] = defaultdict(list)
    for group in data.groups:
        for comparison in group.comparisons:
            assert comparison.winner_loser is not None
            winner, loser = (answers_of(group)[index] for index in comparison.winner_loser)
            slice_ = (is_chinese(prompt_of(group)), *comparison.tags.values())
            longer[slice_].append(length(winner) > length(loser))
    assert len(longer) == 2 * len(PAIRS)
    shares = {slice_: sum(wins) / len(wins) for slice_, wins in longer.items()}
    assert {s: share for s, share in shares.items() if not LOWEST <= share <= HIGHEST} == {}


@pytest.mark.parametrize("split", SPLITS)
def test_length_in_words_or_characters_tells_nothing(
    sample: dict[str, LoadedData], split: str
) -> None:
    def words(text: str) -> int:
        return len(text) if is_chinese(text) else len(text.split())

    assert_length_is_a_coins_toss(sample[split], words)
    assert_length_is_a_coins_toss(sample[split], len)


@pytest.mark.model
@pytest.mark.parametrize("split", SPLITS)
def test_length_in_smollm2s_tokens_tells_nothing(
    sample: dict[str, LoadedData], smollm: Path, split: str
) -> None:
    tokenizer = load_tokenizer(str(smollm))
    assert_length_is_a_coins_toss(
        sample[split], lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])
    )


def assays_length_baseline(data: LoadedData, tokenizer: Any) -> float:
    """As an evaluation computes it: tokens of prompt and answer, as the template renders them."""
    renderer = Renderer(tokenizer, resolve_template("auto", tokenizer))
    encoded = encode_groups(data.groups, renderer, max_length=4096)
    assert encoded.skipped == []
    scored = []
    for group in encoded.groups:
        for comparison in group.comparisons:
            assert comparison.winner_loser is not None
            chosen, rejected = (len(group.sequences[i]) for i in comparison.winner_loser)
            scored.append(
                Scored(
                    prompt=group.group.id,
                    chosen_reward=0.0,
                    rejected_reward=0.0,
                    chosen_tokens=chosen,
                    rejected_tokens=rejected,
                    tag="",
                )
            )
    return length_baseline(scored)


@pytest.mark.parametrize("split", SPLITS)
def test_assays_own_length_baseline_is_a_coins_toss(
    sample: dict[str, LoadedData], tiny_tokenizer: Any, split: str
) -> None:
    assert LOWEST <= assays_length_baseline(sample[split], tiny_tokenizer) <= HIGHEST


@pytest.mark.model
@pytest.mark.parametrize("split", SPLITS)
def test_assays_own_length_baseline_is_a_coins_toss_for_smollm2(
    sample: dict[str, LoadedData], smollm: Path, split: str
) -> None:
    baseline = assays_length_baseline(sample[split], load_tokenizer(str(smollm)))
    assert LOWEST <= baseline <= HIGHEST
