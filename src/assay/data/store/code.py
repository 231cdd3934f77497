"""The code that decides what stands in a store: Assay's own, and what was added to it."""

from __future__ import annotations

import ast
import hashlib
import site
import sys
import sysconfig
import warnings
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib.machinery import PathFinder
from importlib.metadata import entry_points
from pathlib import Path
from uuid import uuid4

from assay.data.formats import Format, registered_formats
from assay.data.plugins import GROUP, loaded_files, plugin_files
from assay.data.template_classes import template_class_modules

_THIS_PROCESS = uuid4().hex


@cache
def own_code() -> str:
    """A hash of the modules that decide what stands in a store."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(f"{path.relative_to(package)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def foreign_formats() -> list[Format]:
    """The formats that a plug-in or the running program has added."""
    own = "assay.data.formats."
    return [one for one in registered_formats() if not one.read.__module__.startswith(own)]


def foreign_code() -> list[str]:
    """Names of the formats that the package does not bring, and what tells their code apart.

    Hashes of the files of plug-ins, of template classes and their bases, of formats that were added
    by hand, and of all that these import by name; of installed packages the versions.
    """
    foreign = foreign_formats()
    if not foreign:
        return []
    modules = {known.read.__module__ for known in foreign} | template_class_modules()
    files = {*loaded_files(), *plugin_files().values(), *map(_file_of, modules)}
    packages = {
        f"{one.dist.name} {one.dist.version}" for one in entry_points(group=GROUP) if one.dist
    }
    hashes = map(_hash_of_code, sorted(_with_imports(files)))
    return [*(known.name for known in foreign), *sorted(packages), *hashes]


def _file_of(module: str) -> str:
    return getattr(sys.modules.get(module), "__file__", None) or module


def _hash_of_code(file: str) -> str:
    """Code that was typed in is in no file: what it makes is found again by this process alone."""
    if Path(file).is_file():
        return hashlib.sha256(Path(file).read_bytes()).hexdigest()
    return f"{file} {_THIS_PROCESS}"


def _with_imports(files: Iterable[str]) -> set[str]:
    """Files of code, and the user's own files that they import, wherever in them the import is."""
    found = set(files)
    waiting = list(found)
    while waiting:
        for file in _imported(Path(waiting.pop())):
            if file not in found and not _is_installed(file):
                found.add(file)
                waiting.append(file)
    return found


def _imported(file: Path) -> Iterator[str]:
    """The files of the modules that a file imports; nothing is run."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python has said it when it read the file.
            tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):  # An extension module, or no file.
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _files_of(alias.name.split("."), None)
        elif isinstance(node, ast.ImportFrom):
            beside = file.parents[min(node.level, len(file.parents)) - 1] if node.level else None
            module = node.module.split(".") if node.module else []
            for alias in node.names:
                yield from _files_of([*module, alias.name], beside)


def _files_of(names: Sequence[str], folder: Path | None) -> Iterator[str]:
    """The files of a module and of the packages around it; the last name may be no module."""
    where: Sequence[str] | None = None
    if folder is not None:
        where = [str(folder)]
        yield str(folder / "__init__.py")
    for name in names:
        # Some installed packages are found by hooks of their own, but those are imported.
        loaded = sys.modules.get(name) if where is None else None
        spec = getattr(loaded, "__spec__", None) or PathFinder.find_spec(name, where)
        if spec is None:
            return
        if spec.has_location and spec.origin is not None:
            yield spec.origin
        if spec.submodule_search_locations is None:
            return
        where = spec.submodule_search_locations


def _is_installed(file: str) -> bool:
    """Whether a file belongs to Python, to an installed package, or to Assay; or is none."""
    path = Path(file).resolve()
    return not path.is_file() or any(path.is_relative_to(place) for place in _installed_places())


@cache
def _installed_places() -> list[Path]:
    own = str(Path(__file__).parents[2])
    python = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    packages = [*site.getsitepackages(), site.getusersitepackages()]
    return [Path(place).resolve() for place in (own, *python, *packages)]
