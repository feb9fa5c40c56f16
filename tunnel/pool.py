"""A client's connections to a share: ready before they are wanted, replaced when they die.

The pool grows with demand and shrinks when it is idle. While the way is down, dial attempts
overlap: one that hangs in a black hole must not keep the next from finding the way open again.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import time
from collections import deque
from collections.abc import Awaitable, Callable

from tunnel.alerts import AccessLostError, ShareNotFoundError
from tunnel.connection import Connection
from tunnel.errors import LostError, VshareError
from tunnel.liveness import SLEPT, TICK, Liveness

MIN_IDLE = 2  # ready connections kept, so that the next stream costs no handshake
MAX_CONNECTIONS = 256  # a browser opens dozens, a load test hundreds
MAX_DIALLING = 16  # handshakes under way that make progress
MAX_STALLED = 8  # and that do not: attempts overlap while the way is down
STALLED_AFTER = 1.0  # seconds
DIAL_EVERY = 0.5  # seconds between attempts while the way is down: the next may find it open
WAIT = 15.0  # seconds for a connection
IDLE_LIFE = 30.0  # seconds an idle connection above MIN_IDLE is kept
RETRY_FIRST = 0.2  # seconds between attempts that fail at once, doubled each time up to ...
RETRY_MOST = 0.4  # ... this: a relay that is restarted may be there any moment, and its share
RETRY_LATER = 1.0  # where the relay says for long that the share is not: it has many such guests
COMES_BACK = 10.0  # seconds
SHORT_LIFE = 1.0  # seconds; one that is lost sooner and unused is not replaced without a pause


class Pool:
    """`run` must be running. `connect(on_change)` makes a connection that has said HELLO, or
    raises; `explain(error)` says what that means to a user. `on_state` is told None when the share
    is reachable (again), or the error that says why it is not.
    """

    def __init__(
        self,
        connect: Callable[[Callable[[Connection], None]], Awaitable[Connection]],
        explain: Callable[[Exception], VshareError],
        on_state: Callable[[VshareError | None], None],
        *,
        min_idle: int = MIN_IDLE,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._connect, self._explain, self._on_state = connect, explain, on_state
        self._min_idle = min_idle
        self._dials: dict[asyncio.Task[None], float] = {}  # loop time when each began
        self._down_since = 0.0  # loop time when the present state began
        self._wanted = asyncio.Event()
        self._liveness = Liveness(self._loop.time())
        self._renewed_at = 0.0
        self._came_through = (-STALLED_AFTER, 0.0)  # loop times: the last one came, and was begun
        self._died_young = False  # whether one was lost that had just come through
        self._came_back = asyncio.Event()  # the way did, since a pause began
        self._in_doubt = False  # whether a connection does not answer
        self._reached = False
        self._hung_up = 0  # times in a row that the share said HELLO and was gone
        self._closed = False
        self.idle: list[tuple[Connection, float]] = []  # with the loop time it became idle
        self.connections: dict[Connection, float] = {}  # with the loop time its dialling began
        self.waiters: deque[asyncio.Future[Connection]] = deque()
        self.state: VshareError | None = None

    async def run(self) -> None:
        """Keep the pool filled and alive until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_alive(), name="pool keep-alive")
            await self._keep_filled(group)

    def close(self) -> None:
        """End every connection; who waits is told."""
        self._closed = True
        for connection in list(self.connections):
            connection.close()  # in good order: streams were reset, of which the share is to know
        self._tell_waiters(LostError("the session with the share has ended"))

    def renew(self) -> None:
        """There is a better way: replace the connections, each as soon as it is idle."""
        self._renewed_at = self._loop.time()
        for connection, _ in self.idle:
            connection.retire()
        self.idle.clear()
        self._wanted.set()

    def suspect(self) -> None:
        """The network changed: replace what is idle, find out which of the others live."""
        self.renew()
        self._liveness.suspect(self.connections, self._loop.time())

    # -- for users

    async def acquire(self) -> Connection:
        """A usable connection, to be opened a stream on at once. Cancelled: it is given back.

        Raises LostError, or why the share cannot be reached.
        """
        deadline = self._loop.time() + WAIT
        while True:
            connection = self.maybe_idle() or await self._wait_for_one(deadline)
            if connection.is_usable:  # it may have been lost since it was given
                return connection

    def maybe_idle(self) -> Connection | None:
        """As `acquire`, if there is one now."""
        while self.idle:
            connection, _ = self.idle.pop()  # the one used last is the likeliest to live
            if connection.is_usable:
                if len(self.idle) < self._min_idle:
                    self._wanted.set()
                return connection
        return None

    def release(self, connection: Connection) -> None:
        """Give a usable connection to whoever waits longest, or keep it."""
        if not connection.is_usable:
            return
        if self.connections.get(connection, self._renewed_at) < self._renewed_at:
            connection.retire()
            self._wanted.set()
            return
        while self.waiters:
            waiter = self.waiters.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        self.idle.append((connection, self._loop.time()))

    async def _wait_for_one(self, deadline: float) -> Connection:
        if self._closed:
            raise LostError("the session with the share has ended")
        waiter: asyncio.Future[Connection] = self._loop.create_future()
        self.waiters.append(waiter)
        self._wanted.set()
        try:
            async with asyncio.timeout_at(deadline):
                return await waiter
        except BaseException as error:
            # Cancelled, or out of time, just when a connection had been given.
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.release(waiter.result())
            if isinstance(error, TimeoutError):
                state = self.state or LostError("no connection to the share became free in time")
                raise state.with_traceback(None) from None
            raise
        finally:
            if waiter in self.waiters:
                self.waiters.remove(waiter)

    # -- connections

    def _changed(self, connection: Connection) -> None:
        """A connection became idle, was retired or was lost."""
        if connection.is_usable and connection.hello.done():
            self.release(connection)
        elif connection.is_lost:
            self._died_young |= self._is_short_lived(connection)
            self.connections.pop(connection, None)
            self.idle = [entry for entry in self.idle if entry[0] is not connection]
            self._wanted.set()

    def _is_short_lived(self, connection: Connection) -> bool:
        """Whether the share ends connections as soon as they are there."""
        began = self.connections.get(connection)
        if began is None or connection.retired_by_us or connection.stream.number:
            return False
        return self._loop.time() - began < SHORT_LIFE

    def missing(self) -> int:
        """How many more connections to dial now."""
        now = self._loop.time()
        is_down = self.state is not None or self._in_doubt
        is_young = DIAL_EVERY if is_down else STALLED_AFTER
        young = sum(now - began < is_young for began in self._dials.values())
        if now - self._came_through[0] < STALLED_AFTER:
            young = len(self._dials)  # the way is there: what takes long is slow, and will come
        spare = max(self._min_idle - len(self.idle), 0)
        need = len(self.waiters) + spare - young
        if is_down or young < len(self._dials):
            # One is tried even if none is missed, to know; and no more than one in a while.
            need = 1 - young if is_down or need > 0 else 0
        most = min(MAX_CONNECTIONS - len(self.connections), MAX_DIALLING + MAX_STALLED)
        return max(min(need, MAX_DIALLING - young, most - len(self._dials)), 0)

    async def _keep_filled(self, group: asyncio.TaskGroup) -> None:
        """Dial while connections are missing; wait longer after each failure."""
        pause = RETRY_FIRST
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            for _ in range(self.missing()):
                self._dial(group)
            if self.state is not None or self._died_young:
                self._died_young = False
                await self._pause(pause * random.uniform(0.75, 1.0))  # not all guests at once
                pause = min(pause * 2, self._longest_pause())
                self._wanted.set()
            else:
                pause = RETRY_FIRST

    async def _pause(self, seconds: float) -> None:
        """Wait, but not for longer than until the way is back: others wait for connections, too."""
        self._came_back.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._came_back.wait()

    def _longest_pause(self) -> float:
        is_long = self._loop.time() - self._down_since > COMES_BACK
        is_share_away = isinstance(self.state, ShareNotFoundError)
        return RETRY_LATER if is_long and is_share_away else RETRY_MOST

    def _dial(self, group: asyncio.TaskGroup) -> None:
        began = self._loop.time()
        task = group.create_task(self._dial_one(began), name="dial share")
        self._dials[task] = began
        task.add_done_callback(self._dial_over)

    def _dial_over(self, task: asyncio.Task[None]) -> None:
        del self._dials[task]
        self._wanted.set()

    async def _dial_one(self, began: float) -> None:
        try:
            connection = await self._connect(self._changed)
        except (VshareError, OSError, TimeoutError, ssl.SSLError) as error:
            self._failed(self._explain(error), began)
            return
        if connection.is_lost:  # a share may say HELLO and hang up, again and again
            self._hung_up += 1
            if self._hung_up == 1 and self._reached:  # or the way ended just then: another may be
                self._died_young = True
                return
            lost = connection.error or LostError("the share ended the connection at once")
            self._failed(self._explain(lost), began)
            return
        self.connections[connection] = began
        self._hung_up = 0
        self._came_through = (self._loop.time(), began)
        self._liveness.came_through(began)
        self._in_doubt = False
        self._give_up_stalled()
        if self.state is not None or not self._reached:
            self._reached = True
            self.state = None
            self._came_back.set()
            self._on_state(None)
        self.release(connection)

    def _give_up_stalled(self) -> None:
        """Attempts that one came through before hang in a black hole: it was begun so much later,
        or they have had so much time since. Where the CPU is short, all are slow."""
        now, (came, begun) = self._loop.time(), self._came_through
        hangs = begun if now - came >= STALLED_AFTER else begun - STALLED_AFTER
        for task, began in list(self._dials.items()):
            if began < begun and began <= min(hangs, now - STALLED_AFTER):
                task.cancel()

    def _failed(self, error: VshareError, began: float) -> None:
        """Those who wait are told when waiting is of no use: the share has gone, or this guest's
        right to it, or it was never reached. A way that is down for a moment they wait out."""
        if self._closed or any(began < other for other in self.connections.values()):
            return  # an attempt that hung, while a later one came through
        if self.state is None or self.state.text != error.text:
            self._down_since = self._loop.time()
            self._on_state(error)
        self.state = error
        final = isinstance(error, ShareNotFoundError | AccessLostError)
        if final or not self._reached:
            self._tell_waiters(error)

    def _tell_waiters(self, error: VshareError) -> None:
        while self.waiters:
            waiter = self.waiters.popleft()
            if not waiter.done():
                waiter.set_exception(error)

    # -- from time to time

    async def _keep_alive(self) -> None:
        while True:
            before = time_asleep()
            await asyncio.sleep(TICK)
            now = self._loop.time()
            if time_asleep() - before > SLEPT:
                self._liveness.suspect(self.connections, now)
            self._in_doubt = self._liveness.look(self.connections, now)
            if self._dials:  # of which some may have stalled
                self._give_up_stalled()
            if self._in_doubt or self._dials:
                self._wanted.set()
            self.shrink(now)

    def shrink(self, now: float) -> None:
        """Retire idle connections above the minimum, the longest idle first."""
        surplus = max(len(self.idle) - self._min_idle, 0)
        old = [entry for entry in self.idle[:surplus] if now - entry[1] > IDLE_LIFE]
        for entry in old:
            self.idle.remove(entry)
            entry[0].retire()


def time_asleep() -> float:
    """Seconds that this host has been suspended so far, in which the loop's clock stands still."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
