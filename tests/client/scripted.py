"""A server on a real socket that answers what a test tells it to, and keeps what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, Any] | tuple[int, Any, dict[str, str]]
"""Status, JSON (or bytes), and headers."""


@dataclass
class Asked:
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Scripted:
    url: str
    asked: list[Asked] = field(default_factory=list)
    most_at_once: int = 0

    @property
    def bodies(self) -> list[Any]:
        return [one.body for one in self.asked]


def rewards_of(body: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The answer of a server whose rewards are the lengths of what is last said."""
    items = body.get("responses") or body["texts"]
    lengths = [float(len(one if isinstance(one, str) else json.dumps(one))) for one in items]
    return {
        "model": "rm",
        "rewards": lengths,
        "tokens": [int(length) for length in lengths],
        "truncated": [False] * len(items),
        **more,
    }


@contextmanager
def scripted(answer: Callable[[int, dict[str, Any]], Answer]) -> Iterator[Scripted]:
    """A server; `answer` is told how many requests came before, and the body."""
    lock = threading.Lock()
    now = 0

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.answer(None)

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            self.answer(json.loads(self.rfile.read(length)))

        def answer(self, body: Any) -> None:
            nonlocal now
            with lock:
                number = len(server.asked)
                server.asked.append(Asked(self.path, dict(self.headers), body))
                now += 1
                server.most_at_once = max(server.most_at_once, now)
            try:
                status, content, *more = answer(number, body)
            finally:
                with lock:
                    now -= 1
            if status == 0:  # The connection breaks.
                self.close_connection = True
                return
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, text in (more[0] if more else {}).items():
                self.send_header(name, text)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: Any) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    server = Scripted(f"http://127.0.0.1:{listening.server_address[1]}")
    thread = threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()
