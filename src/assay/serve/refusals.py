"""Requests that get no rewards: the status, and what the client can do about it."""

from __future__ import annotations

from typing import Any

from assay.errors import AssayError

_TYPES = {
    400: "BadRequestError",
    401: "AuthenticationError",
    404: "NotFoundError",
    405: "MethodNotAllowedError",
    408: "RequestTimeoutError",
    413: "PayloadTooLargeError",
    422: "UnprocessableEntityError",
    429: "RateLimitError",
    500: "InternalServerError",
    503: "ServiceUnavailableError",
}


class Refusal(AssayError):
    """An answer other than 200.

    Args:
        status: of HTTP.
        what: what is wrong, one clause without a full stop.
        param: the field of the body, as `responses[3]`.
        mend: what the client can do, one clause.
        headers: sent with it.
    """

    def __init__(
        self,
        status: int,
        what: str,
        *,
        param: str | None = None,
        mend: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(what, where=param, mend=mend)
        self.status = status
        self.param = param
        self.headers = headers or {}

    @property
    def body(self) -> dict[str, Any]:
        """The body, as OpenAI's and vLLM's clients expect it."""
        return {
            "error": {
                "message": str(self),
                "type": _TYPES.get(self.status, "Error"),
                "param": self.param,
                "code": self.status,
            }
        }


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


def of_error(error: AssayError, param: str | None = None) -> Refusal:
    """A mistake in a conversation, found while it was read, as the client's."""
    if isinstance(error, Refusal):
        return error
    return Refusal(422, error.what, param=param, mend=error.mend)
