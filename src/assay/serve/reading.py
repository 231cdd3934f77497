"""From what a request asks to the sequences that the model reads: the renderer of scoring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from assay.data.formats.building import row_group
from assay.data.records import Group, Response, Source
from assay.data.rendering import Renderer, TokenIds
from assay.data.special_tokens import SpecialTokenGuard
from assay.errors import AssayError, DataError
from assay.model.rewards import check_ids
from assay.model.vllm.either import ScoringModel
from assay.score.scorer import reading_limit, without_beginning
from assay.serve.foreign_tokens import foreign_tokens
from assay.serve.items import Asked, Conversation, Ids, Item, Reading, Text
from assay.serve.limits import Limits
from assay.serve.own_beginning import begins_as, own_beginning
from assay.serve.policy_templates import PolicyTemplate, messages_of, policy_template
from assay.serve.refusals import Refusal, of_error

NO_TEMPLATE = "none"
"""The input template of texts that are already in the model's own."""

REMEMBERED_TOKENS = 262_144
"""Tokens after which the texts that tokenising remembers are forgotten."""

_REQUEST = Source("request", 1)


@dataclass(frozen=True, slots=True)
class ReadingOptions:
    """How texts are taken.

    Attributes:
        input_template: the template that texts are in; `none` reads them as they stand.
        special_tokens: what a special token of the model means that is written out inside a
            message: `error` refuses it, `text` reads it as plain text, `special` as itself.
        foreign_tokens: whole texts that are not in the model's template, as special tokens of
            other models or another beginning tell: `flag` says so in the answer, `refuse` answers
            422. Such tokens inside messages are treated alike.

    Raises:
        DataError: the template is not known.
    """

    input_template: str = NO_TEMPLATE
    special_tokens: Literal["error", "text", "special"] = "error"
    foreign_tokens: Literal["flag", "refuse"] = "flag"

    def __post_init__(self) -> None:
        if self.input_template != NO_TEMPLATE:
            policy_template(self.input_template)


class Reader:
    """Reads requests for one model. Used by one thread at a time.

    Args:
        model: gives tokenizer and template.
        limits: of sequences and requests.
        options: how texts are taken.

    Raises:
        ConfigError: a limit is beyond the model.
    """

    def __init__(self, model: ScoringModel, limits: Limits, options: ReadingOptions) -> None:
        own = model.renderer
        policy: Literal["text", "special"] = (
            "special" if options.special_tokens == "special" else "text"
        )
        self.renderer = Renderer(own.tokenizer, own.template, policy, own.thinking)
        self.limit = reading_limit(model, limits.max_length)
        self.num_ids = model.num_ids
        self._limits = limits
        self._options = options
        self.input_template = options.input_template
        """The template of texts in requests that name none."""
        tokenizer = own.tokenizer
        self._remembered = 0
        self._guard = SpecialTokenGuard(tokenizer)
        self._own_tokens = {*tokenizer.get_added_vocab(), *tokenizer.all_special_tokens}
        self._begin = tokenizer.bos_token_id
        self.beginning = own_beginning(own)
        """How each text of the model's own template begins."""
        added = tokenizer("")["input_ids"]
        self._adds_begin = bool(added) and added[0] == self._begin

    def read(self, asked: Asked) -> list[Reading]:
        """The sequences of a request, in order.

        Raises:
            Refusal: with the field, and the limit by its name.
        """
        if asked.num_rewards > self._limits.max_responses:
            raise Refusal(
                422,
                f"{asked.num_rewards} responses are more than the limit of "
                f"{self._limits.max_responses} (max_responses)",
                mend="send them in several requests",
            )
        policy = self._policy(asked.input_template or self.input_template)
        items = [self._retemplated(item, policy) for item in asked.items]
        for item in items:
            self._check(item)
        found = [reading for item in items for reading in self._read(item, asked)]
        tokens = sum(len(reading.ids) for reading in found)
        self._forget_after(tokens)
        if tokens > self._limits.max_request_tokens:
            raise Refusal(
                422,
                f"{tokens} tokens are more than the limit of {self._limits.max_request_tokens} "
                "of one request (max_request_tokens)",
                mend="send it in several requests",
            )
        return found

    def _policy(self, name: str) -> PolicyTemplate | None:
        if name == NO_TEMPLATE:
            return None
        try:
            return policy_template(name)
        except DataError as error:
            raise of_error(error, "input_template") from None

    def _retemplated(self, item: Item, policy: PolicyTemplate | None) -> Item:
        """A text in a policy's template as the conversation that it holds."""
        if not isinstance(item, Text) or policy is None:
            return item
        try:
            messages = messages_of(item.text, policy)
            group = row_group(_REQUEST, messages[:-1], (Response(messages[-1:]),))
        except AssayError as error:
            raise of_error(error, item.field) from None
        return Conversation(group, (item.field,), item.field)

    def _check(self, item: Item) -> None:
        """See that no message writes out a special token, where that is refused."""
        if not isinstance(item, Conversation) or self._options.special_tokens != "error":
            return
        group = item.group
        turns = [(item.field_of_turn(place), turn) for place, turn in enumerate(group.prompt)]
        for field, response in zip(item.fields, group.responses, strict=True):
            turns += [(field, turn) for turn in response.messages]
        for field, turn in turns:
            self._refuse_literals(self._guard.find([turn]), field)
        self._refuse_literals(self._guard.find([], group.tools), "tools")
        self._refuse_literals(
            self._guard.find([], None, group.template_kwargs), "chat_template_kwargs"
        )

    def _refuse_literals(self, literals: Sequence[str], field: str) -> None:
        if literals:
            raise Refusal(
                422,
                f"the special token {literals[0]} of this model is written out inside it",
                param=field,
                mend="remove it; a server with --special-tokens-in-content text reads it as plain "
                "text",
            )

    def _read(self, item: Item, asked: Asked) -> list[Reading]:
        if isinstance(item, Ids):
            ids = self._fitted_ids(item, asked)
            return [Reading(ids, None, len(ids) < len(item.ids))]
        if isinstance(item, Text):
            return [self._read_text(item, asked)]
        foreign = self._foreign(item)
        readings = []
        try:
            pairs = [(item.group, index) for index in range(len(item.group.responses))]
            rendered = self.renderer.render_many(pairs)
            for text, field, found in zip(rendered, item.fields, foreign, strict=True):
                ids = self._fitted(text.ids, field, asked, item.group)
                readings.append(Reading(ids, item.group.key, len(ids) < len(text.ids), found))
        except AssayError as error:
            raise of_error(error, item.fields[0]) from None
        return readings

    def _read_text(self, item: Text, asked: Asked) -> Reading:
        if not item.text:
            raise Refusal(422, "is empty", param=item.field, mend="send a text")
        ids = self._with_one_begin(self.renderer.render_text(item.text).ids, add=item.begin)
        found = foreign_tokens(item.text, self._own_tokens, rendered=True)
        self._refuse_foreign(found, item.field)
        untemplated = not found and not self._begins_as_own(item.text, ids)
        if untemplated and self._options.foreign_tokens == "refuse":
            raise Refusal(
                422,
                f"does not begin as texts in the model's template do, with {self.beginning[:80]!r}",
                param=item.field,
                mend="send messages, or say which template the text is in (input_template)",
            )
        family = f"text {item.prompt}" if item.prompt else None
        fitted = self._fitted(ids, item.field, asked, None)
        return Reading(fitted, family, len(fitted) < len(ids), found, untemplated)

    def _with_one_begin(self, ids: TokenIds, *, add: bool) -> TokenIds:
        """A begin token where the tokenizer would add one and it is wanted, and never two."""
        if self._begin is None:
            return ids
        first = 0
        while ids[first : first + 2] == (self._begin, self._begin):
            first += 1
        ids = ids[first:]
        if add and self._adds_begin and ids[:1] != (self._begin,):
            return (self._begin, *ids)
        return ids

    def _foreign(self, item: Conversation) -> list[tuple[str, ...]]:
        def of(messages: Sequence[object]) -> tuple[str, ...]:
            text = "\n".join(getattr(message, "content", "") for message in messages)
            return foreign_tokens(text, self._own_tokens)

        prompt = of(item.group.prompt)
        each = [
            tuple(dict.fromkeys([*prompt, *of(response.messages)]))
            for response in item.group.responses
        ]
        for found, field in zip(each, item.fields, strict=True):
            self._refuse_foreign(found, field)
        return each

    def _refuse_foreign(self, found: tuple[str, ...], field: str) -> None:
        if found and self._options.foreign_tokens == "refuse":
            raise Refusal(
                422,
                f"holds {found[0]}, a special token of another model",
                param=field,
                mend="say which template the text is in (input_template), or send messages",
            )

    def _begins_as_own(self, text: str, ids: TokenIds) -> bool:
        mark = self.renderer.tokenizer.bos_token
        begun = ids[:1] == (self._begin,) or not (mark and self.beginning.startswith(mark))
        return begun and begins_as(text, self.beginning, mark)

    def _forget_after(self, tokens: int) -> None:
        """Forget what tokenising remembers, now and then: texts of clients are not kept."""
        self._remembered += tokens
        if self._remembered > REMEMBERED_TOKENS:
            self._remembered = 0
            self.renderer.forget()

    def _fitted(self, ids: TokenIds, field: str, asked: Asked, group: Group | None) -> TokenIds:
        """The ids that the model reads: what is too long loses its beginning, or is refused."""
        if not ids:
            raise Refusal(422, "has no token to score", param=field)
        try:
            check_ids([ids], self.num_ids, self.renderer)
        except DataError as error:
            raise of_error(error, field) from None
        limit = min(self.limit, asked.max_length or self.limit)
        if len(ids) <= limit:
            return ids
        if not (asked.cut or self._limits.over_length == "cut"):
            raise Refusal(
                422,
                f"has {len(ids)} tokens with its prompt, more than the limit of {limit} "
                "(max_length)",
                param=field,
                mend="shorten it; with --over-length cut the prompt's beginning is left out",
            )
        response = 0
        if group is not None:
            prompt = self.renderer.render_text(self.renderer.prompt_text(group)).ids
            response = len(ids) - len(prompt)
            if response > limit:
                raise Refusal(
                    422,
                    f"has {response} tokens without its prompt, more than the limit of {limit} "
                    "(max_length)",
                    param=field,
                    mend="shorten it: a response is never cut",
                )
        return without_beginning(ids, limit, self._begin, response)

    def _fitted_ids(self, item: Ids, asked: Asked) -> TokenIds:
        ids = item.ids
        if not ids:
            raise Refusal(422, "is empty", param=item.field, mend="send at least one token id")
        if not all(0 <= token < self.num_ids for token in ids):
            raise Refusal(
                422,
                f"holds an id outside 0 to {self.num_ids - 1}",
                param=item.field,
                mend="tokenise with this model's tokenizer",
            )
        return self._fitted(ids, item.field, asked, None)
