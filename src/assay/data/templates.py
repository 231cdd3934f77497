"""Templates: how messages become text. Each one is a Jinja chat template, whatever its origin.

A template is resolved against a tokenizer once. The result holds beginning-of-text and end tokens
explicitly, so that any program that renders it with the plain Jinja text (transformers, vLLM)
and adds no special tokens reads exactly what Assay trained on.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from assay.data.nearest import did_you_mean
from assay.errors import TemplateError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

End = Literal["eos", "none"]

NO_TOOLS = (
    "{%- if tools or messages | selectattr('tool_calls', 'defined') | list -%}"
    "{{ raise_exception('this template has no place for tools and tool calls') }}"
    "{%- endif -%}"
)
_ONE_TURN = NO_TOOLS + (
    "{%- if messages | length > 2 or messages[0].role != 'user'"
    " or (messages | length == 2 and messages[1].role != 'assistant') -%}"
    "{{ raise_exception('this template reads one user message and one answer') }}"
    "{%- endif -%}"
)


_FIXED_DATE = {
    "d": "26", "-d": "26", "e": "26", "m": "07", "-m": "7", "y": "24", "Y": "2024", "j": "208",
    "a": "Fri", "A": "Friday", "b": "Jul", "B": "July", "w": "5", "u": "5", "U": "29", "W": "30",
    "H": "00", "I": "12", "M": "00", "S": "00", "f": "000000", "p": "AM", "Z": "", "z": "",
    "D": "07/26/24", "x": "07/26/24", "F": "2024-07-26", "R": "00:00", "T": "00:00:00",
    "X": "00:00:00", "c": "Fri Jul 26 00:00:00 2024",
}  # fmt: skip
"""26 July 2024, for each directive of `strftime`."""

_FIXED_CLOCK = (
    "{%- macro strftime_now(format) -%}{{ format"
    + "".join(f" | replace('%{code}', '{text}')" for code, text in _FIXED_DATE.items())
    + " }}{%- endmacro %}\n"
)
"""What a template reads when it asks for today's date: rewards must not change overnight.

It stands in the template itself, so that every program that renders it reads the same date. Jinja
drops the newline behind it.
"""

_FIXED_PADDING = "{%- set pad_token = "
"""How `_fixed_padding` begins."""


@dataclass(frozen=True, slots=True)
class Template:
    """A registered template. `end` says whether the end token closes each text."""

    name: str
    jinja: str
    end: End


@dataclass(frozen=True, slots=True)
class ResolvedTemplate:
    """A template bound to a tokenizer: `jinja` alone gives the exact text."""

    name: str
    jinja: str

    @property
    def hash(self) -> str:
        """The first 16 hex digits of the SHA-256 of the Jinja text."""
        return hashlib.sha256(self.jinja.encode()).hexdigest()[:16]


_REGISTRY: dict[str, Template] = {}


def register_jinja(template: Template) -> None:
    """Make a template known by its name.

    Raises:
        TemplateError: the name is taken.
    """
    if template.name in _REGISTRY or template.name == "auto":
        raise TemplateError(
            f"there is already a template named '{template.name}'", mend="give it another name"
        )
    _REGISTRY[template.name] = template


def forget_template(name: str) -> None:
    """Forget a template, as that of a plug-in that fails half way."""
    _REGISTRY.pop(name, None)


def registered_templates() -> list[str]:
    """Names of all registered templates."""
    return sorted(_REGISTRY)


register_jinja(
    Template(
        "chatml",
        NO_TOOLS + "{%- if messages[0].role != 'system' -%}"
        "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}"
        "{%- endif -%}"
        "{%- for message in messages -%}"
        "{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
        "{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}",
        end="none",
    )
)
register_jinja(
    Template(
        "cvalues-zh",
        _ONE_TURN + "{{ '根据以下问题，写一个合适的回答。\\n\\n### 问题：\\n' + messages[0].content"
        " + '\\n\\n### 回答：\\n' }}"
        "{%- if messages | length > 1 -%}{{ messages[1].content }}{%- endif -%}",
        end="eos",
    )
)
register_jinja(
    Template(
        "homework",
        _ONE_TURN
        + "{{ 'BEGINNING OF CONVERSATION: USER: ' + messages[0].content + ' ASSISTANT:' }}"
        "{%- if messages | length > 1 -%}{{ messages[1].content }}{%- endif -%}",
        end="eos",
    )
)


def resolve_template(
    choice: str, tokenizer: PreTrainedTokenizerBase, *, end: Literal["auto", "eos", "none"] = "auto"
) -> ResolvedTemplate:
    """Bind a template to a tokenizer.

    Args:
        choice: `auto` (the tokenizer's own), a registered name, or a path ending in `.jinja`.
        tokenizer: gives the begin and end tokens.
        end: overrides what a registered template says of its end; for the others, `eos`
            appends the end token to whatever they render.

    Raises:
        TemplateError: there is no such template, or the tokenizer lacks what it needs.
    """
    if choice == "auto":
        name, jinja, closes = "auto", _own_template(tokenizer), end == "eos"
    elif choice.endswith((".jinja", ".j2")):
        name, jinja, closes = choice, _read(choice), end == "eos"
    elif choice in _REGISTRY:
        template = _REGISTRY[choice]
        closes = (template.end if end == "auto" else end) == "eos"
        name, jinja = choice, _begin(tokenizer, template.jinja) + template.jinja
    else:
        raise TemplateError(
            f"unknown template '{choice}'",
            mend=did_you_mean(choice.lower(), ["auto", *_REGISTRY])
            + f"known: auto, {', '.join(registered_templates())}, or a file ending in .jinja",
        )
    if closes:
        if tokenizer.eos_token is None:
            raise TemplateError(
                f"template '{name}' closes with the end token, and the tokenizer has none",
                mend="set model.template_end: none",
            )
        # Jinja drops one newline at the end of a template; nothing else before the end token goes.
        jinja = jinja.removesuffix("\n") + "{{ '' if add_generation_prompt else eos_token }}"
    if "strftime_now" in jinja and _FIXED_CLOCK not in jinja:
        jinja = _FIXED_CLOCK + jinja
    if "pad_token" in jinja and _FIXED_PADDING not in jinja:
        jinja = _fixed_padding(tokenizer) + jinja
    return ResolvedTemplate(name, jinja)


def _fixed_padding(tokenizer: PreTrainedTokenizerBase) -> str:
    """What a template reads as the padding token: the tokenizer's as it is now.

    Training may choose another to pad with, which must not change the text. Jinja drops the newline
    behind it; a name that nothing defines is undefined, as where there is no padding token.
    """
    pad = tokenizer.pad_token
    value = "there_is_none" if pad is None else json.dumps(pad, ensure_ascii=False)
    return f"{_FIXED_PADDING}{value} %}}\n"


def _begin(tokenizer: PreTrainedTokenizerBase, jinja: str) -> str:
    """A registered template starts with the begin token where the tokenizer would add it.

    One that writes it out itself has it once.
    """
    added = tokenizer("")["input_ids"]
    begin = tokenizer.bos_token
    if not added or added[0] != tokenizer.bos_token_id or not begin:
        return ""
    plain = jinja.removeprefix(_ONE_TURN).removeprefix(NO_TOOLS)
    return "" if re.match(r"""\{\{-? *["']""" + re.escape(begin), plain) else "{{ bos_token }}"


def _own_template(tokenizer: PreTrainedTokenizerBase) -> str:
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    if not template:
        raise TemplateError(
            "the tokenizer has no chat template",
            mend=f"name one: {', '.join(registered_templates())}, or a file ending in .jinja",
        )
    return str(template)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise TemplateError("no such template file", where=path, mend="check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise TemplateError(
            f"cannot be read ({error})", where=path, mend="give a Jinja file in UTF-8"
        ) from None


def own_system_text(tokenizer: PreTrainedTokenizerBase, template: ResolvedTemplate) -> str | None:
    """What a template tells the model where a conversation has no system message, if anything.

    Found by rendering: what stands in the place of a system message when there is none.
    """
    system, question = "\ue000", {"role": "user", "content": "\ue001"}

    def text(*messages: dict[str, str]) -> str:
        rendered = tokenizer.apply_chat_template(
            list(messages), chat_template=template.jinja, tokenize=False
        )
        return str(rendered)

    try:
        around = text({"role": "system", "content": system}, question).split(system)
        without = text(question)
    except Exception:  # A template is a program; this one takes no system message.
        return None
    if len(around) != 2:
        return None
    before, after = around
    if not (without.startswith(before) and without.endswith(after)):
        return None
    return without[len(before) : len(without) - len(after)].strip() or None
