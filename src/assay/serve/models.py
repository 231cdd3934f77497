"""The models of a server, by name."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from assay.data.nearest import did_you_mean
from assay.model.vllm.either import ScoringModel
from assay.serve.batcher import Batcher
from assay.serve.limits import Limits
from assay.serve.metrics import Metrics, ModelMeter
from assay.serve.reading import Reader, ReadingOptions
from assay.serve.refusals import Refusal


@dataclass(slots=True)
class ServedModel:
    """A model with its queue.

    `readers` is the one thread that renders for it; `told` are the warnings of texts that the log
    has.
    """

    name: str
    model: ScoringModel
    reader: Reader
    batcher: Batcher
    meter: ModelMeter
    readers: ThreadPoolExecutor
    created: int = field(default_factory=lambda: int(time.time()))
    told: set[str] = field(default_factory=set)

    def close(self) -> None:
        """Compute what waits, then stop its threads."""
        self.readers.shutdown()
        self.batcher.close()


class Models:
    """Models by name; the first is the one that is meant where a request names none.

    Args:
        models: loaded models by the names under which they are served.
        limits: of each of them.
        options: how texts are taken.
        metrics: what they write to.

    Raises:
        ConfigError, DataError: a limit or template that cannot be.
    """

    def __init__(
        self,
        models: Mapping[str, ScoringModel],
        limits: Limits,
        options: ReadingOptions,
        metrics: Metrics,
    ) -> None:
        self._served: dict[str, ServedModel] = {}
        for name, model in models.items():
            meter = ModelMeter(metrics, name)
            self._served[name] = ServedModel(
                name,
                model,
                Reader(model, limits, options),
                Batcher(model, limits, meter),
                meter,
                ThreadPoolExecutor(1, thread_name_prefix=f"texts for {name}"),
            )

    @property
    def alive(self) -> bool:
        """Whether all of them answer."""
        return all(served.batcher.alive for served in self)

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._served.values())

    def named(self, name: str | None) -> ServedModel:
        """The model of a name, or the first.

        Raises:
            Refusal: there is none of that name.
        """
        if name is None:
            return next(iter(self._served.values()))
        if name not in self._served:
            raise Refusal(
                404,
                f"there is no model '{name[:80]}' here",
                param="model",
                mend=f"{did_you_mean(name, self._served)}served: {', '.join(self._served)}",
            )
        return self._served[name]

    def named_loosely(self, name: str | None) -> ServedModel:
        """The same for protocols whose clients send any name: where one is served, it is meant.

        Raises:
            Refusal: several are served, and none is of that name.
        """
        if len(self._served) == 1:
            return self.named(None)
        return self.named(name)

    def close(self) -> None:
        """Compute what waits, then stop."""
        for served in self._served.values():
            served.close()
