"""Writers: one module for each target schema. Importing this package registers them all."""

from importlib import import_module
from pkgutil import iter_modules

from assay.data.writers.registry import (
    Detail,
    LeftOut,
    Writer,
    Written,
    get_writer,
    register_group_writer,
    register_writer,
)

__all__ = [
    "Detail",
    "LeftOut",
    "Writer",
    "Written",
    "get_writer",
    "register_group_writer",
    "register_writer",
]

# A new target is a new module and no other edit.
for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
