"""SocketEnd by itself: what tests of whole streams would only meet by chance."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from tests.loops import Factory, both_loops, run, until
from tests.tls_pair import tcp_pair
from tunnel.codes import Code
from tunnel.ends import Bytes, Sink
from tunnel.socket_end import SocketEnd
from tunnel.socket_watch import watch_of
from tunnel.turns import SHORT

RESET = struct.pack("ii", 1, 0)


class Keeper(Sink):
    """A peer that keeps what it gets and knows when it was reset."""

    def __init__(self) -> None:
        super().__init__(limit=1 << 20)
        self.was_reset: Code | None = None

    def reset(self, code: Code) -> None:
        self.was_reset = code
        super().reset(code)


@both_loops
def test_data_and_a_reset_in_one_wake_up(factory: Factory) -> None:
    """libuv tells a reader once of both, and never again: it must not read the data alone."""

    async def main() -> None:
        ours, theirs = tcp_pair()
        end, keeper = SocketEnd(ours), Keeper()
        theirs.send(b"last words")
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        theirs.close()  # both are there before the loop looks
        keeper.peer = end
        end.link(keeper)
        assert await asyncio.shield(end.finished) is Code.CONNECTION_RESET
        assert bytes(keeper.data) == b"last words"
        assert keeper.was_reset is Code.CONNECTION_RESET

    run(main, factory)


@both_loops
def test_more_than_one_read_before_a_reset(factory: Factory) -> None:
    async def main() -> None:
        ours, theirs = tcp_pair()
        sent = 0
        try:
            while sent < 1 << 20:
                sent += theirs.send(bytes(65_536))
        except BlockingIOError:
            pass
        await asyncio.sleep(0.05)  # the kernel moves what its buffers take; nothing announces it
        end, keeper = SocketEnd(ours), Keeper()
        keeper.peer = end
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        theirs.close()
        end.link(keeper)
        assert await asyncio.shield(end.finished) is Code.CONNECTION_RESET
        assert keeper.was_reset is Code.CONNECTION_RESET

    run(main, factory)


def test_a_peer_that_resets_from_within_a_delivery() -> None:
    """The end is closed while it delivers: it must not touch its socket afterwards."""

    class Refuser(Keeper):
        def send(self, data: Bytes) -> None:
            self.peer.reset(Code.CLOSED)

    async def main() -> None:
        ours, theirs = tcp_pair()
        end, refuser = SocketEnd(ours), Refuser()
        refuser.peer = end
        theirs.send(b"hello")
        end.link(refuser)
        assert await asyncio.shield(end.finished) is Code.CLOSED
        theirs.close()

    run(main)


@both_loops
def test_a_reset_while_paused_waits_without_waking_anybody(factory: Factory) -> None:
    async def main() -> None:
        ours, theirs = tcp_pair()
        end, keeper = SocketEnd(ours), Keeper()
        keeper.peer = end
        end.link(keeper)
        end.pause_reading()
        theirs.send(b"last words")
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        theirs.close()
        watch, woken = watch_of(asyncio.get_running_loop()), 0

        def wake(events: int) -> None:
            nonlocal woken
            woken += 1
            end._on_events(events)

        watch._callbacks[ours.fileno()] = wake  # in place of the end's own
        await asyncio.sleep(0.02)  # for what must not happen
        assert woken <= 2  # the end and the error, once each
        assert not end.finished.done()
        end.resume_reading()
        assert await asyncio.shield(end.finished) is Code.CONNECTION_RESET
        assert bytes(keeper.data) == b"last words"

    run(main, factory)


def test_reads_are_small_while_turns_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunnel.socket_end.are_short", lambda: True)
    sizes: list[int] = []

    class Measuring(Sink):
        def send(self, data: Bytes) -> None:
            sizes.append(len(data))

    async def main() -> None:
        ours, theirs = tcp_pair()
        end = SocketEnd(ours)
        end.link(Measuring())
        for number in range(1, 5):  # the kernel's buffers grow
            await asyncio.get_running_loop().sock_sendall(theirs, bytes(SHORT * 8))
            await until(lambda number=number: sum(sizes) == number * SHORT * 8)  # type: ignore[misc]  # a default binds the loop's variable
        assert max(sizes) <= SHORT
        end.reset(Code.CLOSED)
        theirs.close()

    run(main)
