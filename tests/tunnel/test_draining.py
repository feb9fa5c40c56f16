"""What programs sent before they closed arrives, although the client ends."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from tests.loops import Factory, both_loops, run, until
from tests.share_pair import Pair, share_pair, socket_to
from tests.tunnel.test_resumable_end import held, pattern
from tunnel import draining
from tunnel.client import Client
from tunnel.resumable_end import Phase

DATA = pattern(5_000_000)  # more than all buffers on the way hold, but for the program's own socket


@contextlib.asynccontextmanager
async def slow_machine() -> AsyncIterator[socket.socket]:
    """A listener. Nobody reads from what it accepts."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener


async def sent(client: Client, listener: socket.socket, data: bytes = DATA) -> socket.socket:
    """A program has sent `data` and is gone; the machine's end of it, of which nothing is read."""
    loop = asyncio.get_running_loop()
    program, task = await socket_to(client, listener.getsockname()[1])
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    accepted, _ = await loop.sock_accept(listener)
    await loop.sock_sendall(program, data)
    program.close()
    return accepted


async def read(sock: socket.socket, size: int) -> bytes:
    """So many bytes, or less if they end. Raises ConnectionResetError."""
    loop, got = asyncio.get_running_loop(), bytearray()
    while len(got) < size and (piece := await loop.sock_recv(sock, size - len(got))):
        got += piece
    return bytes(got)


async def let_go(pair: Pair) -> None:
    """The guest is gone; its streams are not waited for."""
    pair.streams.end_all()
    await until(lambda: not pair.streams._open)


@both_loops
def test_what_a_program_sent_before_it_closed_arrives(
    factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read in part while it is waited for, and the rest when the client is gone."""
    monkeypatch.setattr(draining, "SLOW_AFTER", 0.0)
    told: list[int] = []

    async def main() -> None:
        async with share_pair() as pair, slow_machine() as listener, pair.client() as client:
            await client.ready()
            with await sent(client, listener) as sock:
                async with asyncio.TaskGroup() as group:
                    leaving = group.create_task(client.drain(10, told.append))
                    await until(lambda: told)
                    got = await read(sock, len(DATA) - 300_000)
                    assert await leaving == 0
                assert told == [1]
                client.pool.close()
                await until(lambda: held(pair)[0].phase is Phase.DETACHED)
                got += await read(sock, len(DATA))  # to its end, which is no reset
                assert got == DATA
                await let_go(pair)

    run(main, factory)


@pytest.mark.parametrize("within", [0.0, 0.1])
def test_a_machine_that_reads_nothing_is_not_waited_for_long(
    within: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told also where the time is over before there was any."""
    monkeypatch.setattr(draining, "SLOW_AFTER", 0.0)
    told: list[int] = []

    async def main() -> None:
        async with share_pair() as pair, slow_machine() as listener:
            async with pair.client() as client:
                await client.ready()
                sock = await sent(client, listener)
                assert await client.drain(within, told.append) == 1
                assert told == [1]
            await let_go(pair)
            with sock, contextlib.suppress(ConnectionResetError):
                assert await read(sock, len(DATA)) == DATA  # no less

    run(main)


def test_programs_that_go_on_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "SLOW_AFTER", 0.0)
    told: list[int] = []

    async def main() -> None:
        async with share_pair() as pair, slow_machine() as listener, pair.client() as client:
            loop = asyncio.get_running_loop()
            await client.ready()
            program, task = await socket_to(client, listener.getsockname()[1])
            with program:
                accepted, _ = await loop.sock_accept(listener)
                with accepted:
                    await loop.sock_sendall(program, b"said, and more may come")
                    assert await client.drain(10, told.append) == 0
                    assert not told
                    (stream,) = client._resumable
                    assert stream.phase is Phase.ATTACHED
                    task.cancel()
                    await asyncio.wait([task])

    run(main)
