from __future__ import annotations

import asyncio
import socket

import pytest

from tests.loops import Factory, both_loops, run
from tests.tls_pair import tcp_pair, tls_pair
from tunnel.codes import Code
from tunnel.ends import Sink, bridge
from tunnel.errors import LostError, RemoteProtocolError
from tunnel.socket_end import SocketEnd
from tunnel.tls_messages import MAX_MESSAGE, TlsMessages


@both_loops
def test_two_sockets_bridged(factory: Factory) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        (left, a), (right, b) = tcp_pair(65_536), tcp_pair(65_536)
        with left, right:
            async with asyncio.TaskGroup() as group:
                one, two = SocketEnd(a), SocketEnd(b)
                task = group.create_task(bridge(one, two))
                sending = group.create_task(loop.sock_sendall(left, bytes(5_000_000)))
                await asyncio.sleep(0.05)  # nobody reads: it must stop
                assert not sending.done()
                assert len(two._queue.pending) <= 256 * 1024
                got = 0
                while got < 5_000_000:
                    got += len(await loop.sock_recv(right, 1 << 20))
                left.shutdown(socket.SHUT_WR)
                assert await loop.sock_recv(right, 1) == b""
                await loop.sock_sendall(right, b"answer")
                right.shutdown(socket.SHUT_WR)
                assert await loop.sock_recv(left, 10) == b"answer"
                assert await task is None
            assert (one.bytes_sent, two.bytes_sent) == (6, 5_000_000)
            for action in (one.send_eof, one.pause_reading, one.resume_reading):
                action()  # harmless when over
            one.send(b"x")
            one.reset(Code.CLOSED)
            assert a.fileno() == b.fileno() == -1

    run(main, factory)


@both_loops
def test_cancelled_resets_both(factory: Factory) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        (left, a), (right, b) = tcp_pair(), tcp_pair()
        with left, right:
            async with asyncio.TaskGroup() as group:
                task = group.create_task(bridge(SocketEnd(a), SocketEnd(b)))
                await asyncio.sleep(0)
                task.cancel()
            for sock in (left, right):
                with pytest.raises(ConnectionResetError):
                    await loop.sock_recv(sock, 1)

    run(main, factory)


def test_a_sink_keeps_up_to_its_limit() -> None:
    async def main() -> None:
        sink = Sink(5)
        sink.send(b"123")
        sink.send(b"4567")
        sink.send(b"8")
        assert bytes(sink.data) == b"12345"
        sink.send_eof()
        sink.reset(Code.LOST)
        assert await sink.finished is None

    run(main)


def test_messages_over_tls() -> None:
    async def main() -> None:
        ours, theirs = map(TlsMessages, await tls_pair())
        for message in (b"", b"one", bytes(MAX_MESSAGE), b"last"):
            ours.send(message)
        ours.close()
        assert [len(await theirs.receive()) for _ in range(4)] == [0, 3, MAX_MESSAGE, 4]
        for _ in range(2):
            with pytest.raises(LostError):
                await theirs.receive()

    run(main)


def test_a_message_that_is_too_long() -> None:
    async def main() -> None:
        ours, theirs = map(TlsMessages, await tls_pair())
        ours.send(bytes(MAX_MESSAGE + 1))
        with pytest.raises(RemoteProtocolError, match="at most 8192"):
            await theirs.receive()
        ours.close()
        theirs.close()

    run(main)
