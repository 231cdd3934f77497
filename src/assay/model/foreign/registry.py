"""Which program wrote a directory's head: the readers are asked in turn."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from assay.model.foreign import biased, llama_factory, openrlhf, trl
from assay.model.foreign.directory import ForeignDirectory
from assay.model.foreign.head import ForeignHead

Reader = Callable[[ForeignDirectory], ForeignHead | None]

READERS: tuple[Reader, ...] = (llama_factory.read, openrlhf.read, trl.read, biased.read)
"""The most telling signs first: a file's name, a configuration's key, a tensor's name."""

_HEAD = re.compile(
    r"(^|\.)(v_head|value_head|score|rm_head|reward_head|regression_head|classifier)\."
)


def foreign_head(path: Path) -> ForeignHead | None:
    """The head that another program wrote into a directory, or None where no reader knows one.

    Plain `ForSequenceClassification` directories (TRL's reward trainer, Skywork, axolotl,
    ms-swift) have none to be read: transformers reads them whole.

    Raises:
        ModelError: there is one and it cannot be read; says why, and the mend.
    """
    directory = ForeignDirectory(path)
    return next((head for read in READERS if (head := read(directory)) is not None), None)


def foreign_settings(path: Path) -> tuple[str, ...]:
    """Keys of config.json that speak of another program's head; empty of a directory without."""
    return openrlhf.SETTINGS if openrlhf.wrote(ForeignDirectory(path)) else ()


def unread_head(unexpected: Iterable[str]) -> str | None:
    """The first name among the tensors that a model has no place for that looks like a head's."""
    return next((name for name in sorted(unexpected) if _HEAD.search(name)), None)
