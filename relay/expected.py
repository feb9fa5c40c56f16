"""Shares that are to come back: those that were here before the relay began. Visitors wait for
them a little, so that a restart or an upgrade shows itself as a pause and not as a failure."""

from __future__ import annotations

import asyncio
import contextlib

EXPECT_FOR = 60.0  # seconds after the relay's begin: 10,000 shares need most of it
WAIT_AT_MOST = 5.0  # seconds of a visitor's: as long as it waits for a parked connection
RETURNING_AT_ONCE = 4096  # shares that somebody waits for


class Expected:
    """`begin` is called when the relay begins; before it and long after it nobody waits."""

    def __init__(self) -> None:
        self._until = 0.0  # loop time
        self._events: dict[str, asyncio.Event] = {}
        self._came: set[str] = set()  # while somebody may wait: who leaves again is not awaited

    def begin(self) -> None:
        """The relay has begun, and its shares are to come."""
        self._until = asyncio.get_running_loop().time() + EXPECT_FOR

    @property
    def is_on(self) -> bool:
        """Whether it is worth waiting for shares that are away."""
        return bool(self._until) and asyncio.get_running_loop().time() < self._until

    async def wait(self, who: str) -> None:
        """Wait until `who`, a share's name or route, has come, or need not be waited for."""
        if not self.is_on or who in self._came or len(self._events) >= RETURNING_AT_ONCE:
            return
        event = self._events.setdefault(who, asyncio.Event())
        until = min(self._until, asyncio.get_running_loop().time() + WAIT_AT_MOST)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await event.wait()

    def comes(self, who: str) -> None:
        """It is on its way, also if it was here before: it is awaited."""
        self._came.discard(who)

    def came(self, who: str) -> None:
        """It has."""
        if self.is_on:
            self._came.add(who)
        else:
            self._came.clear()
        event = self._events.pop(who, None)
        if event is not None:
            event.set()
