"""Certificates in the wrong hands: the gateway's, a removed guest's, another share's."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from connect_vm.join_share import join_share
from tests.loops import run, until
from tests.malicious_relay.wire import Lines, Recorder, gateway_identity, relay
from tests.share_pair import CODE, NAME, Pair, TcpService, share_pair, socket_to, tcp_service
from tunnel.alerts import AccessLostError
from tunnel.client import Client
from tunnel.codes import Code
from tunnel.ends import Sink
from tunnel.errors import RefusedError, VshareError
from tunnel.frames import ALPN
from tunnel.identity import Identity, Role, join_server_context, make_key
from tunnel.names import ShareName
from tunnel.tls_messages import TlsMessages
from tunnel.tls_socket import handshake
from vshare.policy import Policy

SOON = 3.0  # seconds


class Website(TcpService):
    """Says who it is at once; keeps what it is sent."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        visits.append(self)


visits: list[Website] = []


@contextlib.asynccontextmanager
async def share_with_website(**rules: object) -> AsyncIterator[tuple[Pair, int, int]]:
    """A share, its HTTP port, and another port of its."""
    visits.clear()
    async with tcp_service(Website) as http, tcp_service(Website) as other:
        policy = Policy(
            names=frozenset({NAME}),
            http_ports=frozenset({http}),
            **rules,  # type: ignore[arg-type]  # a policy's own
        )
        async with share_pair(policy) as pair:
            yield pair, http, other


# -- the gateway's


@pytest.mark.parametrize(
    ("protocol", "host"),
    [
        ("ssh-key", ""),
        ("api", "ping"),
        ("api", "share-info"),
        ("api", "shared-ports"),
        ("datagram", ""),
        ("anything", ""),
    ],
)
def test_the_gateway_opens_nothing_but_sites(protocol: str, host: str) -> None:
    async def main() -> None:
        async with (
            share_with_website() as (pair, _, _),
            Client(pair.dial, gateway_identity(pair), NAME) as client,
        ):
            with pytest.raises(RefusedError):
                await client.open_special(protocol, host)
            assert not pair.told("ssh-key")
            assert visits == []

    run(main)


def test_the_gateway_opens_no_port() -> None:
    """Sites alone: their rules are asked."""

    async def main() -> None:
        async with (
            share_with_website(ssh_shared=True) as (pair, http, other),
            Client(pair.dial, gateway_identity(pair), NAME) as client,
        ):
            tried = [(NAME, http), ("", http), ("", 22), ("127.0.0.1", http), ("10.0.0.1", 80)]
            for host, port in tried:
                with pytest.raises(RefusedError) as caught:
                    await client.open(host, port)
                assert caught.value.code is Code.NOT_ALLOWED
            assert visits == []
            for label in ("", str(other), NAME):
                with pytest.raises(RefusedError):
                    await client.open_special("http", label, 80)
            assert visits == []
            end = await client.open_special("http", str(http), 80)
            end.link(Sink())
            end.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await until(lambda: visits)

    run(main)


def test_the_gateway_has_no_ssh_where_that_is_the_website() -> None:
    async def main() -> None:
        async with share_with_website() as (pair, http, _):
            pair.streams.policy = Policy(
                names=frozenset({NAME}),
                http_ports=frozenset({http}),
                ssh_ports=frozenset({22, http}),
                ssh_shared=True,
            )
            async with Client(pair.dial, gateway_identity(pair), NAME) as client:
                with pytest.raises(RefusedError):
                    await client.open_special("http", str(http), 80)
            assert visits == []

    run(main)


def test_an_earlier_gateway_comes_in_nowhere() -> None:
    """A relay that was replaced, or one that wants to be two."""

    async def main() -> None:
        async with share_with_website() as (pair, http, _):
            earlier = gateway_identity(pair)
            async with Client(pair.dial, earlier, NAME, min_idle=0) as client:
                await client.ready()
                later = gateway_identity(pair)
                async with asyncio.timeout(SOON):
                    await until(lambda: not client.pool.connections)
            async with Client(pair.dial, earlier, NAME) as client:
                with pytest.raises(AccessLostError):
                    await client.open("", http)
                assert client.hello is None
            assert visits == []
            async with Client(pair.dial, later, NAME) as client:
                await client.ready()

    run(main)


# -- a removed guest's


def test_a_removed_guest_comes_in_nowhere() -> None:
    """With the relay's help: by the connection that it had, by new ones, by recorded bytes."""

    async def main() -> None:
        async with share_with_website() as (pair, http, _):
            lines = Lines(pair.port)
            async with relay(lines.serve) as attacker:
                identity = await join_share(attacker.dial, NAME, CODE, "bob")
                async with Client(attacker.dial, identity, NAME, min_idle=0) as client:
                    await client.ready()
                    (guest,) = pair.guests.of_role(Role.GUEST)
                    pair.guests.remove(guest, "by the sharer")
                    async with asyncio.timeout(SOON):
                        await until(lambda: not client.pool.connections)
                    with pytest.raises(VshareError):
                        await client.open("", http)
                async with Client(attacker.dial, identity, NAME) as client:
                    with pytest.raises(AccessLostError, match="by the sharer"):
                        await client.ready()
                    assert client.hello is None
                async with Client(pair.dial, identity, NAME) as client:
                    with pytest.raises(AccessLostError):
                        await client.open("", http)
            assert visits == []
            assert pair.joined == ["bob"]
            assert not pair.server._connections

    run(main)


# -- another share's


def test_the_wrong_share_answers() -> None:
    """A guest of X is brought to Y, with a stream and with a join; and the codes are the same."""

    async def main() -> None:
        async with share_pair() as one, share_with_website() as (other, http, _):
            recorder = Recorder(other)
            async with (
                relay(recorder.serve) as attacker,
                Client(attacker.dial, one.identity(), NAME) as client,
            ):
                with pytest.raises(AccessLostError):
                    await client.open("", http)
                assert client.hello is None
            assert visits == []
            assert other.guests.of_role(Role.GUEST) == []
            assert not other.server._connections

    run(main)


def test_a_join_is_led_to_another_share() -> None:
    """Even where both have one code: what the guest asked for is in what both sides confirm."""

    async def main() -> None:
        async with share_pair() as other:
            with pytest.raises(VshareError):
                await join_share(other.dial, ShareName("wary-weasel-1111"), CODE, "bob")
            assert other.joined == []
            assert other.guests.of_role(Role.GUEST) == []

    run(main)


def test_one_connection_after_another_of_two_shares() -> None:
    """The pool of a guest gets X's connections first and Y's later: only X's are used."""

    async def main() -> None:
        async with share_with_website() as (one, http, _), share_pair() as other:
            lines = Lines(one.port)
            async with (
                relay(lines.serve) as attacker,
                Client(attacker.dial, one.identity(), NAME, min_idle=0) as client,
            ):
                await client.ready()
                lines.port = other.port
                first, first_task = await socket_to(client, http)
                await until(lambda: visits)
                with pytest.raises(AccessLostError):  # the next needs a new connection
                    await client.open("", http)
                assert len(visits) == 1
                assert not other.server._connections
                first.close()
                await first_task

    run(main)


# -- a certificate that is a server's, but not the share's


def test_a_servers_purpose_alone_makes_no_share() -> None:
    """One layer gone: a certificate of the right CA, for servers, without the share's SAN."""

    async def main() -> None:
        heard: list[bytes] = []
        async with share_pair() as pair:
            key = make_key()
            certificate = pair.authority._issue(Role.SHARE, "share", key.public_key(), None)
            made = Identity(key, certificate, pair.authority.certificate)
            context = join_server_context(made, ALPN)

            async def play(sock: socket.socket) -> None:
                heard.append(await TlsMessages(await handshake(sock, context)).receive())

            async with (
                relay(play) as attacker,
                Client(attacker.dial, pair.identity(), NAME) as client,
            ):
                with pytest.raises(VshareError, match="is not the share"):
                    await client.ready()
                assert client.hello is None
        assert heard == []

    run(main)


def test_one_guests_connections_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vshare.server.MAX_GUEST_CONNECTIONS", 3)

    async def main() -> None:
        async with share_pair() as pair, contextlib.AsyncExitStack() as stack:
            identity = pair.identity()
            for _ in range(3):
                client = Client(pair.dial, identity, NAME, min_idle=0)
                await stack.enter_async_context(client)
                await client.ready()
            async with Client(pair.dial, identity, NAME, min_idle=0) as late:
                with pytest.raises(RefusedError) as caught:
                    await late.ready()
                assert caught.value.code is Code.BUSY
            async with pair.client() as another:
                await another.ready()

    run(main)
