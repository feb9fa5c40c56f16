"""What the DNS says under one name, as TXT records: asked of resolvers, bounded in time and size.

Nothing is taken from behind a CNAME: who may write there need not be who may write here. What
comes is believed as far as the way to the resolvers is: there is no DNSSEC here.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Sequence

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.resolver

from tunnel.errors import VshareError

ASK_WITHIN = 3.0  # seconds for one resolver, over UDP and then TCP
MAX_RESOLVERS = 3  # that are asked, one after another: as many as the C library's
UDP_SIZE = 1232  # bytes that an answer over UDP may have: DNS Flag Day 2020
# Bytes of one, over TCP: forty records like ours. The worst of that size takes 70 ms to read, in
# which the relay does nothing else.
MAX_ANSWER = 4 * 1024
DNS_PORT = 53
_TRUNCATED = 0x02  # in the third byte of a message (RFC 1035 4.1.1)

Place = tuple[str, int]


class UnansweredError(VshareError):
    """No resolver said what there is: that proves nothing, either way."""


class Lookup:
    """Asks the resolvers at `places`; without any, those of the system."""

    def __init__(self, places: Sequence[Place] = ()) -> None:
        self._places = tuple(places)

    async def texts(self, name: str) -> frozenset[str]:
        """All TXT records at `name` itself, none where there is no such name.

        Raises UnansweredError.
        """
        reason = "there is no resolver"
        for host, port in self._resolvers():
            try:
                async with asyncio.timeout(ASK_WITHIN):
                    answer = await _ask(name, host, port)
            except TimeoutError:
                reason = f"{host} does not answer"
            except UnansweredError as error:
                reason = f"{host}: {error.text}"
            except (OSError, EOFError, dns.exception.DNSException) as error:
                reason = f"{host}: {type(error).__name__}"
            else:
                code = answer.rcode()
                if code in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                    return texts_in(answer)
                reason = f"{host} answers {dns.rcode.to_text(code)}"
        raise UnansweredError(f"the DNS did not answer for {name}: {reason}")

    def _resolvers(self) -> Sequence[Place]:
        if self._places:
            return self._places[:MAX_RESOLVERS]
        try:
            found = dns.resolver.Resolver().nameservers  # read anew: networks change
        except (dns.resolver.NoResolverConfiguration, ValueError):  # none, or nonsense
            return ()
        return [(str(host), DNS_PORT) for host in found[:MAX_RESOLVERS]]


async def _ask(name: str, host: str, port: int) -> dns.message.Message:
    """What one resolver says. Raises OSError, EOFError, DNSException, UnansweredError."""
    query = dns.message.make_query(name, dns.rdatatype.TXT, use_edns=0, payload=UDP_SIZE)
    return await _ask_with_udp(query, host, port) or await _ask_with_tcp(query, host, port)


async def _ask_with_udp(
    query: dns.message.Message, host: str, port: int
) -> dns.message.Message | None:
    """None: the answer is truncated. With a plain socket: after look-ups with datagram endpoints
    that were cancelled, uvloop was seen not to close now and then."""
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect((host, port))  # so nobody else's are received
        await loop.sock_sendall(sock, query.to_wire())
        while True:
            wire = await loop.sock_recv(sock, MAX_ANSWER)
            if wire[:2] == query.id.to_bytes(2, "big") and wire[2:3] and wire[2] & _TRUNCATED:
                return None
            with contextlib.suppress(UnansweredError):  # of whoever guesses
                answer = parse_answer(wire)
                if query.is_response(answer):
                    return answer


def parse_answer(wire: bytes) -> dns.message.Message:
    """What a resolver says. Raises UnansweredError."""
    try:
        return dns.message.from_wire(wire)
    except Exception as error:  # the library meets what it cannot read with any of a dozen
        raise UnansweredError(f"nothing that can be read ({type(error).__name__})") from error


async def _ask_with_tcp(query: dns.message.Message, host: str, port: int) -> dns.message.Message:
    """RFC 7766 8, with a limit of our own: the library would take 64 KiB."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        wire = query.to_wire()
        writer.write(struct.pack(">H", len(wire)) + wire)
        (size,) = struct.unpack(">H", await reader.readexactly(2))
        if size > MAX_ANSWER:
            raise UnansweredError(f"an answer of {size} bytes")
        answer = parse_answer(await reader.readexactly(size))
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    if not query.is_response(answer):
        raise UnansweredError("an answer to another question")
    return answer


def texts_in(answer: dns.message.Message) -> frozenset[str]:
    """Those whose owner is the very name that was asked for."""
    asked = answer.question[0].name
    records = answer.get_rrset(answer.answer, asked, dns.rdataclass.IN, dns.rdatatype.TXT)
    return frozenset(b"".join(each.strings).decode("latin-1") for each in records or ())
