"""A share's parked connections: handed out, asked for as demand grows, let go as it shrinks.

docs/protocol.md 5. Sockets here are plain, non-blocking TCP.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass

from relay.yard import Parked
from tunnel.errors import VshareError
from tunnel.parking import Paired

# Parked connections of a quiet share: three for strangers with codes, who come 0.2 s apart and may
# not see it run short of them (relay/join_limits.py), one for a guest.
START_TARGET = 4
MAX_TARGET = 64  # of a busy one
TAKE_WITHIN = 5.0  # seconds that a visitor waits for a parked connection
MAX_WAITING = 256  # visitors of one share that wait at a time
MAX_ASKED = 256  # tickets of one share under way: each who waits costs one round of four trips
CALM_AFTER = 60.0  # seconds without use for half of them, after which the target is halved
MAX_ROUND_TRIPS = 16  # the last ones measured; their spread matters as well


class NoParkedError(VshareError):
    """The share parked no connection in time."""


class LotClosedError(NoParkedError):
    """The share's session has ended, for all that is known here."""


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    """A visitor who waits for a socket."""

    paired: Paired
    served: asyncio.Future[socket.socket]


class Lot:
    """All parked connections of one share.

    `ask(count)` is called when that many more are wanted; each comes with `add`, or is
    given up on with `missed`. A quarter of the target is out of reach for joins, so that
    strangers who try codes cannot keep guests out.
    """

    __slots__ = (
        "_ask", "_asked", "_awaiting", "_closed", "_guests", "_joins", "_lowest", "_ready",
        "_target", "round_trips",
    )  # fmt: skip

    def __init__(self, ask: Callable[[int], None]) -> None:
        self._ask = ask
        # Those that were heard of last come last, and are taken first: the likeliest to live.
        self._ready: dict[Parked, None] = {}
        self._awaiting: dict[Parked, None] = {}  # their PONG is outstanding
        self._guests: list[_Waiter] = []
        self._joins: list[_Waiter] = []
        self._asked = 0
        self._target = START_TARGET
        self._lowest = 0  # parked connections since the last look at demand
        self._closed = False
        self.round_trips: list[float] = []  # the last ones, in seconds

    def __len__(self) -> int:
        return len(self._ready) + len(self._awaiting)

    def fill(self) -> None:
        """Ask for what is missing."""
        waiting = len(self._guests) + len(self._joins)
        missing = self._target + waiting - len(self) - self._asked
        missing = min(missing, MAX_ASKED - self._asked)
        if missing > 0 and not self._closed:
            self._asked += missing
            self._ask(missing)

    def add(self, sock: socket.socket, on_left: Callable[[], None] = lambda: None) -> None:
        """A connection that was asked for is parked now; the lot owns `sock`.

        `on_left` is called when it was taken or has gone.
        """
        self._asked -= 1
        parked = Parked(sock, self, on_left)
        if self._closed:
            parked.close()
            return
        self._ready[parked] = None
        self._serve_waiting()

    def missed(self) -> None:
        """One that was asked for will not come."""
        self._asked -= 1

    def note_round_trip(self, seconds: float) -> None:
        """One was measured."""
        self.round_trips.append(seconds)
        del self.round_trips[:-MAX_ROUND_TRIPS]

    def calm(self) -> None:
        """CALM_AFTER is over: want fewer and close the oldest, if half was never in use."""
        if self._lowest >= self._target // 2 > 0:
            self._target = max(START_TARGET, self._target // 2)
        for parked in list(self._ready)[: max(0, len(self) - self._target)]:
            del self._ready[parked]
            parked.close()
        self._lowest = len(self)

    async def take(self, paired: Paired, *, join: bool = False) -> socket.socket:
        """A parked connection's socket after PAIRED, the caller's to close.

        Waits TAKE_WITHIN at most. Raises NoParkedError.
        """
        sock = None
        if not self._guests and not (join and self._joins):  # else those come first
            sock = self._take_nowait(paired, join)
        if sock is None:
            self._target = min(MAX_TARGET, self._target * 2)
            sock = await self._wait(paired, self._joins if join else self._guests)
        self._lowest = min(self._lowest, len(self))
        self.fill()
        return sock

    async def _wait(self, paired: Paired, queue: list[_Waiter]) -> socket.socket:
        if self._closed:
            raise LotClosedError("the share has just left")
        if len(self._guests) + len(self._joins) >= MAX_WAITING:
            raise NoParkedError("the share has too many visitors waiting")
        waiter = _Waiter(paired, asyncio.get_running_loop().create_future())
        queue.append(waiter)
        self.fill()
        try:
            async with asyncio.timeout(TAKE_WITHIN):
                return await waiter.served
        except BaseException as error:
            if waiter in queue:
                queue.remove(waiter)
            served = waiter.served
            if served.done() and not served.cancelled() and served.exception() is None:
                served.result().close()  # its share was told already, so nobody else gets it
            if isinstance(error, TimeoutError):
                raise NoParkedError("the share parked no connection in time") from None
            raise

    def _take_nowait(self, paired: Paired, join: bool) -> socket.socket | None:
        reserved = -(-self._target // 4) if join else 0
        while len(self._ready) > reserved:
            parked, _ = self._ready.popitem()
            sock = parked.take(paired)
            if sock is not None:
                return sock
        return None

    def _serve_waiting(self) -> None:
        """Give what is there to those who wait: guests before joins."""
        for queue in (self._guests, self._joins):
            while queue:
                if queue[0].served.done():  # has left, and not been scheduled since
                    queue.pop(0)
                    continue
                sock = self._take_nowait(queue[0].paired, queue is self._joins)
                if sock is None:
                    break
                queue.pop(0).served.set_result(sock)
        if self._guests or self._joins:  # some that were there may have been dead
            self.fill()

    # -- what the yard tells

    def pinged(self, parked: Parked) -> None:
        """See relay.yard.Owner."""
        self._ready.pop(parked, None)
        self._awaiting[parked] = None

    def answered(self, parked: Parked, seconds: float) -> None:
        """See relay.yard.Owner."""
        del self._awaiting[parked]
        self._ready[parked] = None
        self.note_round_trip(seconds)
        self._serve_waiting()

    def suspect(self, parked: Parked) -> None:
        """See relay.yard.Owner. The others may be as dead: no visitor gets them until they
        answer."""
        for other in list(self._ready):
            other.ping()

    def gone(self, parked: Parked) -> None:
        """See relay.yard.Owner."""
        self._ready.pop(parked, None)
        self._awaiting.pop(parked, None)
        self.fill()

    def close(self) -> None:
        """Close what is parked; those who wait get LotClosedError."""
        self._closed = True
        for parked in (*self._ready, *self._awaiting):
            parked.close()
        self._ready.clear()
        self._awaiting.clear()
        for waiter in (*self._guests, *self._joins):
            if not waiter.served.done():
                waiter.served.set_exception(LotClosedError("the share has just left"))
        self._guests.clear()
        self._joins.clear()
