"""What the tests of the server share: a tiny model, and an application asked without a socket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asking import Make, Served, asking

from assay.model.reward_model import RewardModel


@pytest.fixture(scope="session")
def model(tiny_reward: Path) -> RewardModel:
    return RewardModel.load(str(tiny_reward), device="cpu")


@pytest.fixture
def serving(model: RewardModel) -> Iterator[Make]:
    """Makes applications of the tiny model, and closes them."""
    from assay.serve.app import ServeSettings, create_app
    from assay.serve.limits import Limits
    from assay.serve.reading import ReadingOptions

    made: list[Served] = []

    def make(
        names: tuple[str, ...] = ("rm",),
        reading: dict[str, Any] | None = None,
        **settings: Any,
    ) -> Served:
        limits = {
            key: settings.pop(key) for key in list(settings) if key in Limits.__dataclass_fields__
        }
        given = ServeSettings(Limits(**limits), ReadingOptions(**reading or {}), **settings)
        made.append(asking(create_app(dict.fromkeys(names, model), given)))
        return made[-1]

    yield make
    for served in made:
        served.app.models.close()


@pytest.fixture(scope="module")
def server(model: RewardModel) -> Iterator[Served]:
    """One application with all defaults."""
    from assay.serve.app import create_app

    served = asking(create_app({"rm": model}))
    yield served
    served.app.models.close()
