"""Browsers whose TLS ends at the share: from a socket at the relay to the machine's server."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from websockets.asyncio.client import connect as web_socket
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_web_socket

from tests.loops import run, until
from tests.relay.blind_share import BlindShare, blind_share
from tests.relay.test_gateway import Browser, Site
from tests.relay.test_relay import connect, receive_all
from tests.tls_pair import tcp_pair
from tests.tunnel.test_clienthello import real_hello
from tunnel.identity import Role, fingerprint
from vshare.policy import Policy
from vshare.web import tls_door
from vshare.web.access import BasicAuth
from vshare.web.sites import Sites
from vshare.web.tries import Tries
from vshare.web.visits import Visits

CURL = shutil.which("curl")
needs_curl = pytest.mark.skipif(CURL is None, reason="curl is not installed")


def trusting(share: BlindShare) -> ssl.SSLContext:
    """Believes the share's certificate, and no other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=share.certificate.chain.decode())
    context.set_alpn_protocols(["http/1.1"])
    return context


@contextlib.asynccontextmanager
async def browser(share: BlindShare, host: str = "") -> AsyncIterator[Browser]:
    host = host or share.host
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", share.relay.port, ssl=trusting(share), server_hostname=host
    )
    try:
        yield Browser(f"{host}:{share.relay.port}", reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def with_share(
    test: Callable[[BlindShare, Site], Awaitable[None]], visits: Visits | None = None
) -> None:
    async def main() -> None:
        site = Site()
        server = await asyncio.start_server(site.handle, "127.0.0.1", 0)
        async with server, blind_share(server.sockets[0].getsockname()[1], visits) as share:
            await test(share, site)

    run(main)


def test_requests_on_one_connection_reach_the_machine() -> None:
    async def test(share: BlindShare, site: Site) -> None:
        async with browser(share) as ada:
            for number in range(3):
                head, echo = await ada.ask(f"GET /{number}\nX-Forwarded-For: 10.0.0.1")
                assert head.startswith(b"HTTP/1.1 200 ")
                assert echo.startswith(b"GET /%d HTTP/1.1\r\n" % number)
                assert echo.lower().count(b"x-forwarded-for") == 1
                assert b"X-Forwarded-For: 127.0.0.1\r\n" in echo
                assert b"X-Forwarded-Proto: https\r\n" in echo
            body = bytes(300_000)
            head, echo = await ada.ask(f"POST /p\nContent-Length: {len(body)}", body)
            assert head.startswith(b"HTTP/1.1 200 ")
        assert site.connections == 1
        assert share.streams.visits.requests == 4
        await until(lambda: any(each.kind == "stream" for each in share.news))
        (told,) = (each for each in share.news if each.kind == "stream")
        assert told.fields["guest"] == "browsers"
        assert int(str(told.fields["bytes_in"])) > len(body)

    with_share(test)


def test_each_site_is_under_its_name_alone() -> None:
    async def test(share: BlindShare, site: Site) -> None:
        docs = f"{share.host.replace('.', '--docs.', 1)}"
        async with browser(share, docs) as ada:
            assert (await ada.ask("GET /"))[0].startswith(b"HTTP/1.1 200 ")
            head, _ = await ada.ask("GET /", host=share.host)
            assert head.startswith(b"HTTP/1.1 421 ")
        for host in (share.host.replace(".", "--other.", 1), share.host.replace(".", "--80.", 1)):
            with await connect(share.relay.port, real_hello(host, "http/1.1")) as sock:
                assert await receive_all(sock) == tls_door.UNRECOGNIZED_NAME
        with await connect(share.relay.port, real_hello(share.host, "h2")) as sock:
            assert await receive_all(sock) == tls_door.NO_APPLICATION_PROTOCOL

    with_share(test)


def test_rules_are_asked_for_each_request() -> None:
    tries = Tries(lambda: 0.0)
    rule = BasicAuth("ada", "pass", "frosty-weasel-0857", tries)

    async def test(share: BlindShare, site: Site) -> None:
        async with browser(share) as ada:
            head, _ = await ada.ask("GET /")
            assert head.startswith(b"HTTP/1.1 401 ")
        assert site.connections == 0
        async with browser(share) as ada:
            head, echo = await ada.ask("GET /\nAuthorization: Basic YWRhOnBhc3M=")
            assert head.startswith(b"HTTP/1.1 200 ")
            assert b"Authorization" not in echo

    with_share(test, Visits(Sites(), lambda _: [rule]))


def test_the_policy_is_asked_as_for_the_gateway() -> None:
    async def test(share: BlindShare, site: Site) -> None:
        share.streams.policy = Policy(names=frozenset())
        async with browser(share) as ada:
            head, body = await ada.ask("GET /")
            assert head.startswith(b"HTTP/1.1 403 ")
            assert b"not open to the public URL" in body
        assert site.connections == 0
        assert [each.kind for each in share.news] == ["refused"]

    with_share(test)


def test_a_machine_that_is_not_running_is_told_of() -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        async with blind_share(port) as share, browser(share) as ada:
            head, _ = await ada.ask("GET /")
            assert head.startswith(b"HTTP/1.1 502 ")

    run(main)


@pytest.mark.parametrize("path", ["/close", "/hang-up", "/short", "/stream"])
def test_ends(path: str) -> None:
    async def test(share: BlindShare, site: Site) -> None:
        async with browser(share) as ada:
            if path == "/stream":
                ada.send("GET /stream")
                await ada.head()
                assert await ada.reader.readexactly(10) == b"5\r\nfirst\r\n"
                site.held.set()
                assert await ada.reader.readexactly(16) == b"6\r\nsecond\r\n0\r\n\r\n"[:16]
                return
            ada.send(f"GET {path}")
            got = b""
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                got = await ada.reader.read(-1)
            if path == "/close":
                assert got.endswith(b"until the end")
            elif path == "/hang-up":
                assert got.startswith(b"HTTP/1.1 502 ")
            else:
                assert not got.endswith(b"\r\n\r\n" + bytes(100))

    with_share(test)


def test_a_web_socket() -> None:
    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async def main() -> None:
        async with serve_web_socket(echo, "127.0.0.1", 0) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            async with (
                blind_share(port) as share,
                web_socket(
                    f"wss://{share.host}:{share.relay.port}/",
                    host="127.0.0.1",
                    ssl=trusting(share),
                    server_hostname=share.host,
                    proxy=None,
                ) as client,
            ):
                for message in ("hello", "x" * 300_000):
                    await client.send(message)
                    assert await client.recv() == message

    run(main)


def test_browsers_see_the_shares_certificate_and_the_relay_has_none_for_its_gateway() -> None:
    async def test(share: BlindShare, site: Site) -> None:
        (known,) = share.relay.registry.shares()
        assert known.published is None
        assert not share.server.guests.of_role(Role.GATEWAY)
        async with browser(share) as ada:
            seen = ada.writer.get_extra_info("ssl_object").getpeercert(True)
        assert fingerprint(seen) == share.certificate.fingerprint != share.relay.fingerprint

    with_share(test)


# -- crowds


async def silent(share: BlindShare, data: bytes = b"") -> socket.socket:
    ours, theirs = tcp_pair()  # what a ClientHello is waited for on
    ours.send(data or b"\x16")
    share.server.visitor(theirs, "192.0.2.1", kind="browser")
    return ours


async def ended(sock: socket.socket) -> None:
    """Wait until the door has closed it."""
    with contextlib.suppress(ConnectionError):  # with what was sent unread
        assert await asyncio.get_running_loop().sock_recv(sock, 1) == b""


def test_a_crowd_of_silent_ones_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_door, "MAX_PENDING", 4)
    monkeypatch.setattr(tls_door, "HEAD_DEADLINE", 3600)  # so that nothing else ends them

    async def test(share: BlindShare, site: Site) -> None:
        crowd = [await silent(share) for _ in range(9)]
        await until(lambda: len(share.door._browsers) == 4)
        async with browser(share) as ada:
            assert (await ada.ask("GET /"))[0].startswith(b"HTTP/1.1 200 ")
            more = [await silent(share) for _ in range(9)]
            for sock in (*crowd, *more[:-4]):  # they have made room
                await ended(sock)
            assert (await ada.ask("GET /"))[0].startswith(b"HTTP/1.1 200 ")
        for sock in (*crowd, *more):
            sock.close()
        await until(lambda: not share.door._browsers)
        assert not share.door._by_source
        assert not share.door._pending

    with_share(test)


@pytest.mark.parametrize("limit", ["MAX_BROWSERS", "MAX_OF_ONE"])
def test_limits(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(tls_door, limit, 2)

    async def test(share: BlindShare, site: Site) -> None:
        crowd = [await silent(share) for _ in range(3)]
        await ended(crowd[2])
        assert len(share.door._browsers) == 2
        assert not share.server._visitors  # guests have their own room
        for sock in crowd:
            sock.close()

    with_share(test)


@pytest.mark.parametrize("address", ["", "1.2.3.4, 5.6.7.8", "a\r\nb", "localhost"])
def test_an_address_that_is_none_goes_nowhere(address: str) -> None:
    async def test(share: BlindShare, site: Site) -> None:
        ours, theirs = socket.socketpair()
        with ours:
            theirs.setblocking(False)
            ours.setblocking(False)
            ours.send(real_hello(share.host, "http/1.1"))
            share.server.visitor(theirs, address, kind="browser")
            with contextlib.suppress(ConnectionError):
                assert await asyncio.get_running_loop().sock_recv(ours, 100) == b""

    with_share(test)


# -- curl


async def finished(*command: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    return process.returncode, out.decode(errors="replace")


@needs_curl
@pytest.mark.programs
def test_curl_and_its_rules(tmp_path: Path) -> None:
    async def test(share: BlindShare, site: Site) -> None:
        anchor = tmp_path / "share.pem"
        anchor.write_bytes(share.certificate.chain)
        base = f"https://{share.host}:{share.relay.port}"
        where = ["--resolve", f"{share.host}:{share.relay.port}:127.0.0.1", "--noproxy", "*"]
        common = [str(CURL), "-sS", "--max-time", "10", *where, "--cacert", str(anchor)]
        code, out = await finished(*common, "-v", f"{base}/1", f"{base}/2")
        assert code == 0, out
        assert "GET /1 HTTP/1.1" in out
        assert "GET /2 HTTP/1.1" in out
        assert "Re-using existing" in out
        code, out = await finished(*common, "--tls-max", "1.2", f"{base}/")
        assert code == 0, out
        code, out = await finished(*common, "--http2", "-d", "a=b", f"{base}/")
        assert code == 0, out
        code, out = await finished(str(CURL), "-sS", *where, f"{base}/")
        assert code == 60, out  # nobody vouches for it
        code, out = await finished(*common, "-I", base.replace("https", "http") + "/x?y")
        assert "308" in out
        assert f"{base}/x?y" in out

    with_share(test)
