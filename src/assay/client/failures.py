"""A reward that could not be had: of which item, and what the server said."""

from __future__ import annotations

from copy import copy

from assay.errors import AssayError


class RewardError(AssayError):
    """There is no reward: never 0, which a policy would learn from.

    Args:
        what: what is wrong, one clause without a full stop.
        where: the item, as `prompts[3]`.
        mend: what to do about it.
        status: of HTTP, where the server answered.
        index: of the item in the call.
        param: the field that the server names.
        passing: whether asking again may help.
        retry_after: seconds that the server asks to wait before that.
    """

    def __init__(
        self,
        what: str,
        *,
        where: object = None,
        mend: str | None = None,
        status: int | None = None,
        index: int | None = None,
        param: str | None = None,
        passing: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(what, where=where, mend=mend)
        self.status = status
        self.index = index
        self.param = param
        self.passing = passing
        self.retry_after = retry_after

    def at(self, label: str, index: int) -> RewardError:
        """The same, of an item of the call: `label[index]`."""
        placed = copy(self)
        placed.where, placed.index = f"{label}[{index}]", index
        return placed


def closed_meanwhile() -> RewardError:
    """Of a request that was on its way when the client was closed."""
    return RewardError(
        "the client was closed before the answer came", mend="close it after the last request"
    )
