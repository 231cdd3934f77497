"""`chosen` and `rejected`, the pair that most formats hold; a prompt beside them, or inside."""

from __future__ import annotations

from assay.data.cells import looks_listed, nested
from assay.data.formats.building import Messages, answer, split_conversations
from assay.data.formats.fields import require
from assay.data.formats.messages import assistant, read_turns
from assay.data.records import Response
from assay.data.strict_json import JsonObject
from assay.errors import DataError

ANSWERS = ("chosen", "rejected")


def chosen_and_rejected(
    row: JsonObject, prompt: Messages | None
) -> tuple[Messages, Response, Response]:
    """The prompt and the two answers of a row; each answer is text, a message or several.

    Args:
        row: holds `chosen` and `rejected`.
        prompt: what the row names as its prompt. The answers may repeat it (as UltraFeedback's
            do). None where they are whole conversations.

    Raises:
        DataError: an answer is missing, of another type, or the prompt cannot be found.
    """
    given = {field: nested(require(row, field), "role") for field in ANSWERS}
    if all(map(looks_listed, given.values())):
        raise DataError(
            "'chosen' and 'rejected' look like lists of texts "
            f"({str(given['chosen'])[:30]!r}), and a cell of a table would be read as one text",
            mend="write the table as JSON lines or Parquet, where lists are lists",
        )
    chosen, rejected = (read_turns(value, field, assistant) for field, value in given.items())
    if prompt is not None:
        return _with_prompt(prompt, chosen, rejected)
    for field, value in given.items():
        if isinstance(value, str):
            raise DataError(
                f"'{field}' is text and there is no 'prompt', so the prompt cannot be found",
                mend="add a 'prompt' field, or write both as lists of messages",
            )
    return split_conversations(chosen, rejected)


def _with_prompt(
    prompt: Messages, chosen: Messages, rejected: Messages
) -> tuple[Messages, Response, Response]:
    repeats = [_repeats(prompt, messages) for messages in (chosen, rejected)]
    if all(repeats):
        return split_conversations(chosen, rejected)
    if any(repeats):
        raise DataError(
            "one of 'chosen' and 'rejected' repeats the prompt and the other does not",
            mend="write the answers alone in both",
        )
    return prompt, _alone(chosen, "chosen"), _alone(rejected, "rejected")


def _alone(messages: Messages, field: str) -> Response:
    if messages and messages[0].role not in ("assistant", "tool"):
        raise DataError(
            f"'{field}' begins with the role '{messages[0].role}' and does not repeat the prompt",
            mend="write the answer alone, or begin it with exactly the prompt",
        )
    return answer(messages, field)


def _repeats(prompt: Messages, messages: Messages) -> bool:
    """Whether a conversation begins with the prompt, behind a system message at most."""
    if messages and messages[0].role in ("system", "developer") and prompt[:1] != messages[:1]:
        messages = messages[1:]
    return bool(prompt) and messages[: len(prompt)] == prompt
