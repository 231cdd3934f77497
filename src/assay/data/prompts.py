"""Which prompts are the same for a person: what splits go by, and what leaks are."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Sequence

from assay.data.records import Message


def normalised(text: str) -> str:
    """NFKC, case folded, every run of white space one space."""
    # Folding can undo the first normalisation (U+0345, for one).
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.split())


def message_text(message: Message) -> str:
    """Everything that the message says: reasoning, content, tool calls as JSON; no template."""
    if not message.reasoning_content and not message.tool_calls:
        return message.content
    parts = [message.reasoning_content or "", message.content]
    if message.tool_calls:
        parts.append(json.dumps(message.tool_calls, ensure_ascii=False, sort_keys=True))
    return "\n".join(part for part in parts if part)


def joined(messages: Iterable[Message]) -> str:
    """The texts of some messages, one behind the other."""
    return "\n".join(map(message_text, messages))


def asked(prompt: Sequence[Message]) -> str:
    """What a prompt asks: its messages but system ones, which many prompts share.

    Two prompts are the same where this, `normalised`, is the same text. A prompt of nothing but
    system messages asks what they say.
    """
    turns = [message for message in prompt if message.role not in ("system", "developer")]
    return joined(turns or prompt)


def normalised_prompt_hash(prompt: Sequence[Message]) -> bytes:
    """16 bytes, equal for prompts that are the same."""
    text = normalised(asked(prompt))
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()
