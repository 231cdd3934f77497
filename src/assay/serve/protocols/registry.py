"""The protocols that are known, by path and by what their bodies hold."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, FailFast

from assay.errors import ConfigError
from assay.serve.desk import Desk
from assay.serve.refusals import Refusal

_Item = TypeVar("_Item")


class _FirstMistake(FailFast):
    def __hash__(self) -> int:  # As unions want it of their members.
        return hash(self.fail_fast)


Listed = Annotated[list[_Item], _FirstMistake()]
"""A list of which the first mistake is told: a body may hold millions, each an object in memory."""


class ForeignBody(BaseModel):
    """A body of another server's protocol: fields that change no reward are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore")

    input_template: str | None = None
    """Ours: the policy's template that texts are in."""
    use_activation: bool | None = None
    """vLLM's, and here of all: true gives the sigmoid of each reward."""


def nested_error(refusal: Refusal) -> Any:
    """OpenAI's shape, which vLLM and SGLang share."""
    return refusal.body


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A path of a protocol.

    Attributes:
        protocol: its name, as `--protocol` takes it.
        path: of the URL.
        body: what it takes.
        keys: bodies of it hold one of them: so protocols that share a path are told apart.
        answer: gives the JSON of a body.
        summary: one line for OpenAPI.
        example: a body, and what it gives.
        methods: of HTTP.
        error: the JSON of a refusal.
    """

    protocol: str
    path: str
    body: type[BaseModel]
    keys: frozenset[str]
    answer: Callable[[Any, Desk], Awaitable[Any]]
    summary: str
    example: tuple[Mapping[str, Any], Any]
    methods: tuple[str, ...] = ("POST",)
    error: Callable[[Refusal], Any] = nested_error


_REGISTRY: list[Endpoint] = []


def register_endpoint(endpoint: Endpoint) -> None:
    """Make an endpoint known.

    Raises:
        ConfigError: bodies of another one at its path cannot be told from its own.
    """
    for other in _REGISTRY:
        if other.path == endpoint.path and other.keys & endpoint.keys:
            raise ConfigError(
                f"{endpoint.protocol} and {other.protocol} cannot be told apart",
                where=endpoint.path,
                mend="give their bodies different keys",
            )
    _REGISTRY.append(endpoint)


def protocol_names() -> list[str]:
    """Names of all protocols."""
    return sorted({endpoint.protocol for endpoint in _REGISTRY})


def endpoints(protocols: Collection[str] = ()) -> dict[str, list[Endpoint]]:
    """Endpoints by path: of the protocols named, by default of all.

    Raises:
        ConfigError: there is no such protocol.
    """
    for name in protocols:
        if name not in protocol_names():
            raise ConfigError(
                f"unknown protocol '{name}'", mend=f"known: {', '.join(protocol_names())}"
            )
    found: dict[str, list[Endpoint]] = {}
    for endpoint in _REGISTRY:
        if not protocols or endpoint.protocol in protocols:
            found.setdefault(endpoint.path, []).append(endpoint)
    return found


def choose(candidates: list[Endpoint], body: Mapping[str, Any]) -> Endpoint:
    """The endpoint at a path whose body this is.

    Raises:
        Refusal: it could be several, or none.
    """
    if len(candidates) == 1:
        return candidates[0]
    fitting = [one for one in candidates if one.keys & body.keys()]
    if len(fitting) == 1:
        return fitting[0]
    wanted = "; ".join(f"{' or '.join(sorted(one.keys))} for {one.protocol}" for one in candidates)
    raise Refusal(
        422,
        "the body is of several protocols at once"
        if fitting
        else "the body is of no protocol here",
        mend=f"send {wanted}",
    )
