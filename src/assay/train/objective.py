"""What a recipe's loss asks of data and model, settled before the first step."""

from __future__ import annotations

from collections.abc import Iterable

from assay.config import Recipe
from assay.data.encoding import EncodedGroup
from assay.errors import ConfigError
from assay.losses import objective_of
from assay.model.heads import HEADS_FILE
from assay.model.membership import give_members
from assay.model.reader import locate_for_training
from assay.model.reward_model import RewardModel
from assay.notices import notice


def prepare_objective(recipe: Recipe, model: RewardModel, groups: Iterable[EncodedGroup]) -> None:
    """Look at the training groups, and give the model the heads that the loss takes.

    Call it before the optimizer is built: heads are parameters.

    Raises:
        DataError: the data lack what the loss needs; names the first row.
        ConfigError: the model's head is of a kind that the loss cannot read.
    """
    objective = objective_of(recipe.loss, recipe.train.seed)
    members = objective.prepare(groups)
    if objective.reads_tokens and model.head_weight is None:
        raise ConfigError(
            f"{type(model.classifier).__name__} has a head of its own kind, which gives no reward "
            "for each token",
            where="loss.kind",
            mend="set loss.kind: bradley_terry, or take a decoder",
        )
    directory = locate_for_training(recipe.model).path
    if members is not None:
        give_members(model, members, seed=recipe.train.seed, directory=directory)
    elif (directory / HEADS_FILE).exists():
        notice(f"{directory}: its several heads end here; their mean, its reward, is trained on")
