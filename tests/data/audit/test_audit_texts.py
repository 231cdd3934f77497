"""What is read off one text: words, script, normal form, and what rules measure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.data.audit.signals import signals_of
from assay.data.audit.texts import excerpt, script_of, words
from assay.data.prompts import normalised


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Why is the sky blue?", "latin"),
        ("Où est la bibliothèque ?", "latin"),
        ("为什么天是蓝的？", "han"),
        ("空はなぜ青いのですか", "kana"),
        ("하늘은 왜 파란가요", "hangul"),
        ("Почему небо голубое", "cyrillic"),
        ("لماذا السماء زرقاء", "arabic"),
        ("आसमान नीला क्यों है", "devanagari"),
        ("天空 sky 蓝色 b", "mixed"),
        ("1 + 1 = 2 ?!", "none"),
        ("", "none"),
    ],
)
def test_script(text: str, script: str) -> None:
    assert script_of(text) == script


def test_words_are_runs_of_letters_and_single_chinese_characters() -> None:
    assert words("Use abc中文 2_times, don't!") == [
        "Use",
        "abc",
        "中",
        "文",
        "2",
        "times",
        "don",
        "t",
    ]


def test_normalised_is_nfkc_folded_and_spaced() -> None:
    assert normalised("  Ｗｈｙ\u3000 is\n\tSTRASSE Straße ") == "why is strasse strasse"


@given(st.text())
def test_normalising_leaves_no_case_and_no_double_space(text: str) -> None:
    normal = normalised(text)
    assert "  " not in normal
    assert normal == normal.strip()


@given(st.text(max_size=300))
def test_every_text_has_a_script_and_signals(text: str) -> None:
    assert script_of(text.encode("utf-8", "ignore").decode())
    assert signals_of(text, set()).characters == len(text)


def test_excerpt_is_one_short_line() -> None:
    assert excerpt("a\nb   c") == "a b c"
    assert excerpt("x" * 61) == "x" * 60 + "…"


def test_signals_by_hand() -> None:
    text = "I’m sorry.\n- one\n* two\n3. three\n（四）four\n## Head\n**bold** and `code`"
    signals = signals_of(text, {"one", "two", "bold"})
    assert signals.list_items == 4
    assert signals.refuses
    assert signals.markdown == 3
    # i m sorry one two 3 three 四 four head bold and code: 3 of 13 stand in the prompt.
    assert signals.overlap == pytest.approx(3 / 13)


@pytest.mark.parametrize(
    ("text", "refuses"),
    [
        ("很抱歉，我不能这样做。", True),
        ("As an AI, I have no body.", True),
        ("Sure, here is how.", False),
        ("当然可以。", False),
    ],
)
def test_refusal_words(text: str, refuses: bool) -> None:
    assert signals_of(text, set()).refuses is refuses


def test_decimals_and_hyphens_are_no_list() -> None:
    assert signals_of("3.5 of them\nwell-known\n1999 was good", set()).list_items == 0
