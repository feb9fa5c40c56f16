"""What a relay in this process tells of what flows through it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from relay.accounting import How, Kind, Request, Session, Visit
from relay.config import RelayConfig
from relay.registry import LocalRegistry, Share
from relay.server import Relay
from tests.loops import run, until
from tests.relay.test_blind_sites import HOST, blind_share
from tests.relay.test_gateway import World, with_world
from tests.relay.test_registry import ROUTE, registry, share_of
from tests.relay.test_relay import Collected, connect, receive_all
from tests.relay.tiny_share import tiny_share
from tests.tunnel.test_clienthello import real_hello
from tunnel import join
from tunnel.socket_end import reset_on_close

__all__ = ["registry"]  # the fixture


class Told:
    """A sink that remembers. A visit that has ended is there with all of its bytes."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.ended: list[tuple[str, How]] = []
        self.lasting: list[Visit] = []
        self.visits: list[tuple[Kind, str, int, int]] = []
        self.requests: list[Request] = []

    def share_began(self, share: Session) -> None:
        self.began.append(share.name)

    def share_ended(self, share: Session, how: How) -> None:
        self.ended.append((share.name, how))

    def visit_began(self, visit: Visit) -> None:
        self.lasting.append(visit)

    def visit_ended(self, visit: Visit) -> None:
        self.lasting.remove(visit)
        self.visits.append((visit.kind, visit.source, visit.received, visit.sent))

    def request(self, visit: Visit, request: Request) -> None:
        assert visit in self.lasting
        self.requests.append(request)

    @property
    def answered(self) -> list[tuple[bytes, bytes, int]]:
        return [(each.method, each.path, each.status) for each in self.requests]


def with_told(test: Callable[[World, Told], Awaitable[None]]) -> None:
    async def told_of(world: World) -> None:
        await test(world, world.relay.registry.accounting.add(Told()))

    with_world(told_of)


@pytest.mark.parametrize("tls", [False, True])
def test_requests_by_either_path_count_alike(tls: bool) -> None:
    """Plain ones go the quick path, others the coroutine's (relay/exchange.py)."""

    async def test(world: World, told: Told) -> None:
        async with world.browser(tls=tls) as browser:
            sizes = []
            for text in ("GET /a?password=x", "GET /b", "GET /c?x\nConnection: X-Odd"):
                head, body = await browser.ask(text)
                sizes.append(len(head) + len(body))
            body = os.urandom(100_000)
            await browser.ask(f"POST /up\nContent-Length: {len(body)}", body)
            chunks = b"3\r\nabc\r\n0\r\n\r\n"
            await browser.ask("PUT /chunks\nTransfer-Encoding: chunked", chunks)
            browser.send("HEAD /head")
            await browser.head()
            world.site.held.set()
            browser.send("GET /stream")
            await browser.reader.readuntil(b"0\r\n\r\n")
            browser.send("GET /close")
            await browser.reader.readuntil(b"0\r\n\r\n")
            browser.send("GET /hang-up\nX-Odd: 1")
            page = await browser.answer()
            assert b"502" in page[0]
        await until(lambda: not told.lasting)
        assert told.answered == [
            (b"GET", b"/a", 200),
            (b"GET", b"/b", 200),
            (b"GET", b"/c", 200),
            (b"POST", b"/up", 200),
            (b"PUT", b"/chunks", 200),
            (b"HEAD", b"/head", 200),
            (b"GET", b"/stream", 200),
            (b"GET", b"/close", 200),
            (b"GET", b"/hang-up", 502),
        ]
        for request, size in zip(told.requests, sizes, strict=False):
            assert 0 <= request.received - size < 100  # what means nothing to a visitor goes
            assert 100 < request.sent < 1_000
        assert 100_000 < told.requests[3].sent < 101_000
        assert told.requests[4].sent > len(chunks)
        assert told.requests[6].received > len("firstsecond")
        assert all(0 <= each.seconds < 30 for each in told.requests)
        ((kind, source, received, sent),) = told.visits
        assert (kind, source) == (Kind.HTTP, "127.0.0.1")
        assert received == sum(each.received for each in told.requests)
        assert sent == sum(each.sent for each in told.requests)
        assert not world.relay.registry.accounting.visits

    with_told(test)


def test_what_breaks_off_counts_as_far_as_it_came() -> None:
    async def test(world: World, told: Told) -> None:
        async with world.browser() as browser:
            browser.send("GET /short")
            await browser.head()
            await browser.reader.read()
        async with world.browser() as browser:
            browser.send("GET /hold")
            await world.site.held.wait()
            reset_on_close(browser.writer.get_extra_info("socket"))
            browser.writer.transport.abort()
            await until(lambda: len(told.visits) == 2)
        assert told.answered == [(b"GET", b"/short", 200), (b"GET", b"/hold", 0)]
        assert told.requests[0].received > len("short")

    with_told(test)


def test_a_name_that_is_not_there_is_nobodys_visit() -> None:
    async def test(world: World, told: Told) -> None:
        async with world.browser() as browser:
            assert b"404" in (await browser.ask("GET /", host="no-such-0000.localhost"))[0]
        assert not told.visits
        assert not told.requests

    with_told(test)


def test_a_switched_protocol_counts_both_ways() -> None:
    async def switch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 On\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        writer.write(await reader.readexactly(5_000))
        await reader.read()
        writer.close()

    async def test(world: World, told: Told) -> None:
        server = await asyncio.start_server(switch, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with tiny_share(world.relay.address, port) as link, world.browser() as browser:
            host = f"{link.registered.name}.localhost"
            browser.send("GET /up\nConnection: Upgrade\nUpgrade: echo", host=host)
            assert b" 101 " in await browser.head()
            browser.writer.write(b"x" * 5_000)
            assert await browser.reader.readexactly(5_000) == b"x" * 5_000
            browser.writer.write_eof()
            await browser.reader.read()
            await until(lambda: len(told.requests) == 1)
        server.close()
        assert told.answered == [(b"GET", b"/up", 101)]
        assert told.requests[0].received > 5_000
        assert told.requests[0].sent > 5_000

    with_told(test)


def test_a_guests_connection_is_measured_while_it_lasts() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        shares = Collected()
        async with Relay(RelayConfig()) as relay:
            told = relay.registry.accounting.add(Told())
            async with shares.link(relay.address) as link:
                hello = real_hello(f"{link.route}.whatever.invalid", "vshare/1")
                with await connect(relay.port, hello) as visitor:
                    sock, _ = await shares.visitors.get()
                    with sock:
                        await loop.sock_recv(sock, 65_536)
                        await loop.sock_sendall(sock, b"answer")
                        await loop.sock_recv(visitor, 100)
                        (lasting,) = told.lasting
                        assert (lasting.received, lasting.sent) == (6, len(hello))
                        assert lasting.total() == 6 + len(hello)
                    assert await receive_all(visitor) == b""
                await until(lambda: bool(told.visits))
                assert told.visits == [(Kind.CONNECT, "127.0.0.1", 6, len(hello))]
                name = link.registered.name
            await until(lambda: bool(told.ended))
            assert told.began == [name]
            assert told.ended[0][0] == name

    run(main)


def test_a_join_and_a_blind_site_are_visits() -> None:
    async def main() -> None:
        async with blind_share() as (relay, visitors):
            told = relay.registry.accounting.add(Told())
            hello = real_hello(HOST, "http/1.1")
            with await connect(relay.port, hello):
                sock, _ = await visitors.get()
                sock.close()
            await until(lambda: len(told.visits) == 1)
            assert told.visits[0][:2] == (Kind.HTTPS, "127.0.0.1")
            assert told.visits[0][3] == len(hello)
            hello = real_hello(HOST, join.ALPN)
            with await connect(relay.port, hello) as visitor:
                sock, _ = await visitors.get()
                loop = asyncio.get_running_loop()
                assert await loop.sock_recv(sock, 4096) == hello
                await loop.sock_sendall(sock, b"answer")
                assert await loop.sock_recv(visitor, 4096) == b"answer"
                sock.close()
            await until(lambda: len(told.visits) == 2)
            assert told.visits[1] == (Kind.JOIN, "127.0.0.1", len(b"answer"), len(hello))

    run(main)


def session(accounting: LocalRegistry, name: str = "the-name") -> tuple[Share, Told]:
    told = accounting.accounting.add(Told())
    share = share_of(accounting, name, ROUTE)
    assert accounting.add(share)
    return share, told


@pytest.mark.parametrize(
    ("code", "how"),
    [
        ("expired", How.EXPIRED),
        ("token", How.REVOKED),
        ("closed", How.FAULT),
        ("evicted", How.MOVED),
        ("page", How.PAGE),
        ("operator", How.KICKED),
    ],
)
def test_how_a_session_ended(registry: LocalRegistry, code: str, how: How) -> None:
    share, told = session(registry)
    share.end(code, "why")
    share.finish(How.LOST)  # the channel, afterwards
    registry.remove(share)
    registry.remove(share)
    assert told.began == ["the-name"]
    assert told.ended == [("the-name", how)]


def test_one_that_connects_again_has_moved(registry: LocalRegistry) -> None:
    _, told = session(registry)
    assert registry.add(share_of(registry, "the-name", ROUTE))
    assert told.ended == [("the-name", How.MOVED)]
    assert told.began == ["the-name"] * 2


def test_one_with_another_name_was_renamed(registry: LocalRegistry) -> None:
    before, told = session(registry)
    assert registry.add(share_of(registry, "other-name", ROUTE))
    before.finish(How.ENDED)
    registry.remove(before)
    assert told.ended == [("the-name", How.RENAMED)]


def test_the_owner_ends_it_the_relay_stops() -> None:
    async def main() -> None:
        shares = Collected()
        async with Relay(RelayConfig()) as relay:
            told = relay.registry.accounting.add(Told())
            async with shares.link(relay.address, name="ends-itself"):
                pass
            await until(lambda: told.ended == [("ends-itself", How.ENDED)])
            lasting = shares.link(relay.address, name="goes-on", key=Ed25519PrivateKey.generate())
            await lasting.__aenter__()
        assert told.ended[1:] == [("goes-on", How.STOPPED)]
        await lasting.__aexit__(None, None, None)

    run(main)
