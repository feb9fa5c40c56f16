"""The gateway's connections to shares that leave while visitors wait for them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from relay.config import RelayConfig
from relay.server import Relay
from relay.upstreams import Upstreams
from tests.loops import run, until
from tests.relay.tiny_share import tiny_share
from tunnel.names import ShareName

SOON = 3.0  # seconds; who waits for a way that may come back, waits 15


async def ask(relay: Relay, name: str) -> bytes:
    """What a browser gets."""
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: %b.localhost\r\n" % name.encode())
        writer.write(b"Connection: close\r\n\r\n")
        return await reader.read()
    finally:
        writer.close()


@contextlib.asynccontextmanager
async def website() -> AsyncIterator[int]:
    """Its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Upstreams]:
    """Those of the relays that the test starts."""
    found: list[Upstreams] = []

    class Seen(Upstreams):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)  # type: ignore[arg-type]  # as it was called
            found.append(self)

    monkeypatch.setattr("relay.gateway.Upstreams", Seen)
    return found


async def visit_without_a_way(
    relay: Relay, name: ShareName, upstreams: Upstreams
) -> asyncio.Task[bytes]:
    """A visitor for whom the gateway waits, since all connections of the share are lost."""
    assert (await ask(relay, name)).endswith(b"ok")
    share = relay.registry.get(name)
    assert share is not None
    client = upstreams._clients[share].client.result()
    await until(lambda: not client.pool._dials and len(share.lot) == share.lot._target)
    share.lot._ask = lambda count: None
    for parked in list(share.lot._ready):
        share.lot.gone(parked)
        parked.close()
    client.renew()  # what is there is not used any more
    visit = asyncio.get_running_loop().create_task(ask(relay, name))
    await until(lambda: share.lot._guests and client.pool.waiters)
    return visit


def test_a_share_that_has_left_is_not_waited_for(made: list[Upstreams]) -> None:
    async def main() -> None:
        async with (
            website() as port,
            Relay(RelayConfig()) as relay,
            tiny_share(relay.address, port) as link,
        ):
            name = ShareName(link.registered.name)
            visit = await visit_without_a_way(relay, name, made[0])
            share = relay.registry.get(name)
            assert share is not None
            relay.registry.remove(share)
            async with asyncio.timeout(SOON):
                answer = await visit
            assert b" 503 " in answer
            assert b"is away" in answer

    run(main)


def test_who_waits_for_a_session_that_another_one_follows_gets_that(made: list[Upstreams]) -> None:
    async def main() -> None:
        key = Ed25519PrivateKey.generate()
        async with (
            website() as port,
            Relay(RelayConfig()) as relay,
            tiny_share(relay.address, port, key=key) as link,
        ):
            name = ShareName(link.registered.name)
            visit = await visit_without_a_way(relay, name, made[0])
            async with tiny_share(relay.address, port, name=name, key=key):
                async with asyncio.timeout(SOON):
                    assert (await visit).endswith(b"ok")
                assert (await ask(relay, name)).endswith(b"ok")

    run(main)


def test_a_visitors_first_request_goes_with_its_stream(
    made: list[Upstreams], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with (
            website() as port,
            Relay(RelayConfig()) as relay,
            tiny_share(relay.address, port) as link,
        ):
            name = ShareName(link.registered.name)
            assert (await ask(relay, name)).endswith(b"ok")
            share = relay.registry.get(name)
            assert share is not None
            holder = made[0]._clients[share]
            await until(lambda: holder.client.result().pool.idle and not holder.streams)
            monkeypatch.setattr(made[0], "open", None)  # nobody waits for one
            for _ in range(3):
                reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
                for _ in range(2):
                    writer.write(b"GET / HTTP/1.1\r\nHost: %b.localhost\r\n\r\n" % name.encode())
                    head = await reader.readuntil(b"\r\n\r\n")
                    assert head.startswith(b"HTTP/1.1 200 ")
                    assert await reader.readexactly(2) == b"ok"
                assert holder.streams == 1
                writer.close()
                await until(lambda: not holder.streams and holder.client.result().pool.idle)

    run(main)


def test_no_more_streams_of_a_share_are_opened_than_it_may_have(
    made: list[Upstreams], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.upstreams.MAX_STREAMS", 1)

    async def main() -> None:
        async with (
            website() as port,
            Relay(RelayConfig()) as relay,
            tiny_share(relay.address, port) as link,
        ):
            name = ShareName(link.registered.name)
            request = b"GET / HTTP/1.1\r\nHost: %b.localhost\r\n\r\n" % name.encode()
            reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
            writer.write(request)
            assert b" 200 " in await reader.readline()
            assert b" 429 " in await ask(relay, name)
            answer, other = await asyncio.open_connection("127.0.0.1", relay.port)
            other.write(request)
            assert b" 429 " in await answer.readline()
            writer.close()
            other.close()

    run(main)
