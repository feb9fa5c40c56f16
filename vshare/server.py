"""The share's end of every visitor's connection: joining, streams, lanes, calls.

docs/protocol.md 6. The relay is not trusted: whatever it pairs us with has 5 seconds to show
a ClientHello and to finish the handshake, and no more than MAX_HANDSHAKES do so at once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from types import TracebackType

import msgspec

from tunnel import join
from tunnel.codes import Code
from tunnel.connection import Connection, StreamEnd
from tunnel.datagrams import Flow, FlowReceiver, ServerLane
from tunnel.ends import bridge
from tunnel.errors import LostError, RefusedError, RemoteProtocolError, VshareError
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

MAX_HELLO = 16 * 1024  # bytes of ClientHello, all records together
MAX_HANDSHAKES = 64  # under way; each costs about a millisecond of CPU
MAX_CONNECTIONS = 1024
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
        self._handshakes = asyncio.Semaphore(MAX_HANDSHAKES)
        self._spake = asyncio.Semaphore(SPAKE_AT_ONCE)
        self._connections: set[Connection] = set()
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
        for task in list(self._tasks):
            task.cancel()
        for connection in list(self._connections):
            connection.abort("the share has ended")
        await self._group.__aexit__(kind, error, trace)

    def issue_gateway(self, key: PublicKey) -> tuple[bytes, bytes]:
        """The gateway's certificate and the CA (DER): it may open the HTTP ports, no more."""
        certificate = self._authority.issue(Role.GATEWAY, "gateway", key)
        self.guests.add(Role.GATEWAY, "gateway", fingerprint(certificate), "the relay")
        return certificate, self._authority.certificate

    def visitor(self, sock: socket.socket, address: str) -> None:
        """Serve a paired connection; `address` is the relay's word for where it comes from."""
        if len(self._connections) + len(self._tasks) >= MAX_CONNECTIONS + MAX_STREAMS:
            sock.close()
            return
        self._spawn(self._serve_visitor(sock, address), "visitor")

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        task = self._group.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _serve_visitor(self, sock: socket.socket, address: str) -> None:
        try:
            async with self._handshakes:
                tls = await self._shake_hands(sock)
        except (VshareError, OSError, ssl.SSLError, TimeoutError) as error:
            log.info("a visitor from %s did not get in: %s", address, error)
            return
        if tls.alpn == join.ALPN:
            await self._serve_newcomer(TlsMessages(tls), address)
        else:
            await self._serve_guest(tls, address)

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
        attempt = join.ShareJoin(self._name, self._code, self._identity.certificate, os.urandom)
        sent_pake = False
        try:
            async with asyncio.timeout(join.JOIN_TIMEOUT):
                self._attempts.take(asyncio.get_running_loop().time())
                first = await messages.receive()
                async with self._spake:
                    second = await asyncio.to_thread(attempt.answer, first)
                key = key_of_request(attempt.request)
                sent_pake = True
                messages.send(second)
                attempt.confirm(await messages.receive())
        except (VshareError, TimeoutError) as error:
            self._join_failed(messages, error, address, guessed=sent_pake)
            return
        self._attempts.succeeded()
        self._admit(messages, attempt, key, address)

    def _join_failed(
        self, messages: TlsMessages, error: Exception, address: str, *, guessed: bool
    ) -> None:
        """Hanging up after message 2 is a guess as well: it is not free."""
        if guessed:
            self._attempts.failed()
        if isinstance(error, RefusedError):
            messages.send(join.refuse(error.code, error.text))
        elif isinstance(error, RemoteProtocolError):
            messages.send(join.refuse(Code.PROTOCOL_ERROR, "the join was not understood"))
        messages.close()
        text = error.text if isinstance(error, VshareError) else "it took too long"
        log.info("a join from %s failed: %s", address, text)
        if guessed:
            self._events.join_failed(text, address)

    def _admit(
        self, messages: TlsMessages, attempt: join.ShareJoin, key: PublicKey, address: str
    ) -> None:
        name = self.guests.free_name(attempt.guest)
        certificate = self._authority.issue(Role.GUEST, name, key)
        try:
            guest = self.guests.add(Role.GUEST, name, fingerprint(certificate), address)
        except RefusedError as error:
            messages.send(join.refuse(error.code, error.text))
        else:
            messages.send(attempt.issue(certificate, self._authority.certificate))
            self._events.joined(guest)
        messages.close()

    # -- guests and the gateway

    async def _serve_guest(self, tls: TlsSocket, address: str) -> None:
        try:
            guest = self.guests.require(parse_peer(tls.peer_certificate))
        except VshareError as error:
            log.info("a connection from %s is refused: %s", address, error.text)
            tls.abort()
            return
        connection = Connection(tls, is_client=False, on_change=self._changed)
        self._connections.add(connection)
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

    def _changed(self, connection: Connection) -> None:
        if connection.is_lost:
            self._connections.discard(connection)

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
            await bridge(end, machine)
        except RefusedError as error:
            log.info("%s: port %s is refused: %s", guest.name, message.port, error.text)
            connection.refuse(end, error.code, error.text)
        except asyncio.CancelledError:
            end.reset(Code.CLOSED)
            raise
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
            return await self._reach.open_udp(target.host, target.port, receiver)

        await ServerLane(connection).serve(open_flow)

    async def _sweep(self) -> None:
        """End connections whose client has been silent: it pings, so it is gone."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_EVERY)
            for connection in list(self._connections):
                if not connection.is_paused and loop.time() - connection.heard_at > SILENCE_ENDS:
                    connection.abort("the guest was silent")
