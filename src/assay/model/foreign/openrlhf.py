"""OpenRLHF: a backbone with a linear head of a configured name, and the statistics of its rewards.

Its class is called `RewardModel` (`get_llm_for_sequence_regression`): the backbone under its usual
name, a head without a bias under `config.value_head_prefix` (`score`, in older versions
`value_head`). Evaluation writes the mean and standard deviation of the rewards it saw into the
configuration, and OpenRLHF gives (reward - mean) / std where it is told to normalise.
"""

from __future__ import annotations

from assay.errors import ModelError
from assay.model.foreign.directory import ForeignDirectory
from assay.model.foreign.head import ForeignHead, folded

ORIGIN = "OpenRLHF"
_CLASS, _CRITIC = "RewardModel", "CriticModel"
_PREFIX = "value_head_prefix"
SETTINGS = (_PREFIX, "mean", "std", "normalize_reward")
"""What its configuration says of the head: nobody may read it again once row and offset hold it."""


def wrote(directory: ForeignDirectory) -> bool:
    """Whether OpenRLHF wrote a directory: its configuration names a head or one of its classes."""
    classes = directory.config.get("architectures") or []
    return _PREFIX in directory.config or bool({_CLASS, _CRITIC} & set(classes))


def read(directory: ForeignDirectory) -> ForeignHead | None:
    """The head of a reward model that OpenRLHF wrote; None of any other directory.

    Raises:
        ModelError: it is a critic, its head is not where its configuration says, or its statistics
            are not numbers.
    """
    config = directory.config
    if not wrote(directory):
        return None
    if _CRITIC in (config.get("architectures") or []):
        raise ModelError(
            "is a critic of OpenRLHF, which predicts returns and is no reward model",
            where=directory.path,
            mend="name the reward model that it was trained with",
        )
    prefixes = [str(config[_PREFIX])] if _PREFIX in config else ["value_head", "score"]
    heads = [directory.tensor(f"{prefix}.weight") for prefix in prefixes]
    weight_1D = next((head for head in heads if head is not None), None)
    if weight_1D is None:
        raise ModelError(
            f"{ORIGIN}'s head is not among its weights: {prefixes[0]}.weight",
            where=directory.path,
            mend="save it as safetensors, and the model whole (OpenRLHF's LoRA loses the head)",
        )
    mean, std = (config.get("mean"), config.get("std"))
    numbers = [0.0 if mean is None else mean, 1.0 if std is None else std]
    if not all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers):
        raise ModelError(
            f"mean and std in its config.json are not numbers: {mean!r}, {std!r}",
            where=directory.path,
            mend="restore the file",
        )
    return folded(ORIGIN, directory.path, weight_1D, mean=float(numbers[0]), std=float(numbers[1]))
