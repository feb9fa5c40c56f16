"""The relay's place: it takes a victim's connections, and does with their bytes what it likes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

from tests.accepting import accepting
from tests.share_pair import Pair
from tunnel.errors import VshareError
from tunnel.identity import Identity, make_key

Serve = Callable[[socket.socket], Awaitable[None]]
RECORD_HEAD = 5  # bytes: type, version, length (RFC 8446 5.1)
APPLICATION_DATA = 23


class Relay:
    """Listens in the relay's place; `dial` is what the victim is given."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def dial(self) -> socket.socket:
        return await connected(self.port)


async def connected(port: int) -> socket.socket:
    """A socket to that port of the loopback; the caller closes it."""
    sock = socket.socket()
    sock.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    except BaseException:
        sock.close()
        raise
    return sock


@contextlib.asynccontextmanager
async def relay(serve: Serve) -> AsyncIterator[Relay]:
    """What comes in is `serve`d; its failures are the attacker's own business."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    port = listener.getsockname()[1]

    async def one(sock: socket.socket) -> None:
        with contextlib.suppress(VshareError, OSError):
            await serve(sock)

    tasks: list[asyncio.Task[None]] = []
    async with asyncio.TaskGroup() as group:

        def accepted(sock: socket.socket, _: str) -> None:
            tasks.append(group.create_task(one(sock)))
            tasks[-1].add_done_callback(lambda done: sock.close())

        try:
            with accepting(listener, accepted):
                yield Relay(port)
        finally:
            for task in tasks:
                task.cancel()


def gateway_identity(pair: Pair) -> Identity:
    """What `publish` hands to the relay: a real certificate of the share's own CA."""
    key = make_key()
    certificate, ca = pair.reception.issue_gateway(key.public_key())
    return Identity(key, certificate, ca)


class Recorder:
    """Forwards between guest and share, and keeps every byte."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self.up = bytearray()
        self.down = bytearray()

    async def serve(self, sock: socket.socket) -> None:
        share = await self._pair.dial()
        with contextlib.closing(share):
            async with asyncio.TaskGroup() as group:
                group.create_task(self._copy(sock, share, self.up))
                group.create_task(self._copy(share, sock, self.down))

    async def _copy(self, source: socket.socket, sink: socket.socket, kept: bytearray) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while data := await loop.sock_recv(source, 65_536):
                kept += data
                await loop.sock_sendall(sink, data)
            sink.shutdown(socket.SHUT_WR)


async def receive_record(sock: socket.socket) -> bytes:
    """The next TLS record, with its head; what there is of it at the end."""
    record = await _receive_exactly(sock, RECORD_HEAD)
    if len(record) < RECORD_HEAD:
        return record
    return record + await _receive_exactly(sock, int.from_bytes(record[3:5], "big"))


async def _receive_exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = await asyncio.get_running_loop().sock_recv(sock, size - len(data))
        if not more:
            break
        data += more
    return data


class Leg:
    """One direction of a connection that the relay carries record by record.

    `change` sees each record and gives what goes on; an empty one holds it back. `sink` is
    where records go: another connection's, once the relay has mixed them up.
    """

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source = source
        self.sink = sink
        self.change: Callable[[bytes], bytes] = lambda record: record
        self.records: list[bytes] = []
        self.held: list[bytes] = []
        self.tells_the_end = True

    def hold_after(self, count: int) -> None:
        """Let `count` more records through, and keep those that follow."""
        left = iter(range(count))

        def change(record: bytes) -> bytes:
            if next(left, None) is not None:
                return record
            self.held.append(record)
            return b""

        self.change = change

    async def carry(self) -> None:
        """To the end of the source, which is passed on if it `tells_the_end`."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while record := await receive_record(self.source):
                self.records.append(record)
                await loop.sock_sendall(self.sink, self.change(record))
        if self.tells_the_end:
            self.end()

    async def deliver_late(self) -> None:
        """Send what was held, to whoever is still there."""
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().sock_sendall(self.sink, b"".join(self.held))
            self.held.clear()

    def end(self) -> None:
        """A clean end of TCP, now."""
        with contextlib.suppress(OSError):
            self.sink.shutdown(socket.SHUT_WR)

    async def cut(self, last: bytes = b"") -> None:
        """Send `last` and a clean end of TCP; nothing after it."""
        self.change = lambda record: b""
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().sock_sendall(self.sink, last)
        self.end()


class Line:
    """A connection between a guest and a share: its two legs."""

    def __init__(self, guest: socket.socket, share: socket.socket) -> None:
        self.up = Leg(guest, share)
        self.down = Leg(share, guest)
        self.tasks: list[asyncio.Task[None]] = []

    def leg(self, direction: str) -> Leg:
        """`up` or `down`."""
        return self.up if direction == "up" else self.down

    def reset(self) -> None:
        """End both connections the hard way."""
        for leg in (self.up, self.down):
            leg.sink.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        for task in self.tasks:
            task.cancel()


class Lines:
    """Serves a `relay`: every connection is a Line of its own, to the share on `port`."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.all: list[Line] = []
        self.prepare: Callable[[Line], None] = lambda line: None

    async def serve(self, sock: socket.socket) -> None:
        share = await connected(self.port)
        with contextlib.closing(share):
            line = Line(sock, share)
            self.prepare(line)
            self.all.append(line)
            async with asyncio.TaskGroup() as group:
                line.tasks = [group.create_task(leg.carry()) for leg in (line.up, line.down)]
