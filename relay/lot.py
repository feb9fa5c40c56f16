"""A share's parked connections: kept alive, handed out, asked for as demand grows.

docs/protocol.md 5. Sockets here are plain, non-blocking TCP.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Callable

from tunnel import parking
from tunnel.errors import RemoteProtocolError, VshareError
from tunnel.parking import Message, Paired, Type

START_TARGET = 4  # parked connections of a quiet share
MAX_TARGET = 64  # of a busy one
TAKE_WITHIN = 5.0  # seconds that a visitor waits for a parked connection
MAX_WAITING = 256  # visitors of one share that wait at a time
CALM_AFTER = 60.0  # seconds without a shortage, after which the target is halved
MAX_ROUND_TRIPS = 16  # the last ones measured; their spread matters as well
_PING = parking.serialize(Message(Type.PING))
_PONG = parking.serialize(Message(Type.PONG))


class NoParkedError(VshareError):
    """The share parked no connection in time."""


class Parked:
    """One parked connection; `on_gone(self)` is called once if it ends before it is taken.

    `on_round_trip(seconds)` is called for each PING that was answered.
    """

    def __init__(
        self,
        sock: socket.socket,
        on_gone: Callable[[Parked], None],
        on_round_trip: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock, self._on_gone, self._on_round_trip = sock, on_gone, on_round_trip
        self._pinged_at = 0.0
        self._received = b""
        self._awaiting_pong = False
        self.released = asyncio.Event()  # taken, or gone
        self._timer = self._loop.call_later(parking.PING_EVERY, self._ping)
        self._loop.add_reader(sock, self._on_readable)

    @property
    def ready(self) -> bool:
        """Whether it may be paired: never while a PONG is outstanding."""
        return not self._awaiting_pong

    def take(self, paired: Paired) -> socket.socket | None:
        """The socket, after PAIRED was sent on it; None if it turns out to be dead."""
        self._stop()
        message = parking.serialize_paired(paired)
        try:
            with contextlib.suppress(BlockingIOError):
                self._sock.recv(1, socket.MSG_PEEK)  # an end of stream or stray bytes: not usable
                raise RemoteProtocolError("a parked connection spoke, or ended")
            if self._sock.send(message) == len(message):
                return self._sock
        except (OSError, RemoteProtocolError):
            pass
        self._sock.close()
        return None

    def close(self) -> None:
        """Give it up, without telling anybody."""
        self._stop()
        self._sock.close()

    def _stop(self) -> None:
        self._timer.cancel()
        self._loop.remove_reader(self._sock)
        self.released.set()

    def _ping(self) -> None:
        try:
            sent = self._sock.send(_PING)
        except OSError:
            sent = 0
        if sent != len(_PING):
            self._gone()
            return
        self._awaiting_pong = True
        self._pinged_at = self._loop.time()
        self._timer = self._loop.call_later(parking.PONG_WITHIN, self._gone)

    def _on_readable(self) -> None:
        try:
            data = self._sock.recv(len(_PONG) - len(self._received))
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._received += data
        if not data or not self._awaiting_pong or not _PONG.startswith(self._received):
            self._gone()
        elif self._received == _PONG:
            self._received = b""
            self._awaiting_pong = False
            self._on_round_trip(self._loop.time() - self._pinged_at)
            self._timer.cancel()
            self._timer = self._loop.call_later(parking.PING_EVERY, self._ping)

    def _gone(self) -> None:
        self.close()
        self._on_gone(self)


class Lot:
    """All parked connections of one share.

    `ask(count)` is called when that many more are wanted; each comes with `add`, or is
    given up on with `missed`. A quarter of the target is out of reach for joins, so that
    strangers who try codes cannot keep guests out.
    """

    def __init__(self, ask: Callable[[int], None]) -> None:
        self._ask = ask
        self._parked: list[Parked] = []
        self._waiting: deque[tuple[asyncio.Future[None], bool]] = deque()
        self._asked = 0
        self._target = START_TARGET
        self._closed = False
        self.round_trips: deque[float] = deque(maxlen=MAX_ROUND_TRIPS)  # seconds

    def __len__(self) -> int:
        return len(self._parked)

    def fill(self) -> None:
        """Ask for what is missing."""
        missing = self._target + len(self._waiting) - len(self._parked) - self._asked
        missing = min(missing, MAX_TARGET - self._asked)
        if missing > 0 and not self._closed:
            self._asked += missing
            self._ask(missing)

    def add(self, sock: socket.socket) -> asyncio.Event:
        """A connection that was asked for is parked now; the lot owns `sock`.

        The event is set when it was taken or has gone.
        """
        self._asked -= 1
        parked = Parked(sock, self._on_gone, self.round_trips.append)
        if self._closed:
            parked.close()
            return parked.released
        self._parked.append(parked)
        self._wake()
        return parked.released

    def missed(self) -> None:
        """One that was asked for will not come."""
        self._asked -= 1

    def calm(self) -> None:
        """There was no shortage for CALM_AFTER: want fewer."""
        self._target = max(START_TARGET, self._target // 2)

    async def take(self, paired: Paired, *, join: bool = False) -> socket.socket:
        """A parked connection's socket after PAIRED, the caller's to close.

        Waits TAKE_WITHIN at most. Raises NoParkedError.
        """
        sock = self._take_nowait(paired, join)
        if sock is None:
            self._target = min(MAX_TARGET, self._target * 2)
            sock = await self._wait_and_take(paired, join)
        self.fill()
        return sock

    async def _wait_and_take(self, paired: Paired, join: bool) -> socket.socket:
        if len(self._waiting) >= MAX_WAITING or self._closed:
            raise NoParkedError("the share has too many visitors waiting")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TAKE_WITHIN):
                while True:
                    await self._turn(join)
                    sock = self._take_nowait(paired, join)
                    if sock is not None:
                        return sock
        raise NoParkedError("the share parked no connection in time")

    async def _turn(self, join: bool) -> None:
        waiter = (asyncio.get_running_loop().create_future(), join)
        self._waiting.append(waiter)
        self.fill()
        try:
            await waiter[0]
        except asyncio.CancelledError:
            if waiter[0].done() and not waiter[0].cancelled():
                self._wake()  # the turn was ours and goes to the next
            raise
        finally:
            with contextlib.suppress(ValueError):
                self._waiting.remove(waiter)

    def _take_nowait(self, paired: Paired, join: bool) -> socket.socket | None:
        for parked in self._usable(join):
            self._parked.remove(parked)
            sock = parked.take(paired)
            if sock is not None:
                return sock
        return None

    def _usable(self, join: bool) -> list[Parked]:
        ready = [parked for parked in self._parked if parked.ready]
        reserved = -(-self._target // 4) if join else 0
        return ready[: max(0, len(ready) - reserved)]

    def _wake(self) -> None:
        """Give the next visitor who can use a connection its turn: guests before joins."""
        for join in (False, True):
            if not self._usable(join):
                continue
            for future, is_join in self._waiting:
                if is_join is join and not future.done():
                    future.set_result(None)
                    return

    def _on_gone(self, parked: Parked) -> None:
        self._parked.remove(parked)
        self.fill()

    def close(self) -> None:
        """Close what is parked; those who wait get NoParkedError when their time is over."""
        self._closed = True
        for parked in self._parked:
            parked.close()
        self._parked.clear()
