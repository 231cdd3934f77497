"""OpenRLHF's remote reward model: `/get_reward` with `query`.

Its `scores` feed the filtering of groups, which expects numbers in (0, 1); `rewards` feed the
advantage. Both are raw, as with its own server.
"""

from __future__ import annotations

from typing import Any

from assay.serve.desk import Desk
from assay.serve.items import Asked, Text
from assay.serve.protocols.answering import numbers
from assay.serve.protocols.registry import Endpoint, ForeignBody, Listed, register_endpoint
from assay.serve.refusals import Refusal


class GetRewardBody(ForeignBody):
    """Whole texts, prompt and response in the policy's template; `labels` change no reward."""

    model: str | None = None
    query: str | Listed[str]
    prompts: Listed[str | None] | str | None = None


async def get_reward(body: GetRewardBody, desk: Desk) -> dict[str, Any]:
    """Rewards of each query."""
    served = desk.models.named_loosely(body.model)
    queries = [body.query] if isinstance(body.query, str) else body.query
    prompts = [body.prompts] if isinstance(body.prompts, str) else body.prompts or []
    if prompts and len(prompts) != len(queries):
        raise Refusal(
            422,
            f"{len(prompts)} prompts for {len(queries)} queries",
            param="prompts",
            mend="send one for each query, or none",
        )
    known = [prompt or None for prompt in prompts] or [None] * len(queries)
    items = tuple(
        Text(text, f"query[{place}]", prompt=prompt if prompt and text.startswith(prompt) else None)
        for place, (text, prompt) in enumerate(zip(queries, known, strict=True))
    )
    asked = Asked(items, body.input_template)
    found = numbers(await desk.score(served, asked), body.use_activation)
    return {"rewards": found, "scores": found, "extra_logs": {"dummy_scores": found}}


register_endpoint(
    Endpoint(
        "openrlhf",
        "/get_reward",
        GetRewardBody,
        frozenset({"query"}),
        get_reward,
        "OpenRLHF: raw rewards of texts in a template",
        (
            {"query": ["<prompt and response>"], "prompts": ["<prompt>"], "labels": ["null"]},
            {"rewards": [1.2], "scores": [1.2], "extra_logs": {"dummy_scores": [1.2]}},
        ),
    )
)
