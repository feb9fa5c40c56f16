"""What a connection begins with: a ClientHello, an HTTP head, and who answers it."""

from __future__ import annotations

import asyncio
import random
import socket
import zlib
from collections.abc import Callable

from relay.routes import HTTP_STARTS, MAX_HEAD, Answerer, Route, Sites, maybe_route
from tests.fuzz.target import EVERY_CUT, Target, choose, require
from tests.fuzz.targets import loop
from tunnel.clienthello import (
    MAX_HELLO,
    MAX_RECORDS,
    MAX_SERVER_NAME,
    ClientHello,
    Incomplete,
    parse_client_hello,
)
from tunnel.errors import LostError, RemoteProtocolError
from tunnel.names import parse_name
from tunnel.peek import peek

DOMAIN = "relay.example"
SITES = Sites(DOMAIN)
SOLE = Sites("", "192.0.2.1")
NAME = b"frosty-weasel-0857"
ALPNS = (b"vshare/1", b"vshare-join/1", b"vshare-park/1", b"http/1.1", b"h2", b"acme-tls/1")
PREFIXES = 6


def vector(size: int, data: bytes) -> bytes:
    return len(data).to_bytes(size, "big") + data


def extension(kind: int, body: bytes) -> bytes:
    return kind.to_bytes(2, "big") + vector(2, body)


def server_name(name: bytes, kind: int = 0) -> bytes:
    return extension(0, vector(2, bytes([kind]) + vector(2, name)))


def alpn(*names: bytes) -> bytes:
    return extension(16, vector(2, b"".join(vector(1, name) for name in names)))


def hello(*extensions: bytes, session: bytes = b"s" * 32, records: int = 1) -> bytes:
    """A ClientHello's records."""
    body = b"\x03\x03" + bytes(32) + vector(1, session) + vector(2, b"\x13\x01\x13\x02")
    body += vector(1, b"\0")
    if extensions:
        body += vector(2, b"".join(extensions))
    message = b"\x01" + vector(3, body)
    size = -(-len(message) // records)
    parts = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x01" + vector(2, part) for part in parts)


SUPPORTED = extension(43, vector(1, b"\x03\x04"))
GREASE = extension(0x0A0A, b"")
HELLOS = (
    hello(),
    hello(server_name(NAME + b".relay.example"), alpn(b"vshare/1"), SUPPORTED),
    hello(server_name(NAME + b".relay.example"), alpn(b"vshare-join/1")),
    hello(GREASE, server_name(b"Relay.Example"), alpn(b"h2", b"http/1.1"), records=3),
    hello(alpn(b"vshare-park/1"), extension(51, bytes(1216)), session=b""),
    hello(server_name(b"a." * 126 + b"b"), alpn(b"unknown", b"x" * 255), records=30),
)
HEADS = (
    b"GET / HTTP/1.1\r\nHost: frosty-weasel-0857.relay.example\r\n\r\n",
    b"POST /x HTTP/1.0\nhost: relay.example:80\n\n",
    b"GET http://frosty-weasel-0857--api.relay.example/ HTTP/1.1\r\n"
    b"Host: frosty-weasel-0857--api.relay.example.:8080\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
)
WORDS = (
    NAME, b".relay.example", b"Host: ", b"\r\n\r\n", b"\n\n", b"\r\n", b"\x16\x03\x01", b"\x01\0\0",
    b"\0\x10\0", b"\0\0\0", b"--", *(vector(1, each) for each in ALPNS), GREASE, server_name(NAME),
)  # fmt: skip


def odd_hello(chance: random.Random) -> bytes:
    """A ClientHello of odd extensions in odd numbers, in odd records."""

    def name() -> bytes:
        return chance.choice(
            (NAME + b".relay.example", NAME, b"relay.example", b"", b".", b"a" * 254, b"\xff\0",
             b"xn--bcher-kva.example", b"*.relay.example", b"-a-", b"A_B.c")
        )  # fmt: skip

    makers: list[Callable[[], bytes]] = [
        lambda: server_name(name(), chance.choice((0, 0, 0, 1, 255))),
        lambda: extension(0, vector(2, b"\0" + vector(2, name()) + b"\0" + vector(2, name()))),
        lambda: extension(0, b""),
        lambda: alpn(*(chance.choice((*ALPNS, b"")) for _ in range(chance.randrange(4)))),
        lambda: extension(chance.choice((0x0A0A, 16, 43, 51, 41)), chance.randbytes(5)),
        lambda: extension(21, bytes(chance.choice((0, 1, 200, 1300)))),
    ]
    parts = [chance.choice(makers)() for _ in range(chance.randrange(6))]
    session = bytes(chance.choice((0, 32, 32, 33)))
    return hello(*parts, session=session, records=chance.choice((1, 1, 2, 5, 65)))


def _outcome(parse: Callable[[bytes], object], data: bytes) -> object:
    try:
        return parse(data)
    except RemoteProtocolError:
        return "error"


def _check_prefixes(parse: Callable[[bytes], object], data: bytes, limit: int) -> object:
    """What `parse` says of parts of `data` is what `peek` can rely on."""
    whole = _outcome(parse, data)
    if len(data) <= EVERY_CUT // 4:
        ends = list(range(1, len(data)))
    else:
        chance = random.Random(zlib.crc32(data))
        ends = [chance.randrange(1, len(data)) for _ in range(PREFIXES)]
    for end in ends:
        found = _outcome(parse, data[:end])
        if isinstance(found, Incomplete):
            require(found.needed > end, "more is needed than there is", (found, end))
            require(found.needed <= limit + 1, "never more than the limit is needed", found)
        else:
            require(found == whole, "a verdict on a part is the verdict on the whole", (found, end))
    rounds = needed = 0
    while needed <= len(data):
        found = _outcome(parse, data[: max(needed, 1)])
        if not isinstance(found, Incomplete):
            require(found == whole, "reading what is needed leads to the verdict", (found, whole))
            break
        needed, rounds = max(needed + 1, found.needed), rounds + 1
        if rounds > 2 * MAX_RECORDS + 2:  # an HTTP head asks for each byte
            require(data[:1][0] in HTTP_STARTS, "a ClientHello takes few rounds", rounds)
            break
    return whole


def run_hello(data: bytes) -> None:
    found = _check_prefixes(parse_client_hello, data, MAX_HELLO)
    if isinstance(found, ClientHello):
        name = found.server_name
        require(name is None or 0 < len(name) <= MAX_SERVER_NAME, "a name has its length", name)
        require(name is None or name == name.lower(), "a name is in lower case", name)
        require(all(found.alpn), "no protocol is empty", found)


def run_route(data: bytes) -> None:
    which, data = choose(data)
    sites = SOLE if which & 1 else SITES
    found = _check_prefixes(lambda part: maybe_route(part, sites), data, MAX_HEAD)
    if not isinstance(found, Route):
        return
    if found.answerer in (Answerer.SHARE, Answerer.JOIN):
        require(found.name, "a blind route has a name", found)
    if found.name:
        require(parse_name(found.name) == found.name, "a route's name is a name", found)


async def _peek(data: bytes, cut: int) -> object:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname()[:2])
        ours, _ = server.accept()
    with client, ours:
        ours.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        async def send() -> None:
            client.sendall(data[:cut])
            await loop.settle(2)
            client.sendall(data[cut:])
            client.shutdown(socket.SHUT_WR)

        async with asyncio.TaskGroup() as group:
            group.create_task(send())
            try:
                async with asyncio.timeout(5):
                    return await peek(ours, lambda part: maybe_route(part, SITES), MAX_HEAD)
            except RemoteProtocolError:
                return "error"
            except LostError:
                return "lost"


def run_peek(data: bytes) -> None:
    which, data = choose(data)
    expected = _outcome(lambda part: maybe_route(part, SITES), data) if data else "lost"
    if isinstance(expected, Incomplete):
        expected = "error" if expected.needed > MAX_HEAD else "lost"
    found = loop.run(_peek(data, which * len(data) // 256))
    require(found == expected, "peek finds what the parser finds", (found, expected))


TARGETS = (
    Target(
        "client-hello", run_hello, (), HELLOS, ("tunnel.clienthello",), WORDS, odd_hello, 20_000
    ),
    Target(
        "route", run_route, (), tuple(b"\0" + each for each in HELLOS + HEADS),
        ("relay.routes", "tunnel.names"), WORDS, lambda chance: b"\0" + odd_hello(chance), 20_000,
    ),
    Target(
        "peek", run_peek, (), tuple(b"\x80" + each for each in HELLOS + HEADS),
        ("tunnel.peek",), WORDS, lambda chance: chance.randbytes(1) + odd_hello(chance), 20_000,
        0.02, "each input is a TCP connection",
    ),
)  # fmt: skip
