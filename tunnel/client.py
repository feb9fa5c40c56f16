"""A client's session with a share: streams, calls and datagrams over a pool of connections.

The guest and the relay's gateway both use it. It stays usable while the way to the share is down:
it dials again until the way is back, and streams that were open go on (tunnel/resumable_end.py).
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType

from tunnel.alerts import AccessLostError, explain
from tunnel.answer import answer_of, look_after
from tunnel.client_flows import ClientFlows
from tunnel.codes import Code
from tunnel.connection import Connection
from tunnel.draining import drain
from tunnel.ends import Sink
from tunnel.errors import (
    LocalProtocolError,
    LostError,
    RefusedError,
    RemoteProtocolError,
    VshareError,
)
from tunnel.flows import Flow, FlowReceiver
from tunnel.frames import ALPN, VERSION, Hello, Notice, Open, Opened, Resume
from tunnel.identity import Identity, client_context, require_share
from tunnel.names import ShareName
from tunnel.pool import MIN_IDLE, Pool
from tunnel.resumable_end import RESUME_WITHIN, Phase, ResumableEnd
from tunnel.stream_end import StreamEnd
from tunnel.tls_socket import handshake

OPEN_TIMEOUT = 15.0  # seconds from asking for a stream to the share's answer
RESUME_ANSWER = 5.0  # seconds for the answer to RESUME, for which the share asks nobody
RESUME_PAUSE = 0.2  # seconds between tries to resume
PROBE_AFTER = 1.0  # seconds without a byte after OPEN, at least: then a PING
HELLO_TIMEOUT = 5.0  # seconds
MAX_ANSWER = 256 * 1024  # bytes of an answer to a call
MAX_TOLD = 256  # ids of notices remembered; a share that lives for days sends a few dozen
ATTEMPTS = 3  # connections tried for one stream: pooled ones may have died in silence
SNI_SUFFIX = "share.vshare.invalid"  # the relay routes on the first label alone
RESUMABLE = True  # what is asked of a share; it says whether it can

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
        self._server_name = f"{route or identity.route or name}.{SNI_SUFFIX}"
        self._on_notice = on_notice
        self._told: dict[int, None] = {}  # ids of notices, the oldest first
        self.pool = Pool(
            self._connect, lambda error: explain(error, name), on_state, min_idle=min_idle
        )
        self._resumable: set[ResumableEnd] = set()
        self._resuming: set[ResumableEnd] = set()  # those of them for which a task asks
        self._group = asyncio.TaskGroup()
        self._keeps_lane = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self.hello: Hello | None = None

    @property
    def state(self) -> VshareError | None:
        """Why the share cannot be reached now; None if it can."""
        return self.pool.state

    async def __aenter__(self) -> Client:
        await self._group.__aenter__()
        self._loop = asyncio.get_running_loop()
        self.flows = ClientFlows(self._open_lane)
        self._spawn(self.pool.run(), "pool")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed = True
        for task in list(self._tasks):
            task.cancel()
        self.flows.close()
        for end in list(self._resumable):
            end.give_up(Code.CLOSED)
        self.pool.close()
        await self._group.__aexit__(kind, error, trace)

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> None:
        task = self._group.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- what users do

    async def ready(self) -> Hello:
        """Wait until the share has said HELLO once. Raises what keeps it from being reached."""
        self.pool.release(await self.pool.acquire())
        if self.hello is None:
            raise LocalProtocolError("a connection in the pool without HELLO")
        return self.hello

    async def open(self, host: str, port: int) -> StreamEnd | ResumableEnd:
        """A TCP stream to `host` ("": the shared machine), opened. If the share can, it goes on
        where a connection is lost.

        Raises RefusedError with the share's words, or LostError. Cancelled: given up.
        """
        id = secrets.token_bytes(16)
        end = await self._ask(Open(id, "tcp", host, port, RESUMABLE))
        answer = end.opened.result()
        if not isinstance(answer, Opened) or not answer.resumable:
            return end
        stream = ResumableEnd(id, end, self._stream_changed)
        self._resumable.add(stream)
        return stream

    async def open_special(self, protocol: str, host: str = "", port: int = 0) -> StreamEnd:
        """A stream of another protocol than TCP (docs/protocol.md 8.3). Raises like `open`."""
        return await self._ask(Open(secrets.token_bytes(16), protocol, host, port))

    def maybe_open(self, protocol: str, host: str, port: int, begin: bytes) -> StreamEnd | None:
        """As `open_special`, if a connection is idle, without waiting for the share's answer:
        `begin` leaves together with OPEN. A stream that is refused is reset, as one that is lost.
        """
        connection = self.pool.maybe_idle()
        if connection is None:
            return None
        end = connection.open(Open(secrets.token_bytes(16), protocol, host, port), begin)
        look_after(end, OPEN_TIMEOUT, self.pool.suspect)
        return end

    async def call(self, name: str) -> bytes:
        """The answer (JSON) to a call of protocol `api`. Raises RefusedError or LostError."""
        end = await self.open_special("api", name)
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
        if not self._keeps_lane:
            self._keeps_lane = True
            self._spawn(self.flows.run(), "lane")
        return self.flows.open_flow(host, port, receiver)

    def renew(self) -> None:
        """There is a better way to the share than when the connections were made: use it."""
        self.pool.renew()

    def suspect(self) -> None:
        """The way may be another one: find out soon what still works, replace the rest."""
        self.pool.suspect()

    async def drain(self, within: float, on_slow: Callable[[int], None]) -> int:
        """Before leaving: see tunnel.draining."""
        return await drain(list(self._resumable), within, on_slow)

    # -- streams

    async def _ask(self, message: Open) -> StreamEnd:
        """OPEN on a connection that answers."""
        for _ in range(ATTEMPTS):
            connection = await self.pool.acquire()
            end = connection.open(message)
            try:
                await self._answer(end, OPEN_TIMEOUT)
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

    async def _answer(self, end: StreamEnd, within: float) -> Opened | Resume:
        """See `answer_of`. Where one is silent, the others of its age are most likely dead too."""
        return await answer_of(end, within, self.pool.suspect)

    def _stream_changed(self, stream: ResumableEnd) -> None:
        if stream.phase is Phase.OVER:
            self._resumable.discard(stream)
        elif self._closed:
            stream.give_up(Code.CLOSED)
        elif stream not in self._resuming:  # else it was lost again while that goes on
            self._resuming.add(stream)
            self._spawn(self._resume(stream), "resume stream")

    async def _resume(self, stream: ResumableEnd) -> None:
        """Go on with `stream` in another connection, or give it up."""
        try:
            async with asyncio.timeout(RESUME_WITHIN):
                while stream.phase is Phase.DETACHED:
                    await self._try_to_resume(stream)
        except (RefusedError, AccessLostError) as error:
            stream.give_up(error.code if isinstance(error, RefusedError) else Code.NOT_ALLOWED)
        except (TimeoutError, VshareError):
            stream.give_up(Code.LOST)
        finally:
            self._resuming.discard(stream)

    async def _try_to_resume(self, stream: ResumableEnd) -> None:
        """One try. Raises RefusedError, AccessLostError; what may pass is waited out."""
        try:
            connection = await self.pool.acquire()
        except AccessLostError:
            raise
        except VshareError:
            await asyncio.sleep(RESUME_PAUSE)
            return
        if stream.phase is not Phase.DETACHED:
            self.pool.release(connection)
            return
        stream.generation += 1
        end = connection.open(Resume(stream.id, stream.generation, stream.received))
        try:
            answer = await self._answer(end, RESUME_ANSWER)
        except RefusedError as error:
            if error.code is not Code.RETIRED:
                raise
        except (LostError, TimeoutError):
            connection.abort("no answer to RESUME")
        except asyncio.CancelledError:
            connection.abort("given up")
            raise
        else:
            self._go_on(stream, end, answer)

    def _go_on(self, stream: ResumableEnd, end: StreamEnd, answer: Opened | Resume) -> None:
        if stream.phase is not Phase.DETACHED:
            end.reset(Code.CLOSED)  # it was ended here while we asked; the share must hear it
            return
        try:
            if not isinstance(answer, Resume):
                raise RemoteProtocolError("RESUME was answered with OPENED")
            stream.attach(end, answer.offset)
        except RemoteProtocolError as error:
            end.connection.abort(error.text)
            raise
        if stream.is_hopeless:
            stream.give_up(Code.LOST)

    # -- connections

    async def _connect(self, on_change: Callable[[Connection], None]) -> Connection:
        began = self._loop.time()
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
            tls, is_client=True, on_change=on_change, on_notice=self._notice_received
        )
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
        connection.patience = max(PROBE_AFTER, self._loop.time() - began)
        self.hello = hello
        return connection

    def _notice_received(self, notice: Notice) -> None:
        """A notice comes on every connection; it is passed on once."""
        if notice.id in self._told:
            return
        if len(self._told) >= MAX_TOLD:
            del self._told[next(iter(self._told))]
        self._told[notice.id] = None
        self._on_notice(notice)

    # -- datagrams

    async def _open_lane(self) -> Connection:
        """A connection for datagrams. Raises RefusedError or LostError."""
        return (await self.open_special("datagram")).connection
