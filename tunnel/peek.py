"""Reads the start of a connection without taking it (recv(2), MSG_PEEK; docs/protocol.md 3)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import TypeVar

from tunnel.clienthello import ClientHello, Incomplete, parse_client_hello
from tunnel.errors import LostError, RemoteProtocolError

HEAD_DEADLINE = 5.0  # seconds for a whole ClientHello or HTTP head
PRESSURE_PAUSE = 0.05  # seconds: the kernel may wake early when it is short of memory
_TCP_ESTABLISHED = 1  # the first byte of struct tcp_info, tcp(7)

T = TypeVar("T")


async def peek(sock: socket.socket, parse: Callable[[bytes], T | Incomplete], limit: int) -> T:
    """What `parse` makes of the first bytes, which stay in the kernel.

    `parse` gets all bytes that have arrived (at most `limit`) and says how many it needs.
    A partial arrival does not spin the loop: SO_RCVLOWAT waits for the rest, a FIN wakes
    all the same. Raises LostError when the peer ends or resets first; whatever `parse` raises
    passes. The caller sets the deadline.
    """
    needed = 1
    try:
        while True:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, needed)
            await _readable(sock)
            data = _peek_nowait(sock, limit)
            if len(data) >= needed:
                found = parse(data)
                if not isinstance(found, Incomplete):
                    return found
                if found.needed > limit:
                    raise RemoteProtocolError(f"more than {limit} bytes before the first request")
                needed = max(found.needed, len(data) + 1)
            elif data == b"" or not _is_established(sock):
                raise LostError("the connection ended before its first request was complete")
            else:
                await asyncio.sleep(PRESSURE_PAUSE)
    finally:
        if sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)


async def peek_client_hello(sock: socket.socket, limit: int) -> ClientHello:
    """The ClientHello that `sock` begins with; see `peek`."""
    return await peek(sock, parse_client_hello, limit)


def _peek_nowait(sock: socket.socket, limit: int) -> bytes:
    try:
        return sock.recv(limit, socket.MSG_PEEK)
    except BlockingIOError:
        raise LostError("the connection was woken for nothing") from None
    except OSError as error:
        raise LostError(f"the connection was lost: {error.strerror}") from error


def _is_established(sock: socket.socket) -> bool:
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_ESTABLISHED


async def _readable(sock: socket.socket) -> None:
    """Wait until `sock` has SO_RCVLOWAT bytes, an end of stream or an error."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        loop.remove_reader(sock)
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(sock, wake)
    try:
        await ready
    finally:
        loop.remove_reader(sock)
