"""The line between who joins and who answers him: a share, or a decoy (docs/protocol.md 3).

Both are moved by this code, so that a name which is shared and one which is not look alike:
a decoy's line is as long as the way to a real share. Joining is a few short messages, so
splicing in the kernel would gain nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Callable
from typing import TypeAlias

from tunnel import join
from tunnel.splice import reset_socket

READ = 4 * 1024  # bytes per read
MAX_BYTES = 64 * 1024  # in one direction; a join is under 10 KiB, TLS included
MAX_UNDER_WAY = 16  # reads that wait for their time at the other end
LINGER = 2.0  # seconds that a visitor may stay once the answer has ended
LASTS = join.JOIN_TIMEOUT + join.APPROVAL_WITHIN + 10.0  # seconds; the share ends it before

Count: TypeAlias = Callable[[int, int], None]  # bytes more: received by the visitor, sent by him


async def connect(
    visitor: socket.socket,
    answerer: socket.socket,
    delay: float = 0.0,
    count: Count = lambda received, sent: None,
) -> None:
    """Move bytes both ways, each `delay` seconds later, until the answerer has ended. `count` is
    told of those that were passed on.

    Closes both sockets; what cuts it short on one side resets the other.
    """
    clean = False
    try:
        async with asyncio.timeout(LASTS), asyncio.TaskGroup() as group:
            up = group.create_task(
                _carry(visitor, answerer, delay, lambda size: count(0, size)), name="join, up"
            )
            down = group.create_task(
                _carry(answerer, visitor, delay, lambda size: count(size, 0)), name="join, down"
            )
            await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
            if up.done() and up.result() is None:  # half-closed: the answer may still come
                await asyncio.wait((down,))
            if down.done() and down.result() is None:
                await asyncio.wait((up,), timeout=LINGER)
                clean = not up.done() or up.result() is None
            up.cancel()
            down.cancel()
    except TimeoutError:
        pass
    finally:
        for sock in (visitor, answerer):
            if clean:
                sock.close()
            else:
                reset_socket(sock)


async def _carry(
    source: socket.socket, target: socket.socket, delay: float, passed: Callable[[int], None]
) -> OSError | None:
    """One direction, until its end was passed on; what cut it short is the result."""
    loop = asyncio.get_running_loop()
    # Read with the time at which it is due: what is under way does not hold up what follows.
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(MAX_UNDER_WAY)

    async def deliver() -> OSError | None:
        while True:
            due, data = await under_way.get()
            await _sleep_until(due)
            try:
                if not data:
                    target.shutdown(socket.SHUT_WR)
                    return None
                await loop.sock_sendall(target, data)
                passed(len(data))
            except OSError as error:
                return error

    async with asyncio.TaskGroup() as group:
        delivering = group.create_task(deliver(), name="delivery")
        try:
            await _collect(source, under_way, delay, delivering)
        except OSError as error:
            await _sleep_until(loop.time() + delay)
            delivering.cancel()
            return error
    return delivering.result()


async def _collect(
    source: socket.socket,
    under_way: asyncio.Queue[tuple[float, bytes]],
    delay: float,
    delivering: asyncio.Task[OSError | None],
) -> None:
    """Read until the end. Raises OSError."""
    loop = asyncio.get_running_loop()
    total = 0
    while not delivering.done():
        data = await loop.sock_recv(source, READ)
        total += len(data)
        if total > MAX_BYTES:
            raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
        await under_way.put((loop.time() + delay, data))
        if not data:
            return


async def _sleep_until(due: float) -> None:
    left = due - asyncio.get_running_loop().time()
    if left > 0:
        with contextlib.suppress(TimeoutError):
            await asyncio.sleep(left)
