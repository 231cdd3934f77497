"""Which versions are installed, and which extras: as the package's own metadata ask for them."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement

import assay
from assay.doctor.section import Section

TOLD = ("torch", "transformers", "peft", "accelerate", "tokenizers", "safetensors", "numpy")
"""Packages whose versions decide how things compute, or what files can be read."""
USES = {
    "client": "rewards from a running server",
    "deepspeed": "train.strategy deepspeed-zero2, deepspeed-zero3",
    "demo": "assay demo, for its bag of words",
    "mindrecord": "assay convert --to mindrecord",
    "modelscope": "models and data sets of ModelScope",
    "qlora": "lora.quantize",
    "ray": "assay score --engine ray",
    "serve": "assay serve",
    "swanlab": "train.report_to swanlab",
    "tensorboard": "train.report_to tensorboard",
    "trackio": "train.report_to trackio",
    "wandb": "train.report_to wandb",
}
"""What each extra is for; `dev` and `docs` are for working on Assay itself."""
_SETTINGS = (
    "ASSAY_CACHE",
    "CUDA_VISIBLE_DEVICES",
    "HF_ENDPOINT",
    "HF_HOME",
    "HF_HUB_OFFLINE",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "ONEDNN_MAX_CPU_ISA",
    "WORLD_SIZE",
)
"""Variables of the environment that change what Assay does, and hold no secret."""
_LOGIN = re.compile(r"(?<=://)[^/@]*@")


def versions() -> Section:
    """Assay, Python, and what computes; a required package that is absent or does not fit."""
    section = Section("versions")
    section.say("assay", assay.__version__)
    section.say("python", platform.python_version(), f"{platform.python_version()} ({_where()})")
    for name in TOLD:
        found = installed(name)
        section.say(name, found, found or "not installed")
    with section.tried("what Assay needs"):
        for requirement in _needed(""):
            _check(requirement, section)
    settings = {name: os.environ[name] for name in _SETTINGS if name in os.environ}
    if settings:
        shown = {name: shortened(_LOGIN.sub("", value)) for name, value in settings.items()}
        section.say("environment", shown, " ".join(f"{k}={v}" for k, v in shown.items()))
    return section


def extras() -> Section:
    """Each extra: its packages with their versions, or the line that installs them."""
    section = Section("extras")
    with section.tried("extras"):
        for name in metadata.metadata("assay").get_all("Provides-Extra") or ():
            if name in USES:
                _say_extra(name, section)
    return section


def installed(name: str) -> str | None:
    """The version of an installed package; it need not work."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def shortened(path: str) -> str:
    """A path as one may show it: the home directory as ~."""
    home = os.path.expanduser("~")  # noqa: PTH111 - Path.home() raises where there is none.
    return f"~{path.removeprefix(home)}" if len(home) > 1 and path.startswith(home) else path


def _where() -> str:
    return f"{platform.system()} {platform.release()}, {platform.machine()}"


def _needed(extra: str) -> Iterator[Requirement]:
    """What an extra asks for, or the package itself."""
    for line in metadata.requires("assay") or ():
        requirement = Requirement(line)
        marker = requirement.marker
        always = marker is None or marker.evaluate({"extra": ""})
        if always if not extra else (not always and marker and marker.evaluate({"extra": extra})):
            yield requirement


def _check(requirement: Requirement, section: Section) -> None:
    found = installed(requirement.name)
    wanted = f"{requirement.name}{requirement.specifier}"
    if found is None:
        section.problems.append(f"{requirement.name}: is not installed; pip install '{wanted}'")
    elif not requirement.specifier.contains(found, prereleases=True):
        section.problems.append(
            f"{requirement.name}: {found} is installed, and Assay needs {requirement.specifier}; "
            f"pip install '{wanted}'"
        )


def _say_extra(name: str, section: Section) -> None:
    needed = list(_needed(name))
    found = {requirement.name: installed(requirement.name) for requirement in needed}
    old = [
        requirement.name
        for requirement in needed
        if (version := found[requirement.name]) is not None
        and not requirement.specifier.contains(version, prereleases=True)
    ]
    lacking = [package for package, version in found.items() if version is None]
    line = f"pip install 'assay[{name}]'"
    said = ", ".join(f"{package} {version}" for package, version in found.items() if version)
    if lacking:
        said = f"no {', '.join(lacking)}: {line}  ({USES[name]})"
    elif old:
        said += f": {', '.join(old)} does not fit: {line}"
    section.say(name, {"packages": found, "complete": not lacking and not old}, said)
