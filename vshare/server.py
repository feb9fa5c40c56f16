"""The share's end of every visitor's connection: joining, streams, lanes, calls.

docs/protocol.md 6. The relay is not trusted: whatever it pairs us with has 5 seconds to show
a ClientHello and as many to finish the handshake. Of those who have not shown yet who they
are there are at most MAX_PENDING; the oldest makes room for the next, so that a crowd of
silent ones does not hold up a guest, who is done in two round trips.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from types import TracebackType

import msgspec

from tunnel import join
from tunnel.codes import Code
from tunnel.connection import Connection, StreamEnd
from tunnel.datagrams import ServerLane
from tunnel.ends import bridge
from tunnel.errors import LostError, RefusedError, RemoteProtocolError, VshareError
from tunnel.flows import Flow, FlowReceiver
from tunnel.frames import ALPN, CAPABILITIES, VERSION, Hello, Open
from tunnel.identity import (
    Authority,
    Identity,
    PublicKey,
    Role,
    fingerprint,
    join_server_context,
    key_of_request,
    parse_peer,
    server_context,
)
from tunnel.names import JoinCode, ShareName
from tunnel.peek import HEAD_DEADLINE, peek_client_hello
from tunnel.tls_messages import TlsMessages
from tunnel.tls_socket import TlsSocket, handshake
from vshare.guests import Attempts, Guest, Guests
from vshare.policy import Policy
from vshare.reach import Reach
from vshare.ssh_guard import SshGuard

MAX_HELLO = 16 * 1024  # bytes of ClientHello, all records together
MAX_PENDING = 256  # handshakes, and joins before their first message; a millisecond of CPU each
MAX_CONNECTIONS = 1024
MAX_GUEST_CONNECTIONS = 512  # of one guest; its pool has 256, and as many may be dying
MAX_STREAMS = 2048
SPAKE_AT_ONCE = 2  # 18 ms of CPU each, in threads
SILENCE_ENDS = 90.0  # seconds: a client pings every 10
SWEEP_EVERY = 15.0  # seconds
NO_APPLICATION_PROTOCOL = b"\x15\x03\x03\x00\x02\x02\x78"  # a fatal alert (RFC 7301 3.2)

log = logging.getLogger(__name__)

# A call of protocol `api`, by name: gives what is sent as JSON.
Calls = Mapping[str, Callable[[Guest], object]]


@dataclass(frozen=True, slots=True)
class Events:
    """What the share's screen is told."""

    joined: Callable[[Guest], None]
    join_failed: Callable[[str, str], None]  # why, from where


class ShareServer:
    """Async context manager; give it the sockets that the relay paired, with `visitor`."""

    def __init__(
        self,
        name: ShareName,
        authority: Authority,
        code: JoinCode,
        policy: Policy,
        reach: Reach,
        calls: Calls,
        events: Events,
    ) -> None:
        self._name = name
        self._authority = authority
        self._identity: Identity = authority.issue_share()
        self._context = server_context(self._identity, ALPN)
        self._join_context = join_server_context(self._identity, join.ALPN)
        self._code = code
        self._policy = policy
        self._reach = reach
        self._calls = calls
        self._events = events
        self._group = asyncio.TaskGroup()
        self._spake = asyncio.Semaphore(SPAKE_AT_ONCE)
        self._connections: dict[Connection, Guest] = {}
        self._visitors: set[asyncio.Task[None]] = set()
        self._pending: dict[asyncio.Task[None], None] = {}  # the oldest first
        self._closing = False
        self._opens: dict[tuple[str, bytes], asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.guests = Guests()

    async def __aenter__(self) -> ShareServer:
        await self._group.__aenter__()
        self._attempts = Attempts(asyncio.get_running_loop().time())
        self._spawn(self._sweep(), "connection sweep")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing = True
        for task in list(self._tasks):
            task.cancel()
        for connection in list(self._connections):
            connection.abort("the share has ended")
        await self._group.__aexit__(kind, error, trace)

    def issue_gateway(self, key: PublicKey) -> tuple[bytes, bytes]:
        """The gateway's certificate and the CA (DER): it may open the HTTP ports, no more.

        There is one gateway: an earlier one's certificate counts no more.
        """
        for earlier in self.guests.of_role(Role.GATEWAY):
            self.remove(earlier)
        certificate = self._authority.issue(Role.GATEWAY, "gateway", key)
        self.guests.add(Role.GATEWAY, "gateway", fingerprint(certificate), "the relay")
        return certificate, self._authority.certificate

    def remove(self, guest: Guest) -> None:
        """Strike a guest off the list and end its connections."""
        self.guests.remove(guest)
        for connection, owner in list(self._connections.items()):
            if owner is guest:
                connection.abort("the guest was removed")

    def visitor(self, sock: socket.socket, address: str) -> None:
        """Serve a paired connection; `address` is the relay's word for where it comes from."""
        if self._closing or len(self._visitors) >= MAX_CONNECTIONS:
            sock.close()
            return
        if len(self._pending) >= MAX_PENDING:
            oldest = next(iter(self._pending))
            del self._pending[oldest]
            oldest.cancel()
        task = self._spawn(self._serve_visitor(sock, address), "visitor")
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

    async def _serve_visitor(self, sock: socket.socket, address: str) -> None:
        try:
            tls = await self._shake_hands(sock)
            if tls.alpn == join.ALPN:
                await self._serve_newcomer(TlsMessages(tls), address)
            else:
                await self._serve_guest(tls, address)
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

    # -- joining

    async def _serve_newcomer(self, messages: TlsMessages, address: str) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + join.JOIN_TIMEOUT
        attempt = join.ShareJoin(self._name, self._code, self._identity.certificate, os.urandom)
        guessed = False
        try:
            async with asyncio.timeout_at(deadline):
                first = await messages.receive()
                self._attempts.take(loop.time())
                self._proven()  # from here on the attempts' limit bounds how many there are
                async with self._spake:
                    second = await asyncio.to_thread(attempt.answer, first)
                key = key_of_request(attempt.request)
                guessed = True
                self._attempts.failed()  # hanging up now is a guess as well: it is not free
                messages.send(second)
                attempt.confirm(await messages.receive())
            self._attempts.succeeded()
            self._admit(messages, attempt, key, address)
        except (VshareError, TimeoutError) as error:
            self._join_failed(messages, error, address, guessed=guessed)
        finally:
            messages.close()

    def _join_failed(
        self, messages: TlsMessages, error: Exception, address: str, *, guessed: bool
    ) -> None:
        if isinstance(error, RefusedError):
            messages.send(join.refuse(error.code, error.text))
        elif isinstance(error, RemoteProtocolError):
            messages.send(join.refuse(Code.PROTOCOL_ERROR, "the join was not understood"))
        text = error.text if isinstance(error, VshareError) else "it took too long"
        log.info("a join from %r failed: %s", address, text)
        if guessed:
            self._events.join_failed(text, address)

    def _admit(
        self, messages: TlsMessages, attempt: join.ShareJoin, key: PublicKey, address: str
    ) -> None:
        name = self.guests.free_name(attempt.guest)
        certificate = self._authority.issue(Role.GUEST, name, key)
        guest = self.guests.add(Role.GUEST, name, fingerprint(certificate), address)
        messages.send(attempt.issue(certificate, self._authority.certificate))
        self._events.joined(guest)

    # -- guests and the gateway

    async def _serve_guest(self, tls: TlsSocket, address: str) -> None:
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
        rights = self._policy.rights(guest.role)
        capabilities = list(CAPABILITIES)
        connection.send_hello(
            Hello(VERSION, self._name, capabilities, guest.role.value, guest.name, rights)
        )
        try:
            while True:
                message, end = await connection.next_open()
                if len(self._opens) >= MAX_STREAMS:
                    connection.refuse(end, Code.BUSY, f"more than {MAX_STREAMS} streams")
                elif message.protocol == "datagram":
                    await self._serve_lane(connection, guest, end)
                else:
                    self._serve_open(connection, guest, message, end)
        except LostError:
            pass  # the usual way that a connection ends
        finally:
            connection.abort("the share has ended")
            self._connections.pop(connection, None)
            guest.connections -= 1

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
        task = self._spawn(self._serve_stream(connection, guest, message, end), "stream")
        self._opens[key] = task
        task.add_done_callback(lambda done: self._forget(key, done))

    def _forget(self, key: tuple[str, bytes], task: asyncio.Task[None]) -> None:
        if self._opens.get(key) is task:
            del self._opens[key]

    async def _serve_stream(
        self, connection: Connection, guest: Guest, message: Open, end: StreamEnd
    ) -> None:
        guest.streams += 1
        try:
            if message.protocol == "api":
                self._serve_call(connection, guest, message, end)
                return
            if message.protocol != "tcp":
                raise RefusedError(Code.UNSUPPORTED, f"protocol {message.protocol[:20]!r}")
            target = self._policy.decide(guest.role, "tcp", message.host, message.port)
            machine = await self._reach.open_tcp(target.host, target.port)
            connection.accept(end)
            if self._policy.ssh_ports:
                await bridge(SshGuard(end, machine), machine)
            else:
                await bridge(end, machine)
        except VshareError as error:
            code = error.code if isinstance(error, RefusedError) else Code.HOST_UNREACHABLE
            log.info("%s: port %s is refused: %s", guest.name, message.port, error.text)
            connection.refuse(end, code, error.text)
        except asyncio.CancelledError:
            end.reset(Code.CLOSED)
            raise
        except Exception:
            log.exception("a stream met a fault")  # which must not end the share for all
            end.reset(Code.INTERNAL)
        finally:
            guest.streams -= 1

    def _serve_call(
        self, connection: Connection, guest: Guest, message: Open, end: StreamEnd
    ) -> None:
        call = self._calls.get(message.host)
        if call is None or guest.role is not Role.GUEST:
            raise RefusedError(Code.UNSUPPORTED, f"no call named {message.host[:40]!r}")
        connection.accept(end)
        end.send(msgspec.json.encode(call(guest)))
        end.send_eof()
        end.discard()

    async def _serve_lane(self, connection: Connection, guest: Guest, end: StreamEnd) -> None:
        """The connection is a lane until it ends."""
        if guest.role is not Role.GUEST:
            connection.refuse(end, Code.NOT_ALLOWED, "datagrams are for guests")
            return
        connection.accept(end)

        async def open_flow(host: str, port: int, receiver: FlowReceiver) -> Flow:
            target = self._policy.decide(guest.role, "udp", host, port)
            try:
                return await self._reach.open_udp(target.host, target.port, receiver)
            except RefusedError:
                raise
            except VshareError as error:
                raise RefusedError(Code.HOST_UNREACHABLE, error.text) from error

        await ServerLane(connection).serve(open_flow)

    async def _sweep(self) -> None:
        """End connections whose client has been silent: it pings, so it is gone."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_EVERY)
            for connection in list(self._connections):
                if not connection.is_paused and loop.time() - connection.heard_at > SILENCE_ENDS:
                    connection.abort("the guest was silent")
