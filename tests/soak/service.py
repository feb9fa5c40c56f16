"""What runs on the shared machine: content, sinks and echoes, over TCP, HTTP and UDP.

A connection to PORT begins with one line, `VERB SEED SIZE`:

get    answers with content(SEED, SIZE) and ends
put    takes all until the end of stream, answers with its SHA-256 and length, and ends
both   takes all until the end of stream, and only then answers with content(SEED, SIZE)
echo   sends back what comes

When this process is killed, the kernel resets its connections: an end of stream is only ever
seen by who got everything.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import struct
from contextlib import suppress
from typing import cast

from tests.soak.content import chunks

PORT = 9000
HTTP_PORT = 80
UDP_PORT = 9001
LONGEST_LINE = 200  # bytes
PIECE = 256 * 1024  # bytes read at once
_RESET = struct.pack("ii", 1, 0)
_ORDERLY = struct.pack("ii", 0, 0)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(PIECE):
        writer.write(piece)
        await writer.drain()


async def _sink(reader: asyncio.StreamReader) -> str:
    total, count = hashlib.sha256(), 0
    while piece := await reader.read(PIECE):
        total.update(piece)
        count += len(piece)
    return f"{total.hexdigest()} {count}\n"


async def _content(writer: asyncio.StreamWriter, seed: int, size: int) -> None:
    for piece in chunks(seed, size):
        writer.write(piece)
        await writer.drain()


async def _talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    verb, seed, size = (await reader.readline()).decode().split()
    if verb == "echo":
        await _copy(reader, writer)
    elif verb == "put":
        writer.write((await _sink(reader)).encode())
    else:
        if verb == "both":
            await _sink(reader)
        await _content(writer, int(seed), int(size))


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    with suppress(OSError, ValueError):
        await _talk(reader, writer)
        await writer.drain()
        writer.write_eof()
        await reader.read()  # until the other side has ended as well
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ORDERLY)
    writer.close()


async def _serve_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """GET /SEED/SIZE; anything else is an empty page."""
    with suppress(OSError, ValueError):
        head = await reader.readuntil(b"\r\n\r\n")
        words = head.split(b" ", 2)[1].decode().strip("/").split("/")
        seed, size = (int(words[0]), int(words[1])) if len(words) == 2 else (0, 0)
        answer = f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n"
        writer.write(answer.encode())
        await _content(writer, seed, size)
    writer.close()


class _UdpEcho(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # as asyncio documents it

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(data, addr)


async def main() -> None:
    """Serve until killed; says `ready` first."""
    loop = asyncio.get_running_loop()
    await asyncio.start_server(_serve, "0.0.0.0", PORT, limit=PIECE, backlog=256)
    await asyncio.start_server(_serve_http, "0.0.0.0", HTTP_PORT, backlog=256)
    await loop.create_datagram_endpoint(_UdpEcho, local_addr=("0.0.0.0", UDP_PORT))
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
