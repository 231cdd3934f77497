"""A desk whose rewards are noted, where the request names a run."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from assay.serve.desk import Desk
from assay.serve.items import Asked
from assay.serve.jobs import Scored
from assay.serve.limits import Limits
from assay.serve.models import Models, ServedModel
from assay.serve.monitor.tags import tag_of
from assay.serve.monitor.watching import Monitor


class WatchedDesk(Desk):
    """One request, watched by its tag.

    Args:
        request: whose headers may hold the tag.
        models: of the server.
        limits: of the server.
        monitor: is told the rewards.
        body: its fields `run` and `step`, where its protocol has them, are the tag.

    Raises:
        Refusal: a tag that cannot be (422).
    """

    def __init__(
        self, request: Request, models: Models, limits: Limits, monitor: Monitor, body: Any
    ) -> None:
        super().__init__(request, models, limits)
        self._monitor = monitor
        self._tag = tag_of(request.headers, getattr(body, "run", None), getattr(body, "step", None))

    async def score(self, served: ServedModel, asked: Asked) -> Scored:
        """As any desk."""
        scored = await super().score(served, asked)
        if self._tag is not None:
            self._monitor.note(self._tag, served.name, asked, scored)
        return scored
