"""A server on a real port in this process, and pages of it in Chromium."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn

from assay.serve.app import Served

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
PATIENCE = 240_000
"""Milliseconds: other programs may hold all cores."""


@contextmanager
def live(served: Served) -> Iterator[str]:
    """The address of an application while it is served; its threads end with it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(served.asgi, log_config=None, lifespan="on", ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def chromium() -> Iterator[Any]:
    """Chromium without a window; skips where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium on the path; CHROMIUM names another place")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"], timeout=PATIENCE
        )
        yield opened
        opened.close()


def page_at(browser: Any, url: str, **options: Any) -> Any:
    """The page, once it knows the models; it keeps what it asked for and what was complained of."""
    options = {"locale": "en-GB", "viewport": {"width": 1200, "height": 900}} | options
    context = browser.new_context(**options)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.asked, page.complaints = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("console", lambda message: page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("dialog", lambda dialog: page.complaints.append("a dialog"))
    page.goto(url, wait_until="networkidle")
    return page


def write(page: Any, prompt: str, *answers: str) -> None:
    """A prompt and answers into the form."""
    page.locator("#turns textarea").last.fill(prompt)
    while page.locator("#answers textarea").count() < len(answers):
        page.click("#add-answer")
    for number, answer in enumerate(answers):
        page.locator("#answers textarea").nth(number).fill(answer)


def score(page: Any) -> list[str]:
    """Score what is written; the letters of the answers as they are ranked by the first model."""
    page.click("#score")
    page.wait_for_selector("#results:not([aria-busy])")
    return ranked(page)


def ranked(page: Any) -> list[str]:
    """The letters of the answers as the first model ranks them."""
    found = page.locator(".panel").first.locator(".ranked")
    return [one.get_attribute("data-answer") for one in found.all()]
