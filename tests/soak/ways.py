"""How a guest's program reaches the shared machine: through SOCKS, or at the static IP."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import struct
from dataclasses import dataclass
from typing import TypeAlias

Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]

OPEN_WITHIN = 60.0  # seconds; a fault that lasts 30 is waited out
LIMIT = 256 * 1024  # bytes that a reader takes in before it is asked for them


class WayError(OSError):
    """The proxy refused."""


@dataclass(frozen=True, slots=True)
class Way:
    """`socks` (HOST:PORT) and the machine's name there; or, without it, the static IP in `host`."""

    name: str
    host: str
    socks: str = ""

    async def open(self, port: int, within: float = OPEN_WITHIN) -> Streams:
        """A connection to a port of the machine. Raises OSError, TimeoutError."""
        async with asyncio.timeout(within):
            if not self.socks:
                return await asyncio.open_connection(self.host, port, limit=LIMIT)
            streams, _ = await self._ask(1, self.host, port)
            return streams

    async def open_udp(self, port: int) -> UdpFlow:
        """Datagrams to a port of the machine."""
        loop = asyncio.get_running_loop()
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        if not self.socks:
            await loop.sock_connect(sock, (self.host, port))
            return UdpFlow(sock, b"", None)
        async with asyncio.timeout(OPEN_WITHIN):
            control, place = await self._ask(3, "0.0.0.0", 0)
        await loop.sock_connect(sock, place)
        host = self.host.encode()
        header = b"\0\0\0\x03" + bytes([len(host)]) + host + struct.pack("!H", port)
        return UdpFlow(sock, header, control)

    async def _ask(self, command: int, host: str, port: int) -> tuple[Streams, tuple[str, int]]:
        """RFC 1928: a request, and where its answer says that the proxy is."""
        proxy, _, proxy_port = self.socks.rpartition(":")
        reader, writer = await asyncio.open_connection(proxy, int(proxy_port), limit=LIMIT)
        try:
            writer.write(b"\x05\x01\0")
            await reader.readexactly(2)
            name = host.encode()
            head = bytes([5, command, 0, 3, len(name)]) + name + struct.pack("!H", port)
            writer.write(head)
            answer = await reader.readexactly(4)
            if answer[1]:
                raise WayError(f"SOCKS answer {answer[1]}")
            size = {1: 4, 4: 16}[answer[3]]
            address = ipaddress.ip_address(await reader.readexactly(size))
            (bound,) = struct.unpack("!H", await reader.readexactly(2))
        except asyncio.IncompleteReadError as error:
            writer.close()
            raise WayError("SOCKS hung up") from error
        except BaseException:
            writer.close()
            raise
        return (reader, writer), (str(address), bound)


@dataclass(slots=True)
class UdpFlow:
    """A connected socket; `header` comes before each datagram to a SOCKS proxy."""

    sock: socket.socket
    header: bytes
    control: Streams | None

    def send(self, data: bytes) -> None:
        """May be dropped."""
        try:
            self.sock.send(self.header + data)
        except OSError:
            return  # full, or refused for now: counted as lost

    async def receive(self) -> bytes:
        """The next datagram, without the proxy's header."""
        data = await asyncio.get_running_loop().sock_recv(self.sock, 65_535)
        if not self.header:
            return data
        size = {1: 10, 4: 22}.get(data[3]) or 7 + data[4]
        return data[size:]

    def close(self) -> None:
        """With the association at the proxy."""
        self.sock.close()
        if self.control is not None:
            self.control[1].close()
