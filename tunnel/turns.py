"""How much one connection moves in a turn of the event loop.

A turn that moves much costs less per byte, but whoever waits for an answer meanwhile waits for all
of it, there and back, at each hop. So turns are long while bulk is alone, and short for a moment
after some other connection had a little to say: a key press, a page.
"""

from __future__ import annotations

import threading
import time

# Bytes of a read while turns are short. Beside a download a ping takes a third of the time that it
# does with reads of 256 KiB; a GB costs a third more CPU.
SHORT = 64 * 1024
SHORT_FOR = 0.2  # seconds after somebody had a little to say: who types quickly types on by then
# Bytes of a read from which on it is a large one, nearly a full short one. After it who feeds us,
# and whom we feed, get the CPU where it is short (sched_yield(2)): the next read is larger then,
# and there are fewer of them. An eighth less CPU; and who waits for the CPU waits less.
BULK = 50_000
LITTLE = 16 * 1024  # bytes of a read up to which somebody may wait for it: a TLS record
# Seconds after a large read, or write, that a connection is bulk: what is little then
# acknowledges, asks for more, or is the rest.
BULK_FOR = 1.0


class _Turns(threading.local):
    """Those of one thread's event loop."""

    def __init__(self) -> None:
        self.short_until = 0.0  # time.monotonic()
        self.asked_by: Pace | None = None  # the last one who had a little to say


_turns = _Turns()


def are_short() -> bool:
    """Whether somebody who had a little to say may wait now."""
    return time.monotonic() < _turns.short_until


class Pace:
    """What one connection, or both directions of one, has moved lately."""

    __slots__ = ("_bulk_until",)

    def __init__(self) -> None:
        self._bulk_until = 0.0  # time.monotonic()

    def received(self, size: int) -> bool:
        """Account for a read; whether it was a large one."""
        if size >= BULK:
            self._become_bulk()
            return True
        if size <= LITTLE:
            now = time.monotonic()
            if now >= self._bulk_until:
                _turns.short_until = now + SHORT_FOR
                _turns.asked_by = self
        return False

    def sent(self, size: int) -> None:
        """Account for a write."""
        if size >= BULK:
            self._become_bulk()

    def _become_bulk(self) -> None:
        self._bulk_until = time.monotonic() + BULK_FOR
        if _turns.asked_by is self:  # it was the beginning of this: nobody else waits
            _turns.asked_by = None
            _turns.short_until = 0.0
