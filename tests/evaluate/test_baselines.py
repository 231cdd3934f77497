"""Baselines: what single words tell on a set made by hand, and what lengths tell."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from assay.data.records import Comparison, Group, Message, Response, Source
from assay.evaluate.baselines import bag_of_words_accuracy
from assay.evaluate.metrics import Scored, length_baseline

FILLING = ["well", "the", "matter", "is", "simple", "perhaps", "today"]
CHINESE = list("这个问题可以简单地说明")


def row(better: str, worse: str, *, outcome: Any = "a", line: int = 1) -> Group:
    """A comparison; with outcome b the better text stands second."""
    texts = (better, worse) if outcome != "b" else (worse, better)
    responses = tuple(Response((Message("assistant", text),)) for text in texts)
    source = Source("f.jsonl", line)
    prompt = (Message("user", f"question {line}"),)
    return Group(str(line), source, prompt, responses, (Comparison(0, 1, outcome, row=source),))


def decided_by(word: str, other: str, filling: Sequence[str], count: int, seed: int) -> list[Group]:
    """The better text holds `word`, the worse `other`; all else is chance, and so is the order."""
    chance = random.Random(seed)
    join = "" if len(filling[0]) == 1 else " "
    groups = []
    for line in range(count):
        words = [chance.choices(filling, k=chance.randint(2, 7)) for _ in range(2)]
        for text, decisive in zip(words, (word, other), strict=True):
            text.insert(chance.randint(0, len(text)), decisive)
        better, worse = (join.join(text) for text in words)
        groups.append(row(better, worse, outcome=chance.choice("ab"), line=line))
    return groups


@pytest.mark.parametrize(
    ("word", "other", "filling"),
    [("please", "never", FILLING), ("请", "不", CHINESE), ("7", "8", FILLING)],
)
def test_one_deciding_word_is_found_in_unseen_comparisons(
    word: str, other: str, filling: list[str]
) -> None:
    train = decided_by(word, other, filling, 60, seed=1)
    test = decided_by(word, other, filling, 40, seed=2)
    assert bag_of_words_accuracy(train, test) == 1.0
    # The same words, labels turned round: everything is wrong.
    turned = decided_by(other, word, filling, 40, seed=2)
    assert bag_of_words_accuracy(train, turned) == 0.0


def test_without_a_deciding_word_it_guesses() -> None:
    # 400 coin tosses: 0.5 within 4 standard errors of sqrt(0.25 / 400) = 0.025.
    train = decided_by("well", "well", FILLING, 60, seed=1)
    test = decided_by("well", "well", FILLING, 400, seed=2)
    assert bag_of_words_accuracy(train, test) == pytest.approx(0.5, abs=0.1)


def test_an_equal_count_of_words_is_no_win() -> None:
    """Strict: the same words in another order cannot be told apart, nor can unseen words."""
    train = decided_by("please", "never", FILLING, 20, seed=1)
    test = [row("the simple matter", "matter the simple"), row("alpha", "beta")]
    assert bag_of_words_accuracy(train, test) == 0.0


def test_counts_matter_not_presence() -> None:
    train = [row("so so", "so", line=n, outcome="ab"[n % 2]) for n in range(10)]
    assert bag_of_words_accuracy(train, [row("so so so", "so so")]) == 1.0


def test_case_is_folded_and_labelled_ties_are_left_out() -> None:
    train = decided_by("please", "never", FILLING, 40, seed=1)
    ties = [row("never", "please", outcome="tie", line=n) for n in range(30)]
    test = [row("PLEASE do", "Never do")]
    assert bag_of_words_accuracy([*train, *ties], [*test, *ties]) == 1.0


def test_longer_wins() -> None:
    """Where the longer text is always the better one, lengths alone score all of it."""
    lengths = [(chosen, chosen - 1 - chosen % 3) for chosen in range(5, 25)]
    items = [Scored("p", 0.0, 0.0, *pair) for pair in lengths]
    assert length_baseline(items) == 1.0
    turned = [Scored("p", 0.0, 0.0, *pair[::-1]) for pair in lengths]
    assert length_baseline(turned) == 0.0
    # 20 right, 20 wrong and 10 undecided: (20 + 5) / 50.
    undecided = [Scored("p", 1.0, 0.0, 7, 7)] * 10
    assert length_baseline([*items, *turned, *undecided]) == 0.5
