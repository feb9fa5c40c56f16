"""A DNS server that says what a test wants, over UDP and TCP."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable
from typing import cast

import dns.flags
import dns.message
import dns.rrset

from tests.loops import until

Answers = Callable[[dns.message.QueryMessage, bool], list[bytes]]


def answer(query: dns.message.Message, *records: str, rcode: int = 0) -> dns.message.Message:
    """To `query`, with records as in a zone's file: `OWNER TTL IN TYPE DATA`."""
    made = dns.message.make_response(query)
    made.set_rcode(dns.rcode.Rcode(rcode))
    for record in records:
        owner, ttl, _, kind, data = record.split(" ", 4)
        made.answer.append(dns.rrset.from_text(owner, int(ttl), "IN", kind, data))
    return made


def truncated(query: dns.message.Message) -> bytes:
    """Which has to be asked for with TCP."""
    made = dns.message.make_response(query)
    made.flags |= dns.flags.TC
    return made.to_wire()


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # asyncio's is no subclass

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        assert isinstance(query, dns.message.QueryMessage)
        for each in self._answers(query, False):
            self._transport.sendto(each, addr)


@contextlib.asynccontextmanager
async def dns_server(answers: Answers) -> AsyncIterator[int]:
    """Its port at 127.0.0.1; `answers(query, is_tcp)` are sent one after another."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(writer)
        with contextlib.suppress(OSError, EOFError):
            (size,) = struct.unpack(">H", await reader.readexactly(2))
            query = dns.message.from_wire(await reader.readexactly(size))
            assert isinstance(query, dns.message.QueryMessage)
            for each in answers(query, True):
                writer.write(struct.pack(">H", len(each)) + each)
            await reader.read()
        writer.close()
        served.remove(writer)

    served: list[asyncio.StreamWriter] = []
    loop = asyncio.get_running_loop()
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        place = ("127.0.0.1", port)
        transport, _ = await loop.create_datagram_endpoint(lambda: _Udp(answers), local_addr=place)
        try:
            yield port
        finally:
            transport.close()
            await until(lambda: not served)
