"""What tells that the server lives and what it serves."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, Response

import assay
from assay.model.vllm.either import engine_of
from assay.serve.gate import Draining
from assay.serve.metrics import Metrics
from assay.serve.models import Models, ServedModel

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


class Health:
    """Answers to load balancers, to Prometheus and to those who ask for the models.

    Args:
        models: of the server.
        metrics: of the server.
        draining: whether it shuts down.
    """

    def __init__(self, models: Models, metrics: Metrics, draining: Draining) -> None:
        self._models = models
        self._metrics = metrics
        self._draining = draining

    async def health(self) -> Response:
        """200 and nothing else while all models compute; 503 where one does not."""
        return Response(status_code=200 if self._models.alive else 503)

    async def ready(self) -> Response:
        """200 while requests are welcome; 503 once the server shuts down."""
        ready = self._models.alive and not self._draining.begun
        return JSONResponse({"ready": ready}, 200 if ready else 503)

    async def metrics(self) -> Response:
        """All metrics in Prometheus' text format."""
        return Response(self._metrics.text(), media_type=PROMETHEUS)

    async def version(self) -> Response:
        """Of Assay."""
        return JSONResponse({"version": assay.__version__})

    async def models(self) -> Response:
        """The served models, as OpenAI lists them."""
        found = [_about(served) for served in self._models]
        return JSONResponse({"object": "list", "data": found})

    async def model(self, name: str) -> Response:
        """One of them."""
        return JSONResponse(_about(self._models.named(name)))


def _about(served: ServedModel) -> dict[str, Any]:
    template, heads = served.model.renderer.template, served.model.heads
    return {
        "id": served.name,
        "object": "model",
        "created": served.created,
        "owned_by": "assay",
        "max_model_len": served.reader.limit,
        "template": template.name,
        "template_hash": template.hash,
        "engine": engine_of(served.model),
        "members": None if heads is None or not heads.is_ensemble else heads.names,
        "components": None if heads is None or heads.is_ensemble else heads.names,
    }
