"""The whole examination, section by section, also where something is broken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import assay
from assay.doctor.hardware import devices, machine
from assay.doctor.packages import extras, versions
from assay.doctor.section import Section
from assay.errors import ConfigError
from assay.notices import counted


@dataclass
class Diagnosis:
    """All sections that were looked at."""

    sections: list[Section] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """What will not work, each once."""
        return list(dict.fromkeys(line for one in self.sections for line in one.problems))

    def as_json(self) -> dict[str, Any]:
        """For programs: `sections` by key, and all `problems`."""
        found = {section.key: section.as_json() for section in self.sections}
        return {"assay": assay.__version__, "problems": self.problems, "sections": found}

    def verdict(self) -> str:
        """The last line for people."""
        return counted(len(self.problems), "problem") if self.problems else "no problem found"


def examine(recipe: str | None = None, model: str | None = None) -> Iterator[Section]:
    """Look at the installation and this machine, at a recipe, and at a model; sections in order.

    A broken part costs its own section at most.

    Args:
        recipe: a YAML file, to say what it lacks before anything is read or computed.
        model: whatever `--model` takes; only its config and tokenizer are read.

    Raises:
        ConfigError: there is no such recipe.
    """
    if recipe is not None and not Path(recipe).is_file():
        what = "is a directory" if Path(recipe).is_dir() else "no such recipe"
        raise ConfigError(what, where=recipe or "''", mend="name a YAML file")
    yield from (versions(), extras(), machine())
    section = Section("devices", "torch and its devices")
    with section.asked():
        import torch

        devices(torch, section)
    yield section
    if not section.problems:
        section = Section("computing", "what computes here")
        with section.asked():
            from assay.doctor.computing import computing

            computing(section)
        yield section
    if recipe is not None:
        yield from _of_recipe(recipe)
    if model is not None:
        section = Section("model", f"model {model}")
        with section.asked():
            from assay.doctor.models import about_model

            about_model(model, section)
        yield section


def _of_recipe(path: str) -> Iterator[Section]:
    section, recipe = Section("recipe", f"recipe {path}"), None
    with section.asked():
        from assay.doctor.recipes import about_recipe

        recipe = about_recipe(path, section)
    yield section
    if recipe is not None:
        section = Section("start", f"model {recipe.model.path}, as the recipe trains it")
        with section.asked():
            from assay.doctor.models import about_start

            about_start(recipe, section)
        yield section
