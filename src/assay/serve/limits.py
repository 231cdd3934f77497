"""What a request may ask for, and how much may wait: each bound has one name, which errors say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from assay.errors import ConfigError

OverLength = Literal["error", "cut"]

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one server.

    Attributes:
        max_body_bytes: of one request.
        max_request_tokens: of all sequences of one request, prompts counted with each response.
        max_responses: sequences of one request.
        max_queue_tokens: of all requests of a model that wait or are computed; above it, 429.
        max_held_bytes: bodies of requests that are not answered yet; above it, 429.
        max_length: tokens of prompt and response together; by default the model's context.
        over_length: `error` refuses what is longer, `cut` leaves out the prompt's beginning and
            says so.
        deadline: seconds from a request's arrival, after which it gets 503.
        body_seconds: in which a client has to send its body.
        prompt_cache_bytes: keys and values of prompts that each model remembers; 0 for none.
    """

    max_body_bytes: int = 4 * MIB
    max_request_tokens: int = 262_144
    max_responses: int = 512
    max_queue_tokens: int = 4_194_304
    max_held_bytes: int = 256 * MIB
    max_length: int | None = None
    over_length: OverLength = "error"
    deadline: float = 300.0
    body_seconds: float = 30.0
    prompt_cache_bytes: int = 512 * MIB

    def __post_init__(self) -> None:
        if self.max_request_tokens > self.max_queue_tokens:
            raise ConfigError(
                f"a request may have {self.max_request_tokens} tokens, and only "
                f"{self.max_queue_tokens} may wait",
                where="--max-request-tokens",
                mend="give at most what --max-queue-tokens says",
            )
        if self.max_body_bytes > self.max_held_bytes:
            raise ConfigError(
                f"is above {self.max_held_bytes}, the bytes of all requests that may wait",
                where="--max-body-bytes",
                mend="give less",
            )


DEFAULTS = Limits()
