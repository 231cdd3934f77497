"""Plug-ins: formats and templates from Python files and installed packages."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import math
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, get_args

from assay.data.formats import (
    Format,
    FormatOptions,
    Scorable,
    add_format,
    nearest_formats,
    registered_formats,
    remove_format,
    unknown_row,
)
from assay.data.records import Group, Outcome, Source
from assay.data.strict_json import JsonObject
from assay.data.templates import forget_template, registered_templates
from assay.errors import AssayError, ConfigError, DataError, first_line

GROUP = "assay.plugins"
"""The entry-point group of installed plug-ins; each entry names a module."""

_FIRST_RANK = -1_000_000
"""Formats of plug-ins are tried before the built-in ones, in the order of their registration."""

_loaded: dict[Path, None] = {}
_plugin_formats: set[str] = set()
_files: dict[str, str] = {}

PluginReader = Callable[..., Any]
"""`read(row)` or `read(row, source, options)`; gives a `Group`, or a row of a built-in format."""


def load_plugins(paths: Sequence[str] = ()) -> None:
    """Import the plug-ins of installed packages and of Python files, each once in a process.

    Args:
        paths: Python files.

    Raises:
        ConfigError: a file is not there, is no Python file, or fails; a package's plug-in fails.
            The formats that a failing plug-in had registered are forgotten.
    """
    _load_entry_points()
    for path in paths:
        _load_file(path)


def loaded_files() -> list[str]:
    """The Python files that `load_plugins` was given, in order."""
    return [str(path) for path in _loaded]


def plugin_files() -> dict[str, str]:
    """By the name of each format of a plug-in, the file that its function stands in."""
    return {name: _files[name] for name in sorted(_plugin_formats)}


def register_format(
    name: str,
    *,
    detects: Callable[[JsonObject], bool] | None = None,
    fields: str | None = None,
    labels: Sequence[str] = (),
    comparisons: bool = True,
    rated: bool = False,
) -> Callable[[PluginReader], PluginReader]:
    """Make the decorated function known as a format.

    The function is `read(row)` or `read(row, source, options)`. It gives a `Group`, or a dict, a
    row of any built-in format, which that format then reads. What it raises is an error of the
    row, with the line of the plug-in.

    Args:
        name: what `format:` and `--format` call it.
        detects: whether a row is of this format; it is asked before the built-in formats are.
            Without it the format is found by its name alone.
        fields: the fields of its rows, for messages.
        labels: which labels its rows carry, the default first.
        comparisons: whether its rows prefer one response to another.
        rated: whether each row holds rated responses that are compared with those of other rows;
            the labels are then the names of the ratings, at least one.

    Raises:
        ConfigError: the name is taken or no name, the function takes other arguments, or a rated
            format names no rating.
    """
    if not name or name != name.strip() or any(sign in name for sign in ",\n"):
        raise ConfigError(f"{name!r} cannot be the name of a format", mend="choose a plain name")
    if rated and not labels:
        raise ConfigError(
            f"the rated format '{name}' names no rating",
            mend="add labels=('...',), the rating that decides first",
        )

    def register(read: PluginReader) -> PluginReader:
        known = Format(
            name=name,
            fields=fields or f"of the plug-in {Path(_place(read)[0]).name}",
            rank=_FIRST_RANK + len(_plugin_formats),
            detects=_detection(name, detects),
            read=_reader(name, read),
            comparisons=comparisons,
            labels=tuple(labels),
            rated=rated,
        )
        add_format(known)
        _plugin_formats.add(name)
        _files[name] = _place(read)[0]
        return read

    return register


def _reader(name: str, read: PluginReader) -> Callable[[JsonObject, Source, FormatOptions], Any]:
    whole = _takes_place_and_options(name, read)

    def adapted(row: JsonObject, source: Source, options: FormatOptions) -> Scorable:
        try:
            result = read(row, source, options) if whole else read(row)
        except DataError:
            raise
        except (Exception, SystemExit) as error:
            raise DataError(
                f"the format '{name}' fails on it ({_told(error)})",
                mend="mend the plug-in, or the row",
            ) from error
        if isinstance(result, Group):
            _check_judgements(name, result)
            return _placed(result, source)
        if not isinstance(result, dict):
            raise DataError(
                f"the format '{name}' makes {type(result).__name__} of it",
                mend="give a Group or a row (dict) from the plug-in",
            )
        return _read_built_in(name, result, source, options)

    return adapted


def _takes_place_and_options(name: str, read: PluginReader) -> bool:
    """Whether a function takes row, source and options, rather than the row alone."""
    signature = inspect.signature(read)
    for count in (1, 3):
        try:
            signature.bind(*range(count))
        except TypeError:
            continue
        return count == 3
    raise ConfigError(
        f"the function of the format '{name}' takes {signature}",
        where=":".join(map(str, _place(read))),
        mend="let it take (row) or (row, source, options)",
    )


def _place(read: PluginReader) -> tuple[str, int]:
    """The file and line of a function; those of its module where it is another callable."""
    code = getattr(inspect.unwrap(read), "__code__", None)
    return (code.co_filename, code.co_firstlineno) if code else (read.__module__, 1)


def _check_judgements(name: str, group: Group) -> None:
    """See that nothing would be taken for another judgement: NaN is not above anything, say."""
    weights: list[Any] = [group.weight, *(one.weight for one in group.comparisons)]
    numbers: list[Any] = [*weights]
    for comparison in group.comparisons:
        if comparison.outcome not in get_args(Outcome):
            raise DataError(
                f"the format '{name}' gives {comparison.outcome!r} as an outcome",
                mend="give a, b or tie from the plug-in",
            )
        numbers.append(0 if comparison.margin is None else comparison.margin)
    for response in group.responses:
        numbers += response.ratings.values()
    for one in numbers:
        if not (isinstance(one, int | float) and math.isfinite(one)):
            raise DataError(
                f"the format '{name}' gives {one!r} as a rating, margin or weight",
                mend="give finite numbers from the plug-in",
            )
    if min(weights) < 0:  # It would teach the opposite.
        raise DataError(
            f"the format '{name}' gives {min(weights)!r} as a weight",
            mend="give 0 or more from the plug-in, or turn the outcome round",
        )


def _placed(group: Group, source: Source) -> Group:
    """A plug-in that takes the row alone does not know its place."""
    return replace(
        group,
        id=group.id or f"{group.key}#{source.line}",
        source=source,
        comparisons=tuple(replace(c, row=c.row or source) for c in group.comparisons),
    )


def _read_built_in(name: str, row: JsonObject, source: Source, options: FormatOptions) -> Scorable:
    """Read the row that a plug-in has made. Formats of plug-ins are passed over: no circles."""
    for known in registered_formats():
        if known.name not in _plugin_formats and known.detects(row):
            label = options.label if options.label in known.labels else None
            return known.read(row, source, FormatOptions(label))
    raise DataError(
        f"as the format '{name}' rewrites it, {unknown_row(row).what}",
        mend=f"let it give the fields of {nearest_formats(row)}",
    )


def _detection(
    name: str, detects: Callable[[JsonObject], bool] | None
) -> Callable[[JsonObject], bool]:
    if detects is None:
        return lambda row: False

    def guarded(row: JsonObject) -> bool:
        try:
            return bool(detects(row))
        except (Exception, SystemExit) as error:
            raise DataError(
                f"detects of the format '{name}' fails ({_told(error)})", mend="mend the plug-in"
            ) from error

    return guarded


def _load_file(name: str) -> None:
    path = Path(name).resolve()
    if path in _loaded:
        return
    if path.is_dir():
        raise ConfigError("is a directory", where=name, mend="name a .py file in it")
    if not path.is_file():
        raise ConfigError("no such plug-in file", where=name, mend="check the path")
    spec = importlib.util.spec_from_file_location(_module_name(path), path)
    if path.suffix != ".py" or spec is None or spec.loader is None:
        raise ConfigError("is not a Python file", where=name, mend="name a .py file")
    module = importlib.util.module_from_spec(spec)
    loader = spec.loader

    def run() -> None:
        # Dataclasses and pickles look a module up by its name.
        sys.modules[spec.name] = module
        try:
            loader.exec_module(module)
        except BaseException:
            del sys.modules[spec.name]
            raise

    _guarded(run, name, path)
    _loaded[path] = None


def _module_name(path: Path) -> str:
    return f"assay_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"


@cache
def _load_entry_points() -> None:
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
        _guarded(entry.load, _described(entry), None)


def _described(entry: EntryPoint) -> str:
    package = f" of {entry.dist.name} {entry.dist.version}" if entry.dist else ""
    return f"plug-in '{entry.name} = {entry.value}'{package}"


def _guarded(load: Callable[[], object], where: str, path: Path | None) -> None:
    """Load a plug-in, all of it or nothing."""
    formats, templates = _known_names()
    try:
        load()
    except (Exception, SystemExit) as error:  # A script that ends itself would end Assay, too.
        formats_now, templates_now = _known_names()
        for name in formats_now - formats:
            remove_format(name)
        for name in templates_now - templates:
            forget_template(name)
        _plugin_formats.intersection_update(formats)
        what, mend, line = first_line(error), "mend the plug-in", _line_in(error, path)
        if isinstance(error, AssayError):
            what, mend = error.what, error.mend or mend
        else:
            what = f"the plug-in fails ({type(error).__name__}: {what})"
        if path is None:
            mend += ", or uninstall its package"
        raise ConfigError(what, where=f"{where}:{line}" if line else where, mend=mend) from error


def _known_names() -> tuple[set[str], set[str]]:
    """Of formats and of templates; a template class registers both."""
    return {known.name for known in registered_formats()}, set(registered_templates())


def _line_in(error: BaseException, path: Path | None) -> int | None:
    """The line of a plug-in's file where loading it failed."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return error.lineno
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    return lines[-1] if lines else None


def _told(error: BaseException) -> str:
    """An error of a plug-in's function with the place that raised it."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {first_line(error)}, {frame.filename}:{frame.lineno}"
