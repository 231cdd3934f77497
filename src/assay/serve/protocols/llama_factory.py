"""LLaMA-Factory's `/v1/score/evaluation`, which its PPO trainer calls with whole texts."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from assay.serve.desk import Desk
from assay.serve.items import Asked, Text
from assay.serve.protocols.answering import new_id, numbers
from assay.serve.protocols.registry import Endpoint, ForeignBody, Listed, register_endpoint


class EvaluationBody(ForeignBody):
    """Texts in a template, called messages; the client sends any name for the model."""

    model: str | None = None
    messages: Listed[str]
    max_length: int | None = Field(default=None, ge=1)


async def evaluate(body: EvaluationBody, desk: Desk) -> dict[str, Any]:
    """Scores of each text."""
    served = desk.models.named_loosely(body.model)
    items = tuple(Text(text, f"messages[{place}]") for place, text in enumerate(body.messages))
    asked = Asked(items, body.input_template, body.max_length, cut=bool(body.max_length))
    scored = await desk.score(served, asked)
    return {
        "id": new_id("scoreval"),
        "object": "score.evaluation",
        "model": served.name,
        "scores": numbers(scored, body.use_activation),
    }


register_endpoint(
    Endpoint(
        "llamafactory",
        "/v1/score/evaluation",
        EvaluationBody,
        frozenset({"messages"}),
        evaluate,
        "LLaMA-Factory: raw rewards of texts in a template",
        (
            {"model": "model", "messages": ["<already templated text>"]},
            {
                "id": "scoreval-0a1b",
                "object": "score.evaluation",
                "model": "rm",
                "scores": [1.2],
            },
        ),
    )
)
