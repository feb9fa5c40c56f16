import asyncio
import contextlib
import errno
import os
import resource
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import TypeAlias

import pytest
import uvloop

from tunnel import splice, turns
from tunnel.socket_watch import SocketWatch
from tunnel.splice import PipePool, Totals, splice_sockets

MEGABYTE = 1 << 20


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected TCP sockets, non-blocking."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    one.setblocking(False)
    other.setblocking(False)
    return one, other


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


Spliced: TypeAlias = tuple[socket.socket, socket.socket, asyncio.Task[Totals]]
Run: TypeAlias = Callable[[Callable[[], Coroutine[None, None, None]]], None]


@contextlib.asynccontextmanager
async def spliced() -> AsyncIterator[Spliced]:
    """Two far ends whose near ends are spliced, and the task that does it."""
    left, a = pair()
    right, b = pair()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(splice_sockets(a, b))
        with left, right:
            yield left, right, task


async def receive_all(sock: socket.socket) -> bytes:
    loop, data = asyncio.get_running_loop(), bytearray()
    while part := await loop.sock_recv(sock, MEGABYTE):
        data += part
    return bytes(data)


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    def runner(main: Callable[[], Coroutine[None, None, None]]) -> None:
        factory = uvloop.new_event_loop if request.param == "uvloop" else None
        with asyncio.Runner(loop_factory=factory) as loop:
            loop.run(asyncio.wait_for(main(), 20))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(asyncio.sleep(0))  # the first loop opens a descriptor that libuv keeps
    before = set(os.listdir("/proc/self/fd"))
    yield runner
    splice.PIPES.close_idle()
    assert set(os.listdir("/proc/self/fd")) == before


def test_bytes_cross_both_ways_and_are_counted(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        forth, back = os.urandom(5 * MEGABYTE + 3), os.urandom(3 * MEGABYTE + 1)
        async with spliced() as (left, right, task), asyncio.TaskGroup() as group:

            async def send(sock: socket.socket, data: bytes) -> None:
                await loop.sock_sendall(sock, data)
                sock.shutdown(socket.SHUT_WR)

            group.create_task(send(left, forth))
            group.create_task(send(right, back))
            at_left = group.create_task(receive_all(left))
            at_right = group.create_task(receive_all(right))
            assert await at_right == forth
            assert await at_left == back
            totals = await task
            assert (totals.a_to_b, totals.b_to_a, totals.error) == (len(forth), len(back), None)

    run(main)


def test_half_close_leaves_the_other_direction_open(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with spliced() as (left, right, task):
            await loop.sock_sendall(left, b"question")
            left.shutdown(socket.SHUT_WR)
            assert await receive_all(right) == b"question"
            for _ in range(3):
                await loop.sock_sendall(right, b"answer")
                assert await loop.sock_recv(left, 100) == b"answer"
            assert not task.done()
            right.shutdown(socket.SHUT_WR)
            assert await loop.sock_recv(left, 100) == b""
            await task

    run(main)


def test_a_reset_crosses_as_a_reset(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with spliced() as (left, right, task):
            await loop.sock_sendall(left, b"x")
            assert await loop.sock_recv(right, 10) == b"x"
            reset(left)
            with pytest.raises(ConnectionResetError):
                await loop.sock_recv(right, 10)
            error = (await task).error
            assert error is not None
            assert error.errno == errno.ECONNRESET

    run(main)


def test_a_reset_after_half_close_is_noticed(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with spliced() as (left, right, task):
            left.shutdown(socket.SHUT_WR)
            assert await loop.sock_recv(right, 10) == b""
            reset(left)  # nobody reads or writes that socket at this moment
            assert (await task).error is not None
            with pytest.raises(BrokenPipeError):  # what a reset after FIN looks like (tcp(7))
                right.send(b"x")

    run(main)


def test_one_that_is_cut_from_here_takes_the_other_with_it(run: Run) -> None:
    """Neither peer may be there to answer: a NAT has forgotten them both."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        left, a = pair()
        right, b = pair()
        with left, right:
            task = asyncio.create_task(splice_sockets(a, b))
            await loop.sock_sendall(left, b"x")
            assert await loop.sock_recv(right, 10) == b"x"
            a.shutdown(socket.SHUT_RDWR)
            error = (await task).error
            assert error is not None
            assert error.errno == errno.ECONNABORTED
            assert a.fileno() == b.fileno() == -1
            with pytest.raises(ConnectionResetError):
                await loop.sock_recv(right, 10)

    run(main)


def test_a_slow_reader_stops_the_writer_and_costs_no_cpu(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with spliced() as (left, right, task):
            sent = 0
            idle = 0
            while idle < 20:  # until nothing has been taken for a fifth of a second
                try:
                    sent += left.send(bytes(MEGABYTE))
                    idle = 0
                except BlockingIOError:
                    idle += 1
                await asyncio.sleep(0.01)
            assert sent < 32 * MEGABYTE  # socket buffers and one pipe
            before = resource.getrusage(resource.RUSAGE_SELF)
            await asyncio.sleep(0.3)
            after = resource.getrusage(resource.RUSAGE_SELF)
            assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.1
            left.shutdown(socket.SHUT_WR)
            assert len(await receive_all(right)) == sent
            right.close()
            await task
            assert loop is asyncio.get_running_loop()

    run(main)


def test_a_socket_whose_both_directions_ended_is_told_of_once_while_its_bytes_wait(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its hang-up can't be left out of what is waited for (epoll_ctl(2))."""
    calls = [0]
    real = SocketWatch._on_events

    def counting(watch: SocketWatch) -> None:
        calls[0] += 1
        real(watch)

    monkeypatch.setattr(SocketWatch, "_on_events", counting)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        left, a = pair()
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as right:
            for sock in (listener, right):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
            right.connect(listener.getsockname())
            right.setblocking(False)
            b, _ = listener.accept()
            b.setblocking(False)
            b.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
            a.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 3 * MEGABYTE)
            async with asyncio.TaskGroup() as group:
                task = group.create_task(splice_sockets(a, b))
                await asyncio.sleep(0)
                right.shutdown(socket.SHUT_WR)
                assert await receive_all(left) == b""
                await loop.sock_sendall(left, bytes(1_800_000))
                left.shutdown(socket.SHUT_WR)
                await asyncio.sleep(0.05)
                before = calls[0]
                await asyncio.sleep(0.1)
                assert calls[0] - before < 5
                assert len(await receive_all(right)) == 1_800_000
                assert (await task).error is None
        left.close()

    run(main)


def test_cancelled_resets_both(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        left, a = pair()
        right, b = pair()
        with left, right:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await splice_sockets(a, b)
            for sock in (left, right):
                with pytest.raises(ConnectionResetError):
                    await loop.sock_recv(sock, 10)

    run(main)


def test_without_pipes_bytes_go_through_user_space(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = PipePool()
    pool.limit = 0
    monkeypatch.setattr(splice, "PIPES", pool)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        data = os.urandom(2 * MEGABYTE)
        async with spliced() as (left, right, task), asyncio.TaskGroup() as group:
            group.create_task(loop.sock_sendall(left, data))
            received = b""
            while len(received) < len(data):
                received += await loop.sock_recv(right, MEGABYTE)
            assert received == data
            left.close()
            right.close()
            await task

    run(main)


def test_pipes_are_given_back_when_idle(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        splice.PIPES.close_idle()
        count = len(os.listdir("/proc/self/fd"))
        async with contextlib.AsyncExitStack() as stack:
            ends = [await stack.enter_async_context(spliced()) for _ in range(20)]
            for left, right, _ in ends:
                await loop.sock_sendall(left, b"ping")
                assert await loop.sock_recv(right, 10) == b"ping"
            # 4 sockets a stream, one epoll, and one pipe for all of them
            assert len(os.listdir("/proc/self/fd")) - count <= 20 * 4 + 1 + 2 + 2
            for left, right, _ in ends:
                left.close()
                right.close()

    run(main)


def test_a_pool_makes_few_large_pipes() -> None:
    pool = PipePool()
    pipes = [pool.take() for _ in range(splice.MAX_BIG_PIPES + 3)]
    assert sum(getattr(pipe, "big", False) for pipe in pipes) <= splice.MAX_BIG_PIPES
    for pipe in pipes:
        pipe.release()
    pool.close_idle()


def test_a_filling_is_small_while_turns_are_short(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    short = False
    monkeypatch.setattr(turns, "are_short", lambda: short)
    monkeypatch.setattr(turns.Pace, "received", lambda self, size: sizes.append(size))

    async def main() -> None:
        nonlocal short
        loop = asyncio.get_running_loop()
        async with spliced() as (left, right, _), asyncio.TaskGroup() as group:
            for short in (False, True):
                sizes.clear()
                sending = group.create_task(loop.sock_sendall(left, bytes(4 * MEGABYTE)))
                got = 0
                while got < 4 * MEGABYTE:
                    got += len(await loop.sock_recv(right, MEGABYTE))
                await sending
                assert (max(sizes) <= splice.SHORT_FILLING) == short
            left.close()
            right.close()

    run(main)
