"""Which words differ: nothing is lost, Chinese is cut by character, marks stay with letters."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from assay.report.differing import Marked, differing, pieces

SOME = st.text(alphabet=st.sampled_from("ab 中文é\u0301\n.عَ\u200d👩💻ก็"), max_size=40)


def marked(found: Marked) -> list[str]:
    return [piece for piece, is_only in found if is_only]


@settings(deadline=None, max_examples=50)
@given(SOME)
def test_pieces_are_the_text(text: str) -> None:
    assert "".join(pieces(text)) == text


@settings(deadline=None, max_examples=50)
@given(SOME, SOME)
def test_both_texts_stand_whole(first: str, second: str) -> None:
    a, b, _ = differing(first, second)
    assert "".join(piece for piece, _ in a) == first
    assert "".join(piece for piece, _ in b) == second


@settings(deadline=None, max_examples=50)
@given(SOME)
def test_equal_texts_have_nothing_marked(text: str) -> None:
    a, b, _ = differing(text, text)
    assert marked(a) == marked(b) == []


def test_words_that_one_adds_are_marked() -> None:
    a, b, aligned = differing("Look at the label first.", "Look at the very long label.")
    assert aligned
    assert (marked(a), marked(b)) == (["first"], ["very long"])


def test_a_word_that_is_elsewhere_is_marked_only_where_texts_are_aligned() -> None:
    a, _, aligned = differing("one two three four", "five six seven four eight nine")
    assert not aligned
    assert marked(a) == ["one two three"]
    a, b, aligned = differing("x y z w", "y z w x")
    assert aligned
    assert (marked(a), marked(b)) == (["x"], ["x"])


def test_chinese_is_cut_by_character() -> None:
    assert pieces("消防车来了 ok") == ["消", "防", "车", "来", "了", " ", "ok"]
    a, b, _ = differing("消防车被你骗来了", "救火车被你骗来了")
    assert (marked(a), marked(b)) == (["消防"], ["救火"])


def test_marks_stay_with_their_letters() -> None:
    assert pieces("cafe\u0301 x") == ["cafe\u0301", " ", "x"]
    assert pieces("كَتَبَ درس") == ["كَتَبَ", " ", "درس"]
    assert pieces("हिन्दी!") == ["हिन्दी", "!"]
    assert pieces("👩\u200d💻.") == ["👩\u200d💻", "."]
    assert pieces("کتاب\u200cها") == ["کتاب\u200cها"]


def test_long_texts_are_compared_as_sets_of_words() -> None:
    a, b, aligned = differing("same " * 2000 + "new", "same " * 2000 + "old")
    assert not aligned
    assert (marked(a), marked(b)) == (["new"], ["old"])
