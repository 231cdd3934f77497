"""What Assay writes beside the weights: how the model reads, and where it comes from."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from assay.config import SpecialTokens, Thinking
from assay.errors import ModelError

METADATA_FILE = "assay.json"


@dataclass(frozen=True, slots=True)
class Metadata:
    """The content of `assay.json`.

    `template` is the exact Jinja text (also the tokenizer's chat template); `max_length` the
    length that training kept to; `data` maps each training file to its SHA-256. `reward_offset` is
    added to each reward by Assay and by no other program: the part of a foreign head that one row
    cannot hold.
    """

    template_name: str
    template: str
    template_hash: str
    special_tokens_in_content: SpecialTokens
    base: str
    max_length: int | None = None
    data: dict[str, str] = field(default_factory=dict)
    assay_version: str = ""
    thinking: Thinking = "keep"
    reward_offset: float = 0.0

    def write(self, directory: Path) -> None:
        """Write `assay.json` into a model directory."""
        text = json.dumps(asdict(self), ensure_ascii=False, indent=2)
        (directory / METADATA_FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, directory: Path) -> Metadata | None:
        """The metadata of a directory, or None where Assay wrote none.

        Raises:
            ModelError: the file is there and is not what this version writes.
        """
        path = directory / METADATA_FILE
        if not path.exists():
            return None
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise ModelError(
                f"not readable metadata ({error})",
                where=path,
                mend="it was written by another version or edited; restore it",
            ) from None
