"""What runs beside a relay's visitors: a fault of it is logged, and costs nobody the relay."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

AGAIN_AFTER = 5.0  # seconds: what fails at once fills no log, and a shared lease outlives it

log = logging.getLogger(__name__)


async def kept_up(run: Callable[[], Awaitable[None]], what: str) -> None:
    """Run it to its end, or until cancelled; begin again whenever it fails."""
    while True:
        try:
            await run()
        except Exception:
            log.exception("%s failed, and begins again: this is a bug", what)
            await asyncio.sleep(AGAIN_AFTER)
        else:
            return
