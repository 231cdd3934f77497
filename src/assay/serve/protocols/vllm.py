"""vLLM's pooling server: `/classify` and `/pooling`, which verl and many others call.

Unlike there, rewards are raw unless the body says `use_activation: true`: a sigmoid, which is the
default of a stock server, saturates rewards beyond 10 or so.
"""

from __future__ import annotations

import time
from typing import Any, Literal

from pydantic import Field

from assay.serve.desk import Desk
from assay.serve.items import Asked
from assay.serve.jobs import Scored
from assay.serve.models import ServedModel
from assay.serve.protocols.answering import encoded, new_id, numbers, usage
from assay.serve.protocols.asking import Input, conversation, items_of_input
from assay.serve.protocols.registry import Endpoint, ForeignBody, Listed, register_endpoint
from assay.serve.refusals import Refusal


class PoolingBody(ForeignBody):
    """Texts, token ids or one conversation."""

    model: str | None = None
    input: Input | None = None
    messages: Listed[dict[str, Any]] | None = None
    add_special_tokens: bool | None = None
    truncate_prompt_tokens: int | None = Field(default=None, ge=-1)
    truncation_side: Literal["left", "right"] | None = None
    request_id: str | None = Field(default=None, max_length=200)
    add_generation_prompt: bool = False
    continue_final_message: bool = False
    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    mm_processor_kwargs: dict[str, Any] | None = None
    task: str | None = None
    encoding_format: str = "float"
    dimensions: int | None = None


async def _score(body: PoolingBody, desk: Desk) -> tuple[ServedModel, Scored]:
    served = desk.models.named(body.model)
    _refuse_what_is_not_done(body)
    if body.messages is not None:
        items: Any = (conversation(body.messages, kwargs=body.chat_template_kwargs),)
    else:
        assert body.input is not None
        items = items_of_input(body.input, "input", begin=body.add_special_tokens is not False)
    cut = body.truncate_prompt_tokens
    if cut is not None and body.truncation_side == "right":
        raise Refusal(
            422,
            "'right' would cut the end of the response",
            param="truncation_side",
            mend="leave it out: the beginning of the prompt goes",
        )
    asked = Asked(
        items,
        body.input_template,
        max_length=cut if cut is not None and cut > 0 else None,
        cut=cut is not None,
    )
    return served, await desk.score(served, asked)


def _refuse_what_is_not_done(body: PoolingBody) -> None:
    if (body.input is None) == (body.messages is None):
        raise Refusal(422, "the body holds 'input' or 'messages', one of the two")
    asked_for = {
        "add_generation_prompt": body.add_generation_prompt,
        "continue_final_message": body.continue_final_message,
        "chat_template": body.chat_template is not None,
        "mm_processor_kwargs": bool(body.mm_processor_kwargs),
        "dimensions": body.dimensions is not None,
        "task": body.task not in (None, "classify"),
        "encoding_format": body.encoding_format not in ("float", "base64"),
        "truncate_prompt_tokens": body.truncate_prompt_tokens == 0,
    }
    for field, refused in asked_for.items():
        if refused:
            raise Refusal(
                422,
                "is not served: it would change what is scored, or how it is written",
                param=field,
                mend="leave it out",
            )


def _answer(
    kind: str, body: PoolingBody, served: ServedModel, scored: Scored, data: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "id": f"{kind}-{body.request_id}" if body.request_id else new_id(kind),
        "object": "list",
        "created": int(time.time()),
        "model": served.name,
        "data": data,
        "usage": usage(scored),
    }


async def classify(body: PoolingBody, desk: Desk) -> dict[str, Any]:
    """One class, whose number stands in `probs`."""
    served, scored = await _score(body, desk)
    data = [
        {"index": place, "label": "LABEL_0", "probs": [number], "num_classes": 1}
        for place, number in enumerate(numbers(scored, body.use_activation))
    ]
    return _answer("classify", body, served, scored, data)


async def pool(body: PoolingBody, desk: Desk) -> dict[str, Any]:
    """A vector of one number."""
    served, scored = await _score(body, desk)
    data = [
        {"index": place, "object": "pooling", "data": encoded(number, body.encoding_format)}
        for place, number in enumerate(numbers(scored, body.use_activation))
    ]
    return _answer("pool", body, served, scored, data)


_USAGE = {
    "prompt_tokens": 9,
    "total_tokens": 9,
    "completion_tokens": 0,
    "prompt_tokens_details": None,
}
_BODY = {"model": "rm", "input": "<already templated text>", "use_activation": False}
_KEYS = frozenset({"input", "messages"})


def _shown(kind: str, entry: dict[str, Any]) -> dict[str, Any]:
    about = {"id": f"{kind}-0a1b", "object": "list", "created": 1, "model": "rm"}
    return about | {"data": [entry], "usage": _USAGE}


register_endpoint(
    Endpoint(
        "vllm",
        "/classify",
        PoolingBody,
        _KEYS,
        classify,
        "vLLM: rewards as `probs` of one class; raw unless use_activation is true",
        (
            _BODY,
            _shown(
                "classify", {"index": 0, "label": "LABEL_0", "probs": [1.875], "num_classes": 1}
            ),
        ),
    )
)
register_endpoint(
    Endpoint(
        "vllm",
        "/pooling",
        PoolingBody,
        _KEYS,
        pool,
        "vLLM: rewards as vectors of one number; raw unless use_activation is true",
        (
            _BODY | {"task": "classify"},
            _shown("pool", {"index": 0, "object": "pooling", "data": [1.875]}),
        ),
    )
)
