"""Formats: one module for each way of writing rows. Importing this package registers them all."""

from importlib import import_module
from pkgutil import iter_modules

from assay.data.formats.detection import detect_format, nearest_formats, unknown_row
from assay.data.formats.registry import (
    Format,
    FormatOptions,
    Scorable,
    VerbatimText,
    add_format,
    check_label,
    get_format,
    register_format,
    registered_formats,
    remove_format,
)

__all__ = [
    "Format",
    "FormatOptions",
    "Scorable",
    "VerbatimText",
    "add_format",
    "check_label",
    "detect_format",
    "get_format",
    "nearest_formats",
    "register_format",
    "registered_formats",
    "remove_format",
    "unknown_row",
]

# A new format is a new module and no other edit.
for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
