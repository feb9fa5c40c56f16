"""Bytes both ways over a line of some length, with real sockets."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator

import pytest

from relay import join_line
from tests.loops import Factory, both_loops, run
from tests.tls_pair import tcp_pair
from tunnel.splice import reset_socket

Socket = socket.socket


@contextlib.asynccontextmanager
async def line(delay: float = 0.0) -> AsyncIterator[tuple[Socket, Socket, asyncio.Task[None]]]:
    """The visitor's and the answerer's ends of a line."""
    visitor, one = tcp_pair()
    answerer, other = tcp_pair()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(join_line.connect(one, other, delay))
        with visitor, answerer:
            yield visitor, answerer, task
            task.cancel()
    assert one.fileno() == other.fileno() == -1


@pytest.mark.parametrize("delay", [0.0, 0.05])
@both_loops
def test_both_ways_and_half_closed(delay: float, factory: Factory) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with line(delay) as (visitor, answerer, task):
            await loop.sock_sendall(visitor, b"ping")
            assert await loop.sock_recv(answerer, 100) == b"ping"
            visitor.shutdown(socket.SHUT_WR)
            assert await loop.sock_recv(answerer, 100) == b""
            await loop.sock_sendall(answerer, b"pong")
            assert await loop.sock_recv(visitor, 100) == b"pong"
            answerer.close()
            assert await loop.sock_recv(visitor, 100) == b""
            await task

    run(main, factory)


@both_loops
def test_what_follows_is_not_held_up_by_what_is_under_way(factory: Factory) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with line(0.2) as (visitor, answerer, _):
            began = loop.time()
            for number in range(5):
                await loop.sock_sendall(visitor, bytes([number]))
                await asyncio.sleep(0.02)
            received = b""
            while len(received) < 5:
                received += await loop.sock_recv(answerer, 100)
                assert loop.time() - began > 0.19
            assert received == bytes(range(5))
            assert loop.time() - began < 0.95  # five delays would be a second

    run(main, factory)


@pytest.mark.parametrize("which", [0, 1])
@both_loops
def test_a_reset_crosses(which: int, factory: Factory) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with line() as (*ends, task):
            reset_socket(ends[which])
            with pytest.raises(ConnectionResetError):
                await loop.sock_recv(ends[1 - which], 100)
            await task

    run(main, factory)


@both_loops
def test_a_visitor_who_stays_after_the_end_is_closed(
    monkeypatch: pytest.MonkeyPatch, factory: Factory
) -> None:
    monkeypatch.setattr(join_line, "LINGER", 0.1)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with line() as (visitor, answerer, task):
            await loop.sock_sendall(answerer, b"no")
            answerer.close()
            await task
            assert await loop.sock_recv(visitor, 100) == b"no"
            assert await loop.sock_recv(visitor, 100) == b""

    run(main, factory)


@both_loops
def test_nobody_sends_without_end(factory: Factory) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with line() as (visitor, answerer, task):
            async with asyncio.TaskGroup() as group:
                group.create_task(_drain(answerer))
                with pytest.raises(ConnectionError):
                    await loop.sock_sendall(visitor, os.urandom(4 << 20))
            await task

    async def _drain(sock: Socket) -> None:
        with contextlib.suppress(OSError):
            while await asyncio.get_running_loop().sock_recv(sock, 65_536):
                pass

    run(main, factory)


@both_loops
def test_it_does_not_last_for_ever(monkeypatch: pytest.MonkeyPatch, factory: Factory) -> None:
    monkeypatch.setattr(join_line, "LASTS", 0.1)

    async def main() -> None:
        async with line() as (_, __, task):
            await task

    run(main, factory)
