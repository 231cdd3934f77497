"""Assay's own `/v1/reward`: one prompt with any number of responses, and what is known of them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from assay.client.settings import LONGEST_RUN
from assay.data.formats.messages import assistant, read_turns
from assay.data.records import Message
from assay.errors import AssayError
from assay.serve.desk import Desk
from assay.serve.items import Asked, Item, Text
from assay.serve.protocols.answering import new_id
from assay.serve.protocols.asking import conversation, grouped, read
from assay.serve.protocols.registry import Endpoint, Listed, register_endpoint
from assay.serve.refusals import Refusal, of_error

_OBJECT = {"type": "object"}
Turns = Annotated[
    Any,
    WithJsonSchema({"anyOf": [{"type": "string"}, _OBJECT, {"type": "array", "items": _OBJECT}]}),
]
"""A text, a message, or several messages; looked at where they are read."""


class RewardBody(BaseModel):
    """What to score: a prompt with responses, one conversation, or texts in a template."""

    model_config = ConfigDict(strict=True, extra="forbid")

    model: str | None = Field(default=None, description="A served model; by default the first.")
    prompt: str | None = Field(default=None, description="The user's words.")
    messages: Listed[dict[str, Any]] | None = Field(
        default=None,
        description="The prompt as messages {role, content, ...}; without responses, a "
        "conversation whose turns behind the last user turn are the response.",
    )
    responses: Listed[Turns] | None = Field(
        default=None, description="Responses: each a text, a message, or several messages."
    )
    texts: Listed[str] | None = Field(
        default=None, description="Texts that hold prompt and response in a template."
    )
    input_template: str | None = Field(
        default=None,
        description="The template that texts are in: chatml, qwen, smollm, llama3, gemma, phi3, "
        "mistral or deepseek; none reads them as they stand.",
    )
    tools: Listed[dict[str, Any]] | None = Field(
        default=None, description="Tools of the prompt, as OpenAI describes them."
    )
    chat_template_kwargs: dict[str, Any] | None = Field(
        default=None, description="Variables of the model's own template."
    )
    members: bool = Field(
        default=False, description="Of an ensemble, say what each member gives, too."
    )
    run: str | None = Field(
        default=None,
        min_length=1,
        max_length=LONGEST_RUN,
        description="Name of the training run that asks, for the monitor; as X-Assay-Run.",
    )
    step: int | None = Field(
        default=None, ge=0, description="Its step, for the monitor; as X-Assay-Step."
    )


class Usage(BaseModel):
    """Tokens of all sequences, prompts counted with each response."""

    prompt_tokens: int
    total_tokens: int


class RewardAnswer(BaseModel):
    """Of each response, in order."""

    model_config = ConfigDict(extra="forbid")

    id: str
    object: str
    model: str
    rewards: list[float] = Field(description="Raw float32 rewards, without bounds.")
    uncertainty: list[float] | None = Field(
        default=None, description="Of an ensemble: the standard deviation over its members."
    )
    components: list[dict[str, float]] | None = Field(
        default=None, description="Of heads of attributes: the rating of each, by name."
    )
    members: list[dict[str, float]] | None = Field(
        default=None,
        description="Of an ensemble, where asked for: what each member gives, by name; their mean "
        "is the reward.",
    )
    tokens: list[int] = Field(description="Tokens that the model read, prompt included.")
    truncated: list[bool] = Field(description="Whether the prompt's beginning was left out.")
    foreign_special_tokens: list[list[str]] | None = Field(
        default=None, description="Special tokens of other models, where a text holds any."
    )
    warnings: list[str] | None = None
    usage: Usage


async def reward(body: RewardBody, desk: Desk) -> dict[str, Any]:
    """Rewards, and what else is known."""
    served = desk.models.named(body.model)
    asked = Asked(_items(body), body.input_template)
    heads = served.model.heads
    if body.members and (heads is None or not heads.is_ensemble):
        raise Refusal(422, "the model is no ensemble", param="members", mend="leave it out")
    scored = await desk.score(served, asked)
    total = sum(scored.num_tokens)
    found: dict[str, Any] = {
        "id": new_id("reward"),
        "object": "reward",
        "model": served.name,
        "rewards": scored.rewards,
    }
    wanted = ("uncertainty", "components", *(("members",) if body.members else ()))
    found |= {name: getattr(scored, name) for name in wanted if getattr(scored, name) is not None}
    found["tokens"] = scored.num_tokens
    found["truncated"] = [reading.truncated for reading in scored.readings]
    foreign = [list(reading.foreign) for reading in scored.readings]
    if any(foreign):
        found["foreign_special_tokens"] = foreign
    return found | {"usage": {"prompt_tokens": total, "total_tokens": total}}


def _items(body: RewardBody) -> tuple[Item, ...]:
    given = [name for name in ("prompt", "messages", "texts") if getattr(body, name) is not None]
    if len(given) != 1:
        raise Refusal(
            422,
            f"the body holds {' and '.join(given) or 'nothing to score'}",
            mend="send one of prompt with responses, messages (with responses or an answer at "
            "the end), texts",
        )
    if body.texts is not None:
        return _texts(body)
    if body.responses is None:
        if body.messages is None:
            raise Refusal(422, "is missing", param="responses", mend="send a list of responses")
        return (conversation(body.messages, tools=body.tools, kwargs=body.chat_template_kwargs),)
    if not body.responses:
        raise Refusal(422, "is empty", param="responses", mend="send at least one response")
    if body.messages is not None:
        prompt = read("messages", body.messages)
    else:
        prompt = (Message("user", body.prompt or ""),)
    (named,) = given
    fields = [f"responses[{place}]" for place in range(len(body.responses))]
    turns = [_turns(value, field) for value, field in zip(body.responses, fields, strict=True)]
    tools, kwargs = body.tools, body.chat_template_kwargs
    return (grouped(prompt, turns, fields, prompt_field=named, tools=tools, kwargs=kwargs),)


def _texts(body: RewardBody) -> tuple[Item, ...]:
    for field in ("responses", "tools", "chat_template_kwargs"):
        if getattr(body, field) is not None:
            raise Refusal(422, "has no use with texts", param=field, mend="leave it out")
    if not body.texts:
        raise Refusal(422, "is empty", param="texts", mend="send at least one text")
    return tuple(Text(text, f"texts[{place}]") for place, text in enumerate(body.texts))


def _turns(value: object, field: str) -> tuple[Message, ...]:
    try:
        return read_turns(value, field, assistant)
    except AssayError as error:
        raise of_error(error, field) from None


register_endpoint(
    Endpoint(
        "assay",
        "/v1/reward",
        RewardBody,
        frozenset({"prompt", "messages", "texts"}),
        reward,
        "Rewards of the responses to a prompt",
        (
            {
                "messages": [{"role": "user", "content": "2+2?"}],
                "responses": ["4", "5, or so"],
            },
            {
                "id": "reward-0a1b",
                "object": "reward",
                "model": "rm",
                "rewards": [1.875, -0.25],
                "tokens": [9, 13],
                "truncated": [False, False],
                "usage": {"prompt_tokens": 22, "total_tokens": 22},
            },
        ),
    )
)
