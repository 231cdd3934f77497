"""Templates of policies: how a text that was rendered for another model becomes messages again.

A client of reinforcement learning holds texts in the template of the model that it trains. Scored
as they stand they are silently wrong: the reward model never saw such marks. Each template here is
a few patterns; a text has to fit them from the first character to the last.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from assay.data.nearest import did_you_mean
from assay.data.records import Message
from assay.errors import DataError

_ROLES = {"model": "assistant"}
_KNOWN = ("system", "developer", "user", "assistant")
_EMPTY_THOUGHT = re.compile(r"\A<think>\s*</think>\s*")
_TOOLS = re.compile(r"# Tools\n\nYou may call one or more functions|\A<tool_response>")


@dataclass(frozen=True, slots=True)
class PolicyTemplate:
    """How a template writes conversations.

    Attributes:
        name: as requests name it.
        turn: one turn, with groups `role` and `content`; or a question with its answer, with
            groups `user` and `assistant`. Only the last one may lack its end.
        marks: strings of the template that no content holds.
        around: strings that may stand before and behind all turns, any number of times.
        lead: bare text before the first of the marks is the system message.
        own_systems: system texts that the template writes where nobody wrote one.
        heading: what the template puts before a system text.
    """

    name: str
    turn: re.Pattern[str]
    marks: tuple[str, ...]
    around: tuple[str, ...] = ()
    lead: bool = False
    own_systems: tuple[str, ...] = ()
    heading: re.Pattern[str] | None = field(default=None)


def _turn(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.DOTALL)


_IM: tuple[re.Pattern[str], tuple[str, ...], tuple[str, ...]] = (
    _turn(r"<\|im_start\|>(?P<role>\w+)\n(?P<content>.*?)(?:<\|im_end\|>\n?|\Z)"),
    ("<|im_start|>", "<|im_end|>"),
    ("<|endoftext|>",),
)

TEMPLATES = {
    template.name: template
    for template in (
        PolicyTemplate("chatml", *_IM),
        PolicyTemplate(
            "qwen",
            *_IM,
            own_systems=(
                "You are a helpful assistant.",
                "You are a helpful assistant",
                "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
            ),
        ),
        PolicyTemplate(
            "smollm",
            *_IM,
            own_systems=("You are a helpful AI assistant named SmolLM, trained by Hugging Face",),
        ),
        PolicyTemplate(
            "llama3",
            _turn(
                r"<\|start_header_id\|>(?P<role>\w+)<\|end_header_id\|>\n\n"
                r"(?P<content>.*?)(?:<\|eot_id\|>|\Z)"
            ),
            ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>"),
            ("<|begin_of_text|>", "<|end_of_text|>", "<|finetune_right_pad_id|>"),
            heading=re.compile(r"Cutting Knowledge Date: [^\n]*\nToday Date: [^\n]*\n+"),
        ),
        PolicyTemplate(
            "gemma",
            _turn(r"<start_of_turn>(?P<role>\w+)\n(?P<content>.*?)(?:<end_of_turn>\n?|\Z)"),
            ("<start_of_turn>", "<end_of_turn>"),
            ("<bos>", "<eos>", "<pad>"),
        ),
        PolicyTemplate(
            "phi3",
            _turn(r"<\|(?P<role>system|user|assistant)\|>\n(?P<content>.*?)(?:<\|end\|>\n?|\Z)"),
            ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
            ("<s>", "<|endoftext|>"),
        ),
        PolicyTemplate(
            "mistral",
            _turn(r"\[INST\] ?(?P<user>.*?) ?\[/INST\] ?(?P<assistant>.*?)(?:</s>|\Z) ?"),
            ("[INST]", "[/INST]", "</s>"),
            ("<s>", "<pad>"),
        ),
        PolicyTemplate(
            "deepseek",
            _turn(
                r"<｜User｜>(?P<user>.*?)<｜Assistant｜>(?P<assistant>.*?)"
                r"(?:<｜end▁of▁sentence｜>|\Z)"
            ),
            ("<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>"),
            ("<｜begin▁of▁sentence｜>",),
            lead=True,
        ),
    )
}
"""Templates by name. Another one is another entry."""


def policy_template(name: str) -> PolicyTemplate:
    """The template of a name.

    Raises:
        DataError: there is none.
    """
    if name not in TEMPLATES:
        raise DataError(
            f"unknown input template '{name[:40]}'",
            mend=f"{did_you_mean(name.lower(), TEMPLATES)}known: {', '.join(TEMPLATES)}",
        )
    return TEMPLATES[name]


def messages_of(text: str, template: PolicyTemplate) -> tuple[Message, ...]:
    """The conversation that a text holds, its last turn the assistant's.

    A system text that the template itself writes is left out, and so are its date and an empty
    block of thoughts: nobody wrote them.

    Raises:
        DataError: the text is not one of the template, or holds tools.
    """
    text = _without_around(text, template.around)
    found: list[tuple[str, str]] = []
    at = 0
    if template.lead:
        at = max(text.find(template.marks[0]), 0)
        if at:
            found.append(("system", text[:at]))
    while at < len(text):
        turn = template.turn.match(text, at)
        if turn is None or turn.end() == at:
            raise _misfit(template, f"character {at} is where no turn of it can begin")
        parts = turn.groupdict()
        if "role" in parts:
            found.append((parts["role"], parts["content"]))
        else:
            found += parts.items()
        at = turn.end()
    messages = [_message(role, content, template) for role, content in found]
    if messages and messages[0].role == "system" and _is_own(messages[0].content, template):
        del messages[0]
    if not messages or messages[-1].role != "assistant":
        raise _misfit(template, "its last turn is not the assistant's")
    return tuple(messages)


def _message(role: str, content: str, template: PolicyTemplate) -> Message:
    role = _ROLES.get(role, role)
    if role not in _KNOWN or _TOOLS.search(content):
        raise DataError(
            f"a text with tools cannot be read back from template {template.name}",
            mend="send the conversation as messages",
        )
    mark = next((mark for mark in template.marks if mark in content), None)
    if mark is not None:
        raise _misfit(template, f"{mark} stands inside a turn")
    if role == "system" and template.heading is not None:
        heading = template.heading.match(content)
        content = content[heading.end() :] if heading else content
    if role == "assistant":
        content = _EMPTY_THOUGHT.sub("", content)
    return Message(role, content)


def _is_own(content: str, template: PolicyTemplate) -> bool:
    return content in template.own_systems or (template.heading is not None and not content)


def _without_around(text: str, around: tuple[str, ...]) -> str:
    """The text without what may stand before and behind its turns."""
    names = "|".join(map(re.escape, around)) or r"(?!)"
    before = re.match(f"(?:{names})*", text)
    start, end = before.end() if before else 0, len(text)
    while name := next((name for name in around if text.endswith(name, start, end)), ""):
        end -= len(name)
    return text[start:end]


def _misfit(template: PolicyTemplate, why: str) -> DataError:
    return DataError(
        f"the text is not in template {template.name}: {why}",
        mend="name the template that it is in as input_template, or send messages",
    )
