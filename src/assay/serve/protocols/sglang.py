"""SGLang's native `/classify` and its `/v1/embeddings`: a reward is an embedding of one number."""

from __future__ import annotations

from typing import Any, Literal

from assay.serve.desk import Desk
from assay.serve.items import Asked
from assay.serve.protocols.answering import encoded, new_id, numbers, usage
from assay.serve.protocols.asking import Input, items_of_input
from assay.serve.protocols.registry import Endpoint, ForeignBody, Listed, register_endpoint
from assay.serve.refusals import Refusal


class ClassifyBody(ForeignBody):
    """Texts or token ids. The model's name is not looked at where one model is served."""

    model: str | None = None
    text: str | Listed[str] | None = None
    input_ids: Listed[int] | Listed[Listed[int]] | None = None
    rid: str | Listed[str] | None = None


class EmbeddingBody(ForeignBody):
    """What OpenAI's clients send for embeddings."""

    model: str | None = None
    input: Input
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None


async def classify(body: ClassifyBody, desk: Desk) -> Any:
    """An object for a text, a bare list for several."""
    served = desk.models.named_loosely(body.model)
    if (body.text is None) == (body.input_ids is None):
        raise Refusal(422, "the body holds 'text' or 'input_ids', one of the two")
    given = body.text if body.text is not None else body.input_ids
    field = "text" if body.text is not None else "input_ids"
    assert given is not None
    items = items_of_input(given, field, begin=True)
    single = isinstance(given, str) or isinstance(given[0], int)
    asked = Asked(items, body.input_template)
    scored = await desk.score(served, asked)
    found = []
    for place, number in enumerate(numbers(scored, body.use_activation)):
        about: dict[str, Any] = {
            "id": _request_id(body.rid, place),
            "prompt_tokens": scored.num_tokens[place],
        }
        if desk.warnings:
            about["warnings"] = desk.warnings
        found.append({"embedding": [number], "meta_info": about})
    return found[0] if single else found


def _request_id(given: str | list[str] | None, place: int) -> str:
    if isinstance(given, str):
        return given
    return given[place] if given and place < len(given) else new_id("classify")


async def embed(body: EmbeddingBody, desk: Desk) -> dict[str, Any]:
    """OpenAI's list of embeddings."""
    served = desk.models.named_loosely(body.model)
    if body.dimensions is not None:
        raise Refusal(422, "a reward has one", param="dimensions", mend="leave it out")
    asked = Asked(items_of_input(body.input, "input", begin=True), body.input_template)
    scored = await desk.score(served, asked)
    return {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": place,
                "embedding": encoded(number, body.encoding_format),
            }
            for place, number in enumerate(numbers(scored, body.use_activation))
        ],
        "model": served.name,
        "usage": usage(scored),
    }


register_endpoint(
    Endpoint(
        "sglang",
        "/classify",
        ClassifyBody,
        frozenset({"text", "input_ids"}),
        classify,
        "SGLang: raw rewards as embeddings of one number",
        (
            {"model": "rm", "text": ["<already templated text>"]},
            [{"embedding": [7.5], "meta_info": {"id": "0a1b", "prompt_tokens": 9}}],
        ),
        methods=("POST", "PUT"),
    )
)
register_endpoint(
    Endpoint(
        "sglang",
        "/v1/embeddings",
        EmbeddingBody,
        frozenset({"input"}),
        embed,
        "SGLang and OpenAI's clients: raw rewards as embeddings of one number",
        (
            {"model": "rm", "input": "<already templated text>"},
            {
                "object": "list",
                "data": [{"object": "embedding", "index": 0, "embedding": [7.5]}],
                "model": "rm",
                "usage": {"prompt_tokens": 9, "total_tokens": 9},
            },
        ),
    )
)
