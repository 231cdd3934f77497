"""What the tests of the client share."""

from __future__ import annotations

import pytest

from assay.client import retrying
from assay.client.settings import API_KEY, BASE_URL


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses of tests are short, and the environment is empty."""
    monkeypatch.setattr(retrying, "FIRST_WAIT", 0.001)
    for name in (BASE_URL, API_KEY):
        monkeypatch.delenv(name, raising=False)
