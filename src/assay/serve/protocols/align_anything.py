"""align-anything's remote reward model: `/get_reward` with `prompts` and `responses`."""

from __future__ import annotations

from typing import Any

from assay.data.records import Message
from assay.serve.desk import Desk
from assay.serve.items import Asked, Item, Text
from assay.serve.protocols.answering import numbers
from assay.serve.protocols.asking import grouped
from assay.serve.protocols.registry import Endpoint, ForeignBody, Listed, register_endpoint
from assay.serve.reading import NO_TEMPLATE
from assay.serve.refusals import Refusal


class GetRewardBody(ForeignBody):
    """Questions with answers, as words; with an input template, the two halves of a text.

    `golden_responses` change no reward.
    """

    model: str | None = None
    prompts: Listed[str]
    responses: Listed[str]


async def get_reward(body: GetRewardBody, desk: Desk) -> dict[str, Any]:
    """Rewards of each answer to its question."""
    served = desk.models.named_loosely(body.model)
    if len(body.prompts) != len(body.responses):
        raise Refusal(
            422,
            f"{len(body.responses)} responses for {len(body.prompts)} prompts",
            param="responses",
            mend="send one for each prompt",
        )
    template = body.input_template or served.reader.input_template
    items = tuple(
        _item(prompt, response, place, template)
        for place, (prompt, response) in enumerate(zip(body.prompts, body.responses, strict=True))
    )
    scored = await desk.score(served, Asked(items, template))
    return {"rewards": numbers(scored, body.use_activation)}


def _item(prompt: str, response: str, place: int, template: str) -> Item:
    field = f"responses[{place}]"
    if template != NO_TEMPLATE:
        return Text(prompt + response, field)
    return grouped(
        (Message("user", prompt),),
        [(Message("assistant", response),)],
        [field],
        prompt_field=f"prompts[{place}]",
    )


def plain_error(refusal: Refusal) -> dict[str, str]:
    """Its clients look for a text."""
    return {"error": str(refusal)}


register_endpoint(
    Endpoint(
        "align-anything",
        "/get_reward",
        GetRewardBody,
        frozenset({"responses"}),
        get_reward,
        "align-anything: raw rewards of answers to questions",
        ({"prompts": ["2+2?"], "responses": ["4"]}, {"rewards": [1.2]}),
        error=plain_error,
    )
)
