"""Where all parked connections of a relay are watched and pinged (docs/protocol.md 5).

A relay holds tens of thousands of them, nearly all of them idle: so they have one epoll
(tunnel/socket_watch.py) and one timer together, and no task, no handle of the event loop and no
buffer each.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import socket
from collections.abc import Callable
from typing import Protocol

from tunnel import parking
from tunnel.errors import RemoteProtocolError
from tunnel.parking import Message, Paired, Type
from tunnel.socket_watch import READABLE, watch_of

SUSPECT_AFTER = 1.5  # seconds without a PONG: a round trip on a bad link, and then some
TICK = 0.05  # seconds between looks at what is due, at least
MAX_DUE = 256  # handled per look: others have their turn; 5,000 a second
# The first PINGs are spread over PING_EVERY by the golden ratio: any few that follow each other
# are far apart, so that a share hears of its relay often, and a relay's load is even.
SPREAD = 0.618_034
_PING = parking.serialize(Message(Type.PING))
_PONG = parking.serialize(Message(Type.PONG))


class Owner(Protocol):
    """Who is told of a parked connection."""

    def pinged(self, parked: Parked) -> None:
        """A PONG is outstanding: not to be paired."""

    def answered(self, parked: Parked, seconds: float) -> None:
        """It came, so many seconds after the PING."""

    def suspect(self, parked: Parked) -> None:
        """It has not come for SUSPECT_AFTER."""

    def gone(self, parked: Parked) -> None:
        """The connection has ended and is closed."""


class Parked:
    """One parked connection. It is closed by `take`, by `close`, or by its own end, which the
    owner is told; `on_left` is called once, whichever it is."""

    __slots__ = (
        "_on_left", "_owner", "_pinged_at", "_received", "_sock", "_yard", "awaiting_pong", "due",
    )  # fmt: skip

    def __init__(
        self, sock: socket.socket, owner: Owner, on_left: Callable[[], None] = lambda: None
    ) -> None:
        self._sock: socket.socket | None = sock
        self._owner, self._on_left = owner, on_left
        self._pinged_at = 0.0
        self._received = b""
        self.awaiting_pong = False
        self.due = 0.0  # the loop time of the next look: what else the yard notes of it is stale
        self._yard = _yard_of_this_loop()
        self._yard.add(self, sock)

    def take(self, paired: Paired) -> socket.socket | None:
        """The socket, after PAIRED was sent on it; None if it turns out to be dead."""
        sock = self._leave()
        if sock is None:
            return None
        message = parking.serialize_paired(paired)
        try:
            with contextlib.suppress(BlockingIOError):
                sock.recv(1, socket.MSG_PEEK)  # an end of stream or stray bytes: not usable
                raise RemoteProtocolError("a parked connection spoke, or ended")
            if sock.send(message) == len(message):
                return sock
        except (OSError, RemoteProtocolError):
            pass
        sock.close()
        return None

    def close(self) -> None:
        """Give it up; the share sees the end of the stream. Its owner is not told."""
        sock = self._leave()
        if sock is not None:
            sock.close()

    def ping(self) -> None:
        """Ask for a sign of life now, unless that was done."""
        if self._sock is not None and not self.awaiting_pong:
            self._yard.expect(self, self._ping(self._sock))

    def _leave(self) -> socket.socket | None:
        sock, self._sock = self._sock, None
        if sock is not None:
            self._yard.remove(sock)
            self._on_left()
        return sock

    def _gone(self) -> None:
        self.close()
        self._owner.gone(self)

    def _ping(self, sock: socket.socket) -> float:
        """Send PING; the time of the next look."""
        now = self._pinged_at = self._yard.time()
        try:
            sent = sock.send(_PING)
        except OSError:
            sent = 0
        if sent != len(_PING):
            self._gone()
            return now
        self.awaiting_pong = True
        self._owner.pinged(self)
        return now + min(SUSPECT_AFTER, parking.PONG_WITHIN)

    def look(self, now: float) -> float | None:
        """It is due: ping it, or see what became of the last PING. When to look again."""
        if self._sock is None:
            return None
        if not self.awaiting_pong:
            again = self._pinged_at + parking.PING_EVERY
            return again if self._pinged_at and again > now else self._ping(self._sock)
        ends = self._pinged_at + parking.PONG_WITHIN
        if now >= ends:
            self._gone()
            return None
        self._owner.suspect(self)
        return ends

    def on_events(self, events: int) -> None:
        """A part of a PONG, the end of the stream, or what breaks the protocol."""
        if self._sock is None:
            return
        try:
            data = self._sock.recv(len(_PONG) - len(self._received))
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._received += data
        if not data or not self.awaiting_pong or not _PONG.startswith(self._received):
            self._gone()
        elif self._received == _PONG:
            self._received = b""
            self.awaiting_pong = False
            self._owner.answered(self, self._yard.time() - self._pinged_at)


class Yard:
    """The timer of one event loop's parked connections, which it has watched."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.time = loop.time
        self._watch = watch_of(loop)
        self._count = 0
        # When to look at whom. One that has left stays until then: at most PING_EVERY.
        self._due: list[tuple[float, int, Parked]] = []
        self._order = itertools.count()  # breaks ties
        self._timer: asyncio.TimerHandle | None = None

    def add(self, parked: Parked, sock: socket.socket) -> None:
        """Watch it, and ping it from time to time."""
        self._count += 1
        self._watch.add(sock, parked.on_events, READABLE)
        first = (next(self._order) * SPREAD % 1.0) * parking.PING_EVERY
        self.expect(parked, self.time() + first)

    def remove(self, sock: socket.socket) -> None:
        """Watch it no more. The last one takes the yard with it."""
        self._count -= 1
        self._watch.remove(sock)
        if not self._count:
            if self._timer is not None:
                self._timer.cancel()
            del _yards[self._loop]

    def expect(self, parked: Parked, when: float) -> None:
        """Look at it at that time, and not before."""
        parked.due = when
        heapq.heappush(self._due, (when, next(self._order), parked))
        if self._due[0][2] is parked:
            self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        when = max(self._due[0][0], self.time() + TICK)
        self._timer = self._loop.call_at(when, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        now = self.time()
        for _ in range(MAX_DUE):
            if not self._due or self._due[0][0] > now:
                break
            when, _, parked = heapq.heappop(self._due)
            again = parked.look(now) if parked.due == when else None
            if again is not None:
                parked.due = again
                heapq.heappush(self._due, (again, next(self._order), parked))
        if self._due and self._count:
            self._set_timer()


# One per running loop, while it has parked connections.
_yards: dict[asyncio.AbstractEventLoop, Yard] = {}


def _yard_of_this_loop() -> Yard:
    loop = asyncio.get_running_loop()
    yard = _yards.get(loop)
    if yard is None:
        yard = _yards[loop] = Yard(loop)
    return yard
