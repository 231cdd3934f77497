"""Commands: one module for each, in the order in which the help names them.

Importing this package registers them all.
"""

from importlib import import_module

# The order of registration is the order of `assay --help`.
for _name in (
    "pull",
    "audit",
    "prepare",
    "render",
    "train",
    "eval",
    "compare",
    "score",
    "export",
    "serve",
    "versus",
    "probe",
    "report",
    "merge",
    "convert",
    "demo",
    "doctor",
):
    import_module(f"{__name__}.{_name}")
