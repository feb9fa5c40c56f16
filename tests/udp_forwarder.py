"""A local port whose datagrams, and TCP connections if wanted, go through a SOCKS5 server.

For programs that know no SOCKS. As a program: `python -m tests.udp_forwarder SOCKS_HOST:PORT HOST
PORT` prints the local port, the same for UDP and TCP, and forwards until it is ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
from collections.abc import AsyncIterator

GREETING, CHOSEN = b"\x05\x01\x00", b"\x05\x00"
BUFFER = 4 << 20  # bytes
ANY = b"\x01" + bytes(6)


class Forwarder:
    """Each program that sends to the port is an association of its own."""

    def __init__(self, socks: tuple[str, int], host: str, port: int) -> None:
        name = host.encode()
        self._socks = socks
        self._place = b"\x03%c%b%b" % (len(name), name, struct.pack("!H", port))
        self._sock, self._listener = both_sockets()
        self._associations: dict[tuple[str, int], asyncio.Task[socket.socket]] = {}
        self._controls: list[asyncio.StreamWriter] = []
        self._group = asyncio.TaskGroup()
        self.port: int = self._sock.getsockname()[1]

    async def __aenter__(self) -> Forwarder:
        self._loop = asyncio.get_running_loop()
        await self._group.__aenter__()
        self._server = await asyncio.start_server(self._tcp, sock=self._listener)
        self._loop.add_reader(self._sock, self._from_program)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._loop.remove_reader(self._sock)
        self._server.close()
        for task in self._associations.values():
            task.cancel()
            if task.done() and not task.cancelled() and not task.exception():
                self._loop.remove_reader(task.result())
                task.result().close()
        for writer in self._controls:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        self._sock.close()
        await self._group.__aexit__(None, None, None)

    async def _ask(self, command: int, place: bytes) -> tuple[asyncio.StreamReader, int]:
        reader, writer = await asyncio.open_connection(*self._socks)
        self._controls.append(writer)
        writer.write(GREETING)
        assert await reader.readexactly(2) == CHOSEN
        writer.write(b"\x05%c\x00" % command + place)
        reply = await reader.readexactly(10)
        assert reply[1] == 0, reply
        return reader, int.from_bytes(reply[8:])

    async def _tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._controls.append(writer)
        theirs, _ = await self._ask(1, self._place)
        their_writer = self._controls[-1]
        async with asyncio.TaskGroup() as group:
            group.create_task(_copy(reader, their_writer))
            group.create_task(_copy(theirs, writer))

    async def _associate(self, source: tuple[str, int]) -> socket.socket:
        _, port = await self._ask(3, ANY)
        sock = udp_socket()
        sock.connect((self._socks[0], port))
        self._loop.add_reader(sock, self._from_socks, sock, source)
        return sock

    def _from_program(self) -> None:
        for data, source in received(self._sock):
            if source not in self._associations:
                self._associations[source] = self._group.create_task(self._associate(source))
            task, datagram = self._associations[source], b"\0\0\0" + self._place + data
            if task.done():
                with contextlib.suppress(OSError):
                    task.result().send(datagram)
            else:
                task.add_done_callback(lambda done, data=datagram: done.result().send(data))  # type: ignore[misc]

    def _from_socks(self, sock: socket.socket, source: tuple[str, int]) -> None:
        for data, _ in received(sock):
            with contextlib.suppress(OSError):
                self._sock.sendto(data[3 + len(self._place) :], source)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, RuntimeError):  # uvloop's, of a transport that is closed
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


def udp_socket() -> socket.socket:
    """On a free port of the loopback."""
    sock = socket.socket(type=socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, BUFFER)
    sock.bind(("127.0.0.1", 0))
    return sock


def both_sockets() -> tuple[socket.socket, socket.socket]:
    """For datagrams, and for connections to the same port."""
    while True:
        udp, tcp = udp_socket(), socket.socket()
        try:
            tcp.bind(udp.getsockname())
        except OSError:  # somebody has it, be it on the way out
            udp.close()
            tcp.close()
        else:
            return udp, tcp


def received(sock: socket.socket) -> list[tuple[bytes, tuple[str, int]]]:
    """What is there, some of it."""
    found = []
    with contextlib.suppress(OSError):
        for _ in range(64):
            found.append(sock.recvfrom(65_536))
    return found


@contextlib.asynccontextmanager
async def forwarded(socks: tuple[str, int], host: str, port: int) -> AsyncIterator[int]:
    """The local port."""
    async with Forwarder(socks, host, port) as forwarder:
        yield forwarder.port


async def main(socks: str, host: str, port: str) -> None:
    address, _, socks_port = socks.rpartition(":")
    async with forwarded((address, int(socks_port)), host, int(port)) as local:
        print(local, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
