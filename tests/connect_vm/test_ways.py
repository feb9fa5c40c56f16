"""The direct way: taken when it is proven to be the share's, left when it fails."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import ipaddress
import json
import socket
from collections.abc import AsyncIterator

import pytest

from connect_vm import ways
from connect_vm.ways import Guest, GuestClient, Ways, guest_client, parse_place
from tests.accepting import accepting
from tests.loops import run, until
from tests.share_pair import NAME, ROUTE, Pair, share_pair, tcp_service
from tests.vshare.test_direct import Door
from tests.vshare.test_server import echoes
from tunnel.codes import Code
from tunnel.errors import RefusedError, VshareError
from tunnel.frames import ALPN
from tunnel.identity import Authority, server_context
from tunnel.lan import Interface, Place
from tunnel.tls_socket import handshake

LOOPBACK = ipaddress.ip_interface("127.0.0.1/8")  # stands for a network
HERE = ipaddress.ip_address("127.0.0.1")


class World:
    """A share with a door, and a guest of it who counts its ways."""

    def __init__(self, pair: Pair, door: Door) -> None:
        self.pair, self.door = pair, door
        self.relayed = 0
        self.told: list[Place | None] = []
        self.why: list[str] = []
        self.states: list[str | None] = []
        self.networks: list[Interface] = [LOOPBACK]
        self.places = door.places
        self.asked = 0
        pair.streams._calls = {**pair.streams._calls, "paths": self._paths}
        identity = dataclasses.replace(pair.identity(), route=ROUTE)
        self.guest = Guest(identity, NAME)
        self.ways = Ways(self._relay, self.guest, self._told, lambda: self.networks)

    def _paths(self, guest: object, policy: object) -> object:
        self.asked += 1
        return {"direct": self.places(), "later": "unknown to this guest"}

    async def _relay(self) -> socket.socket:
        self.relayed += 1
        return await self.pair.dial()

    def _told(self, place: Place | None, why: str) -> None:
        self.told.append(place)
        self.why.append(why)

    def _changed(self, error: VshareError | None) -> None:
        self.states.append(None if error is None else error.text)

    def client(self) -> contextlib.AbstractAsyncContextManager[GuestClient]:
        return guest_client(self.ways, self.guest, self._changed, lambda notice: None)

    @property
    def place(self) -> Place:
        return HERE, self.door.port


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ways, "LOOK_EVERY", 0.005)
    monkeypatch.setattr(ways, "DIAL_WITHIN", 10.0)  # the machine may be busy
    monkeypatch.setattr(ways, "PROVE_WITHIN", 10.0)


@contextlib.asynccontextmanager
async def world() -> AsyncIterator[World]:
    async with share_pair() as pair, Door(pair) as door:
        yield World(pair, door)


def test_streams_go_directly_once_it_is_proven() -> None:
    async def main() -> None:
        async with world() as here, tcp_service() as port, here.client() as client:
            await until(lambda: here.told == [here.place])
            relayed = here.relayed
            # What the pool has of the relay's is replaced, not used up.
            await until(lambda: all_direct(here, client))
            assert await echoes(client, port)
            assert here.relayed == relayed
            assert here.states == [None]

    run(main)


def all_direct(here: World, client: GuestClient) -> bool:
    """Whether the pool has connections, and each leads to the share's door."""
    socks = [connection._tls._sock for connection in client.pool.connections]
    with contextlib.suppress(OSError):  # one was lost, or closed
        return bool(socks) and all(sock.getpeername()[1] == here.door.port for sock in socks)
    return False


async def settled(here: World, client: GuestClient) -> None:
    """The direct way is found and the pool has moved to it; a later renewal is a later one."""
    await until(lambda: here.told and all_direct(here, client))
    loop = asyncio.get_running_loop()
    await until(lambda: loop.time() > client.pool._renewed_at)


def test_it_begins_with_the_relay_and_waits_for_nothing() -> None:
    """A neighbour that takes connections and says nothing holds nobody up."""

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as tarpit:
            async with world() as here, tcp_service() as port:
                here.places = lambda: [f"127.0.0.1:{tarpit.getsockname()[1]}"]
                async with here.client() as client:
                    await until(lambda: here.asked)
                    assert await echoes(client, port)
                    assert here.told == []

    run(main)


@contextlib.asynccontextmanager
async def impostor(port: int = 0) -> AsyncIterator[int]:
    """A TLS server of another share, at a place that is not its own."""
    other = Authority(NAME, datetime.datetime.now(datetime.UTC)).issue_share()
    listener = socket.create_server(("127.0.0.1", port))
    port = listener.getsockname()[1]

    async def serve(sock: socket.socket) -> None:
        with contextlib.suppress(OSError, VshareError):
            (await handshake(sock, server_context(other, ALPN))).abort(VshareError("met"))

    async with asyncio.TaskGroup() as group:
        tasks: list[asyncio.Task[None]] = []

        def accepted(sock: socket.socket, _: str) -> None:
            tasks.append(group.create_task(serve(sock)))
            tasks[-1].add_done_callback(lambda done: sock.close())

        try:
            with accepting(listener, accepted):
                yield port
        finally:
            for task in tasks:
                task.cancel()


def test_another_server_at_that_place_is_not_believed() -> None:
    async def main() -> None:
        async with world() as here, impostor() as port, tcp_service() as service:
            here.places = lambda: [f"127.0.0.1:{port}", *here.door.places()]
            async with here.client() as client:
                await until(lambda: here.told)
                assert here.told == [here.place]  # the second one, which is the share
                assert await echoes(client, service)
                assert here.states == [None]

    run(main)


@pytest.mark.parametrize("who", ["an impostor", "a reset", "an alert"])
def test_who_takes_over_the_place_ends_the_direct_way_alone(who: str) -> None:
    """However he answers: with a certificate of his own, with an alert that would mean at a relay
    that the share has gone."""

    async def main() -> None:
        async with world() as here, tcp_service() as service, here.client() as client:
            await settled(here, client)
            async with intruder(who) as port:
                here.ways.place = (HERE, port)
                client.renew()
                await until(lambda: here.told[-1] is None)
                assert await echoes(client, service)
            assert here.states == [None]
            assert client.state is None

    run(main)


@contextlib.asynccontextmanager
async def intruder(who: str) -> AsyncIterator[int]:
    if who == "an impostor":
        async with impostor() as port:
            yield port
        return

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        if who == "an alert":
            writer.write(b"\x15\x03\x03\x00\x02\x02\x70")  # unrecognized_name
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def test_the_relay_again_when_the_share_no_longer_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ways, "PAUSE_FIRST", 0.02)
    monkeypatch.setattr(ways, "ASK_EVERY", 0.02)

    async def main() -> None:
        async with world() as here, tcp_service() as port, here.client() as client:
            await settled(here, client)
            here.door.networks = []  # it closes; what is connected is cut below
            here.door._follow()
            await until(lambda: here.door.places() == [])
            cut(here)
            await until(lambda: here.told[-1] is None)
            assert await echoes(client, port)
            assert here.states == [None]
            assert here.why[-1]
            here.door.networks = [LOOPBACK]
            here.door._follow()
            await until(lambda: here.told[-1] == here.place)  # after the pause

    run(main)


def cut(here: World) -> None:
    """End the connections that came by the door."""
    for connection in list(here.pair.server._connections):
        if connection._tls._sock.getsockname()[1] != here.pair.port:
            connection.abort("cut")


def test_a_network_that_this_host_has_left() -> None:
    async def main() -> None:
        async with world() as here, tcp_service() as port, here.client() as client:
            await settled(here, client)
            here.networks = [ipaddress.ip_interface("10.1.2.3/24")]
            await until(lambda: here.told[-1] is None)
            assert await echoes(client, port)
            asked = here.asked
            here.networks = [LOOPBACK]  # back: no pause where the network is another one
            await until(lambda: here.told[-1] is not None)
            assert here.asked > asked

    run(main)


def test_the_relay_alone_when_that_is_wanted() -> None:
    async def main() -> None:
        async with world() as here, tcp_service() as port:
            here.networks = ways.networks_for(relay_only=True)()
            async with here.client() as client:
                assert await echoes(client, port)
                assert here.asked == 0
                assert here.door.came == []

    run(main)


def test_only_neighbours_are_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address elsewhere would be a stranger's, who would learn the route."""
    dialled: list[Place] = []

    async def dial_place(place: Place) -> socket.socket:
        dialled.append(place)
        raise OSError("not here")

    monkeypatch.setattr(ways, "dial_place", dial_place)

    async def main() -> None:
        async with world() as here:
            here.networks = [ipaddress.ip_interface("192.168.1.7/24")]
            here.places = lambda: ["192.168.2.5:40123", "8.8.8.8:443", "192.168.1.5:40123"]
            async with here.client():
                await until(lambda: dialled)
            assert dialled == [(ipaddress.ip_address("192.168.1.5"), 40123)]

    run(main)


@pytest.mark.parametrize("answer", [b"{", b"[]", b'{"direct": 1}', b"\xff", b"[" * 9_000, b"{}"])
def test_an_answer_that_is_none(answer: bytes) -> None:
    class Session:
        async def call(self, name: str) -> bytes:
            return answer

        def renew(self) -> None:
            raise AssertionError("for nothing")

        suspect = renew

    async def main() -> None:
        assert ways.places_in(await ways._ask(Session())) == []

    run(main)


def test_a_share_that_does_not_know_the_call() -> None:
    class Session:
        async def call(self, name: str) -> bytes:
            raise RefusedError(Code.UNSUPPORTED, f"no call {name!r}")

        def renew(self) -> None:
            raise AssertionError("for nothing")

        suspect = renew

    async def main() -> None:
        assert ways.places_in(await ways._ask(Session())) == []

    run(main)


def test_at_most_eight_places_are_looked_at() -> None:
    class Session:
        async def call(self, name: str) -> bytes:
            return json.dumps({"direct": [f"10.0.0.1:{2000 + n}" for n in range(100)]}).encode()

        def renew(self) -> None:
            raise AssertionError("for nothing")

        suspect = renew

    async def main() -> None:
        assert len(ways.places_in(await ways._ask(Session()))) == 8

    run(main)


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("192.168.1.5:40123", True),
        ("[fd00::5]:40123", True),
        ("192.168.1.5:22", False),
        ("192.168.1.5:1023", False),
        ("192.168.1.5:65536", False),
        ("192.168.1.5", False),
        ("fd00::5:40123", False),
        ("[fe80::1%eth0]:40123", False),
        ("localhost:40123", False),
        ("192.168.1.5.example.org:40123", False),
        ("0300.0250.1.5:40123", False),
        ("", False),
        ("x" * 9_000, False),
    ],
)
def test_what_is_a_place(text: str, good: bool) -> None:
    assert (parse_place(text) is not None) is good


def test_a_neighbour_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ways, "DIAL_WITHIN", 0.02)

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
            sockets: list[socket.socket] = []
            with pytest.raises(VshareError, match="no answer"):
                await fill(sockets, full.getsockname()[1])
            for sock in sockets:
                sock.close()

    async def fill(sockets: list[socket.socket], port: int) -> None:
        while True:  # until the queue is full
            sockets.append(await ways.dial_place((HERE, port)))

    run(main)
