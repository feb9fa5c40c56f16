"""What leaves through a socket, with a peer that reads when it is told to."""

from __future__ import annotations

import asyncio
import socket

from tests.loops import Factory, both_loops, run
from tests.tls_pair import tcp_pair
from tunnel.send_queue import SendQueue


@both_loops
def test_what_the_kernel_does_not_take_follows_in_order(factory: Factory) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = tcp_pair(16_384)
        moved, failed = [0], list[OSError]()
        queue = SendQueue(ours, lambda: moved.append(len(queue.pending)), failed.append)
        scratch = bytearray(b"a" * 500_000)
        queue.send(scratch)
        scratch[:] = b"x" * len(scratch)  # the caller's buffer is its own again
        assert queue.pending
        queue.send(b"b" * 1000)
        got = b""
        while len(got) < 501_000:
            got += await loop.sock_recv(theirs, 65_536)
        assert got == b"a" * 500_000 + b"b" * 1000
        assert moved[-1] == 0
        assert not failed
        queue.stop()
        ours.close()
        theirs.close()

    run(main, factory)


@both_loops
def test_a_failure_is_told_after_the_call(factory: Factory) -> None:
    async def main() -> None:
        ours, theirs = tcp_pair()
        failed = asyncio.Event()
        queue = SendQueue(ours, lambda: None, lambda error: failed.set())
        ours.shutdown(socket.SHUT_WR)
        queue.send(b"x")
        assert not failed.is_set()
        await failed.wait()
        queue.stop()
        ours.close()
        theirs.close()

    run(main, factory)


@both_loops
def test_stopped_it_keeps_and_watches_nothing(factory: Factory) -> None:
    async def main() -> None:
        ours, theirs = tcp_pair(16_384)
        calls = list[OSError | None]()
        queue = SendQueue(ours, lambda: calls.append(None), calls.append)
        queue.send(bytes(500_000))
        queue.stop()
        ours.close()
        assert not queue.pending
        theirs.close()
        await asyncio.sleep(0.01)  # for what must not happen
        assert calls == []

    run(main, factory)


@both_loops
def test_parts_follow_each_other_wherever_the_kernel_stops(factory: Factory) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = tcp_pair(16_384)
        queue = SendQueue(ours, lambda: None, lambda error: None)
        parts = [bytes([number]) * (1 + 997 * number) for number in range(40)]
        expected = b""
        for _ in range(4):  # at once, in part, and behind what is pending
            queue.send_all(parts)
            expected += b"".join(parts)
        assert queue.pending
        got = b""
        while len(got) < len(expected):
            got += await loop.sock_recv(theirs, 65_536)
        assert got == expected
        queue.stop()
        ours.shutdown(socket.SHUT_WR)
        failed = asyncio.Event()
        queue = SendQueue(ours, lambda: None, lambda error: failed.set())
        queue.send_all(parts)
        assert not failed.is_set()
        await failed.wait()
        ours.close()
        theirs.close()

    run(main, factory)
