"""The share's own door: guests come in by it, others get nothing out of it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import ipaddress
import os
import resource
import socket
import ssl
from collections.abc import AsyncIterator

import pytest

from connect_vm.ways import dial_place, parse_place
from tests.loops import Factory, both_loops, run, until
from tests.share_pair import NAME, ROUTE, Pair, share_pair
from tunnel import join
from tunnel.client import SNI_SUFFIX, Client
from tunnel.dialler import dial
from tunnel.errors import LostError
from tunnel.frames import ALPN
from tunnel.identity import Role, client_context, join_client_context
from tunnel.lan import Interface
from tunnel.peek import HEAD_DEADLINE
from tunnel.tls_socket import handshake
from vshare import direct
from vshare.direct import DirectDoor

LOOPBACK = ipaddress.ip_interface("127.0.0.1/8")
OTHER = ipaddress.ip_interface("127.0.0.2/8")


class Door(DirectDoor):
    """On loopback, which stands for a network; counts who came through."""

    def __init__(self, pair: Pair) -> None:
        self.networks: list[Interface] = [LOOPBACK]
        self.came: list[str] = []
        self._pair = pair
        super().__init__(ROUTE, self.visit, lambda: self.networks)

    def visit(self, sock: socket.socket, address: str) -> None:
        self.came.append(address)
        self._pair.server.visitor(sock, address, direct=True)

    @property
    def port(self) -> int:
        return int(self.places()[0].rpartition(":")[2])

    async def dial(self) -> socket.socket:
        return await dial("127.0.0.1", self.port, 5)


@contextlib.asynccontextmanager
async def door_of_share() -> AsyncIterator[tuple[Pair, Door]]:
    async with share_pair() as pair, Door(pair) as door:
        yield pair, door


async def answered(sock: socket.socket) -> bytes:
    """What comes before the end; a reset is an end, too."""
    loop = asyncio.get_running_loop()
    data = b""
    with sock, contextlib.suppress(ConnectionResetError):
        while more := await loop.sock_recv(sock, 4096):
            data += more
    return data


def client_hello(context: ssl.SSLContext, server_name: str) -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=server_name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def is_refused(place: tuple[str, int]) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(place) == errno.ECONNREFUSED


def test_a_guest_comes_in() -> None:
    async def main() -> None:
        async with door_of_share() as (pair, door):
            identity = dataclasses.replace(pair.identity(), route=ROUTE)
            async with Client(door.dial, identity, NAME) as client:
                assert await client.call("ping") == b'{"pong":true}'
                (guest,) = pair.guests.of_role(Role.GUEST)
                assert guest.direct == guest.connections > 0
            assert set(door.came) == {"127.0.0.1"}
            await until(lambda: guest.connections == guest.direct == 0)

    run(main)


def anybody(protocol: str) -> ssl.SSLContext:
    return join_client_context(protocol)


@pytest.mark.parametrize(
    ("protocol", "label"),
    [
        (ALPN, "5f" * 16),
        (ALPN, NAME),
        (ALPN, ROUTE[:-1]),
        (join.ALPN, ROUTE),
        (join.ALPN, NAME),
        ("http/1.1", ROUTE),
    ],
)
def test_who_is_no_guest_gets_no_answer(protocol: str, label: str) -> None:
    async def main() -> None:
        async with door_of_share() as (_, door):
            sock = await door.dial()
            hello = client_hello(anybody(protocol), f"{label}.{SNI_SUFFIX}")
            await asyncio.get_running_loop().sock_sendall(sock, hello)
            assert await answered(sock) == b""
            assert door.came == []

    run(main)


def test_joining_hidden_behind_streams_is_joining() -> None:
    async def main() -> None:
        async with door_of_share() as (_, door):
            context = anybody(ALPN)
            context.set_alpn_protocols([ALPN, join.ALPN])
            sock = await door.dial()
            hello = client_hello(context, f"{ROUTE}.{SNI_SUFFIX}")
            await asyncio.get_running_loop().sock_sendall(sock, hello)
            assert await answered(sock) == b""
            assert door.came == []

    run(main)


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-x\r\n", b"\x16\x03\x01\xff"])
def test_what_is_no_tls_gets_no_answer(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "HEAD_DEADLINE", 0.05)

    async def main() -> None:
        async with door_of_share() as (_, door):
            sock = await door.dial()
            await asyncio.get_running_loop().sock_sendall(sock, data)
            assert await answered(sock) == b""

    run(main)


def test_who_knows_the_route_still_needs_a_certificate() -> None:
    """The route is seen by whoever listens on the network."""

    async def main() -> None:
        async with door_of_share() as (pair, door):
            server_name = f"{ROUTE}.{SNI_SUFFIX}"
            stranger = client_context(pair.identity(listed=False), ALPN)
            for context in (anybody(ALPN), stranger):
                client = await handshake(await door.dial(), context, server_hostname=server_name)
                client.abort(LostError("looked at"))
            await until(lambda: len(door.came) == 2)
            await until(lambda: not pair.server._pending)
            assert not any(guest.connections for guest in pair.guests.of_role(Role.GUEST))

    run(main)


def test_a_crowd_of_silent_ones_leaves_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """One address has a part of the places alone, and the oldest makes room for the next."""
    monkeypatch.setattr(direct, "MAX_WAITING", 3)
    monkeypatch.setattr(direct, "MAX_WAITING_OF_ONE", 2)

    async def main() -> None:
        async with door_of_share() as (pair, door), contextlib.AsyncExitStack() as stack:
            crowd = [stack.enter_context(await door.dial()) for _ in range(2)]
            await until(lambda: len(door._waiting) == 2)
            assert await answered(await door.dial()) == b""  # one too many of that address
            assert len(door._waiting) == 2
            monkeypatch.setattr(direct, "MAX_WAITING_OF_ONE", 10)
            crowd += [stack.enter_context(await door.dial()) for _ in range(2)]
            async with asyncio.timeout(HEAD_DEADLINE / 2):
                assert await answered(crowd[0]) == b""
            assert len(door._waiting) == 3
            identity = dataclasses.replace(pair.identity(), route=ROUTE)
            async with Client(door.dial, identity, NAME) as client:
                await client.ready()

    run(main)


def test_it_follows_the_hosts_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "LOOK_EVERY", 0.005)

    async def main() -> None:
        async with door_of_share() as (_, door):
            (first,) = door.places()
            gone = door.port
            door.networks = [LOOPBACK, OTHER]
            await until(lambda: len(door.places()) == 2)
            assert door.places()[0] == first  # the port stays
            door.networks = [OTHER]
            await until(lambda: first not in door.places())
            await until(lambda: is_refused(("127.0.0.1", gone)))
            door.networks = [ipaddress.ip_interface("192.0.2.77/24")]  # not this host's
            await until(lambda: door.places() == [])

    run(main)


def test_no_router_passes_its_packets_on() -> None:
    async def main() -> None:
        async with door_of_share() as (_, door):
            (listener,) = door._listeners.values()
            assert listener.sock.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == 1

    run(main)


def test_ipv6() -> None:
    async def main() -> None:
        async with share_pair() as pair, Door(pair) as door:
            door.networks = [ipaddress.ip_interface("::1/128")]
            door._follow()
            assert door.places() == [f"[::1]:{door.port}"]
            place = parse_place(door.places()[0])
            assert place is not None
            identity = dataclasses.replace(pair.identity(), route=ROUTE)
            async with Client(lambda: dial_place(place), identity, NAME) as client:
                await client.ready()
            assert set(door.came) == {"::1"}

    run(main)


def test_a_fault_ends_one_visitor_and_not_the_share(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def faulty(*arguments: object) -> None:
        raise ZeroDivisionError

    async def main() -> None:
        async with door_of_share() as (_, door):
            with monkeypatch.context() as patch:
                patch.setattr(direct, "peek_client_hello", faulty)
                assert await answered(await door.dial()) == b""
            sock = await door.dial()
            await until(lambda: door._waiting)
            sock.close()
        assert "met a fault" in caplog.text

    run(main)


@both_loops
def test_who_comes_while_it_ends_is_closed(factory: Factory) -> None:
    async def main() -> None:
        async with share_pair() as pair:
            files = len(os.listdir("/proc/self/fd"))
            for turns in range(6):  # of the loop, in which the connection gets ever further
                async with Door(pair) as door:
                    sock = socket.create_connection(("127.0.0.1", door.port))
                    for _ in range(turns):
                        await asyncio.sleep(0)
                sock.close()
                assert len(os.listdir("/proc/self/fd")) == files

    run(main, factory)


def test_no_descriptors_are_a_pause(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(direct, "EXHAUSTED_PAUSE", 0.01)

    async def main() -> None:
        async with door_of_share() as (_, door):
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            with socket.socket() as sock:
                free = os.dup(sock.fileno())  # the lowest; which may be the only one
                os.close(free)
                resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
                try:
                    sock.connect(("127.0.0.1", door.port))
                    await until(lambda: "cannot accept guests" in caplog.text)
                    assert not door._waiting
                finally:
                    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                await until(lambda: door._waiting)

    run(main)


def test_it_ends_with_the_share() -> None:
    async def main() -> None:
        async with door_of_share() as (_, door):
            place = ("127.0.0.1", door.port)
            waiting = await door.dial()
            await until(lambda: door._waiting)
        assert await answered(waiting) == b""
        assert is_refused(place)

    run(main)
