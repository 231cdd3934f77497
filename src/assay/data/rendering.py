"""From messages to token ids: the one function that training, evaluation and scoring share."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from assay.config import SpecialTokens, Thinking
from assay.data.records import Group, Message, Response, Source
from assay.data.sandbox import compiled
from assay.data.special_tokens import SpecialTokenGuard
from assay.data.templates import ResolvedTemplate
from assay.data.tokenising import memoised_encoder
from assay.errors import DataError, TemplateError, first_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TokenIds = tuple[int, ...]

_SPACES = re.compile(r"\s*")
_UNFINISHED = re.compile(r"\s*<think>")
_KEYS_OF_THOUGHT = frozenset({"thinking", "reasoning"})
"""What some chat templates call it besides `reasoning_content`."""


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
        thinking: `strip` leaves out what assistants thought (`<think>` blocks and
            `reasoning_content`), `keep` gives it to the template, which may leave it out:
            `leaves_out_thoughts` tells.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        template: ResolvedTemplate,
        special_tokens: SpecialTokens = "text",
        thinking: Thinking = "keep",
    ) -> None:
        self.tokenizer = tokenizer
        self.template = template
        self.special_tokens = special_tokens
        self.thinking = thinking
        self._guard = SpecialTokenGuard(tokenizer)
        self._encoder = memoised_encoder(tokenizer)

    def __reduce__(self) -> tuple[Any, ...]:
        # What a renderer remembers stays behind: the guard's names are those of one process.
        return Renderer, (self.tokenizer, self.template, self.special_tokens, self.thinking)

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
            messages = self._read([*group.prompt, *group.responses[response].messages])
            place = row_of(group, response)
            places.append(place)
            literals = self._guard.find(messages, group.tools, group.template_kwargs)
            if literals and self.special_tokens == "error":
                raise DataError(
                    f"the special token {literals[0]!r} is written out inside a message",
                    where=place,
                    mend="remove it, or set special_tokens_in_content to text or special",
                )
            if literals and self.special_tokens == "text":
                tools, kwargs = self._guard.mask_value((group.tools, group.template_kwargs))
                given = replace(group, tools=tools, template_kwargs=kwargs)
                masked = self._text(given, [self._guard.mask(m) for m in messages], place)
                ids = self._guard.encode(masked)
                rendered.append(Rendered(self._guard.unmask(masked), ids, len(literals)))
                continue
            where.append(len(rendered))
            plain.append(self._text(group, messages, place))
            rendered.append(Rendered(plain[-1], (), len(literals)))
        for index, ids in zip(where, self._encode(plain), strict=True):
            before = rendered[index]
            rendered[index] = Rendered(before.text, ids, before.specials_in_content)
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

    def forget(self) -> None:
        """Forget the texts that tokenising remembers."""
        if self._encoder is not None:
            self._encoder.forget()

    def prompt_text(self, group: Group) -> str:
        """The prompt alone, up to where an answer would begin."""
        messages = self._read(group.prompt)
        return self._text(group, messages, group.source, add_generation_prompt=True)

    def _read(self, messages: Sequence[Message]) -> list[Message]:
        """What the template is given of the messages."""
        if self.thinking == "keep":
            return list(messages)
        return [without_thinking(message) for message in messages]

    def leaves_out_thoughts(self, response: Response, text: str) -> bool:
        """Whether a rendered text lacks what its response thought, though it is to be read.

        Chat templates leave out earlier turns' thoughts on purpose; a response is what is scored.
        """
        if self.thinking == "strip":
            return False
        return any(thought not in text for m in response.messages for thought in thoughts_of(m))

    def _encode(self, texts: Sequence[str]) -> list[TokenIds]:
        if not texts:
            return []
        if self._encoder is not None:
            return self._encoder.encode_batch(texts)
        with warnings.catch_warnings():
            # Length is checked against max_length by the caller, with a count.
            warnings.filterwarnings("ignore", message="Token indices sequence length")
            encoded = self.tokenizer(list(texts), add_special_tokens=False, verbose=False)
        return [tuple(ids) for ids in encoded["input_ids"]]

    def _plain_text(self, messages: Sequence[Message], add_generation_prompt: bool) -> str:
        """What `apply_chat_template` does for plain messages, without looking at every value."""
        text: str = self._compiled.render(
            messages=[{"role": m.role, "content": m.content} for m in messages],
            tools=None,
            documents=None,
            add_generation_prompt=add_generation_prompt,
            **self._special_tokens,
        )
        return text

    @cached_property
    def _special_tokens(self) -> dict[str, Any]:
        return dict(self.tokenizer.special_tokens_map)

    @cached_property
    def _compiled(self) -> Any:
        return compiled(self.template.jinja)

    def _text(
        self,
        group: Group,
        messages: Sequence[Message],
        place: Source,
        *,
        add_generation_prompt: bool = False,
    ) -> str:
        try:
            if (
                not group.tools
                and not group.template_kwargs
                and all(message.is_plain for message in messages)
            ):
                return self._plain_text(messages, add_generation_prompt)
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


def without_thinking(message: Message) -> Message:
    """An assistant's message without what it thought before, or while, it answered.

    Some prompts open the block, so that an answer only closes it: all before is thought. An answer
    that begins to think and never ends is empty.
    """
    if message.role != "assistant":
        return message
    content = _without_blocks(message.content)
    _, closed, after = content.rpartition("</think>")
    content = after.lstrip() if closed else content
    if _UNFINISHED.match(content):
        content = ""
    extra = {key: value for key, value in message.extra.items() if key not in _KEYS_OF_THOUGHT}
    return replace(message, content=content, reasoning_content=None, extra=extra)


def _without_blocks(content: str) -> str:
    """A text without `<think>` ... `</think>` and the spaces behind.

    Not by one expression: it would look for an end from every beginning, for hours where a text has
    a million of them.
    """
    kept, at = [], 0
    while (start := content.find("<think>", at)) >= 0:
        end = content.find("</think>", start)
        if end < 0:
            break
        kept.append(content[at:start])
        spaces = _SPACES.match(content, end + len("</think>"))
        at = spaces.end() if spaces else end
    return "".join([*kept, content[at:]])


def thoughts_of(message: Message) -> list[str]:
    """What an assistant's message thought: `reasoning_content`, `<think>` blocks of the content."""
    if message.role != "assistant":
        return []
    thoughts = [message.reasoning_content or ""]
    if "</think>" in message.content:
        before, _, _ = message.content.rpartition("</think>")
        thoughts += re.split("</?think>", before)
    return [stripped for thought in thoughts if (stripped := thought.strip())]


def row_of(group: Group, response: int) -> Source:
    """The row that a response of a group came from, as far as its comparisons tell."""
    rows = (c.row for c in group.comparisons if response in (c.a, c.b) and c.row is not None)
    return next(rows, group.source)


def shared_prefix(sequences: Sequence[TokenIds]) -> int:
    """Number of leading tokens that all sequences have in common."""
    if not sequences:
        return 0
    # What the first and the last in order share, all between them share.
    return common_prefix(min(sequences), max(sequences))


def common_prefix(first: TokenIds, second: TokenIds) -> int:
    """Length of the longest prefix that two sequences have in common."""
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def load_tokenizer(path: str) -> PreTrainedTokenizerBase:
    """The tokenizer in a model directory.

    Raises:
        TemplateError: there is none, or it cannot be read.
    """
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    except (
        *(OSError, ValueError, KeyError, TypeError, AttributeError),
        StrictDataclassError,
    ) as error:
        raise TemplateError(
            f"no readable tokenizer ({first_line(error)})",
            where=path,
            mend="a model directory holds tokenizer.json and tokenizer_config.json",
        ) from None
