from __future__ import annotations

import asyncio
import socket

import pytest

from tests.loops import BOTH, Factory, run
from tunnel import network_watch
from tunnel.network_watch import is_stranded, watch_network


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> socket.socket:
    """The kernel's end of what is watched: tests cannot change this host's network."""
    kernel, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.setblocking(False)
    monkeypatch.setattr(network_watch, "_open", lambda: ours)
    monkeypatch.setattr(network_watch, "SETTLES_IN", 0.01)
    monkeypatch.setattr(network_watch, "EVERY", 0.05)
    return kernel


@pytest.mark.parametrize("factory", BOTH.values(), ids=BOTH)
def test_several_messages_are_one_change(wire: socket.socket, factory: Factory) -> None:
    async def main() -> None:
        told: list[float] = []
        happened = asyncio.Event()
        loop = asyncio.get_running_loop()

        def on_change() -> None:
            told.append(loop.time())
            happened.set()

        with wire, watch_network(on_change):
            for _ in range(5):
                wire.send(b"a message of rtnetlink's")
            await happened.wait()
            happened.clear()
            wire.send(b"another")
            await happened.wait()
        assert len(told) == 2
        assert told[1] - told[0] >= 0.045

    run(main, factory)


def test_nothing_is_told_after_the_end(wire: socket.socket) -> None:
    async def main() -> None:
        has_ended = False
        told: list[bool] = []
        with wire, watch_network(lambda: told.append(has_ended)):
            wire.send(b"a message")
            await asyncio.sleep(0.001)
        has_ended = True
        await asyncio.sleep(0.03)
        assert True not in told

    run(main)


def test_the_kernels_socket_is_opened_and_closed() -> None:
    async def main() -> None:
        with watch_network(lambda: None):
            pass

    run(main)


def test_where_there_is_no_such_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> socket.socket:
        raise OSError(97, "address family not supported")

    async def main() -> None:
        monkeypatch.setattr("tunnel.network_watch.socket.socket", refused)
        with watch_network(lambda: None):
            pass
        monkeypatch.undo()

    run(main)


@pytest.mark.parametrize(
    ("family", "name", "stranded"),
    [
        (socket.AF_INET, ("127.0.0.1", 1), False),
        (socket.AF_INET, ("203.0.113.77", 1), True),
        (socket.AF_INET6, ("::1", 1, 0, 0), False),
        (socket.AF_INET6, ("2001:db8::77", 1, 0, 0), True),
        (socket.AF_UNIX, "", False),
    ],
)
def test_what_is_bound_to_an_address_that_has_gone(
    family: socket.AddressFamily, name: object, stranded: bool
) -> None:
    class Bound(socket.socket):
        def getsockname(self) -> object:
            return name

    if socket.has_ipv6 or family is not socket.AF_INET6:
        with Bound(family) as sock:
            assert is_stranded(sock) is stranded
    assert not is_stranded(None)
