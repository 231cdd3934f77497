"""From messages to token ids: the one function that training, evaluation and scoring share."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from assay.config import SpecialTokens
from assay.data.records import Group, Message, Source
from assay.data.special_tokens import SpecialTokenGuard
from assay.data.templates import ResolvedTemplate
from assay.errors import DataError, TemplateError, first_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TokenIds = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Rendered:
    """One conversation as the model reads it.

    `specials_in_content` counts special tokens that were written out inside messages.
    """

    text: str
    ids: TokenIds
    specials_in_content: int


class Renderer:
    """Renders conversations with one tokenizer and one template.

    Args:
        tokenizer: a tokenizer of transformers.
        template: the template, bound to that tokenizer.
        special_tokens: what a special token written out inside a message means: `text` reads
            it as plain text, `special` as the token itself, `error` refuses it.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        template: ResolvedTemplate,
        special_tokens: SpecialTokens = "text",
    ) -> None:
        self.tokenizer = tokenizer
        self.template = template
        self.special_tokens = special_tokens
        self._guard = SpecialTokenGuard(tokenizer)

    def render(self, group: Group, response: int) -> Rendered:
        """Text and ids of the group's prompt followed by one of its responses.

        Raises:
            TemplateError: the template refuses the conversation.
            DataError: a special token stands in a message and the policy is `error`.
        """
        return self.render_many([(group, response)])[0]

    def render_many(self, items: Iterable[tuple[Group, int]]) -> list[Rendered]:
        """`render` for many conversations, tokenised in one batch."""
        rendered: list[Rendered] = []
        places: list[Source] = []
        plain: list[str] = []
        where: list[int] = []
        for group, response in items:
            messages = [*group.prompt, *group.responses[response].messages]
            place = row_of(group, response)
            places.append(place)
            literals = self._guard.find(messages, group.tools)
            if literals and self.special_tokens == "error":
                raise DataError(
                    f"the special token {literals[0]!r} is written out inside a message",
                    where=place,
                    mend="remove it, or set special_tokens_in_content to text or special",
                )
            if literals and self.special_tokens == "text":
                tools = self._guard.mask_value(group.tools)
                masked_messages = [self._guard.mask(message) for message in messages]
                masked = self._text(replace(group, tools=tools), masked_messages, place)
                ids = self._guard.encode(masked)
                rendered.append(Rendered(self._guard.unmask(masked), ids, len(literals)))
                continue
            where.append(len(rendered))
            plain.append(self._text(group, messages, place))
            rendered.append(Rendered(plain[-1], (), len(literals)))
        for index, ids in zip(where, self._encode(plain), strict=True):
            rendered[index] = replace(rendered[index], ids=ids)
        for item, place in zip(rendered, places, strict=True):
            if not item.ids:
                raise TemplateError(
                    f"template '{self.template.name}' makes no tokens of the conversation",
                    where=place,
                    mend="mend the row, or choose another template",
                )
        return rendered

    def render_text(self, text: str) -> Rendered:
        """A text that is already rendered, read as it stands: nothing added, specials special."""
        return Rendered(text, self._encode([text])[0], 0)

    def prompt_text(self, group: Group) -> str:
        """The prompt alone, up to where an answer would begin."""
        return self._text(group, group.prompt, group.source, add_generation_prompt=True)

    def _encode(self, texts: Sequence[str]) -> list[TokenIds]:
        if not texts:
            return []
        with warnings.catch_warnings():
            # Length is checked against max_length by the caller, with a count.
            warnings.filterwarnings("ignore", message="Token indices sequence length")
            encoded = self.tokenizer(list(texts), add_special_tokens=False, verbose=False)
        return [tuple(ids) for ids in encoded["input_ids"]]

    def _text(
        self,
        group: Group,
        messages: Sequence[Message],
        place: Source,
        *,
        add_generation_prompt: bool = False,
    ) -> str:
        try:
            text = self.tokenizer.apply_chat_template(
                [message.as_dict() for message in messages],
                tools=list(group.tools) if group.tools else None,
                chat_template=self.template.jinja,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                **group.template_kwargs,
            )
        except Exception as error:  # a template is a program, and raises what it likes
            raise TemplateError(
                f"template '{self.template.name}' cannot render the conversation ({error})",
                where=place,
                mend="mend the row, or choose another template",
            ) from None
        return str(text)


def row_of(group: Group, response: int) -> Source:
    """The row that a response of a group came from, as far as its comparisons tell."""
    rows = (c.row for c in group.comparisons if response in (c.a, c.b) and c.row is not None)
    return next(rows, group.source)


def shared_prefix(sequences: Sequence[Sequence[int]]) -> int:
    """Number of leading tokens that all sequences have in common."""
    length = 0
    for column in zip(*sequences, strict=False):
        if any(token != column[0] for token in column):
            break
        length += 1
    return length


def load_tokenizer(path: str) -> PreTrainedTokenizerBase:
    """The tokenizer in a model directory.

    Raises:
        TemplateError: there is none, or it cannot be read.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TemplateError(
            f"no readable tokenizer ({first_line(error)})",
            where=path,
            mend="a model directory holds tokenizer.json and tokenizer_config.json",
        ) from None
