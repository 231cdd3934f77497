"""Baselines that a reward model must beat: what words alone, or lengths alone, can tell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from assay.data.records import Group
from assay.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WORD = r"(?u)[\u4e00-\u9fff]|[^\W\u4e00-\u9fff]+"
"""A word, or one Chinese character."""


def bag_of_words_accuracy(train: Sequence[Group], test: Sequence[Group]) -> float:
    """Strict accuracy of a logistic regression on differences of word counts.

    The linear Bradley-Terry model over words: P(a beats b) = s(w . (counts(a) - counts(b))).

    Raises:
        ConfigError: scikit-learn is not installed.
    """
    try:
        from sklearn.feature_extraction.text import CountVectorizer
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise ConfigError(
            "the bag-of-words baseline needs scikit-learn", mend="pip install 'assay[demo]'"
        ) from None
    better, worse = _texts(train)
    vectorizer = CountVectorizer(token_pattern=_WORD).fit([*better, *worse])

    def differences(chosen: list[str], rejected: list[str]) -> NDArray[np.float64]:
        gap: NDArray[np.float64] = (
            vectorizer.transform(chosen) - vectorizer.transform(rejected)
        ).toarray()
        return gap.astype(np.float64)

    gap_CW = differences(better, worse)
    # The regression needs both labels: each comparison stands in both directions.
    model = LogisticRegression(fit_intercept=False, max_iter=1000)
    model.fit(np.concatenate([gap_CW, -gap_CW]), np.repeat([1, 0], len(gap_CW)))
    return float((differences(*_texts(test)) @ model.coef_[0] > 0).mean())


def _texts(groups: Iterable[Group]) -> tuple[list[str], list[str]]:
    """Texts of better and of worse responses, one of each a comparison."""
    better, worse = [], []
    for group in groups:
        words = [" ".join(m.content for m in r.messages) for r in group.responses]
        for comparison in group.comparisons:
            if comparison.winner_loser is not None:
                better.append(words[comparison.winner_loser[0]])
                worse.append(words[comparison.winner_loser[1]])
    return better, worse
