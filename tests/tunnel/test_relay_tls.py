import asyncio
import datetime
import socket

import pytest

from relay.certificate import ServerIdentity, make_certificate, make_key
from tunnel.address import RelayAddress
from tunnel.bio_tls import BioTls
from tunnel.errors import LostError
from tunnel.relay_tls import (
    RelayError,
    context_for,
    dial_relay,
    fetch_certificate,
    handshake,
    matches,
    relay_context,
    server_hostname,
)


def identity() -> ServerIdentity:
    key = make_key()
    return ServerIdentity(
        make_certificate(key, "relay.example", datetime.datetime.now(datetime.UTC)), key
    )


async def tls_server(shown: ServerIdentity) -> asyncio.Server:
    async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    return await asyncio.start_server(handle, "127.0.0.1", 0, ssl=shown.context("http/1.1"))


def test_a_pinned_relay_is_fetched_compared_and_trusted_alone() -> None:
    async def main() -> None:
        one, other = identity(), identity()
        server = await tls_server(one)
        place = server.sockets[0].getsockname()
        async with server:
            for pin in (one.fingerprint, one.fingerprint[:32]):
                relay = RelayAddress("127.0.0.1", place[1], pin)
                assert await fetch_certificate(relay) == one.der
                context = await relay_context(relay)
                with await dial_relay(relay) as sock:
                    tls = BioTls(sock, context, server_hostname=server_hostname(relay))
                    await handshake(tls, relay)
                    assert tls.peer_certificate == one.der
            with pytest.raises(RelayError, match="other than its address names"):
                await relay_context(RelayAddress("127.0.0.1", place[1], other.fingerprint))
            relay = RelayAddress("127.0.0.1", place[1], other.fingerprint)
            with await dial_relay(relay) as sock:
                tls = BioTls(sock, context_for(other.der))
                with pytest.raises(RelayError, match="is not valid"):
                    await handshake(tls, relay)
            public = RelayAddress("localhost", place[1])
            with await dial_relay(public) as sock:
                tls = BioTls(sock, await relay_context(public), server_hostname="localhost")
                with pytest.raises(RelayError, match="is not valid"):
                    await handshake(tls, public)

    asyncio.run(main())


def test_matches() -> None:
    one = identity()
    assert matches(one.der, one.fingerprint[:32].upper())
    assert not matches(one.der, "0" * 32)


def test_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(RelayError, match="cannot be reached") as info:
        asyncio.run(dial_relay(RelayAddress("127.0.0.1", port)))
    assert "vrelay serve" in info.value.hint


def test_the_socket_is_plain_tcp_again_after_unwrap() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        shown = identity()
        near, far = socket.socketpair()
        near.setblocking(False)
        far.setblocking(False)
        with near, far:
            server = BioTls(far, shown.context("x"), server_side=True)
            client = BioTls(near, context_for(shown.der, "x"))
            async with asyncio.TaskGroup() as group:
                group.create_task(server.handshake())
                group.create_task(client.handshake())
            assert client.alpn == server.alpn == "x"
            await client.send_all(b"hello")
            assert await server.receive_exactly(5) == b"hello"
            async with asyncio.TaskGroup() as group:
                group.create_task(server.unwrap(first=True))
                group.create_task(client.unwrap(first=False))
            await loop.sock_sendall(far, b"plain")
            assert await loop.sock_recv(near, 100) == b"plain"
            await loop.sock_sendall(near, b"too")
            assert await loop.sock_recv(far, 100) == b"too"

    asyncio.run(main())


def test_the_other_side_hangs_up() -> None:
    async def main() -> None:
        near, far = socket.socketpair()
        near.setblocking(False)
        with near:
            far.close()
            with pytest.raises(LostError):
                await BioTls(near, context_for(None), server_hostname="a.example").handshake()

    asyncio.run(main())
