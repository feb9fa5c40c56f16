"""The share's link, against a real relay."""

import asyncio
import contextlib
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import TypeAlias

import pytest
import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from relay.config import RelayConfig
from relay.registry import Share
from relay.server import Relay
from tests.loops import until
from tests.tunnel.test_clienthello import real_hello
from tunnel.address import RelayAddress
from tunnel.control import Ended
from tunnel.names import ShareName
from tunnel.parking import Paired
from tunnel.relay_tls import RelayError, dial_relay
from vshare import relay_link
from vshare.refusals import RejectedError
from vshare.relay_link import RelayLink

ROUTE = "0123456789abcdef" * 2
Visitors: TypeAlias = asyncio.Queue[tuple[socket.socket, Paired]]


def make_link(
    relay: RelayAddress,
    visitors: Visitors,
    *,
    name: ShareName | None = None,
    expires_in: float = 60.0,
    route: str = "",
    on_gateway_key: Callable[[bytes], Awaitable[None]] | None = None,
) -> RelayLink:
    return RelayLink(
        relay,
        Ed25519PrivateKey.generate(),
        name,
        on_visitor=lambda sock, paired: visitors.put_nowait((sock, paired)),
        expires_at=time.time() + expires_in,
        route=route or secrets.token_hex(16),
        on_gateway_key=on_gateway_key,
    )


async def visit(port: int, link: RelayLink, visitors: Visitors) -> Paired:
    """Become a visitor of a share and check that both sides speak with each other."""
    loop = asyncio.get_running_loop()
    hello = real_hello(f"{link.route}.x", "vshare/1")
    with socket.socket() as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", port))
        await loop.sock_sendall(sock, hello)
        paired_sock, paired = await visitors.get()
        with paired_sock:
            assert await loop.sock_recv(paired_sock, 65_536) == hello
            await loop.sock_sendall(paired_sock, b"hi")
            assert await loop.sock_recv(sock, 10) == b"hi"
    return paired


def run(main: Callable[[], Coroutine[None, None, None]], *, uv: bool = False) -> None:
    factory = uvloop.new_event_loop if uv else None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(asyncio.wait_for(main(), 30))


@pytest.mark.parametrize("uv", [False, True])
def test_registers_and_delivers_visitors(uv: bool) -> None:
    async def main() -> None:
        visitors: Visitors = asyncio.Queue()
        async with Relay(RelayConfig()) as relay, make_link(relay.address, visitors) as link:
            registered = link.registered
            assert registered.domain == "localhost"
            assert registered.url == f"http://{registered.name}.localhost:{relay.port}/"
            assert registered.https_url == f"https://{registered.name}.localhost:{relay.port}/"
            assert link.gateway_key
            for _ in range(6):
                paired = await visit(relay.port, link, visitors)
                assert paired == Paired("visitor", "127.0.0.1")

    run(main, uv=uv)


def test_comes_back_after_the_relay_restarted(tmp_path: Path) -> None:
    async def main() -> None:
        visitors: Visitors = asyncio.Queue()
        async with Relay(RelayConfig(state_dir=tmp_path)) as relay:
            port = relay.port
            link = make_link(relay.address, visitors, name=ShareName("comes-back"))
            await link.__aenter__()
            await visit(port, link, visitors)
            await link.publish(["", "8080"], "certificate", "ca")
        try:
            async with Relay(RelayConfig(port=port, state_dir=tmp_path)) as relay:
                async with asyncio.timeout(5):
                    while relay.registry.get(ShareName("comes-back")) is None:  # noqa: ASYNC110
                        await asyncio.sleep(0.02)
                await visit(port, link, visitors)
                share = relay.registry.get(ShareName("comes-back"))
                assert share is not None
                assert share.published is not None
                assert share.published.sites == ["", "8080"]
        finally:
            await link.__aexit__(None, None, None)

    run(main)


@pytest.mark.parametrize("moved", [True, False], ids=["moved", "only the channel was lost"])
def test_who_came_by_an_address_that_is_gone_is_told(
    monkeypatch: pytest.MonkeyPatch, moved: bool
) -> None:
    async def main() -> None:
        visitors: Visitors = asyncio.Queue()
        loop = asyncio.get_running_loop()
        async with (
            Relay(RelayConfig()) as relay,
            make_link(relay.address, visitors) as link,
            make_link(relay.address, visitors) as other,
        ):
            with socket.socket() as sock, socket.socket() as bystander:
                carried = []
                for each, whose in ((sock, link), (bystander, other)):
                    each.setblocking(False)
                    await loop.sock_connect(each, ("127.0.0.1", relay.port))
                    await loop.sock_sendall(each, real_hello(f"{whose.route}.x", "vshare/1"))
                    carried.append((await visitors.get())[0])
                monkeypatch.setattr(relay_link, "is_stranded", lambda sock: moved)
                assert link._channel is not None
                name = ShareName(link.registered.name)
                before = relay.registry.get(name)
                link._channel.transport.abort()
                await until(lambda: relay.registry.get(name) not in (before, None))
                await loop.sock_sendall(carried[1], b"hi")
                assert await loop.sock_recv(bystander, 10) == b"hi"
                with contextlib.suppress(OSError):  # the relay's end of it may be closed by now
                    await loop.sock_sendall(carried[0], b"hi")
                with contextlib.suppress(ConnectionError):
                    assert await loop.sock_recv(sock, 10) == (b"" if moved else b"hi")
                for each in carried:
                    each.close()

    run(main)


def test_a_new_gateway_key_is_told() -> None:
    async def main() -> None:
        visitors: Visitors = asyncio.Queue()
        told: asyncio.Queue[bytes] = asyncio.Queue()

        async def on_key(key: bytes) -> None:
            told.put_nowait(key)

        async with Relay(RelayConfig()) as relay:
            link = make_link(relay.address, visitors, on_gateway_key=on_key)
            await link.__aenter__()
            first = link.gateway_key
            port = relay.port
        try:
            async with Relay(RelayConfig(port=port)) as relay:
                link.places.configured = relay.address  # its certificate is another one as well
                async with asyncio.timeout(5):
                    assert await told.get() != first
        finally:
            await link.__aexit__(None, None, None)

    run(main)


def test_the_relay_ends_the_share_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.registry.HOUSEKEEPING_EVERY", 0.05)

    async def main() -> None:
        visitors: Visitors = asyncio.Queue()
        async with (
            Relay(RelayConfig()) as relay,
            make_link(relay.address, visitors, expires_in=0.1) as link,
        ):
            assert (await link.ended).code == "expired"
            assert isinstance(link.ended.result(), Ended)

    run(main)


def test_a_lease_that_is_extended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.control.MAX_LEASE", 7200.0)

    async def main() -> None:
        visitors: Visitors = asyncio.Queue()
        async with (
            Relay(RelayConfig()) as relay,
            make_link(relay.address, visitors, expires_in=60.0) as link,
        ):
            share = relay.registry.get(ShareName(link.registered.name))
            assert share is not None
            now = time.time()
            assert share.ends_at == pytest.approx(now + 60, abs=5)
            assert await link.extend(now + 3600) == pytest.approx(now + 3600, abs=0.1)
            assert share.ends_at == pytest.approx(now + 3600, abs=5)
            assert await link.extend(now + 9999) == pytest.approx(now + 7200, abs=5)
            assert share.ends_at == pytest.approx(now + 7200, abs=5)

    run(main)


def test_a_reconnection_does_not_extend_the_lease_and_tells_what_was_asked_meanwhile(
    tmp_path: Path,
) -> None:
    async def registered(relay: Relay) -> Share:
        async with asyncio.timeout(5):
            while (share := relay.registry.get_by_route(ROUTE)) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        return share

    async def main() -> None:
        visitors: Visitors = asyncio.Queue()
        ends_at = time.time() + 600
        async with Relay(RelayConfig(state_dir=tmp_path)) as relay:
            port = relay.port
            link = RelayLink(
                relay.address,
                Ed25519PrivateKey.generate(),
                ShareName("comes-back"),
                on_visitor=lambda sock, paired: visitors.put_nowait((sock, paired)),
                expires_at=ends_at,
                route=ROUTE,
            )
            await link.__aenter__()
            assert (await registered(relay)).ends_at == pytest.approx(ends_at, abs=2)
        try:
            link._expires_at -= 300  # as if 300 seconds had passed
            async with Relay(RelayConfig(port=port, state_dir=tmp_path)) as relay:
                share = await registered(relay)
                assert share.ends_at == pytest.approx(ends_at - 300, abs=2)
            while link._channel is not None:  # noqa: ASYNC110 - the link tells nobody
                await asyncio.sleep(0.01)
            assert await link.extend(ends_at + 60) == ends_at + 60
            async with Relay(RelayConfig(port=port, state_dir=tmp_path)) as relay:
                share = await registered(relay)
                assert share.ends_at == pytest.approx(ends_at + 60, abs=2)
        finally:
            await link.__aexit__(None, None, None)

    run(main)


def test_a_route_that_another_share_has() -> None:
    async def main() -> None:
        visitors: Visitors = asyncio.Queue()
        async with (
            Relay(RelayConfig()) as relay,
            make_link(relay.address, visitors, route=ROUTE),
        ):
            with pytest.raises(RejectedError, match="somebody else") as caught:
                async with make_link(relay.address, visitors, route=ROUTE):
                    pass
            assert caught.value.code == "route-taken"

    run(main)


def test_what_goes_wrong_is_said_clearly() -> None:
    async def main() -> None:
        visitors: Visitors = asyncio.Queue()
        with socket.create_server(("127.0.0.1", 0)) as gone:
            port = gone.getsockname()[1]
        with pytest.raises(RelayError, match="cannot be reached") as info:
            async with make_link(RelayAddress("127.0.0.1", port, "0" * 64), visitors):
                pass
        assert "vrelay serve" in info.value.hint
        async with Relay(RelayConfig()) as relay:
            wrong = RelayAddress("127.0.0.1", relay.port, "0" * 32)
            with pytest.raises(RelayError, match="other than its address names") as info:
                async with make_link(wrong, visitors):
                    pass
            unpinned = RelayAddress("localhost", relay.port)
            with pytest.raises(RelayError, match="not valid") as info:
                async with make_link(unpinned, visitors):
                    pass
            assert "#fingerprint" in info.value.hint
            with pytest.raises(RejectedError, match="not a share's name"):
                async with make_link(relay.address, visitors, name=ShareName("a--b")):
                    pass

    run(main)


def test_something_that_is_no_relay() -> None:
    async def main() -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            writer.write(b"220 mail.example ESMTP\r\n")
            writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            with pytest.raises(RelayError, match="does not answer in TLS"):
                async with make_link(RelayAddress("127.0.0.1", port, "0" * 64), asyncio.Queue()):
                    pass

    run(main)


class Wire:
    """Forwards to a relay. `cut` makes all that goes through it now dead without a word, as a
    change of the network does; what comes later gets through."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._dead: list[asyncio.Event] = []
        self.port = 0

    async def __aenter__(self) -> "Wire":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    def cut(self) -> None:
        """From now on nothing passes on the connections that are there."""
        for event in self._dead:
            event.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        event = asyncio.Event()
        self._dead.append(event)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)

        async def carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while data := await source.read(65_536):
                    if event.is_set():
                        return
                    target.write(data)
            if not event.is_set():
                target.close()

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(carry(reader, far_writer))
                group.create_task(carry(far_reader, writer))
                group.create_task(event.wait()).add_done_callback(lambda _: None)
        finally:
            writer.transport.abort()
            far_writer.transport.abort()


def through(relay: Relay, wire: Wire) -> RelayAddress:
    return RelayAddress("127.0.0.1", wire.port, relay.fingerprint)


async def back(relay: Relay, link: RelayLink, earlier: Share | None) -> Share:
    """The share's next session at its relay."""
    while (share := relay.registry.get_by_route(link.route)) in (earlier, None):  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    assert share is not None
    return share


def test_a_probe_finds_a_dead_way_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vshare.relay_link.PROBE_WITHIN", 0.05)

    async def main() -> None:
        visitors: Visitors = asyncio.Queue()
        async with (
            Relay(RelayConfig()) as relay,
            Wire(relay.port) as wire,
            make_link(through(relay, wire), visitors) as link,
        ):
            await visit(relay.port, link, visitors)
            earlier = await back(relay, link, None)
            channel = link._channel
            await link.probe()
            assert link._channel is channel  # it was alive
            before = set(link._parked)
            wire.cut()
            await link.probe()
            later = await back(relay, link, earlier)
            assert earlier.is_over
            assert not len(earlier.lot)  # nobody is paired with what is dead
            await until(lambda: not before & link._parked and len(later.lot) >= 4)
            await until(lambda: all(task.done() for task in before))
            await visit(relay.port, link, visitors)

    run(main)


def test_silence_is_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vshare.relay_link.PROBE_WITHIN", 0.05)
    monkeypatch.setattr("vshare.relay_link.PROBE_AFTER", 0.2)
    monkeypatch.setattr("vshare.relay_link.LOOK_EVERY", 0.05)

    async def main() -> None:
        visitors: Visitors = asyncio.Queue()
        async with (
            Relay(RelayConfig()) as relay,
            Wire(relay.port) as wire,
            make_link(through(relay, wire), visitors) as link,
        ):
            earlier = await back(relay, link, None)
            wire.cut()
            await back(relay, link, earlier)
            monkeypatch.undo()  # else a busy machine is found silent again
            await visit(relay.port, link, visitors)

    run(main)


def test_silence_is_looked_into_sooner_while_there_are_visitors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vshare.relay_link.PROBE_WITHIN", 0.05)
    monkeypatch.setattr("vshare.relay_link.PROBE_AFTER_IN_USE", 0.05)
    monkeypatch.setattr("vshare.relay_link.LOOK_EVERY", 0.01)

    async def main() -> None:
        visitors: Visitors = asyncio.Queue()
        async with (
            Relay(RelayConfig()) as relay,
            Wire(relay.port) as wire,
            make_link(through(relay, wire), visitors) as link,
        ):
            earlier = await back(relay, link, None)
            await visit(relay.port, link, visitors)
            await until(lambda: not link.is_used)  # that visitor has left
            hello = real_hello(f"{link.route}.x", "vshare/1")
            with socket.create_connection(("127.0.0.1", relay.port)) as guest:
                guest.sendall(hello)
                sock, _ = await visitors.get()
                with sock:
                    await until(lambda: link.is_used)
                    wire.cut()
                    await back(relay, link, earlier)

    run(main)


def test_an_address_that_this_host_has_lost_is_not_asked_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        visitors: Visitors = asyncio.Queue()
        async with Relay(RelayConfig()) as relay, make_link(relay.address, visitors) as link:
            earlier = await back(relay, link, None)
            monkeypatch.setattr("vshare.relay_link.is_stranded", lambda sock: True)
            await link.probe()
            monkeypatch.undo()
            await back(relay, link, earlier)
            await visit(relay.port, link, visitors)

    run(main)


def test_a_channel_that_is_just_being_lost_is_asked() -> None:
    """uvloop's transports have no socket then."""

    async def main() -> None:
        visitors: Visitors = asyncio.Queue()
        async with Relay(RelayConfig()) as relay, make_link(relay.address, visitors) as link:
            channel = link._channel
            assert channel is not None
            channel.transport.abort()
            await until(lambda: channel.transport.get_extra_info("socket") is None)
            now, link._channel = link._channel, channel
            await link.probe()
            if link._channel is channel:
                link._channel = now
            await until(lambda: link._channel not in (None, channel))

    run(main, uv=True)


def test_dials_overlap_while_they_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vshare.relay_places.DIAL_EVERY", 0.01)
    dials: list[RelayAddress] = []

    async def hanging(relay: RelayAddress) -> socket.socket:
        dials.append(relay)
        if len(dials) < 4:
            await asyncio.Event().wait()  # a SYN into nowhere
        return await dial_relay(relay)

    async def main() -> None:
        visitors: Visitors = asyncio.Queue()
        async with Relay(RelayConfig()) as relay:
            link = make_link(relay.address, visitors)
            monkeypatch.setattr("vshare.relay_places.dial_relay", hanging)
            async with link:
                assert len(dials) >= 4
                await visit(relay.port, link, visitors)

    run(main)


def test_a_sleep_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vshare.relay_link.LOOK_EVERY", 0.01)
    probed = asyncio.Event()

    async def main() -> None:
        visitors: Visitors = asyncio.Queue()
        async with Relay(RelayConfig()) as relay, make_link(relay.address, visitors) as link:

            async def probe() -> None:
                probed.set()

            monkeypatch.setattr(link, "probe", probe)
            await asyncio.sleep(0.05)
            assert not probed.is_set()
            clock = time.time
            monkeypatch.setattr("vshare.relay_link.time.time", lambda: clock() + 60)
            await probed.wait()

    run(main)
