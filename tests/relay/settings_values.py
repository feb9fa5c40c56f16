"""What `vrelay serve` is told, as a test has it."""

from __future__ import annotations

from typing import Any

from relay.settings import SETTINGS


def values(**said: Any) -> dict[str, Any]:
    """The defaults, but for what is `said`."""
    return {each.key: each.initial for each in SETTINGS} | said
