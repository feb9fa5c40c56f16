"""Two ends of a byte stream, linked: what one receives the other sends, both ways.

An End is one side of a stream: a plain socket, the stream inside an end-to-end
connection, a channel of SSH. Ends are driven by callbacks, not by tasks, because a small
message must not wake a task on its way through (docs/architecture.md). Half-close and
reset cross from end to end; an end that cannot take more stops its peer's reading, so that
memory per stream is bounded by what one read delivers.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeAlias

from tunnel.closing_sockets import ClosingSockets
from tunnel.codes import Code

Bytes: TypeAlias = bytes | bytearray | memoryview


class End(ABC):
    """One side of a stream. Methods are called by its peer, in the event loop's thread.

    A subclass reads from its own medium and calls `self.peer.send(...)`,
    `self.peer.send_eof()` and `self.peer.reset(...)`; it calls `self.receive_ended()` after it
    delivered EOF, and `self.closed(...)` exactly once when it is done for good, in any way.
    """

    def __init__(self) -> None:
        self.peer: End = _NOBODY
        self.is_done = False  # for good: nothing is sent or delivered any more
        self.bytes_sent = 0  # towards this end's own medium
        self._code: Code | None = None
        self._finished: asyncio.Future[Code | None] | None = None
        self._on_done: Callable[[], None] | None = None

    @property
    def finished(self) -> asyncio.Future[Code | None]:
        """Done when this end is, with what `closed` was told. Made for who asks: most ends are
        waited for by `bridge` alone, which needs none."""
        if self._finished is None:
            self._finished = asyncio.get_running_loop().create_future()
            if self.is_done:
                self._finished.set_result(self._code)
        return self._finished

    def when_done(self, callback: Callable[[], None] | None) -> None:
        """Call `callback` from within `closed`; one at a time, so whoever bridges the end."""
        self._on_done = callback

    def done_with(self, end: End) -> None:
        """Be done when `end` is, for whose medium this one stands."""

        def done() -> None:
            end.when_done(None)  # no cycle is left behind
            self.closed(end.result)

        end.when_done(done)
        if end.is_done:
            done()

    @property
    def result(self) -> Code | None:
        """What `closed` was told."""
        return self._code

    def link(self, peer: End) -> None:
        """Deliver to `peer` from now on, and begin to read."""
        self.peer = peer
        self.resume_reading()

    @abstractmethod
    def send(self, data: Bytes) -> None:
        """Take all of `data` (which the caller may reuse at once); pause the peer when full."""

    @abstractmethod
    def send_eof(self) -> None:
        """No more data comes; the other direction stays open."""

    @abstractmethod
    def reset(self, code: Code) -> None:
        """End both directions at once, with an error where the medium can say one. Idempotent."""

    @abstractmethod
    def pause_reading(self) -> None:
        """Deliver nothing until `resume_reading` (what was read already may still come)."""

    @abstractmethod
    def resume_reading(self) -> None:
        """Deliver again. Must not deliver from within this call."""

    def has_hung_up(self, closing: ClosingSockets) -> bool:
        """Whether what is beyond this end is known to send nothing more; some of what it sent may
        not have been delivered yet."""
        return False

    def closed(self, code: Code | None) -> None:
        """Mark this end as done: None after two clean ends of stream, else the reason."""
        if self.is_done:
            return
        self.is_done = True
        self._code = code
        if self._finished is not None and not self._finished.done():
            self._finished.set_result(code)
        if self._on_done is not None:
            self._on_done()


class Sink(End):
    """An end that takes bytes and throws them away, or keeps up to `limit` of them."""

    def __init__(self, limit: int = 0) -> None:
        super().__init__()
        self.data = bytearray()
        self._limit = limit

    def send(self, data: Bytes) -> None:
        """Keep what fits under the limit."""
        self.data += data[: self._limit - len(self.data)]

    def send_eof(self) -> None:
        """Nothing more comes."""
        self.closed(None)

    def reset(self, code: Code) -> None:
        """Nothing more comes, and what came may be incomplete."""
        self.closed(code)

    def pause_reading(self) -> None:
        """Nothing is read from here."""

    def resume_reading(self) -> None:
        """Nothing is read from here."""


class _Nobody(End):
    """The peer of an end that is not linked: refuses to be talked to."""

    def __init__(self) -> None:  # no event loop at import time, so no future
        pass

    def send(self, data: Bytes) -> None:
        raise AssertionError("an end delivered before it was linked")

    def send_eof(self) -> None:
        raise AssertionError("an end delivered before it was linked")

    def reset(self, code: Code) -> None:
        """Nobody is there to be told."""

    def pause_reading(self) -> None:
        """Nobody reads."""

    def resume_reading(self) -> None:
        """Nobody reads."""


class _Gone(_Nobody):
    """The peer of an end that was bridged, and is done."""

    def send(self, data: Bytes) -> None:
        """Too late."""

    def send_eof(self) -> None:
        """Too late."""


_NOBODY: End = _Nobody()
_GONE: End = _Gone()


async def bridge(a: End, b: End) -> Code | None:
    """Link two ends and wait until both are done; None if both directions ended cleanly.

    Cancelled: both ends are reset with CLOSED. When one end fails, the other is reset by
    it, as its peer. Neither end is used again by the caller.
    """
    try:
        a.peer, b.peer = b, a  # both, before either delivers what came early
        a.link(b)
        b.link(a)
        if not (a.is_done and b.is_done):
            await _both(a, b)
        return b.result or a.result
    finally:
        a.reset(Code.CLOSED)
        b.reset(Code.CLOSED)
        a.peer = b.peer = _GONE  # a cycle would stay until the garbage collector's next round


async def _both(a: End, b: End) -> None:
    """Wait until both are done."""
    both: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def done() -> None:
        if a.is_done and b.is_done and not both.done():
            both.set_result(None)

    a.when_done(done)
    b.when_done(done)
    try:
        await both
    finally:  # no cycle is left behind
        a.when_done(None)
        b.when_done(None)
