"""Accepts connections for a test, so that none is lost when the test ends."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def accepting(
    listener: socket.socket, accepted: Callable[[socket.socket, str], None]
) -> Iterator[None]:
    """For the length of a block, and closes `listener` after it; `accepted(sock, address)` has to
    see to it that the socket is closed. A task that is cancelled in the moment when its
    loop.sock_accept() is done would leave the connection open."""
    loop = asyncio.get_running_loop()

    def accept() -> None:
        with contextlib.suppress(BlockingIOError):
            sock, place = listener.accept()
            sock.setblocking(False)
            accepted(sock, str(place[0]))

    listener.setblocking(False)
    loop.add_reader(listener, accept)
    try:
        yield
    finally:
        loop.remove_reader(listener)
        listener.close()
