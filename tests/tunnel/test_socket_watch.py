from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable

import pytest

from tests.loops import Factory, both_loops, run
from tests.tls_pair import tcp_pair
from tunnel import turns
from tunnel.socket_watch import HANG_UP, QUIET, READABLE, WRITABLE, until_ready, watch_of


@both_loops
def test_events_are_told_as_they_are_asked_for(factory: Factory) -> None:
    async def main() -> None:
        watch = watch_of(asyncio.get_running_loop())
        ours, theirs = tcp_pair()
        told: asyncio.Queue[int] = asyncio.Queue()
        watch.add(ours, told.put_nowait, QUIET)
        theirs.send(b"x")
        await asyncio.sleep(0.01)  # for what must not happen
        assert told.empty()
        watch.change(ours, READABLE)  # what is there already is told
        assert await told.get() & READABLE
        watch.change(ours, WRITABLE)
        while not await told.get() & WRITABLE:
            pass
        watch.change(ours, HANG_UP)
        theirs.shutdown(socket.SHUT_WR)
        while not await told.get() & HANG_UP & ~QUIET:
            pass
        watch.remove(ours)
        watch.remove(ours)
        ours.close()
        theirs.close()

    run(main, factory)


@both_loops
def test_an_event_of_a_closed_socket_is_not_its_successors(factory: Factory) -> None:
    """Two sockets have events in one wake-up; the first callback replaces the second's socket."""

    async def main() -> None:
        watch = watch_of(asyncio.get_running_loop())
        pairs = [tcp_pair(), tcp_pair()]
        fresh: list[socket.socket] = []
        wrong: list[int] = []
        replaced = asyncio.Event()

        def replace(other: socket.socket) -> None:
            if fresh:
                return
            number = other.fileno()
            watch.remove(other)
            a, b = socket.socketpair()
            os.dup2(a.fileno(), number)  # as if the kernel had given the number out again
            other.detach()
            fresh.append(socket.socket(fileno=number))
            a.close()
            pairs.append((fresh[0], b))
            watch.add(fresh[0], wrong.append, READABLE)
            replaced.set()

        for (ours, _), (other, _) in zip(pairs, reversed(pairs), strict=True):
            watch.add(ours, lambda events, other=other: replace(other), READABLE)  # type: ignore[misc]  # a default binds the loop's variable
        for _, theirs in pairs:
            theirs.send(b"x")
        await replaced.wait()
        await asyncio.sleep(0.01)  # for what must not happen
        assert wrong == []
        for ours, theirs in pairs:
            if ours.fileno() >= 0:
                watch.remove(ours)
                ours.close()
            theirs.close()

    run(main, factory)


@both_loops
def test_a_watch_without_sockets_has_no_descriptor(factory: Factory) -> None:
    async def main() -> None:
        ours, theirs = tcp_pair()
        before = os.listdir("/proc/self/fd")
        for _ in range(3):
            watch = watch_of(asyncio.get_running_loop())
            watch.add(ours, lambda events: None, QUIET)
            watch.remove(ours)
        assert os.listdir("/proc/self/fd") == before
        ours.close()
        theirs.close()

    run(main, factory)


@both_loops
def test_a_watch_that_is_held_stays_until_it_is_let_go(factory: Factory) -> None:
    async def main() -> None:
        ours, theirs = tcp_pair()
        before = os.listdir("/proc/self/fd")
        watch = watch_of(asyncio.get_running_loop())
        watch.hold()
        watch.add(ours, lambda events: None, QUIET)
        watch.remove(ours)
        assert watch_of(asyncio.get_running_loop()) is watch
        theirs.send(b"x")
        await until_ready(ours, READABLE)  # it still tells
        watch.let_go()
        assert os.listdir("/proc/self/fd") == before
        ours.close()
        theirs.close()

    run(main, factory)


@both_loops
def test_waiting_for_a_socket_ends_with_its_event_or_when_cancelled(factory: Factory) -> None:
    async def main() -> None:
        ours, theirs = tcp_pair()
        before = os.listdir("/proc/self/fd")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                await until_ready(ours, READABLE)
        assert os.listdir("/proc/self/fd") == before
        asyncio.get_running_loop().call_soon(theirs.send, b"x")
        await until_ready(ours, READABLE)
        assert ours.recv(1) == b"x"
        assert os.listdir("/proc/self/fd") == before
        ours.close()
        theirs.close()

    run(main, factory)


class Crowd:
    """Sockets that are always readable, and the order in which they are told so."""

    def __init__(self, names: str, much: str) -> None:
        self.order: list[str] = []
        self._watch = watch_of(asyncio.get_running_loop())
        self._much = much
        self.pairs = {name: tcp_pair() for name in names}
        for name, (ours, theirs) in self.pairs.items():
            theirs.send(b"x")
            self._watch.add(ours, self._callback(name), READABLE)

    def _callback(self, name: str) -> Callable[[int], bool]:
        def on_events(events: int) -> bool:
            self.order.append(name)
            return name in self._much

        return on_events

    def wake_up(self) -> str:
        """Who is told at once."""
        before = len(self.order)
        self._watch._on_events()
        return "".join(self.order[before:])

    def close(self) -> None:
        for ours, theirs in self.pairs.values():
            self._watch.remove(ours)
            ours.close()
            theirs.close()


@pytest.mark.parametrize("short", [False, True])
def test_who_moved_little_comes_before_who_moved_much(
    monkeypatch: pytest.MonkeyPatch, short: bool
) -> None:
    monkeypatch.setattr(turns, "are_short", lambda: short)

    async def main() -> None:
        crowd = Crowd("DaEbF", much="DEF")
        while not set(crowd.order) >= set("DEF"):  # they have to be met before they are known
            crowd.wake_up()
        rounds = [crowd.wake_up() for _ in range(6)]
        crowd.close()
        assert all(set(told[:2]) == {"a", "b"} for told in rounds)
        bulk = "".join(told[2:] for told in rounds)
        assert len(bulk) == (6 if short else 18)  # one of them in a short turn
        for at in range(0, len(bulk), 3):
            assert set(bulk[at : at + 3]) == set("DEF")  # and each as often as the others

    run(main)


def test_what_is_told_once_is_not_put_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "are_short", lambda: True)

    async def main() -> None:
        crowd = Crowd("DE", much="DE")
        for _ in range(3):
            crowd.wake_up()
        last = crowd.order[-1]  # it would come last
        ours, theirs = crowd.pairs[last]
        crowd._watch.change(ours, HANG_UP)
        theirs.shutdown(socket.SHUT_WR)
        assert last in crowd.wake_up()
        crowd.close()

    run(main)


def test_who_is_not_known_to_move_much_is_not_put_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it is told may be told once."""
    monkeypatch.setattr(turns, "are_short", lambda: True)

    async def main() -> None:
        crowd = Crowd("DEa", much="DE")
        assert sorted(crowd.wake_up()) == sorted("DEa")
        crowd.close()

    run(main)
