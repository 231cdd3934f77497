"""Wire protocols: one module for each. Importing this package registers them all."""

from importlib import import_module
from pkgutil import iter_modules

from assay.serve.protocols.registry import Endpoint, endpoints, protocol_names, register_endpoint

__all__ = ["Endpoint", "endpoints", "protocol_names", "register_endpoint"]

# A new protocol is a new module and no other edit.
for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
