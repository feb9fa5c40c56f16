from __future__ import annotations

import pytest

from tunnel import client
from vshare import resumables


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams that a relay keeps from going on are given up soon."""
    monkeypatch.setattr(client, "RESUME_WITHIN", 0.3)
    monkeypatch.setattr(resumables, "HELD_FOR", 0.4)
