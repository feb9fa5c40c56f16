"""Simulated shares for bench/relay_scale.py: cheap for the machine, the real thing for a relay.

Each has a control channel and parked connections; a visitor gets its first bytes back. Told a
word on standard input, the process answers with one line of JSON.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import itertools
import json
import os
import secrets
import socket
import ssl
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tunnel import control, parking
from tunnel.address import RelayAddress
from tunnel.bio_tls import BioTls
from tunnel.control import Challenge, Register, Registered, Tickets
from tunnel.errors import LostError, VshareError
from tunnel.parking import HEADER, PARK_ALPN, Message, Type
from tunnel.relay_tls import anchor_of, context_for

AT_ONCE = 32  # registrations, or parkings, under way in one process
PER_SOURCE = 10_000  # connections from one address: there are 28,000 ports for each
TICKET_FRESH = parking.TICKET_LASTS - 5  # seconds
AGAIN_AFTER = 0.5  # seconds
VISIT_WITHIN = 30.0  # seconds
PONG = parking.serialize(Message(Type.PONG))
TEXT, PING, PONG_FRAME, CLOSE = 0x81, 0x89, 0x8A, 0x88  # RFC 6455 5.2, with FIN


class Sources:
    """Addresses of loopback to connect from."""

    def __init__(self, prefix: str) -> None:
        self._prefix, self._count = prefix, itertools.count()

    async def connect(self, relay: RelayAddress) -> socket.socket:
        """A connected, non-blocking socket."""
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
        sock.bind((f"{self._prefix}.{1 + next(self._count) // PER_SOURCE % 250}", 0))
        try:
            await asyncio.get_running_loop().sock_connect(sock, (relay.host, relay.port))
        except BaseException:
            sock.close()
            raise
        return sock


@dataclass(frozen=True)
class Owned:
    """Names that shares have had before: the share with number n has the n-th of them, and its key.
    `token` is what the relay wants of it; empty: none."""

    first: int = 0
    token: str = field(default="", repr=False)

    def name(self, number: int) -> str:
        """Of one share."""
        return f"load-{self.first + number:05}"

    def key(self, number: int) -> Ed25519PrivateKey:
        """Of one share: no secret, but nobody else's."""
        digest = hashlib.sha256(self.name(number).encode()).digest()
        return Ed25519PrivateKey.from_private_bytes(digest)


@dataclass
class Contexts:
    """How the relay is verified."""

    control: ssl.SSLContext
    parking: ssl.SSLContext


class TinyShare:
    """One share, as far as a relay can see it."""

    def __init__(
        self,
        relay: RelayAddress,
        contexts: Contexts,
        sources: Sources,
        at_once: asyncio.Semaphore,
        *,
        key: Ed25519PrivateKey | None = None,
        name: str = "",
        token: str = "",
    ) -> None:
        self._relay, self._contexts, self._sources = relay, contexts, sources
        self._at_once = at_once
        self._key = key or Ed25519PrivateKey.generate()
        self._name, self._token = name, token
        self.lost_at = 0.0  # by the monotonic clock, which all processes share
        self.route = secrets.token_hex(16)
        self.tickets: deque[tuple[bytes, float]] = deque()
        self.parked: set[socket.socket] = set()
        self.is_registered = False
        self._wanted = 0
        self._tls: BioTls
        self._group: asyncio.TaskGroup

    async def register(self, group: asyncio.TaskGroup) -> None:
        """Open the control channel; it is read until the group ends."""
        self._group = group
        sock = await self._sources.connect(self._relay)
        self._tls = tls = BioTls(sock, self._contexts.control)
        await tls.handshake()
        key = base64.b64encode(os.urandom(16)).decode()
        head = f"GET {control.PATH} HTTP/1.1\r\nHost: {self._relay.host}\r\nUpgrade: websocket\r\n"
        head += f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        await tls.send_all(f"{head}\r\n".encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += await tls.receive_exactly(1)
        assert answer.startswith(b"HTTP/1.1 101 "), answer
        challenge = control.parse_from_relay(await self._receive_text())
        assert isinstance(challenge, Challenge)
        signed = control.signed_bytes(challenge.nonce, tls.peer_certificate, self._name)
        public = self._key.public_key().public_bytes_raw()
        request = Register(
            public,
            self._key.sign(signed),
            self._name,
            True,
            3600,
            control.VERSION,
            self.route,
            token=self._token,
        )
        await self._send(TEXT, control.serialize(request).encode())
        registered = control.parse_from_relay(await self._receive_text())
        if isinstance(registered, control.Rejected) and registered.code == "unavailable":
            sock.close()
            await asyncio.sleep(AGAIN_AFTER)  # as a share: it is tried again
            raise LostError(registered.text)
        assert isinstance(registered, Registered), registered
        group.create_task(self._read(sock), name="channel")
        self.is_registered = True

    async def _read(self, sock: socket.socket) -> None:
        with sock, self._noting_loss():
            while True:
                message = control.parse_from_relay(await self._receive_text())
                if isinstance(message, Tickets):
                    until = time.monotonic() + TICKET_FRESH
                    self.tickets.extend((ticket, until) for ticket in message.tickets)
                    self._use_tickets()

    @contextlib.contextmanager
    def _noting_loss(self) -> Iterator[None]:
        """On a machine that is too busy, the relay may not hear of a share in time."""
        try:
            yield
        except (VshareError, OSError, ssl.SSLError) as error:
            self.is_registered = False
            self.lost_at = self.lost_at or time.monotonic()
            if not self._token:  # else it is revoked, in the end
                print(f"lost: {error}", file=sys.stderr)

    def park(self, count: int) -> None:
        """Park `count` connections, and others in the place of those that are taken."""
        self._wanted = count
        self._use_tickets()

    def _use_tickets(self) -> None:
        while self._wanted > 0 and self.tickets:
            ticket, until = self.tickets.popleft()
            if until > time.monotonic():
                self._wanted -= 1
                self._group.create_task(self._park(ticket, until), name="parking")

    async def _park(self, ticket: bytes, until: float) -> None:
        async with self._at_once:
            if until < time.monotonic():  # it waited for too long: the next will do
                self._wanted += 1
                return
            try:
                await self._hand_in(ticket)
            except (VshareError, OSError, ssl.SSLError) as error:  # as a share: again
                print(f"again: {error}", file=sys.stderr)
                self._wanted += 1

    async def _hand_in(self, ticket: bytes) -> None:
        sock = await self._sources.connect(self._relay)
        tls = BioTls(sock, self._contexts.parking)
        await tls.handshake()
        await tls.send_all(parking.serialize(Message(Type.PARK, ticket)))
        kind, _ = parking.parse_header(await tls.receive_exactly(HEADER))
        if kind is not Type.PARKED:  # it was too old
            sock.close()
            self._wanted += 1
            return
        await tls.unwrap(first=False)
        self.parked.add(sock)
        asyncio.get_running_loop().add_reader(sock, self._answer, sock)

    def _answer(self, sock: socket.socket) -> None:
        try:
            data = sock.recv(65_536)
        except OSError:
            data = b""
        if data[:1] == bytes([Type.PING]) and sock in self.parked:
            sock.send(PONG)
        elif data and sock in self.parked:  # PAIRED, and perhaps the visitor's first bytes
            self.parked.discard(sock)
            sock.send(data)
            self._wanted += 1
            self._use_tickets()
        elif not data:
            self._close(sock)

    def _close(self, sock: socket.socket) -> None:
        asyncio.get_running_loop().remove_reader(sock)
        self.parked.discard(sock)
        sock.close()

    def leave(self) -> None:
        """Close what is parked."""
        self._wanted = -1_000
        for sock in list(self.parked):
            self._close(sock)

    async def ping(self) -> None:
        """The sign of life that a relay waits for."""
        with self._noting_loss():
            await self._send(PING, b"")

    async def _receive_text(self) -> bytes:
        while True:
            first, size = await self._tls.receive_exactly(2)
            if size == 126:
                size = int.from_bytes(await self._tls.receive_exactly(2), "big")
            payload = await self._tls.receive_exactly(size)
            if first == PING:
                await self._send(PONG_FRAME, payload)
            elif first == TEXT:
                return payload
            elif first == CLOSE:  # PONG needs no answer
                raise LostError(f"the relay ended a channel: {payload!r}")

    async def _send(self, first: int, payload: bytes) -> None:
        size = len(payload)
        length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
        await self._tls.send_all(bytes([first]) + length + bytes(4) + payload)  # mask: zero


class _Fleet:
    def __init__(
        self, relay: RelayAddress, count: int, parked: int, prefix: str, owned: Owned | None
    ) -> None:
        self._relay, self._count, self._parked = relay, count, parked
        self._owned = owned
        self._sources = Sources(prefix)
        self._shares: list[TinyShare] = []
        self._contexts: Contexts

    async def run(self) -> None:
        anchor = await anchor_of(self._relay)
        self._contexts = Contexts(context_for(anchor, "http/1.1"), context_for(anchor, PARK_ALPN))
        async with asyncio.TaskGroup() as group:
            while word := (await asyncio.to_thread(sys.stdin.readline)).strip():
                print(json.dumps(await self._obey(word, group)), flush=True)
            raise SystemExit

    async def _obey(self, word: str, group: asyncio.TaskGroup) -> dict[str, object]:
        if word == "warm":
            with contextlib.suppress(*_ENDED):
                async with asyncio.TaskGroup() as short:
                    shares = await self._register(1, short)
                    await self._park(shares, 2)
                    for share in shares:
                        share.leave()
                    raise _OverError
            return {}
        if word == "register":
            group.create_task(self._ping_all(), name="pings")
            await self._register(self._count, group)
            return {"routes": [share.route for share in self._shares]}
        if word == "ended":  # all of them: wait for it
            while any(share.is_registered for share in self._shares):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            times = sorted(share.lost_at for share in self._shares)
            return {"first": times[0], "half": times[len(times) // 2], "last": times[-1]}
        _, _, some = word.partition(" ")  # "park", or "park N": so many of the shares
        parking = self._shares[: int(some)] if some else self._shares
        await self._park(parking, self._parked)
        return {
            "parked": sum(len(share.parked) for share in parking),
            "routes": [share.route for share in parking],
        }

    async def _register(self, count: int, group: asyncio.TaskGroup) -> list[TinyShare]:
        at_once = asyncio.Semaphore(AT_ONCE)
        shares = [self._share(number, at_once) for number in range(count)]
        self._shares = shares
        async with asyncio.TaskGroup() as registering:
            for share in shares:
                registering.create_task(self._one(share, group, at_once), name="register")
        return shares

    def _share(self, number: int, at_once: asyncio.Semaphore) -> TinyShare:
        owned = self._owned
        return TinyShare(
            self._relay,
            self._contexts,
            self._sources,
            at_once,
            key=owned.key(number) if owned else None,
            name=owned.name(number) if owned else "",
            token=owned.token if owned else "",
        )

    async def _ping_all(self) -> None:
        while True:
            await asyncio.sleep(0)
            begun = time.monotonic()  # a late one makes none of the others later
            for number, share in enumerate(self._shares):
                due = begun + control.PING_EVERY * number / len(self._shares)
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                if share.is_registered:
                    await share.ping()

    async def _one(
        self, share: TinyShare, group: asyncio.TaskGroup, at_once: asyncio.Semaphore
    ) -> None:
        async with at_once:
            while not share.is_registered:
                try:
                    await share.register(group)
                except (VshareError, OSError, ssl.SSLError) as error:  # as a share: again
                    print(f"again: {error}", file=sys.stderr)

    async def _park(self, shares: list[TinyShare], parked: int) -> None:
        for share in shares:
            share.park(parked)
        wanted = parked * len(shares)
        while sum(len(share.parked) for share in shares) < wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


class _OverError(Exception):
    """The warm-up's end."""


_ENDED = (BaseExceptionGroup,)


def run_shares(
    relay: RelayAddress, count: int, parked: int, prefix: str, owned: Owned | None = None
) -> None:
    """Simulate `count` shares, as told on standard input."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_Fleet(relay, count, parked, prefix, owned).run())


@dataclass
class Visits:
    """How visits went."""

    seconds: list[float] = field(default_factory=list)
    failed: int = 0
    per_second: float = 0.0


async def visit_routes(relay: RelayAddress, routes: list[str], count: int, at_once: int) -> Visits:
    """`count` visits, to one share after another; each ends with the first byte that comes back."""
    visits = Visits()
    turns = iter(itertools.islice(itertools.cycle(routes), count))
    begun = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(_visit_all(relay, turns, visits), name="visitor")
    visits.per_second = count / (time.monotonic() - begun)
    return visits


async def _visit_all(relay: RelayAddress, routes: Iterator[str], visits: Visits) -> None:
    loop = asyncio.get_running_loop()
    for route in routes:
        hello = _hello(route)
        begun = time.monotonic()
        with socket.socket() as sock:
            sock.setblocking(False)
            try:
                async with asyncio.timeout(VISIT_WITHIN):
                    await loop.sock_connect(sock, (relay.host, relay.port))
                    await loop.sock_sendall(sock, hello)
                    first = await loop.sock_recv(sock, 65_536)
            except (OSError, TimeoutError):
                first = b""
        if first[:1] in (b"", b"\x15"):  # TLS's alert
            visits.failed += 1
        else:
            visits.seconds.append(time.monotonic() - begun)


def _hello(route: str) -> bytes:
    """A guest's ClientHello."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["vshare/1"])
    outgoing = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=f"{route}.invalid")
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()
