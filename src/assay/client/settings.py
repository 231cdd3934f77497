"""How a client asks: where, with which key, how often, what of a failure."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict, get_args
from urllib.parse import SplitResult, unquote, urlsplit

from assay.errors import ConfigError

OnError = Literal["raise", "none"]

BASE_URL = "ASSAY_BASE_URL"
API_KEY = "ASSAY_API_KEY"
"""Environment variables of the address and the key, where the caller gives none."""

_TEXTS = ("api_key", "model", "input_template", "run", "ca_file")
LONGEST_RUN = 128
"""Characters of the name of a run."""


class Options(TypedDict, total=False):
    """What a client can be given besides its address; see `ClientSettings`."""

    api_key: str | None
    model: str | None
    input_template: str | None
    on_error: OnError
    run: str | None
    timeout: float
    connect_timeout: float
    retries: int
    concurrency: int
    responses_per_request: int
    ca_file: str | None


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """How a client asks. It can be pickled; a key from the environment is not in it.

    Attributes:
        base_url: of the server, as `http://host:8000`; by default `ASSAY_BASE_URL`. A login in it,
            as in `http://user:password@host`, is taken out.
        api_key: by default `ASSAY_API_KEY`, read when the first request is sent.
        model: a served name; by default the server's first.
        input_template: the template that whole texts are in, as the server names it.
        on_error: `raise`, or `none`, which gives None in the place of an item that failed.
        run: the name of the training run, for the server's records of runs.
        timeout: seconds for one answer, above the server's deadline (300 by default), so that
            its own refusal comes first.
        connect_timeout: seconds for a connection.
        retries: times that a request is repeated after a busy server or a broken connection.
        concurrency: requests on their way at once.
        responses_per_request: more than so many are cut into several requests.
        ca_file: PEM file of certificates to trust; by default `SSL_CERT_FILE`, else certifi's.
        login: user and password, out of `base_url`; sent instead of the key.
    """

    base_url: str
    api_key: str | None = field(default=None, repr=False)
    model: str | None = None
    input_template: str | None = None
    on_error: OnError = "raise"
    run: str | None = None
    timeout: float = 330.0
    connect_timeout: float = 10.0
    retries: int = 8
    concurrency: int = 16
    responses_per_request: int = 64
    ca_file: str | None = None
    login: tuple[str, str] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        place = _place(self.base_url)
        if place is None:
            raise ConfigError(
                f"'{_without_login(self.base_url)}' is no address of a server",
                where="base_url",
                mend="write http://HOST:PORT",
            )
        if "@" in place.netloc:
            login = unquote(place.username or ""), unquote(place.password or "")
            bare = place._replace(netloc=place.netloc.rpartition("@")[2])
            object.__setattr__(self, "base_url", bare.geturl())
            object.__setattr__(self, "login", login if any(login) else None)
        if self.on_error not in get_args(OnError):
            raise ConfigError(
                f"'{self.on_error}' is unknown", where="on_error", mend="write raise or none"
            )
        for name in _TEXTS:
            if not isinstance(getattr(self, name), str | None):
                raise ConfigError("is no text", where=name, mend="write it in quotes")
        for name, least in (("retries", 0), ("concurrency", 1), ("responses_per_request", 1)):
            if not (isinstance(getattr(self, name), int) and getattr(self, name) >= least):
                raise ConfigError("is no count", where=name, mend=f"give {least} or more")
        for name in ("timeout", "connect_timeout"):
            if not (isinstance(getattr(self, name), int | float) and getattr(self, name) > 0):
                raise ConfigError("is no number above 0", where=name, mend="give seconds")
        run = self.run
        if run is not None and not (
            run.isprintable() and run == run.strip() and 0 < len(run) <= LONGEST_RUN
        ):
            raise ConfigError(
                "is no name of a run",
                where="run",
                mend=f"give 1 to {LONGEST_RUN} characters that can be printed",
            )

    @property
    def key(self) -> str | None:
        """The key to send, without the line's end that files of keys have.

        Raises:
            ConfigError: no header can hold it; the key itself is not said.
        """
        key = (self.api_key or os.environ.get(API_KEY) or "").strip()
        if not key.isprintable():
            raise ConfigError(
                "the key holds characters that no header can hold",
                where="api_key" if self.api_key else API_KEY,
                mend="give one line of --api-key-file",
            )
        return key or None


def _place(url: str) -> SplitResult | None:
    """The parts of an address, or None where it is none."""
    try:
        place = urlsplit(url)
        is_one = place.scheme in ("http", "https") and bool(place.hostname) and place.port != 0
    except ValueError:  # A bracket that is not closed, a port that is none.
        return None
    # Behind the host it is of a password with a character that ends hosts: it has to be quoted.
    return place if is_one and "@" not in place.path + place.query + place.fragment else None


def _without_login(url: str) -> str:
    return re.sub(r"^(\w*:?//)?.*@", r"\1***@", url, flags=re.DOTALL)


def settings_of(base_url: str | None, options: Any) -> ClientSettings:
    """Settings from what a caller gives; recipes of other programs may hold anything.

    Raises:
        ConfigError: there is no address, an option is unknown, or one cannot be.
    """
    address = base_url or os.environ.get(BASE_URL)
    if not address:
        raise ConfigError(
            "no address of a server", mend=f"give base_url, or set {BASE_URL}=http://HOST:PORT"
        )
    if not isinstance(address, str):
        raise ConfigError(
            f"{address!r} is no address of a server",
            where="base_url",
            mend="write http://HOST:PORT",
        )
    known = list(Options.__annotations__)
    for name in options:
        if name not in known:
            raise ConfigError(f"unknown option '{name}'", mend=f"known: {', '.join(known)}")
    return ClientSettings(address.rstrip("/"), **options)
