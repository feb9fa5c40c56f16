"""A client of one share: a pool of end-to-end connections, streams and flows over them.

Used by `vconnect` and by the relay's gateway. A connection enters the pool only after the
share's HELLO, because in TLS 1.3 the client's handshake is done before the server has
looked at its certificate (docs/protocol.md 8.1).
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType

from tunnel.alerts import AccessLostError, ShareNotFoundError, explain
from tunnel.client_flows import ClientFlows
from tunnel.codes import Code
from tunnel.connection import Connection
from tunnel.ends import Sink
from tunnel.errors import LocalProtocolError, LostError, RefusedError, VshareError
from tunnel.flows import Flow, FlowReceiver
from tunnel.frames import ALPN, VERSION, Hello, Notice, Open
from tunnel.identity import Identity, client_context, require_share
from tunnel.names import ShareName
from tunnel.stream_end import StreamEnd
from tunnel.tls_socket import handshake

MIN_IDLE = 2  # ready connections kept, so that the next stream costs no handshake
MAX_CONNECTIONS = 256  # a browser opens dozens, a load test hundreds
MAX_DIALLING = 16  # handshakes under way
OPEN_TIMEOUT = 15.0  # seconds from asking for a stream to the share's answer
HELLO_TIMEOUT = 5.0  # seconds
IDLE_LIFE = 30.0  # seconds an idle connection above MIN_IDLE is kept
TICK = 10.0  # seconds between looks at the pool
SILENCE_ENDS = 35.0  # seconds without a byte although pings were sent
RETRY_FIRST, RETRY_MOST = 0.2, 1.0  # seconds between attempts while the way is down
MAX_ANSWER = 256 * 1024  # bytes of an answer to a call
MAX_TOLD = 256  # ids of notices remembered; a share that lives for days sends a few dozen
ATTEMPTS = 3  # connections tried for one stream: pooled ones may have died in silence
SNI_SUFFIX = "share.vshare.invalid"  # the relay routes on the first label alone

Dial = Callable[[], Awaitable[socket.socket]]


class Client:
    """Async context manager; streams and flows are opened inside it.

    `dial` gives a connected socket that leads to the share's TLS server. `on_state` is told
    None when the share is reachable (again), or the error that says why it is not. `on_notice`
    is told what the share says unasked, each notice once. `route` (else the
    identity's) is what the relay finds the share by, in place of its name (docs/protocol.md 3).
    """

    def __init__(
        self,
        dial: Dial,
        identity: Identity,
        name: ShareName,
        on_state: Callable[[VshareError | None], None] = lambda error: None,
        *,
        min_idle: int = MIN_IDLE,
        route: str = "",
        on_notice: Callable[[Notice], None] = lambda notice: None,
    ) -> None:
        self._dial = dial
        self._context = client_context(identity, ALPN)
        self._name = name
        self._server_name = f"{route or identity.route or name}.{SNI_SUFFIX}"
        self._on_state = on_state
        self._on_notice = on_notice
        self._told: dict[int, None] = {}  # ids of notices, the oldest first
        self._min_idle = min_idle
        self._idle: list[tuple[Connection, float]] = []  # with the loop time it became idle
        self._connections: set[Connection] = set()
        self._dialling = 0
        self._waiters: deque[asyncio.Future[Connection]] = deque()
        self._wanted = asyncio.Event()
        self._group = asyncio.TaskGroup()
        self._lane_task: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False
        self.hello: Hello | None = None
        self.state: VshareError | None = None

    async def __aenter__(self) -> Client:
        await self._group.__aenter__()
        self._loop = asyncio.get_running_loop()
        self.flows = ClientFlows(self._open_lane)
        create = self._group.create_task
        self._tasks = [
            create(self._keep_filled(), name="pool refill"),
            create(self._keep_alive(), name="pool keep-alive"),
        ]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed = True
        for task in self._tasks:
            task.cancel()
        if self._lane_task is not None:
            self._lane_task.cancel()
        self.flows.close()
        for connection in list(self._connections):
            connection.abort("closed")
        self._tell_waiters(LostError("the session with the share has ended"))
        await self._group.__aexit__(kind, error, trace)

    # -- what users do

    async def ready(self) -> Hello:
        """Wait until the share has said HELLO once. Raises what keeps it from being reached."""
        self._release(await self._acquire())
        if self.hello is None:
            raise LocalProtocolError("a connection in the pool without HELLO")
        return self.hello

    async def open(self, host: str, port: int, protocol: str = "tcp") -> StreamEnd:
        """A stream to `host` ("": the shared machine), opened.

        Raises RefusedError with the share's words, or LostError. Cancelled: given up.
        """
        message = Open(secrets.token_bytes(16), protocol, host, port)
        for _ in range(ATTEMPTS):
            connection = await self._acquire()
            end = connection.open(message)
            try:
                async with asyncio.timeout(OPEN_TIMEOUT):
                    await end.opened
                return end
            except RefusedError as error:
                if error.code is not Code.RETIRED:
                    raise
            except LostError:
                continue
            except TimeoutError:
                end.reset(Code.TIMED_OUT)
                text = f"no answer from the share in {OPEN_TIMEOUT:g} s"
                raise RefusedError(Code.TIMED_OUT, text) from None
            except asyncio.CancelledError:
                end.reset(Code.CLOSED)
                raise
        raise LostError("every connection to the share that was tried was lost")

    async def call(self, name: str) -> bytes:
        """The answer (JSON) to a call of protocol `api`. Raises RefusedError or LostError."""
        end = await self.open(name, 0, "api")
        sink = Sink(MAX_ANSWER + 1)
        end.link(sink)
        end.send_eof()
        try:
            async with asyncio.timeout(OPEN_TIMEOUT):
                broken = await asyncio.shield(sink.finished) is not None
        except TimeoutError:
            broken = True
        finally:
            end.reset(Code.CLOSED)  # nothing, where both sides are done
        if broken:
            raise LostError(f"the answer to {name!r} broke off")
        if len(sink.data) > MAX_ANSWER:
            raise LostError(f"the answer to {name!r} is longer than {MAX_ANSWER} bytes")
        return bytes(sink.data)

    async def open_flow(self, host: str, port: int, receiver: FlowReceiver) -> Flow:
        """A flow of datagrams, at once: those sent while there is no way wait a little, then go.

        Raises LostError when the session has ended. That the share gives no datagrams is told
        to `receiver`.
        """
        if self._closed:
            raise LostError("the session with the share has ended")
        if self._lane_task is None:
            self._lane_task = self._group.create_task(self.flows.run(), name="lane")
        return self.flows.open_flow(host, port, receiver)

    # -- the pool

    async def _acquire(self) -> Connection:
        """A usable connection, to be opened a stream on at once. Cancelled: it is given back."""
        deadline = self._loop.time() + OPEN_TIMEOUT
        while True:
            while self._idle:
                connection, _ = self._idle.pop()  # the one used last is the likeliest to live
                if connection.is_usable:
                    self._wanted.set()
                    return connection
            connection = await self._wait_for_one(deadline)
            if connection.is_usable:  # it may have been lost since it was given
                return connection

    async def _wait_for_one(self, deadline: float) -> Connection:
        if self._closed:
            raise LostError("the session with the share has ended")
        waiter: asyncio.Future[Connection] = self._loop.create_future()
        self._waiters.append(waiter)
        self._wanted.set()
        try:
            async with asyncio.timeout_at(deadline):
                return await waiter
        except BaseException as error:
            # Cancelled, or out of time, just when a connection had been given.
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._release(waiter.result())
            if isinstance(error, TimeoutError):
                state = self.state or LostError("no connection to the share became free in time")
                raise state.with_traceback(None) from None
            raise
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def _release(self, connection: Connection) -> None:
        """Give a usable connection to whoever waits longest, or keep it."""
        if not connection.is_usable:
            return
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        self._idle.append((connection, self._loop.time()))

    def _changed(self, connection: Connection) -> None:
        """A connection became idle, was retired or was lost."""
        if connection.is_usable and connection.hello.done():
            self._release(connection)
            return
        if connection.is_lost:
            self._connections.discard(connection)
            self._idle = [entry for entry in self._idle if entry[0] is not connection]
            self._wanted.set()

    def _missing(self) -> int:
        """How many more connections to dial now."""
        spare = max(self._min_idle - len(self._idle), 0)
        need = len(self._waiters) + spare - self._dialling
        room = min(MAX_CONNECTIONS - len(self._connections), MAX_DIALLING) - self._dialling
        return max(min(need, room), 0)

    async def _keep_filled(self) -> None:
        """Dial while connections are missing; wait longer after each failure."""
        pause = RETRY_FIRST
        async with asyncio.TaskGroup() as group:
            while True:
                await self._wanted.wait()
                self._wanted.clear()
                # While the way is down one is tried even if none is missed: state must be true.
                trial = self.state is not None and not self._dialling
                for _ in range(max(self._missing(), int(trial))):
                    self._dialling += 1
                    group.create_task(self._dial_one(), name="dial share")
                if self.state is not None:
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, RETRY_MOST)
                    self._wanted.set()
                else:
                    pause = RETRY_FIRST

    async def _dial_one(self) -> None:
        try:
            connection = await self._connect()
        except (VshareError, OSError, TimeoutError, ssl.SSLError) as error:
            self._failed(explain(error, self._name))
            return
        finally:
            self._dialling -= 1
            self._wanted.set()
        if self.state is not None or self.hello is None:
            self.state = None
            self._on_state(None)
        self.hello = connection.hello.result()
        self._release(connection)

    def _failed(self, error: VshareError) -> None:
        """Those who wait are told when waiting is of no use: the share has gone, or this guest's
        right to it, or it was never reached. A way that is down for a moment they wait out."""
        if self._closed:
            return
        if self.state is None or self.state.text != error.text:
            self._on_state(error)
        self.state = error
        final = isinstance(error, ShareNotFoundError | AccessLostError)
        if final or self.hello is None:
            self._tell_waiters(error)

    def _tell_waiters(self, error: VshareError) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(error)

    async def _connect(self) -> Connection:
        sock = await self._dial()
        tls = await handshake(sock, self._context, server_hostname=self._server_name)
        try:
            if tls.alpn != ALPN:
                raise LostError("the other side does not speak vshare/1")
            require_share(tls.peer_certificate)
        except BaseException:
            tls.abort()
            raise
        connection = Connection(
            tls, is_client=True, on_change=self._changed, on_notice=self._notice_received
        )
        self._connections.add(connection)
        try:
            async with asyncio.timeout(HELLO_TIMEOUT):
                hello = await asyncio.shield(connection.hello)
        except BaseException:
            connection.abort("no HELLO came")
            raise
        if hello.version != VERSION:
            connection.abort("version")
            raise LostError(
                f"the share speaks version {hello.version}, this is version {VERSION}",
                "install the same version of vshare on both sides",
            )
        return connection

    def _notice_received(self, notice: Notice) -> None:
        """A notice comes on every connection; it is passed on once."""
        if notice.id in self._told:
            return
        if len(self._told) >= MAX_TOLD:
            del self._told[next(iter(self._told))]
        self._told[notice.id] = None
        self._on_notice(notice)

    async def _open_lane(self) -> Connection:
        """A connection for datagrams. Raises RefusedError or LostError."""
        return (await self.open("", 0, "datagram")).connection

    async def _keep_alive(self) -> None:
        """Ping, end what is silent, retire what is idle for long."""
        while True:
            await asyncio.sleep(TICK)
            now = self._loop.time()
            for connection in list(self._connections):
                if connection.is_paused:
                    continue
                if now - connection.heard_at > SILENCE_ENDS:
                    connection.abort("the share was silent")
                else:
                    connection.ping()
            self._shrink(now)

    def _shrink(self, now: float) -> None:
        """Retire idle connections above the minimum, the longest idle first."""
        surplus = max(len(self._idle) - self._min_idle, 0)
        old = [entry for entry in self._idle[:surplus] if now - entry[1] > IDLE_LIFE]
        for entry in old:
            self._idle.remove(entry)
            entry[0].retire()
