"""Chat templates in the sandbox of transformers, which need not guard what is harmless."""

from __future__ import annotations

import copy
from typing import Any

from jinja2 import Template
from jinja2.runtime import LoopContext


def compiled(jinja: str) -> Template:
    """A chat template with the filters, functions and limits that transformers gives it."""
    from transformers.utils.chat_template_utils import _compile_jinja_template

    environment = copy.copy(_compile_jinja_template(jinja).environment)
    kind = type(environment)
    environment.__class__ = type(kind.__name__, (_OpenLoops, kind), {})
    template: Template = environment.from_string(jinja)
    return template


class _OpenLoops:
    """`loop.first` and the like without the search for what could be dangerous in any object.

    A loop over messages asks for them at every message: a third of the time of a template.
    """

    def getattr(self, obj: Any, attribute: str) -> Any:
        if type(obj) is LoopContext and attribute in _OF_LOOPS:
            return getattr(obj, attribute)
        return super().getattr(obj, attribute)  # type: ignore[misc]


_OF_LOOPS = {"first", "last", "index", "index0", "length", "previtem", "nextitem"}
