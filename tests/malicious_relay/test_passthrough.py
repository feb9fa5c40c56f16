"""Browsers whose TLS ends at the share: what a relay finds that would like to look inside."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import socket
import ssl
from collections.abc import AsyncIterator

import pytest

from relay.certificate import ServerIdentity, make_certificate, make_key
from tests.loops import run, until
from tests.malicious_relay.wire import APPLICATION_DATA, receive_record, relay
from tests.relay.blind_share import NAME, BlindShare, blind_share
from tests.relay.test_gateway import Site
from tests.share_pair import share_pair
from tests.tls_pair import tcp_pair
from tests.tunnel.test_clienthello import real_hello
from tunnel.alerts import AccessLostError
from tunnel.client import Client
from tunnel.errors import VshareError
from tunnel.identity import Authority, Identity, Role
from tunnel.identity import make_key as make_ec_key
from vshare.web import tls_door

SECRET = b"quick-brown-cookie"


@contextlib.asynccontextmanager
async def site_and_share() -> AsyncIterator[tuple[Site, BlindShare]]:
    site = Site()
    server = await asyncio.start_server(site.handle, "127.0.0.1", 0)
    async with server, blind_share(server.sockets[0].getsockname()[1]) as share:
        yield site, share


def paired(share: BlindShare, address: str = "192.0.2.1") -> socket.socket:
    """The relay's end of a parked connection that it says a browser was paired with."""
    ours, theirs = tcp_pair()
    share.server.visitor(theirs, address, kind="browser")
    return ours


async def ask(port: int, share: BlindShare, host: str = "") -> bytes:
    """What a browser gets that trusts the share's certificate and comes to this port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=share.certificate.chain.decode())
    host = host or share.host
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname=host
    )
    try:
        fields = f"Host: {host}\r\nConnection: close\r\nCookie: ".encode() + SECRET
        writer.write(b"GET /secret-place HTTP/1.1\r\n" + fields + b"\r\n\r\n")
        return await reader.read(-1)
    finally:
        writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await writer.wait_closed()


async def copy(source: socket.socket, sink: socket.socket, seen: bytearray) -> None:
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):
        while data := await loop.sock_recv(source, 65_536):
            seen += data
            await loop.sock_sendall(sink, data)
        sink.shutdown(socket.SHUT_WR)


def test_it_sees_the_name_and_no_plaintext() -> None:
    async def main() -> None:
        seen = bytearray()
        async with site_and_share() as (_, share):

            async def serve(browser: socket.socket) -> None:
                with paired(share) as sock:
                    async with asyncio.TaskGroup() as group:
                        group.create_task(copy(browser, sock, seen))
                        group.create_task(copy(sock, browser, seen))

            async with relay(serve) as evil:
                answer = await ask(evil.port, share)
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert SECRET in answer
        assert share.host.encode() in seen  # the search does find what is in the clear
        for secret in (SECRET, b"secret-place", b"HTTP/1.1", b"192.0.2.1"):
            assert secret not in seen

    run(main)


def test_it_plays_the_share_towards_a_browser() -> None:
    """With a certificate of its own making, which is for that name."""

    async def main() -> None:
        async with site_and_share() as (_, share):
            key = make_key()
            now = datetime.datetime.now(datetime.UTC)
            own = ServerIdentity(make_certificate(key, share.link.registered.domain, now), key)
            met: list[bytes] = []

            async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                met.append(await reader.read(-1))
                writer.close()

            server = await asyncio.start_server(meet, "127.0.0.1", 0, ssl=own.context("http/1.1"))
            async with server:
                with pytest.raises(ssl.SSLCertVerificationError):
                    await ask(server.sockets[0].getsockname()[1], share)
            assert b"".join(met) == b""

    run(main)


def test_its_gateway_finds_no_certificate_to_come_in_with() -> None:
    """Made by itself, or by another share's CA: the share has issued none."""

    async def main() -> None:
        async with site_and_share() as (site, share):
            assert not share.server.guests.of_role(Role.GATEWAY)
            (known,) = share.relay.registry.shares()
            assert known.published is None
            own = Authority(NAME, datetime.datetime.now(datetime.UTC))
            key = make_ec_key()
            made = own.issue(Role.GATEWAY, "gateway", key.public_key())
            ca = share.reception._authority.certificate
            for authority in (own.certificate, ca):

                async def dial() -> socket.socket:
                    ours, theirs = tcp_pair()
                    share.server.visitor(theirs, "", kind="gateway")
                    return ours

                async with Client(dial, Identity(key, made, authority), NAME) as client:
                    with pytest.raises(VshareError) as caught:
                        await client.open_special("http", "", 443)
                    if authority is ca:
                        assert isinstance(caught.value, AccessLostError)
                    assert client.hello is None
            assert site.connections == 0

    run(main)


@pytest.mark.parametrize("at", [0, 1])
def test_a_changed_byte_ends_the_connection(at: int) -> None:
    """Of the browser's records: the handshake's last, the request's."""

    async def main() -> None:
        async with site_and_share() as (site, share):
            count = 0

            async def tamper(browser: socket.socket, sock: socket.socket) -> None:
                nonlocal count
                with contextlib.suppress(OSError):
                    while record := await receive_record(browser):
                        if record[0] == APPLICATION_DATA:
                            if count == at:
                                record = record[:-1] + bytes([record[-1] ^ 1])
                            count += 1
                        await asyncio.get_running_loop().sock_sendall(sock, record)
                    sock.shutdown(socket.SHUT_WR)

            async def serve(browser: socket.socket) -> None:
                with paired(share) as sock:
                    async with asyncio.TaskGroup() as group:
                        group.create_task(tamper(browser, sock))
                        group.create_task(copy(sock, browser, bytearray()))

            async with relay(serve) as evil:
                answer = b""
                with contextlib.suppress(OSError, ssl.SSLError):
                    answer = await ask(evil.port, share)
                assert answer == b""
                assert site.connections == 0

    run(main)


def test_it_calls_something_else_a_browser() -> None:
    """A guest, who joins, something that is neither: none of them gets in, nor ends the share."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with site_and_share() as (site, share):
            (known,) = share.relay.registry.shares()
            for data in (
                real_hello(f"{known.route}.x", "vshare/1"),
                real_hello(str(NAME), "vshare-join/1"),
                real_hello("elsewhere.example", "http/1.1"),
                real_hello(None, "http/1.1"),
                b"GET / HTTP/1.1\r\n\r\n",
                bytes(100),
            ):
                with paired(share) as sock:
                    await loop.sock_sendall(sock, data)
                    answer = b""
                    with contextlib.suppress(OSError):
                        answer = await loop.sock_recv(sock, 1000)
                alerts = (tls_door.NO_APPLICATION_PROTOCOL, tls_door.UNRECOGNIZED_NAME)
                assert answer in (b"", *alerts)
            await until(lambda: not share.door._browsers)
            assert site.connections == 0
            assert (await ask(share.relay.port, share)).startswith(b"HTTP/1.1 200 ")

    run(main)


def test_it_brings_a_browser_to_a_share_that_ends_no_tls() -> None:
    async def main() -> None:
        async with share_pair() as pair:
            ours, theirs = tcp_pair()
            with ours:
                pair.server.visitor(theirs, "192.0.2.1", kind="browser")
                assert await asyncio.get_running_loop().sock_recv(ours, 100) == b""

    run(main)


def test_it_lies_about_the_address() -> None:
    """Its word is taken for where a browser comes from, but it is an address, and nothing else."""

    async def main() -> None:
        async with site_and_share() as (site, share):
            for address in ("10.0.0.1, 10.0.0.2", "10.0.0.1\r\nCookie: a", "unknown", ""):
                with paired(share, address) as sock, contextlib.suppress(OSError):
                    assert await asyncio.get_running_loop().sock_recv(sock, 100) == b""
            assert site.connections == 0

    run(main)
