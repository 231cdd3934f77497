"""API keys: read from a file once, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from pathlib import Path

from assay.errors import ConfigError
from assay.notices import warn
from assay.serve.playground import page as playground

OPEN_PATHS = frozenset({"/health", "/ready", "/ping"}) | playground.PATHS
"""What load balancers ask, who have no key; and the page in which a person gives one."""

_READABLE_BY_OTHERS = 0o077


class Keys:
    """The keys that open a server.

    Args:
        keys: at least one.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = [_digest(key.encode()) for key in keys]

    @classmethod
    def read(cls, path: Path) -> Keys:
        """One key a line; empty lines and lines that begin with `#` are none.

        Raises:
            ConfigError: the file cannot be read, or holds no key.
        """
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
            mode = path.stat().st_mode
        except (OSError, UnicodeDecodeError) as error:
            kind = getattr(error, "strerror", None) or "not UTF-8"
            raise ConfigError(
                f"cannot be read ({kind})", where=path, mend="give a file with one key a line"
            ) from None
        keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        if not keys:
            raise ConfigError("holds no key", where=path, mend="write one key a line")
        if mode & _READABLE_BY_OTHERS:
            warn(f"{path}: others can read the keys; chmod 600 it")
        return cls(keys)

    def open(self, headers: Sequence[tuple[bytes, bytes]]) -> bool:
        """Whether a request's headers hold a key: `Authorization: Bearer KEY` or `X-API-Key`."""
        given = _digest(_key_in(headers))
        # Digests are of one length, and all are compared: time tells nothing.
        return any([hmac.compare_digest(given, known) for known in self._digests])


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _key_in(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    found = dict(reversed([(name.lower(), value) for name, value in headers]))
    kind, _, key = found.get(b"authorization", b"").partition(b" ")
    if kind.lower() == b"bearer":
        return key.strip()
    return found.get(b"x-api-key", b"").strip()
