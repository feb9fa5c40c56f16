"""Browsers of a share that ends their TLS itself: the relay moves their bytes, and reads none."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from relay import blind_sites, expected, gateway
from relay.blind_sites import BlindSites
from relay.config import RelayConfig
from relay.registry import LocalRegistry
from relay.server import Relay
from tests.loops import run, until
from tests.relay.test_relay import ALERT, connect, receive_all
from tests.tunnel.test_clienthello import real_hello
from tunnel import control
from tunnel.errors import LocalProtocolError
from tunnel.names import ShareName
from tunnel.parking import Paired
from tunnel.relay_tls import RelayError
from vshare.relay_link import RelayLink

NAME = "frosty-weasel-0857"
HOST = f"{NAME}.localhost"
AWAY, DENIED = ALERT + bytes([80]), ALERT + bytes([49])
Visitors = asyncio.Queue[tuple[socket.socket, Paired]]


def link_to(
    relay: Relay,
    visitors: Visitors | None = None,
    key: Ed25519PrivateKey | None = None,
    *,
    passthrough: bool = True,
    http: bool = True,
) -> RelayLink:
    def visited(sock: socket.socket, paired: Paired) -> None:
        if visitors is None:
            sock.close()
        else:
            visitors.put_nowait((sock, paired))

    return RelayLink(
        relay.address,
        key or Ed25519PrivateKey.generate(),
        ShareName(NAME),
        on_visitor=visited,
        http=http,
        expires_at=time.time() + 60,
        route=secrets.token_hex(16),
        passthrough=passthrough,
    )


@contextlib.asynccontextmanager
async def blind_share() -> AsyncIterator[tuple[Relay, Visitors]]:
    visitors: Visitors = asyncio.Queue()
    async with Relay(RelayConfig()) as relay, link_to(relay, visitors):
        yield relay, visitors


async def asked(port: int, data: bytes) -> bytes:
    """All that comes back."""
    with await connect(port, data) as sock:
        return await receive_all(sock)


def get(target: str = "/", host: str = HOST) -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()


@pytest.mark.parametrize("host", [HOST, f"{NAME}--8080.localhost", f"{NAME}--any.localhost"])
@pytest.mark.parametrize("alpn", [[], ["http/1.1"], ["h2", "http/1.1"]])
def test_a_browser_is_spliced_blind(host: str, alpn: list[str]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        hello = real_hello(host, *alpn)
        async with blind_share() as (relay, visitors):
            with await connect(relay.port, hello + b"and more") as browser:
                sock, paired = await visitors.get()
                with sock:
                    assert paired == Paired("browser", "127.0.0.1")
                    assert await loop.sock_recv(sock, 65_536) == hello + b"and more"
                    await loop.sock_sendall(sock, b"answer")
                    sock.shutdown(socket.SHUT_WR)
                    assert await receive_all(browser) == b"answer"

    run(main)


@pytest.fixture
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """For shares that do not come back."""
    monkeypatch.setattr(expected, "WAIT_AT_MOST", 0.01)


@pytest.mark.usefixtures("_without_waiting")
@pytest.mark.parametrize(
    ("passthrough", "http"), [(False, True), (True, False)], ids=["gateway", "no site"]
)
def test_other_shares_browsers_meet_the_relay(passthrough: bool, http: bool) -> None:
    async def main() -> None:
        visitors: Visitors = asyncio.Queue()
        async with Relay(RelayConfig()) as relay:
            async with link_to(relay, visitors, passthrough=passthrough, http=http):
                with await connect(relay.port, real_hello(HOST, "http/1.1")) as browser:
                    answer = await asyncio.get_running_loop().sock_recv(browser, 65_536)
                assert answer[0] == 22  # a ServerHello
                status = b" 503 " if http else b" 404 "  # it has not published yet
                assert status in (await asked(relay.port, get()))[:20]
            assert visitors.empty()

    run(main)


def test_plain_http_is_sent_to_https_and_nowhere_else() -> None:
    async def main() -> None:
        async with blind_share() as (relay, visitors):
            for host in (HOST, f"{NAME}--80.localhost"):
                answer = await asked(relay.port, get("/a?b=c", f"{host}:{relay.port}"))
                assert answer.startswith(b"HTTP/1.1 308 ")
                place = f"Location: https://{host}:{relay.port}/a?b=c\r\n"
                assert place.encode() in answer
            answer = await asked(relay.port, get("http://elsewhere/a"))
            assert f"Location: https://{HOST}:{relay.port}/\r\n".encode() in answer
            assert visitors.empty()

    run(main)


def test_a_connection_for_another_name_does_not_lead_there() -> None:
    """A connection that began with another Host is the gateway's, which knows no such site."""

    async def main() -> None:
        async with blind_share() as (relay, visitors):
            other = get("/", "nothing-here-0001.localhost").replace(b"close", b"keep-alive")
            answers = await asked(relay.port, other + get())
            assert answers.count(b"HTTP/1.1 404 ") == 2
            assert visitors.empty()

    run(main)


@pytest.mark.usefixtures("_without_waiting")
def test_while_it_is_away_nobody_answers_in_its_place(tmp_path: Path) -> None:
    """Also after the relay itself was started again."""

    async def main() -> None:
        config = RelayConfig(state_dir=tmp_path)
        async with Relay(config) as relay, link_to(relay):
            for share in relay.registry.shares():
                share.finish()
            assert await asked(relay.port, real_hello(HOST)) == AWAY
        async with Relay(config) as relay:
            relay.registry._names.claim(
                ShareName("another-share-0001"), b"k", 0.0, time.time() + 60, passthrough=True
            )
            hello = real_hello("another-share-0001.localhost")
            assert await asked(relay.port, hello) == AWAY
            assert (
                b" 503 " in (await asked(relay.port, get(host="another-share-0001.localhost")))[:20]
            )

    run(main)


def test_browsers_have_a_limit_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blind_sites, "MAX_BROWSERS", 2)

    async def main() -> None:
        async with blind_share() as (relay, visitors):
            (share,) = relay.registry.shares()
            first = await connect(relay.port, real_hello(HOST))
            second = await connect(relay.port, real_hello(HOST))
            taken = [await visitors.get(), await visitors.get()]
            assert share.visitors == 0
            assert await asked(relay.port, real_hello(HOST)) == DENIED
            guest = await connect(relay.port, real_hello(f"{share.route}.x", "vshare/1"))
            taken.append(await visitors.get())
            assert taken[-1][1].kind == "visitor"
            for sock in (first, second, guest, *(each for each, _ in taken)):
                sock.close()
            await until(lambda: not share.browsers)

    run(main)


def test_names_cannot_be_tried_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """By ClientHellos: once too many led nowhere, those that lead somewhere look the same."""
    monkeypatch.setattr(gateway, "MISSES", 2)
    monkeypatch.setattr(gateway, "MISS_REFILL_SECONDS", 3600.0)  # a slow machine gets none back
    monkeypatch.setattr("relay.source_buckets.is_loopback", lambda source: False)

    async def main() -> None:
        async with blind_share() as (relay, visitors):
            for number in range(2):
                hello = real_hello(f"nothing-here-000{number}.localhost")
                with await connect(relay.port, hello) as sock:
                    assert (await asyncio.get_running_loop().sock_recv(sock, 5))[0] == 22
            for host in ("nothing-here-0003.localhost", HOST):
                assert await asked(relay.port, real_hello(host)) == DENIED
            assert b" 429 " in (await asked(relay.port, get()))[:20]
            assert visitors.empty()

    run(main)


def test_the_gateway_gets_nothing() -> None:
    async def main() -> None:
        async with Relay(RelayConfig()) as relay, link_to(relay) as link:
            with pytest.raises(LocalProtocolError):
                await link.publish([""], "certificate", "ca")
            (share,) = relay.registry.shares()
            assert share.published is None
            # A share that breaks this is not one to be trusted with browsers.
            assert link._channel is not None
            await link._channel.send(control.serialize(control.Publish([""], "", "")))
            await asyncio.wait([link.ended], timeout=5)
            assert link.ended.result().code == "closed"
            assert share.published is None

    run(main)


def test_a_relay_that_cannot_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    serialize = control.serialize

    def of_old(message: control.AnyMessage) -> str:
        return serialize(message).replace(',"passthrough":true', "")

    async def main() -> None:
        async with Relay(RelayConfig()) as relay:
            monkeypatch.setattr("relay.control.control.serialize", of_old)
            with pytest.raises(RelayError, match="does not pass browsers' TLS through"):
                async with link_to(relay):
                    pass

    run(main)


def test_it_reaches_a_share_that_registered_again() -> None:
    """The lot that was asked first has closed while the browser waited."""

    async def main() -> None:
        visitors: Visitors = asyncio.Queue()
        key = Ed25519PrivateKey.generate()
        async with Relay(RelayConfig()) as relay, link_to(relay, visitors, key):
            get_share = LocalRegistry.get
            (old,) = relay.registry.shares()
            async with link_to(relay, visitors, key):
                answers = iter([old])
                with pytest.MonkeyPatch.context() as patched:
                    patched.setattr(
                        relay.registry,
                        "get",
                        lambda name: next(answers, None) or get_share(relay.registry, name),
                    )
                    share = relay.registry.get(ShareName(NAME))
                    assert share is old
                    blind = BlindSites(relay.registry, None, None, 1)  # type: ignore[arg-type]
                    visitor = type("Visitor", (), {"address": "192.0.2.1"})
                    parked = await blind._maybe_parked(visitor, old)  # type: ignore[arg-type]
                assert parked is not None
                sock, paired = await visitors.get()
                assert paired == Paired("browser", "192.0.2.1")
                sock.close()
                parked.close()

    run(main)
