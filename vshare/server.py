"""The share's end of every visitor's connection: joining, streams, lanes, calls.

docs/protocol.md 6. The relay is not trusted: whatever it pairs us with has 5 seconds to show
a ClientHello and as many to finish the handshake. Of those who have not shown yet who they
are there are at most MAX_PENDING; the oldest makes room for the next, so that a crowd of
silent ones does not hold up a guest, who is done in two round trips.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
from collections.abc import Coroutine
from types import TracebackType

from tunnel import join
from tunnel.attempts import Attempts
from tunnel.codes import Code
from tunnel.connection import Connection
from tunnel.errors import LostError, RefusedError, RemoteProtocolError, VshareError
from tunnel.frames import ALPN, CAPABILITIES, VERSION, Hello, Notice, Open, Resume
from tunnel.heap import keep_giving_back
from tunnel.identity import Identity, Role, join_server_context, parse_peer, server_context
from tunnel.join_server import JoinDesk, JoinServer
from tunnel.names import ShareName
from tunnel.parking import Kind
from tunnel.peek import HEAD_DEADLINE, peek_client_hello
from tunnel.socket_watch import watch_of
from tunnel.stream_end import StreamEnd
from tunnel.tls_messages import TlsMessages
from tunnel.tls_socket import TlsSocket, handshake
from vshare.guests import Guest, Guests
from vshare.news import Newsroom
from vshare.streams import Streams
from vshare.web.tls_door import TlsDoor

MAX_HELLO = 16 * 1024  # bytes of ClientHello, all records together
MAX_PENDING = 256  # handshakes, and joins before their first message; a millisecond of CPU each
MAX_CONNECTIONS = 1024
MAX_GUEST_CONNECTIONS = 512  # of one guest; its pool has 256, and as many may be dying
MAX_STREAMS = 2048
SILENCE_ENDS = 90.0  # seconds: a client pings every 10
SWEEP_EVERY = 15.0  # seconds
NO_APPLICATION_PROTOCOL = b"\x15\x03\x03\x00\x02\x02\x78"  # a fatal alert (RFC 7301 3.2)

log = logging.getLogger(__name__)


class ShareServer:
    """Async context manager; give it the sockets that the relay paired, with `visitor`."""

    def __init__(
        self,
        name: ShareName,
        identity: Identity,
        guests: Guests,
        desk: JoinDesk,
        streams: Streams,
        newsroom: Newsroom,
        *,
        tls_door: TlsDoor | None = None,
        attempts: Attempts | None = None,
    ) -> None:
        self._name = name
        self.tls_door = tls_door  # of a share with passthrough; the caller's to run
        self._context = server_context(identity, ALPN)
        self._join_context = join_server_context(identity, join.ALPN)
        self._attempts = attempts or Attempts(asyncio.get_running_loop().time())
        self._joins = JoinServer(name, identity.certificate, self._attempts, desk)
        self._streams = streams
        self._newsroom = newsroom
        self._group = asyncio.TaskGroup()
        self._connections: dict[Connection, Guest] = {}
        self._visitors: set[asyncio.Task[None]] = set()
        self._pending: dict[asyncio.Task[None], None] = {}  # the oldest first
        self._closing = False
        self._opens: dict[tuple[str, bytes], asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._told_of_guessing = False
        self._notices = itertools.count(1)
        self._gone: set[str] = set()  # guests, by fingerprint, without a connection
        self.guests = guests
        guests.on_removed = self._removed

    async def __aenter__(self) -> ShareServer:
        await self._group.__aenter__()
        self._watch = watch_of(asyncio.get_running_loop())
        self._watch.hold()
        self._spawn(self._sweep(), "connection sweep")
        self._spawn(keep_giving_back(), "memory")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing = True
        self._streams.end_all()
        for connection in list(self._connections):
            connection.close()  # a last notice may be on its way
        for task in list(self._tasks):
            task.cancel()
        try:
            await self._group.__aexit__(kind, error, trace)
        finally:
            self._watch.let_go()

    def notify(
        self, kind: str, text: str = "", value: float = 0.0, guest: Guest | None = None
    ) -> None:
        """Tell `guest`, or all of them, with a NOTICE on each of its connections."""
        notice = Notice(next(self._notices), kind, text, value)
        for connection, owner in list(self._connections.items()):
            if owner.role is Role.GUEST and guest in (None, owner):
                connection.send_notice(notice)

    def _removed(self, guest: Guest, why: str) -> None:
        """A guest was struck off the list: end its connections."""
        self._gone.discard(guest.fingerprint)
        self.notify("removed", why, guest=guest)
        self._streams.end_all(guest)
        for connection, owner in list(self._connections.items()):
            if owner is not guest:
                continue
            if connection.congested:  # what is queued would leave first
                connection.abort(why or "the guest was removed")
            else:
                connection.close()

    def rename(self, name: ShareName) -> None:
        """It is called `name` from now on: so newcomers have to say. Who is in stays."""
        self._name = self._joins.name = name
        self.notify("renamed", name)

    def rotated(self) -> None:
        """The code is another one: what was guessed about the old one counts no more."""
        self._attempts.rotated()
        self._told_of_guessing = False

    def visitor(
        self, sock: socket.socket, address: str, *, direct: bool = False, kind: Kind = "visitor"
    ) -> None:
        """Serve a paired connection; `address` and `kind` are the relay's word for where it comes
        from and what it is. Or a `direct` one, and `address` is its own."""
        if kind == "browser":
            if self.tls_door is None:  # not asked for
                sock.close()
            else:
                self.tls_door.visitor(sock, address)
            return
        if self._closing or len(self._visitors) >= MAX_CONNECTIONS:
            sock.close()
            return
        if len(self._pending) >= MAX_PENDING:
            oldest = next(iter(self._pending))
            del self._pending[oldest]
            oldest.cancel()
        task = self._spawn(self._serve_visitor(sock, address, direct=direct), "visitor")
        self._visitors.add(task)
        self._pending[task] = None
        task.add_done_callback(lambda done: self._visitor_left(done, sock))

    def _visitor_left(self, task: asyncio.Task[None], sock: socket.socket) -> None:
        self._visitors.discard(task)
        self._pending.pop(task, None)
        sock.close()  # for one that was cancelled before it began

    def _proven(self) -> None:
        """This task's visitor is no longer one of those who make room."""
        task = asyncio.current_task()
        if task is not None:
            self._pending.pop(task, None)

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        task = self._group.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _serve_visitor(self, sock: socket.socket, address: str, *, direct: bool) -> None:
        try:
            tls = await self._shake_hands(sock)
            if tls.alpn == join.ALPN:
                await self._joins.serve(TlsMessages(tls), address, self._proven)
            else:
                await self._serve_guest(tls, direct=direct)
        except (VshareError, OSError, TimeoutError) as error:  # ssl.SSLError is an OSError
            log.info("a visitor from %r did not get in: %s", address, error)
        except Exception:
            log.exception("a visitor met a fault")  # which must not end the share for all

    async def _shake_hands(self, sock: socket.socket) -> TlsSocket:
        """Choose the context by the ClientHello, before TLS starts: a switch inside OpenSSL's
        callback would leave the client's certificate unverified."""
        try:
            async with asyncio.timeout(HEAD_DEADLINE):
                hello = await peek_client_hello(sock, MAX_HELLO)
            if join.ALPN.encode() in hello.alpn:
                context = self._join_context
            elif ALPN.encode() in hello.alpn:
                context = self._context
            else:
                sock.send(NO_APPLICATION_PROTOCOL)
                raise RemoteProtocolError("a ClientHello for neither joining nor streams")
        except BaseException:
            sock.close()
            raise
        tls = await handshake(sock, context)
        if tls.alpn not in (join.ALPN, ALPN):
            tls.abort()
            raise RemoteProtocolError("no application protocol was agreed on")
        return tls

    # -- guests and the gateway

    async def _serve_guest(self, tls: TlsSocket, *, direct: bool) -> None:
        try:
            guest = self.guests.require(parse_peer(tls.peer_certificate))
            if guest.connections >= MAX_GUEST_CONNECTIONS:
                raise RefusedError(Code.BUSY, f"{guest.name!r} has too many connections")
        except RefusedError as error:
            turned_away = Connection(tls, is_client=False, on_change=self._changed)
            turned_away.turn_away(error.code, error.text)
            raise
        except VshareError:
            tls.abort()
            raise
        self._proven()
        connection = Connection(tls, is_client=False, on_change=self._changed)
        self._connections[connection] = guest
        guest.connections += 1
        guest.direct += direct
        if guest.fingerprint in self._gone:
            self._gone.discard(guest.fingerprint)
            self._newsroom.tell("back", f"{guest.name} is back", guest=guest.name)
        rights = self._streams.policy.rights(guest.role, guest.rights)
        capabilities = list(CAPABILITIES)
        connection.send_hello(
            Hello(VERSION, self._name, capabilities, guest.role.value, guest.name, rights)
        )
        try:
            while True:
                message, end = await connection.next_open()
                if isinstance(message, Resume):
                    self._streams.resume(connection, guest, message, end)
                elif len(self._opens) >= MAX_STREAMS:
                    connection.refuse(end, Code.BUSY, f"more than {MAX_STREAMS} streams")
                elif message.protocol == "datagram":
                    await self._streams.serve_lane(connection, guest, end)
                else:
                    self._serve_open(connection, guest, message, end)
        except LostError:
            pass  # the usual way that a connection ends
        finally:
            connection.abort("the share has ended")
            self._connections.pop(connection, None)
            guest.connections -= 1
            guest.direct -= direct

    def _changed(self, connection: Connection) -> None:
        """See Connection: `next_open` tells all that is of interest here."""

    def _serve_open(
        self, connection: Connection, guest: Guest, message: Open, end: StreamEnd
    ) -> None:
        """A task per stream: the last bytes of one may still be on their way to the machine when
        the connection carries the next. The same id again replaces an attempt that was lost."""
        key = (guest.fingerprint, message.id)
        earlier = self._opens.pop(key, None)
        if earlier is not None:
            earlier.cancel()
        task = self._spawn(self._streams.serve(connection, guest, message, end), "stream")
        self._opens[key] = task
        task.add_done_callback(lambda done: self._forget(key, done))

    def _forget(self, key: tuple[str, bytes], task: asyncio.Task[None]) -> None:
        if self._opens.get(key) is task:
            del self._opens[key]

    async def _sweep(self) -> None:
        """End connections whose client has been silent: it pings, so it is gone. Tell who left."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_EVERY)
            for connection in list(self._connections):
                if not connection.is_paused and loop.time() - connection.heard_at > SILENCE_ENDS:
                    connection.abort("the guest was silent")
            self._look_for_the_gone()
            self._look_for_guessing()

    def _look_for_the_gone(self) -> None:
        """Tell about guests without a connection: a pool has two at least, while one is there."""
        for guest in self.guests.of_role(Role.GUEST):
            if not guest.connections and guest.fingerprint not in self._gone:
                self._gone.add(guest.fingerprint)
                self._newsroom.tell("left", f"{guest.name} left", guest=guest.name)

    def _look_for_guessing(self) -> None:
        """Tell the sharer once when so many codes were tried that joining has become slow."""
        if self._attempts.is_slowed and not self._told_of_guessing:
            self._told_of_guessing = True
            self._newsroom.tell(
                "guessing",
                f"{self._attempts.failures} wrong codes were tried, so newcomers are let in"
                " slowly; vshare code --rotate makes a new code, and guests stay",
                warning=True,
                failures=self._attempts.failures,
            )
