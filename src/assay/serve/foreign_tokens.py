"""Special tokens of other models in a text: it is in a template that this model does not read."""

from __future__ import annotations

import re
from collections.abc import Collection

_ANYWHERE = re.compile(
    r"<\|[A-Za-z0-9_▁]{1,40}\|>"  # ChatML, Llama 3, Phi, Cohere, Falcon, gpt-oss
    r"|<｜[^｜<>\n]{1,40}｜>"  # DeepSeek
    r"|<(?:start|end)_of_turn>"  # Gemma
    r"|\[/?INST\]|<</?SYS>>"  # Llama 2, Mistral
)
_AT_THE_ENDS = re.compile(r"\A\s*(<s>|<bos>)|(</s>|<eos>)\s*\Z")
"""These are HTML elsewhere."""


def foreign_tokens(text: str, own: Collection[str], *, rendered: bool = False) -> tuple[str, ...]:
    """Special tokens of other models in a text, each once, in order.

    Args:
        text: what came.
        own: the tokens of this model's tokenizer.
        rendered: it is a whole text in a template, not the content of one message.
    """
    if "<" not in text and "[" not in text:
        return ()
    found = _ANYWHERE.findall(text)
    if rendered:
        found += [name for pair in _AT_THE_ENDS.findall(text) for name in pair if name]
    return tuple(dict.fromkeys(name for name in found if name not in own))
