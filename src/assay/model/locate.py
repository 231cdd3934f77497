"""What `--model` may name: find the directory and say what kind of model is in it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from assay.errors import CheckpointError, ConfigError, ModelError, PullError
from assay.model.manifest import torn
from assay.model.pull import cached_model, pull
from assay.notices import notice, warn

Kind = Literal["plain", "adapter"]

STEP = re.compile(r"step-(\d+)")


@dataclass(frozen=True, slots=True)
class Located:
    """A directory that holds a model: a plain Hugging Face one or a PEFT adapter."""

    path: Path
    kind: Kind


def locate_model(name: str, revision: str | None = None, *, needs_weights: bool = True) -> Located:
    """Find the model that a user named.

    Args:
        name: a run, its `model/`, a checkpoints directory (the newest valid one is taken), one
            checkpoint, an adapter, a plain directory, a pulled name, a hub or ModelScope id.
        revision: of a hub model.
        needs_weights: a directory with only a tokenizer will not do.

    Raises:
        ModelError: nothing of that name holds a model.
        PullError: a hub model cannot be fetched.
    """
    here = locate_here(name, revision, needs_weights=needs_weights)
    if here is not None:
        return here
    try:
        return _in_directory(pull(name, revision=revision).path)
    except PullError as error:
        raise PullError(
            f"no directory '{name}' here, and {error.what}",
            where=error.where,
            mend=error.mend,
        ) from None


def locate_here(
    name: str, revision: str | None = None, *, needs_weights: bool = True
) -> Located | None:
    """As `locate_model`, but nothing is fetched: None where only fetching would tell.

    Raises:
        ModelError: nothing of that name holds a model.
        PullError: what was fetched before is damaged.
    """
    path = Path(name)
    if path.is_dir() and revision is not None:
        raise ModelError(
            "is a directory, and only hub models have revisions",
            where=name,
            mend="leave the revision out",
        )
    if path.is_dir():
        if not needs_weights and (path / "tokenizer_config.json").exists():
            return Located(path, "plain")
        return _in_directory(path)
    if path.is_file():
        raise ModelError("is a file, not a model directory", where=name, mend="name its directory")
    cached = cached_model(name, revision=revision)
    if cached is not None:
        return _in_directory(cached)
    if name.startswith(("/", "./", "../", "~")) or name.count("/") > 1:
        raise ModelError("no such model directory", where=name, mend="check the path")
    return None


def checkpoints_in(directory: Path) -> list[Path]:
    """Valid checkpoints of a `checkpoints/` directory, oldest first; torn ones are named and left.

    A checkpoint is valid when its manifest is there and every file has the size it states.
    """
    found = []
    for path in directory.iterdir() if directory.is_dir() else ():
        match = STEP.fullmatch(path.name)
        if match is None or not path.is_dir():
            continue
        damage = torn(path)
        if damage:
            warn(f"{path}: checkpoint skipped: {damage}")
            continue
        found.append((int(match[1]), path))
    return [path for _, path in sorted(found)]


def _in_directory(path: Path) -> Located:
    for place in (path, path / "model", path / "adapter"):
        if (place / "adapter_config.json").exists():
            return Located(place, "adapter")
        if (place / "config.json").exists():
            return Located(place, "plain")
    checkpoints = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    if any(STEP.fullmatch(entry.name) for entry in checkpoints.iterdir()):
        valid = checkpoints_in(checkpoints)
        if not valid:
            raise CheckpointError(
                "holds no valid checkpoint", where=checkpoints, mend="train again"
            )
        notice(f"{path}: using the newest valid checkpoint, {valid[-1].name}")
        return _in_directory(valid[-1])
    raise ModelError(
        "holds no model",
        where=path,
        mend="a model directory holds config.json or adapter_config.json",
    )


def refuse_base(located: Located, base: str | None) -> None:
    """Refuse a base model beside a model that is whole.

    Raises:
        ConfigError: `base` is given for a whole model.
    """
    if base is not None and located.kind != "adapter":
        raise ConfigError(
            "--base is for adapters, and this is a whole model",
            where=located.path,
            mend="leave it out",
        )


def locate_base(adapter: Path, base: str | None) -> Path:
    """The directory of an adapter's base model: the one given, or the one that the adapter names.

    Raises:
        ModelError: the adapter names none, or one that is not there.
        PullError: a hub model cannot be fetched.
    """
    if base is not None:
        return locate_model(base).path
    named, revision = base_named_in(adapter)
    if named.startswith("/") and not Path(named).is_dir():
        raise ModelError(
            f"the adapter's base model is no longer at {named}",
            where=adapter,
            mend="give its new place with --base",
        )
    try:
        return locate_model(named, revision).path
    except (ModelError, PullError) as error:
        raise ModelError(
            f"the adapter's base model '{named}' is not found ({error.what})",
            where=adapter,
            mend="give its place with --base",
        ) from None


def base_named_in(adapter: Path) -> tuple[str, str | None]:
    """The base model that an adapter names, and its revision.

    Raises:
        ModelError: it names none.
    """
    try:
        config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
        named, revision = config["base_model_name_or_path"], config.get("revision")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        named = revision = None
    if not named:
        raise ModelError(
            "the adapter does not say which base model it belongs to",
            where=adapter,
            mend="give --base",
        )
    # A directory has no revisions, though the adapter was trained on one that had.
    return str(named), None if Path(named).is_dir() else revision
