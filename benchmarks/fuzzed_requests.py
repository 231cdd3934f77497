"""Requests that no client should send, drawn by hypothesis, and what an answer to one has to be.

They go out as bytes over a socket of their own, so that headers, chunks and bodies can be as broken
as they like. The bodies begin with the examples of the protocols; fields are then left out, given
wild values, given twice or nested, the text is cut, or its bytes are no text any more.
"""

from __future__ import annotations

import http.client
import json
import shlex
import socket
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from hypothesis import strategies as st

from assay.serve.protocols import endpoints

CLOSES = frozenset({"short", "cut chunks"})
"""Framings whose body never ends: the client hangs up, and no answer has to come."""
BROKEN = frozenset({"long", "bad chunks", "both", "no number"})
"""Framings that are no HTTP: the answer may be the text of whoever reads HTTP."""


@dataclass(frozen=True, repr=False)
class Sent:
    """A request.

    Attributes:
        method: of HTTP.
        path: of the URL.
        headers: besides those that say where the body ends.
        body: as it would be without a broken framing.
        framing: how the server is told where the body ends.
    """

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    framing: str = "length"

    def __repr__(self) -> str:
        return f"{self.method} {self.path}, {len(self.body)} bytes, {self.framing}"

    @property
    def wire(self) -> bytes:
        """All that is sent."""
        head = [f"{self.method} {self.path} HTTP/1.1", "Host: x"]
        head += [f"{name}: {value}" for name, value in self.headers]
        stated, content = _framed(self.body, self.framing)
        return "\r\n".join([*head, *stated, "", ""]).encode("latin-1") + content

    def shell(self, url: str) -> str:
        """A line that sends it again."""
        plain = all(value.isascii() and value.isprintable() for _, value in self.headers)
        if self.framing != "length" or not plain:
            place = urlsplit(url)
            return f"printf {_printf(self.wire)} | nc -q 9 {place.hostname} {place.port}"
        headers = " ".join(f"-H {shlex.quote(f'{name}: {value}')}" for name, value in self.headers)
        return (
            f"printf {_printf(self.body)} | curl -s -X {self.method} {headers} "
            f"--data-binary @- {url}{self.path}"
        )


@dataclass(frozen=True)
class Answer:
    """What came back; without a status the connection was closed and nothing came."""

    status: int | None
    kind: str = ""
    body: bytes = b""


def send(url: str, sent: Sent, seconds: float) -> Answer:
    """Send a request, and wait for all of its answer.

    Raises:
        TimeoutError: it did not come in time.
    """
    place = urlsplit(url)
    with socket.create_connection((place.hostname, place.port), seconds) as connection:
        try:
            connection.sendall(sent.wire)
            if sent.framing in CLOSES:
                connection.shutdown(socket.SHUT_WR)
        except TimeoutError:
            raise
        except OSError:  # The server closed already; its answer may be there.
            pass
        response = http.client.HTTPResponse(connection, method=sent.method)
        try:
            response.begin()
            body = response.read()
        except (http.client.RemoteDisconnected, ConnectionError):
            return Answer(None)
        return Answer(response.status, response.headers.get_content_type(), body)


def fault(sent: Sent, answer: Answer) -> str | None:
    """What an answer has that it must not have, or None."""
    if answer.status is None:
        return None if _may_be_closed(sent) else "no answer"
    if answer.status >= 500:
        return f"status {answer.status}: {answer.body[:500]!r}"
    if answer.kind == "text/plain" and answer.status == 400 and not _is_http(sent):
        return None
    if sent.method == "HEAD":
        return "an answer to HEAD has a body" if answer.body else None
    if answer.kind != "application/json":
        return f"{answer.kind!r} with status {answer.status}"
    try:
        found = json.loads(answer.body, parse_constant=_no_number)
    except ValueError as error:
        return f"no JSON ({error}) with status {answer.status}"
    if answer.status == 200:
        return None
    error = found.get("error") if isinstance(found, dict) else None
    if isinstance(error, str):
        return None
    if not isinstance(error, dict) or set(error) != {"message", "type", "param", "code"}:
        return f"status {answer.status} without an error: {found}"
    return None if error["code"] == answer.status else f"{error} with status {answer.status}"


def _may_be_closed(sent: Sent) -> bool:
    """Whoever asks what the server expects, and sends on, may find a closed connection."""
    expects = any(name == "Expect" for name, _ in sent.headers)
    return expects or sent.framing in CLOSES or not _is_http(sent)


def _is_http(sent: Sent) -> bool:
    printable = all(value.isprintable() for _, value in sent.headers)
    return sent.framing not in BROKEN and printable


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")


# How a body is sent


def _framed(body: bytes, framing: str) -> tuple[list[str], bytes]:
    length = f"Content-Length: {len(body)}"
    chunked = "Transfer-Encoding: chunked"
    half = len(body) // 2
    chunks = b"".join(
        b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:half], body[half:]) if part
    )
    return {
        "length": ([length], body),
        "none": ([], b""),
        "chunks": ([chunked], chunks + b"0\r\n\r\n"),
        "cut chunks": ([chunked], chunks),
        "bad chunks": ([chunked], b"zz\r\n" + body + b"\r\n0\r\n\r\n"),
        "short": ([f"Content-Length: {len(body) + 7}"], body),
        "long": ([f"Content-Length: {half}"], body),
        "both": ([length, chunked], chunks + b"0\r\n\r\n"),
        "no number": (["Content-Length: -1"], body),
    }[framing]


def _printf(content: bytes) -> str:
    plain = set(string.printable.encode()) - set(b"\\%'\r\n\t\x0b\x0c")
    return "'" + "".join(chr(one) if one in plain else f"\\{one:03o}" for one in content) + "'"


# What is drawn


@dataclass(frozen=True)
class _Raw:
    """A value that json.dumps would not write."""

    text: str


_NUMBERS = st.sampled_from(
    [
        *("-0", "-0.0", "1e-999", "9" * 20, "-" + "9" * 20, "9" * 400, "0." + "1" * 5000),
        *("2147483648", "9223372036854775808", "1.5", "1e2", "0.1e308"),
    ]
).map(_Raw)
_FLAWED = st.sampled_from(
    [
        *("NaN", "Infinity", "-Infinity", "1e999", "-1E400", "9" * 5000, "-" + "9" * 5000),
        *(r'"\ud800"', r'"\udfff\ud800"', '"\n"', "00", "0x10", "1.", "nul", "'a'", "-", "1e"),
    ]
).map(_Raw)
"""What Python or others read and JSON does not have, or what nobody holds."""
_TEXTS = st.sampled_from(
    [
        *("", " ", "\0", "\ufeff", "\u2028", "\U0001f600", "e\u0301", "\u202e", "a" * 3000),
        *("<|im_start|>", "<|im_end|>", "<|endoftext|>", "[INST]", "<start_of_turn>user\n"),
        *("{{ 7 * 7 }}", "{% raw %}", "%s%n", "../../etc/passwd", "none", "chatml", "base64"),
        "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n",
    ]
)
_LEAVES = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False)),
    *(_NUMBERS, _NUMBERS, _TEXTS, _TEXTS, st.text(max_size=20), st.just(_Raw(r'"\uD83D\uDE00"'))),
    _FLAWED,
)


def _deep(*depths: int) -> st.SearchStrategy[_Raw]:
    texts = [text for n in depths for text in ("[" * n + "]" * n, '{"a":' * n + "1" + "}" * n)]
    return st.sampled_from(texts).map(_Raw)


_ROLES = st.sampled_from(["user", "assistant", "system", "tool", "king", ""])
_MESSAGE = st.fixed_dictionaries(
    {"role": _ROLES | _LEAVES, "content": _TEXTS | st.text(max_size=20) | _LEAVES},
    optional={
        "name": _LEAVES,
        "tool_calls": st.lists(_LEAVES, max_size=2),
        "reasoning_content": _LEAVES,
    },
)
_VALUES = st.one_of(
    _LEAVES,
    _TEXTS,
    _deep(5, 50, 97),
    _deep(101, 2000, 12_000),
    st.lists(st.text(max_size=20), max_size=4),
    st.lists(st.integers(-2, 500), max_size=8),
    st.lists(st.lists(st.integers(0, 300), max_size=5), max_size=3),
    st.lists(_MESSAGE, max_size=4),
    st.recursive(
        _LEAVES,
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
        ),
        max_leaves=8,
    ),
    st.integers(0, 600).map(lambda count: ["a"] * count),
)

_ENDPOINTS = [one for several in endpoints().values() for one in several]
PATHS = tuple(endpoints())
_FIELDS = tuple(dict.fromkeys(name for one in _ENDPOINTS for name in one.body.model_fields))


@st.composite
def _object(draw: st.DrawFn, path: str) -> str:
    """The text of an object that begins as an example of the path."""
    endpoint = draw(st.sampled_from([one for one in _ENDPOINTS if one.path == path]))
    pairs: list[tuple[str, Any]] = list(endpoint.example[0].items())
    own = st.sampled_from(list(endpoint.body.model_fields))
    for _ in range(draw(st.integers(0, 3))):
        name = draw(own | own | st.sampled_from(_FIELDS) | st.text(max_size=6))
        if not draw(st.integers(0, 7)):  # Now and then a field is there twice.
            pairs.append((name, draw(_VALUES)))
        else:
            pairs = [pair for pair in pairs if pair[0] != name]
            if draw(st.booleans()):
                pairs.append((name, draw(_VALUES)))
    return _written(_Pairs(pairs))


class _Pairs(list[tuple[str, Any]]):
    """An object whose names may come twice."""


def _written(value: object) -> str:
    if isinstance(value, _Raw):
        return value.text
    if isinstance(value, _Pairs):
        return "{" + ", ".join(f"{json.dumps(k)}: {_written(v)}" for k, v in value) + "}"
    if isinstance(value, Mapping):
        return _written(_Pairs(value.items()))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(_written(one) for one in value) + "]"
    return json.dumps(value)


@st.composite
def _body(draw: st.DrawFn, path: str) -> bytes:
    text = draw(_object(path))
    content = text.encode("utf-8", "surrogatepass")
    how = draw(st.sampled_from(["as it is"] * 20 + list(_SPOILT)))
    if how == "as it is":
        return content
    return _SPOILT[how](content, draw(st.integers(0, len(content))))


_SPOILT = {
    "empty": lambda content, place: b"",
    "cut": lambda content, place: content[:place],
    "no UTF-8": lambda content, place: content[:place] + b"\xff\xc0\x80" + content[place:],
    "a zero": lambda content, place: content[:place] + b"\0" + content[place:],
    "UTF-16": lambda content, place: content.decode("utf-8", "replace").encode("utf-16"),
    "a mark": lambda content, place: b"\xef\xbb\xbf" + content,
    "in a list": lambda content, place: b"[" + content + b"]",
    "twice": lambda content, place: content + content,
    "long": lambda content, place: content + b" " * 60_000,
    "far too long": lambda content, place: content + b" " * 300_000,
    "a form": lambda content, place: b"input=a&messages=b&query=%FF",
}

_TYPES = st.sampled_from(
    [
        *("application/json", "application/json; charset=utf-16", "text/plain", "", "a/b/c"),
        *("application/x-www-form-urlencoded", "multipart/form-data; boundary=", "*/*"),
    ]
)
_WORDS = st.text(
    st.characters(min_codepoint=1, max_codepoint=255, exclude_characters="\r\n"), max_size=140
)
_HEADERS = st.lists(
    st.one_of(
        st.tuples(st.just("Content-Type"), _TYPES),
        st.tuples(st.just("X-Assay-Run"), _WORDS),
        st.tuples(
            st.just("X-Assay-Step"),
            st.sampled_from(["0", "7", "-1", "1e3", "9" * 15, "9" * 400, "", "\xb2"]),
        ),
        st.tuples(st.just("Content-Encoding"), st.sampled_from(["gzip", "br", "x"])),
        st.tuples(st.just("Accept"), st.sampled_from(["text/html", "x", "*/*;q=0"])),
        st.tuples(st.just("Expect"), st.just("200-nothing")),
        st.tuples(st.just("Authorization"), _WORDS),
    ),
    max_size=3,
    unique_by=lambda pair: pair[0],
).map(tuple)
_METHODS = ("GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "BREW")
_FRAMINGS = ("none", "chunks", *sorted(CLOSES), *sorted(BROKEN))


@st.composite
def requests(draw: st.DrawFn, path: str) -> Sent:
    """A request to a protocol's path: most are POST, and most bodies end where they say."""
    method = draw(st.sampled_from(("POST",) * 32 + _METHODS))
    framing = draw(st.sampled_from(("length",) * 40 + _FRAMINGS))
    return Sent(method, path, draw(_HEADERS), draw(_body(path)), framing)
