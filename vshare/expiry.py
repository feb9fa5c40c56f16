"""When a share ends by itself. By the wall clock: a laptop may sleep meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

WARN_AT = (600.0, 60.0)  # seconds before the end, at which guests are told
LOOK_EVERY = 15.0  # seconds; the clock can jump, and the loop's own stands still in a sleep


class Expiry:
    """`warn(left)` is called with the seconds that are left, once for each mark of WARN_AT."""

    def __init__(self, at: float, clock: Callable[[], float] = time.time) -> None:
        self.at = at  # seconds since the epoch
        self.warn: Callable[[float], None] = lambda left: None
        self._clock = clock
        self._moved = asyncio.Event()
        self._pending = self._marks()

    def _marks(self) -> list[float]:
        """The marks that lie ahead, the next one first."""
        left = self.at - self._clock()
        return [mark for mark in WARN_AT if mark < left]

    def extend(self, at: float) -> None:
        """It ends at `at` instead."""
        self.at = at
        self._pending = self._marks()
        self._moved.set()

    async def run(self) -> None:
        """Return when the time is over."""
        while (left := self.at - self._clock()) > 0:
            if self._pending and left <= self._pending[0]:
                while self._pending and left <= self._pending[0]:  # asleep over several: one word
                    self._pending.pop(0)
                self.warn(left)
            until = left - self._pending[0] if self._pending else left
            self._moved.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(until, LOOK_EVERY)):
                    await self._moved.wait()
