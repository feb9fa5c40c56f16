"""A loopback forwarder: the relay's public port, opened in a browser of the machine itself.

Listens on 127.0.0.1 of the machine; each connection goes on from inside the lab's internet,
as a visitor's would. Half-close and reset pass in both directions.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from threading import Thread

from tests.lab import kernel

LOOPBACK = "127.0.0.1"
CONNECT_WITHIN = 5.0  # seconds; everything is on one machine
PIECE = 256 * 1024  # bytes read at once


@contextmanager
def forwarder(pid: int, target: tuple[str, int], port: int = 0) -> Iterator[int]:
    """Forward 127.0.0.1:`port` (0: any free one) to `target` as seen from process `pid`'s network.

    Yields the port. Connections that are open at the end of the block are reset.
    Raises OSError when the port is taken.
    """
    listener = socket.create_server((LOOPBACK, port))
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    work = _serve(listener, pid, target, stop)
    thread = Thread(target=lambda: loop.run_until_complete(work), name="forwarder", daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


async def _serve(
    listener: socket.socket, pid: int, target: tuple[str, int], stop: asyncio.Event
) -> None:
    """Accept until `stop`. One thread stays in the other network and makes the sockets."""
    loop = asyncio.get_running_loop()
    listener.setblocking(False)
    with listener, ThreadPoolExecutor(1, "netns", lambda: _enter_network(pid)) as there:
        async with asyncio.TaskGroup() as group:

            async def accept() -> None:
                while True:
                    visitor, _ = await loop.sock_accept(listener)
                    visitor.setblocking(False)
                    group.create_task(_forward(visitor, target, there))

            accepting = group.create_task(accept())
            await stop.wait()
            accepting.cancel()
            for task in asyncio.all_tasks():
                if task is not asyncio.current_task():
                    task.cancel()


def _enter_network(pid: int) -> None:
    fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    try:
        kernel.setns(fd, kernel.CLONE_NEWNET)
    finally:
        os.close(fd)


def _socket() -> socket.socket:
    outward = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    outward.setblocking(False)
    return outward


async def _forward(
    visitor: socket.socket, target: tuple[str, int], there: ThreadPoolExecutor
) -> None:
    """One connection from its first byte to both ends of stream."""
    loop = asyncio.get_running_loop()
    with visitor:
        outward = await loop.run_in_executor(there, _socket)
        with outward:
            _reset_on_close(visitor, True)  # unless both directions end in order
            try:
                async with asyncio.timeout(CONNECT_WITHIN):
                    await loop.sock_connect(outward, target)
                async with asyncio.TaskGroup() as group:
                    group.create_task(_pump(visitor, outward))
                    group.create_task(_pump(outward, visitor))
            except* OSError:  # TimeoutError is one
                _reset_on_close(outward, True)
            else:
                _reset_on_close(visitor, False)


async def _pump(source: socket.socket, sink: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    buffer = memoryview(bytearray(PIECE))
    while count := await loop.sock_recv_into(source, buffer):
        await loop.sock_sendall(sink, buffer[:count])
    sink.shutdown(socket.SHUT_WR)


def _reset_on_close(connection: socket.socket, reset: bool) -> None:
    """Have close() send RST instead of FIN (socket(7), SO_LINGER with a time of 0), or not."""
    with suppress(OSError):
        linger = struct.pack("ii", int(reset), 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
