"""Which prompts are the same for a person, whatever their spelling: what splits go by."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence

from assay.data.records import Message


def normalised(text: str) -> str:
    """NFKC, case folded, every run of white space one space."""
    # Folding can undo the first normalisation (U+0345, for one).
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.split())


def normalised_prompt_hash(prompt: Sequence[Message]) -> bytes:
    """16 bytes of a hash over roles and normalised texts."""
    digest = hashlib.blake2b(digest_size=16)
    for message in prompt:
        text = normalised(message.content)
        digest.update(f"{message.role}\0{text}\0".encode(errors="surrogatepass"))
    return digest.digest()
