"""Benchmarks: one module for each. Importing this package registers them all."""

from importlib import import_module
from pkgutil import iter_modules

from assay.evaluate.benchmarks.benchmark import (
    Benchmark,
    Item,
    ModelNote,
    Official,
    ScoredItem,
    Section,
    benchmarks,
    get_benchmark,
    register_benchmark,
)

__all__ = [
    "Benchmark",
    "Item",
    "ModelNote",
    "Official",
    "ScoredItem",
    "Section",
    "benchmarks",
    "get_benchmark",
    "register_benchmark",
]

_MACHINERY = ("command", "report")
"""Modules that import this package back."""

# A new benchmark is a new module and no other edit.
for _module in iter_modules(__path__):
    if _module.name not in _MACHINERY:
        import_module(f"{__name__}.{_module.name}")
