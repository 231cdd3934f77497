"""Trackers: where a run's numbers go besides its directory. They are those of accelerate.

A run that goes on from a checkpoint computes again what came after it. TensorBoard forgets what
it was told of that; the others cannot, so they are not told twice: `trackers.json` says what they
know.
"""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.config import TrackerName
from assay.errors import ConfigError, first_line
from assay.files import write_text
from assay.notices import warn

KNOWN = "trackers.json"
PROJECT = "assay"

Entry = tuple[int, str]
"""A step, and what was logged after it: train, eval/NAME, or final/NAME."""


@dataclass(frozen=True)
class Told:
    """What trackers know of a run: its id there, the step it goes on after, and what they were
    told of that will be logged again."""

    id: str
    step: int
    entries: frozenset[Entry]


@dataclass(frozen=True)
class _Kind:
    """A tracker: the package it needs, which is also the extra, its project, what it starts with.

    `forgets` says whether it drops what comes after the step that a run goes on with.
    """

    package: str
    project: Callable[[], str]
    options: Callable[[Path, Told], dict[str, Any]]
    forgets: bool = False
    offline: str = ""


KINDS: dict[TrackerName, _Kind] = {
    "tensorboard": _Kind(
        "tensorboard",
        lambda: "tensorboard",
        lambda run, told: {
            "logging_dir": str(run),
            "purge_step": told.step + 1 if told.step else None,
        },
        forgets=True,
    ),
    "wandb": _Kind(
        "wandb",
        lambda: os.environ.get("WANDB_PROJECT", PROJECT),
        lambda run, told: {
            "name": run.name,
            "id": told.id,
            "dir": str(run),
            "resume": "allow",
        },
        offline="log in (wandb login), or set WANDB_MODE=offline",
    ),
    "trackio": _Kind(
        "trackio",
        lambda: os.environ.get("TRACKIO_PROJECT", PROJECT),
        lambda run, told: {"name": f"{run.name}-{told.id}", "resume": "allow"},
    ),
    "swanlab": _Kind(
        "swanlab",
        lambda: os.environ.get("SWANLAB_PROJECT", PROJECT),
        lambda run, told: {
            "name": run.name,
            "id": told.id,
            "log_dir": str(run / "swanlog"),
            "resume": "allow",
        },
        offline="log in (swanlab login), or set SWANLAB_MODE=offline",
    ),
}
"""All trackers, by the names that recipes give them."""


def check_trackers(names: Sequence[TrackerName]) -> None:
    """Refuse a tracker that is not installed, before anything is prepared.

    Raises:
        ConfigError: names the extra.
    """
    for name in names:
        if importlib.util.find_spec(KINDS[name].package) is None:
            raise ConfigError(
                f"{name} is not installed",
                where="train.report_to",
                mend=f"pip install 'assay[{name}]'",
            )


class Trackers:
    """The trackers of a run; one that fails on the way is named and left out.

    Args:
        names: as in the recipe.
        run: the run directory.
        settings: of the run, flat.
        step: the run goes on after this step.
        dropped: what its log has had of what it logs again.

    Raises:
        ConfigError: one does not start.
    """

    def __init__(
        self,
        names: Sequence[TrackerName],
        run: Path,
        settings: Mapping[str, Any],
        *,
        step: int = 0,
        dropped: Iterable[Entry] = (),
    ) -> None:
        self._open: list[tuple[TrackerName, Any, frozenset[Entry]]] = []
        once, every = Told("", step, frozenset(dropped)), None
        for name in names:
            if KINDS[name].forgets:
                tracker = _start(name, run, once)
                known = frozenset(entry for entry in once.entries if entry[0] <= step)
            else:
                every = every or _remember(run, once)
                tracker = _start(name, run, every)
                tracker.store_init_configuration(dict(settings))
                known = every.entries
            self._open.append((name, tracker, known))

    def log(self, values: Mapping[str, float], entry: Entry) -> None:
        """Some numbers of one entry, each under its tag."""
        for opened in list(self._open):
            name, tracker, known = opened
            if entry in known:
                continue
            try:
                tracker.log(dict(values), step=entry[0])
            except Exception as error:  # Hours of training are not lost for a picture of them.
                warn(f"{name} fails and is told no more of this run: {first_line(error)}")
                self._open.remove(opened)

    def close(self) -> None:
        """Have everything written."""
        for name, tracker, _ in self._open:
            try:
                tracker.finish()
            except Exception as error:
                warn(f"{name} could not be closed: {first_line(error)}")
        self._open = []


def _remember(run: Path, now: Told) -> Told:
    """What trackers know of this run, from all its beginnings; kept for the next."""
    path = run / KNOWN
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    entries = now.entries | {(step, what) for step, what in before.get("entries", [])}
    told = Told(before.get("id") or secrets.token_hex(4), now.step, entries)
    write_text(path, json.dumps({"id": told.id, "entries": sorted(entries)}) + "\n")
    return told


def _start(name: TrackerName, run: Path, told: Told) -> Any:
    from accelerate.state import PartialState
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    kind = KINDS[name]
    try:
        PartialState()  # Trackers write debug lines, which ask it which process this is.
        tracker = LOGGER_TYPE_TO_CLASS[name](kind.project(), **kind.options(run, told))
        tracker.main_process_only = False  # Only the first process has trackers at all.
        tracker.start()
    except Exception as error:
        raise ConfigError(
            f"{name} does not start ({first_line(error)})",
            where="train.report_to",
            mend=kind.offline or f"leave {name} out",
        ) from None
    return tracker
