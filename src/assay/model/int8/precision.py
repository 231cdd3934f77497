"""A model in 8 bits: where that can be, what it does to rewards, and doing it.

Rewards move, so that it is asked for by name, for scoring only. Everything that is decided follows
from the model and a few texts of ours, never from a job's rows: shards agree.
"""

from __future__ import annotations

import statistics
import time

import torch

from assay.data.formats.building import row_group
from assay.data.formats.messages import assistant, user
from assay.data.records import Response, Source
from assay.data.rendering import TokenIds
from assay.errors import AssayError, ConfigError
from assay.model.int8.backbone import Readers, exchange, linear_layers, watching
from assay.model.int8.effect import Effect, effect
from assay.model.int8.plan import Plan, planned
from assay.model.int8.probe import WHERE, check_worth
from assay.model.int8.texts import CONVERSATIONS
from assay.model.reward_model import RewardModel
from assay.model.rewards import score_sequences


class Int8:
    """What 8 bits will do to a model, which is still as it was until `exchange`.

    Args:
        model: in float32 on a CPU, its engine chosen.

    Raises:
        ConfigError: 8 bits have nothing to do, are wrong or gain nothing here.
    """

    def __init__(self, model: RewardModel) -> None:
        check_possible(model)
        check_worth()
        self.model = model
        self._sequences, self._families = own_sequences(model)
        layers = linear_layers(model.backbone)
        with watching(layers) as found:
            self._before, _ = self._rewards()
        if not found:
            raise ConfigError(
                "the model has no linear layers of its own that 8 bits could replace",
                where=WHERE,
                mend="leave --precision out",
            )
        self._found: list[Readers] = found
        spread = statistics.stdev(self._before)
        if not spread:
            raise ConfigError(
                "the model gives all answers one reward, which rounding would only blur",
                where=WHERE,
                mend="train it first, or leave --precision out",
            )
        self.plan: Plan = planned(model, found, self._sequences, spread)

    def exchange(self) -> Effect:
        """Put 8-bit layers into the model, which can then score and not be trained or saved.

        Returns:
            What that does to the rewards of our own texts.
        """
        _, seconds_before = self._rewards()  # The first time nothing was warm, and layers watched.
        exchange(self.model.backbone, self._found, self.plan.choices)
        self.model.precision = "int8"
        self._found = []
        after, seconds = self._rewards()
        speed = seconds_before / seconds
        return effect(self._before, after, self._families, speed=speed)

    def __str__(self) -> str:
        doubled = [choice for choice in self.plan.choices if choice.terms == 2]
        return (
            f"{len(doubled)} of {len(self.plan.choices)} products with a second term, "
            f"{self.plan.products:.2f} products a weight, error predicted at "
            f"{self.plan.error:.0%} of the rewards' spread"
        )

    def _rewards(self) -> tuple[list[float], float]:
        began = time.perf_counter()
        found = score_sequences(self.model, self._sequences, families=self._families)
        return found, time.perf_counter() - began


def quantise(model: RewardModel) -> Effect:
    """Put a model into 8 bits, in place, and say what that does to the rewards of a few texts.

    Raises:
        ConfigError: as `Int8`.
    """
    wanted = Int8(model)
    found = wanted.exchange()
    found.say(f"precision int8 ({wanted}), on texts of its own")
    return found


def check_possible(model: RewardModel) -> None:
    """See that a model is one that 8 bits are for.

    Raises:
        ConfigError: it is not in float32 on a CPU, or has an adapter.
    """
    dtype = next(model.parameters()).dtype
    if model.device.type != "cpu" or dtype != torch.float32:
        raise ConfigError(
            f"8 bits are for models in float32 on a CPU; this one is in {str(dtype)[6:]} on "
            f"{model.device}",
            where=WHERE,
            mend="leave --precision out, or give --device cpu --dtype float32",
        )
    if model.inner is not model.classifier:
        raise ConfigError(
            "the model has an adapter, which would be rounded apart from what it is added to",
            where=WHERE,
            mend="merge it first: assay merge",
        )


def own_sequences(model: RewardModel) -> tuple[list[TokenIds], list[int]]:
    """Our own texts as the model reads them, cut to its context, and the number of each prompt."""
    sequences: list[TokenIds] = []
    families: list[int] = []
    for number, (prompt, *answers) in enumerate(CONVERSATIONS):
        responses = tuple(Response((assistant(text),)) for text in answers)
        group = row_group(Source("texts of its own", number + 1), (user(prompt),), responses)
        items = [(group, index) for index in range(len(responses))]
        try:
            rendered = model.renderer.render_many(items)
        except AssayError:  # A template that asks for more than a prompt and an answer.
            texts = [f"{prompt}\n{text}" for text in answers]
            rendered = [model.renderer.render_text(text) for text in texts]
        sequences += [text.ids[-model.max_length :] for text in rendered]
        families += [number] * len(rendered)
    return sequences, families
