"""Template classes of preference toolkits: a format and a template in one.

Such a class has the pieces of its text as attributes and methods that make whole texts of raw
rows. Assay takes both at their word: the attributes become a Jinja template, which is stored with
the model and renders conversations in training, scoring and serving; the methods read rows. What
they write is taken apart along the attributes, and a row whose text the template would not give
back, character by character, is refused: it could never be scored as it was trained.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from assay.data.formats.building import Messages, answer, row_group
from assay.data.formats.messages import assistant, user
from assay.data.formats.registry import (
    Format,
    FormatOptions,
    add_format,
    registered_formats,
    remove_format,
)
from assay.data.records import Comparison, Group, Message, Source
from assay.data.strict_json import JsonObject
from assay.data.templates import NO_TOOLS, End, register_jinja
from assay.data.templates import Template as JinjaTemplate
from assay.errors import DataError, TemplateError

EQUAL = "equal by check_equal"
_IN_TURN = "this template reads user and assistant in turn"
"""What the templates of classes say, and no other."""
_MARK = "\ue000"


class Template:
    """The base of template classes; a class may as well stand alone with the same attributes.

    `user_prompt` holds `{input}` and `assistant_prompt` `{output}`; `system_prompt` stands before
    the first turn, `separator` between an answer and the next question. `split_token` says where
    an answer begins, which Assay knows already.
    """

    system_prompt: ClassVar[str] = ""
    user_prompt: ClassVar[str] = "{input}"
    assistant_prompt: ClassVar[str] = "{output}"
    split_token: ClassVar[str] = ""
    separator: ClassVar[str] = ""

    def format_supervised_sample(self, raw_sample: dict[str, Any]) -> dict[str, Any]:
        """`{"text": prompt and answer, "prompt": prompt}` of a raw row that is only scored."""
        raise NotImplementedError

    def format_preference_sample(self, raw_sample: dict[str, Any]) -> dict[str, Any]:
        """`{"better_text": ..., "worse_text": ...}`, each with the prompt."""
        raise NotImplementedError

    def format_prompt_only_sample(self, raw_sample: dict[str, Any]) -> dict[str, Any]:
        """`{"text": prompt}`, up to where an answer would begin."""
        raise NotImplementedError

    def check_equal(self, raw_sample: dict[str, Any]) -> bool:
        """Whether no answer of the row is the better one: it is left out, and counted."""
        return False


@dataclass(frozen=True, slots=True)
class _Pieces:
    """The fixed texts around the turns of a conversation."""

    system: str
    before_user: str
    after_user: str
    before_answer: str
    after_answer: str
    separator: str

    @classmethod
    def of(cls, name: str, template: object) -> _Pieces:
        attributes = {
            key: _attribute(name, template, key)
            for key in ("system_prompt", "user_prompt", "assistant_prompt", "separator")
        }
        return cls(
            attributes["system_prompt"],
            *_around(name, "user_prompt", attributes["user_prompt"], "input"),
            *_around(name, "assistant_prompt", attributes["assistant_prompt"], "output"),
            attributes["separator"],
        )

    @property
    def jinja(self) -> str:
        """The template that renders what the class writes."""
        return (
            NO_TOOLS + f"{{{{ {json.dumps(self.system, ensure_ascii=False)} }}}}"
            "{%- for message in messages -%}"
            "{%- if message.role != ('user' if loop.index0 % 2 == 0 else 'assistant') -%}"
            f"{{{{ raise_exception('{_IN_TURN}') }}}}"
            "{%- endif -%}"
            "{%- if message.role == 'user' -%}"
            f"{{{{ {json.dumps(self.before_user, ensure_ascii=False)} + message.content"
            f" + {json.dumps(self.after_user, ensure_ascii=False)} }}}}"
            "{%- else -%}"
            f"{{{{ {json.dumps(self.before_answer, ensure_ascii=False)} + message.content"
            f" + {json.dumps(self.after_answer, ensure_ascii=False)}"
            f" + ('' if loop.last else {json.dumps(self.separator, ensure_ascii=False)}) }}}}"
            "{%- endif -%}"
            "{%- endfor -%}"
            "{%- if add_generation_prompt -%}"
            f"{{{{ {json.dumps(self.before_answer, ensure_ascii=False)} }}}}"
            "{%- endif -%}"
        )

    def prompt(self, text: str, what: str) -> Messages:
        """The turns of a prompt text, which may end where an answer begins or with an empty one."""
        beginning = self.system + self.before_user
        for ending in (
            self.after_user + self.before_answer + self.after_answer,
            self.after_user + self.before_answer,
            self.after_user,
        ):
            inside = _between(text, beginning, ending)
            if inside is not None:
                return self._turns(inside)
        raise _not_its_own(what)

    def answer(self, text: str, prompt: Messages, what: str) -> str:
        """What follows a prompt in a whole text."""
        said = _between(text, self.text(prompt) + self.before_answer, self.after_answer)
        if said is None:
            raise _not_its_own(what)
        return said

    def text(self, messages: Messages) -> str:
        """What the template renders."""
        turns = []
        for number, message in enumerate(messages):
            if message.role == "user":
                turns.append(self.before_user + message.content + self.after_user)
            else:
                last = number == len(messages) - 1
                turns.append(self.before_answer + message.content + self.after_answer)
                turns.append("" if last else self.separator)
        return self.system + "".join(turns)

    def _turns(self, inside: str) -> Messages:
        """Earlier turns are told apart where the marks between them do it beyond doubt."""
        question, turn = self.after_user + self.before_answer, self._between_turns
        parts = inside.split(turn) if turn.strip() and question.strip() else [inside]
        *earlier, last = parts
        if any(part.count(question) != 1 for part in earlier) or (earlier and question in last):
            return (user(inside),)
        turns: list[Message] = []
        for part in earlier:
            asked, answered = part.split(question)
            turns += [user(asked), assistant(answered)]
        return (*turns, user(last))

    @property
    def _between_turns(self) -> str:
        return self.after_answer + self.separator + self.before_user


def register_template(
    name: str, jinja: str | None = None, *, end: End = "eos"
) -> Callable[[type], type]:
    """Make a template known: a Jinja text, or the decorated template class.

    Args:
        name: how recipes and `--template` call it; of a class, `--format`, too.
        jinja: reads `messages`, and `add_generation_prompt` where it makes sense.
        end: `eos` appends the tokenizer's end token to each text, `none` appends nothing.

    Raises:
        TemplateError: the name is taken, or an attribute of the class lacks its place.
        ConfigError: a format has the name.
    """
    if jinja is not None:
        register_jinja(JinjaTemplate(name, jinja, end))
        return lambda template_class: template_class

    def register(template_class: type) -> type:
        _add(name, template_class, end)
        return template_class

    return register


def is_template_class(name: str) -> bool:
    """Whether a template reads raw rows, too."""
    return name in _readers()


def format_by_template(format: str, template: str) -> str:
    """The format that rows are read by: a template class reads them itself, unless one is named.

    Args:
        format: what the user says of the rows, `auto` if nothing.
        template: the template that the model reads with.
    """
    return template if format == "auto" and is_template_class(template) else format


def is_of_a_class(jinja: str) -> bool:
    """Whether a Jinja text was made of a template class, which need not be known here."""
    return _IN_TURN in jinja


def template_class_modules() -> set[str]:
    """Names of the modules that the registered classes and their bases stand in."""
    classes = (reader.template_class for reader in _readers().values())
    return {one.__module__ for known in classes for one in known.__mro__ if one is not object}


def _readers() -> dict[str, _RowReader]:
    found = {known.name: getattr(known.read, "__self__", None) for known in registered_formats()}
    return {name: reader for name, reader in found.items() if isinstance(reader, _RowReader)}


def _add(name: str, template_class: type, end: End) -> None:
    template = template_class()
    pieces = _Pieces.of(name, template)
    own = {
        method: _method(template, method)
        for method in (
            "format_preference_sample",
            "format_prompt_only_sample",
            "format_supervised_sample",
            "check_equal",
        )
    }
    compares = own["format_preference_sample"] is not None
    reader = _RowReader(name, template_class, pieces, own)
    add_format(
        Format(
            name,
            fields=f"what the template class {name} reads",
            rank=0,
            detects=lambda row: False,
            read=reader.read,
            comparisons=compares,
            labels=(),
        )
    )
    try:
        register_jinja(JinjaTemplate(name, pieces.jinja, end))
    except TemplateError:
        remove_format(name)
        raise


_Method = Callable[[JsonObject], Any]


@dataclass(frozen=True, slots=True)
class _RowReader:
    name: str
    template_class: type
    pieces: _Pieces
    own: Mapping[str, _Method | None]

    def read(self, row: JsonObject, source: Source, options: FormatOptions) -> Group:
        """One row, by the methods of the class."""
        if self.own["format_preference_sample"] is None:
            return self._supervised(row, source)
        if self.own["check_equal"] is not None and self._run("check_equal", row):
            return self._equal(row, source)
        return self._preference(row, source)

    def _equal(self, row: JsonObject, source: Source) -> Group:
        """A row that prefers nothing; its answers are there where the class can tell them."""
        try:
            return replace(self._preference(row, source), comparisons=(), left_out=EQUAL)
        except DataError:
            return Group(f"#{source.line}", source, (), (), extra=dict(row), left_out=EQUAL)

    def _preference(self, row: JsonObject, source: Source) -> Group:
        texts = self._call("format_preference_sample", row, "better_text", "worse_text")
        prompt = self._prompt(row, texts)
        answers = [
            answer((assistant(self.pieces.answer(text, prompt, f"{self.name}: {key}")),), key)
            for key, text in texts.items()
        ]
        return row_group(source, prompt, tuple(answers), Comparison(0, 1, "a"), extra=dict(row))

    def _supervised(self, row: JsonObject, source: Source) -> Group:
        found = self._call("format_supervised_sample", row, "text", "prompt")
        prompt = self.pieces.prompt(found["prompt"], f"{self.name}: prompt")
        text = self.pieces.answer(found["text"], prompt, f"{self.name}: text")
        return row_group(source, prompt, (answer((assistant(text),), "text"),), extra=dict(row))

    def _prompt(self, row: JsonObject, texts: Mapping[str, str]) -> Messages:
        if self.own["format_prompt_only_sample"] is not None:
            (text,) = self._call("format_prompt_only_sample", row, "text").values()
            return self.pieces.prompt(text, f"{self.name}: the prompt's text")
        # Both texts begin with the prompt, and the last mark of an answer that they share ends it.
        better, worse = texts.values()
        differ = (at for at, (a, b) in enumerate(zip(better, worse, strict=False)) if a != b)
        shared = better[: next(differ, len(worse))]
        mark = self.pieces.after_user + self.pieces.before_answer
        end = shared.rfind(mark, len(self.pieces.system + self.pieces.before_user))
        if not mark.strip() or end < 0:
            raise DataError(
                f"{self.name} does not say where the prompt of its texts ends",
                mend="give the class a method format_prompt_only_sample",
            )
        return self.pieces.prompt(shared[: end + len(mark)], f"{self.name}: better_text")

    def _call(self, method: str, row: JsonObject, *keys: str) -> dict[str, str]:
        found = self._run(method, row)
        for key in keys:
            if not isinstance(found, Mapping) or not isinstance(found.get(key), str):
                raise DataError(
                    f"{self.name}.{method} gives no text '{key}'",
                    mend=f"let it return {{{', '.join(map(repr, keys))}: text}}",
                )
        return {key: found[key] for key in keys}

    def _run(self, method: str, row: JsonObject) -> Any:
        call = self.own[method]
        if call is None:
            raise DataError(
                f"{self.name} has no method {method}", mend="add it, or name another format"
            )
        try:
            return call(dict(row))
        except (Exception, SystemExit) as error:  # It is the user's own code.
            raise DataError(
                f"{self.name}.{method} fails on it ({type(error).__name__}: {error})",
                mend="mend the row or the class, or name another format",
            ) from None


def _method(template: object, name: str) -> _Method | None:
    """A method that the class defines itself."""
    found = getattr(type(template), name, None)
    if found is None or found is getattr(Template, name):
        return None
    method: _Method = getattr(template, name)
    return method


def _attribute(name: str, template: object, key: str) -> str:
    value = getattr(template, key, getattr(Template, key))
    if not isinstance(value, str):
        raise TemplateError(
            f"the template class {name} has no text as its {key}", mend=f"write {key} = '...'"
        )
    return value


def _around(name: str, key: str, template: str, field: str) -> tuple[str, str]:
    try:
        pieces = template.format(**{field: _MARK}).split(_MARK)
    except (KeyError, IndexError, ValueError) as error:
        pieces = [str(error)]
    if len(pieces) != 2:
        raise TemplateError(
            f"{key} of the template class {name} does not hold {{{field}}} once",
            mend=f"write it as '... {{{field}}} ...', other braces doubled",
        )
    return pieces[0], pieces[1]


def _between(text: str, before: str, after: str) -> str | None:
    """What stands between two pieces that a text begins and ends with; None if it does not."""
    whole = len(text) >= len(before) + len(after)
    if not (whole and text.startswith(before) and text.endswith(after)):
        return None
    return text[len(before) : len(text) - len(after)]


def _not_its_own(what: str) -> DataError:
    return DataError(
        f"{what} is not made of the class's system_prompt, user_prompt and assistant_prompt, so "
        "it could not be scored as it was trained",
        mend="let the methods and the attributes of the class agree",
    )
