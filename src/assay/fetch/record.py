"""What is known of a pulled directory: its origin, licence, template, and that it is whole."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from assay.errors import PullError

RECORD_NAME = "assay_pull.json"
UNKNOWN_LICENCE = "unknown"


@dataclass(frozen=True)
class PullRecord:
    """The note that a pull leaves in the directory it made.

    Attributes:
        source: where it came from, exactly enough to get it again.
        licence: of what is in it, or `unknown`.
        files: the size in bytes of every file, by its path in the directory.
    """

    source: str
    licence: str
    files: dict[str, int]


def write_record(directory: Path, *, source: str, licence: str) -> None:
    """Write the record of a directory that is otherwise finished.

    Raises:
        OSError: the disk refused.
    """
    files = {
        path.relative_to(directory).as_posix(): path.stat().st_size
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }
    record = PullRecord(source=source, licence=licence, files=files)
    (directory / RECORD_NAME).write_text(json.dumps(asdict(record), indent=2) + "\n", "utf-8")


def read_record(directory: Path) -> PullRecord | None:
    """The record of a pulled directory, or None when there is no such directory.

    Sizes are compared, contents are not: that would cost seconds at every use.

    Raises:
        PullError: the directory is there but not as the pull left it.
    """
    if not directory.is_dir():
        return None
    try:
        fields = json.loads((directory / RECORD_NAME).read_text("utf-8"))
        record = PullRecord(fields["source"], fields["licence"], dict(fields["files"]))
    except (OSError, ValueError, KeyError, TypeError):
        raise _damaged(directory, f"{RECORD_NAME} is missing or unreadable") from None
    for name, size in record.files.items():
        path = directory / name
        if not path.is_file() or path.stat().st_size != size:
            raise _damaged(directory, f"{name} is missing or has another size")
    return record


def chat_template(directory: Path) -> str | None:
    """The text of the tokenizer's chat template, or None when it has none."""
    file = directory / "chat_template.jinja"
    if file.is_file():
        return file.read_text("utf-8")
    template = _json_object(directory / "tokenizer_config.json").get("chat_template")
    if isinstance(template, list):  # several named templates; `default` is the one in use
        named = {entry.get("name"): entry.get("template") for entry in template}
        template = named.get("default")
    return template if isinstance(template, str) else None


def card_fields(directory: Path) -> dict[str, Any]:
    """The YAML header of the card, README.md; nothing where there is none."""
    card = directory / "README.md"
    if not card.is_file():
        return {}
    text = card.read_text("utf-8", errors="replace").lstrip("\ufeff \r\n").replace("\r\n", "\n")
    if not text.startswith("---\n"):
        return {}
    try:
        fields = yaml.safe_load(text.removeprefix("---\n").split("\n---", 1)[0])
    except (yaml.YAMLError, ValueError, RecursionError):  # ValueError: 30 February, for one.
        return {}
    return fields if isinstance(fields, dict) else {}


def card_licence(directory: Path) -> str:
    """The licence that the card names, or `unknown`."""
    fields = card_fields(directory)
    licence = fields.get("license")
    if licence == "other":  # the hub's word for a licence with its own text
        licence = fields.get("license_name") or licence
    if isinstance(licence, list):
        licence = ", ".join(str(part) for part in licence)
    return str(licence) if licence else UNKNOWN_LICENCE


def _json_object(path: Path) -> dict[str, Any]:
    try:
        fields = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _damaged(directory: Path, what: str) -> PullError:
    return PullError(
        f"what was pulled is damaged: {what}",
        where=directory,
        mend="remove the directory and pull again",
    )
