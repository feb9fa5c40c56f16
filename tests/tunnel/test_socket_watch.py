from __future__ import annotations

import asyncio
import contextlib
import os
import socket

from tests.loops import Factory, both_loops, run
from tests.tls_pair import tcp_pair
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
