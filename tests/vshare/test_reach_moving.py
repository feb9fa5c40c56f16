from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.loops import run
from tests.vshare.peers import Datagrams, echo, link, tcp_server
from tunnel.codes import Code
from tunnel.errors import RefusedError
from vshare import find_again, find_libvirt, find_vagrant, reach_moving
from vshare.find_again import Sighting, Whereabouts, look
from vshare.machine import Machine, Source, SshAccess
from vshare.reach_moving import MovingReach

OLD, NEW = "127.0.0.2", "127.0.0.3"  # what dials them is 127.0.0.1


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach_moving, "PATIENCE", 0.02)
    monkeypatch.setattr(reach_moving, "ANSWER_WITHIN", 0.1)


@contextlib.contextmanager
def falls_silent(port: int) -> Iterator[Callable[[], None]]:
    """A listener at OLD with room for one; once what is yielded was called, the kernel drops what
    comes, as its queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((OLD, port))
        listener.listen(0)

        def fill() -> None:
            for _ in range(3):
                sock = stack.enter_context(socket.socket())
                sock.setblocking(False)
                sock.connect_ex((OLD, port))

        yield fill


@contextlib.contextmanager
def silent(port: int) -> Iterator[None]:
    """Nothing answers at OLD."""
    with falls_silent(port) as fill:
        fill()
        yield


class World:
    """A machine whose whereabouts are known to somebody."""

    def __init__(self, *places: str) -> None:
        self.places = places
        self.is_off = False
        self.asked = 0
        self.moved: list[str] = []
        self.machine = Machine("web", "test", "running", OLD, Source.LIBVIRT, domain="web")

    async def look(self, machine: Machine) -> Sighting:
        self.asked += 1
        return Sighting(() if self.is_off else self.places, is_off=self.is_off)

    def reach(self, own: str = "") -> MovingReach:
        return MovingReach(
            OLD,
            None,
            Whereabouts(self.machine, self.look),
            self.moved.append,
            is_own=lambda address: str(address) == own,
        )


@contextlib.asynccontextmanager
async def served_at_new() -> AsyncIterator[int]:
    """An echo there, on a port that is free at OLD."""
    async with tcp_server(echo, NEW) as port:
        yield port


def test_it_is_found_at_its_new_address() -> None:
    async def main() -> None:
        world = World(OLD)
        async with served_at_new() as port, world.reach() as reach:
            with silent(port):
                world.places = (OLD, NEW)
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(reach.open_tcp("", port)) for _ in range(3)]
                for each in tasks:
                    peer = link(each.result())
                    each.result().send(b"hello")
                    await peer.until(lambda peer=peer: peer.data == b"hello")
                    each.result().reset(Code.CLOSED)
                again = await reach.open_tcp("", port)
                again.reset(Code.CLOSED)
        assert world.moved == [NEW]
        assert reach.address == NEW
        assert world.asked <= 3  # at the start, and at most once a second

    run(main)


def test_what_was_open_at_the_old_address_ends_with_an_error() -> None:
    async def main() -> None:
        world = World(OLD)
        async with served_at_new() as port, world.reach() as reach:
            with falls_silent(port) as fill:
                old = await reach.open_tcp("", port)
                peer = link(old)
                told = Datagrams()
                flow = await reach.open_udp("", port, told)
                fill()
                world.places = (NEW,)
                (await reach.open_tcp("", port)).reset(Code.CLOSED)
            assert peer.was_reset == Code.LOST
            assert told.closed
            flow.close()
            assert old.finished.result() == Code.LOST

    run(main)


@pytest.mark.parametrize("own", ["", NEW])
def test_other_addresses_and_the_sharers_own_are_left_alone(own: str) -> None:
    async def main() -> None:
        world = World(OLD, *([] if own else [NEW]))  # it was there as well when the share began
        async with served_at_new() as port, world.reach(own) as reach:
            world.places = (OLD, NEW)
            with silent(port), pytest.raises((RefusedError, TimeoutError)):
                async with asyncio.timeout(0.2):
                    await reach.open_tcp("", port)
        assert world.moved == []

    run(main)


def test_a_closed_port_is_an_answer() -> None:
    async def main() -> None:
        world = World(OLD, NEW)
        async with tcp_server(echo, OLD) as port, world.reach() as reach:
            before = world.asked
            (await reach.open_tcp("", port)).reset(Code.CLOSED)
            with socket.socket() as closed:
                closed.bind((OLD, 0))
                with pytest.raises(RefusedError) as caught:
                    await reach.open_tcp("", closed.getsockname()[1])
            assert caught.value.code == Code.CONNECTION_REFUSED
            assert world.asked == before

    run(main)


def test_one_that_does_not_run_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find_again, "LOOK_EVERY", 0.0)

    async def main() -> None:
        world = World(OLD)
        async with (
            served_at_new() as free,
            tcp_server(echo, OLD) as port,
            world.reach() as reach,
        ):
            world.is_off = True
            with silent(free), pytest.raises(RefusedError, match="not running") as caught:
                await reach.open_tcp("", free)
            assert caught.value.code == Code.HOST_UNREACHABLE
            world.is_off = False
            end = await reach.open_tcp("", port)
            peer = link(end)
            end.send(b"hello")
            await peer.until(lambda: peer.data == b"hello")
            end.reset(Code.CLOSED)

    run(main)


def test_who_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async def addresses(domain: str) -> tuple[list[str], list[str]] | None:
        return None if domain == "off" else (["203.0.113.9"], ["192.0.2.7", "198.51.100.7"])

    access = SshAccess("127.0.0.1", 2222)

    async def ssh(root: Path, name: str) -> SshAccess:
        return access

    monkeypatch.setattr(find_libvirt, "find_addresses", addresses)
    monkeypatch.setattr(find_vagrant, "find_ssh", ssh)
    domain = Machine("web", "x", "running", "192.0.2.5", Source.LIBVIRT, domain="web")
    box = Machine("web", "x", "running", None, Source.VAGRANT, access, directory=Path("/"))
    target = Machine("web", "x", "running", "192.0.2.5", Source.TARGET)
    assert asyncio.run(look(domain)).addresses == ("203.0.113.9", "192.0.2.7")
    assert asyncio.run(look(replace(domain, domain="off"))) == Sighting(is_off=True)
    assert asyncio.run(look(box)) == Sighting((), access)
    assert asyncio.run(look(target)) == Sighting()
    assert find_again.ASK_VAGRANT_EVERY > find_again.LOOK_EVERY
