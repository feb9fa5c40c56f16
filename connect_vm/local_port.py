"""A port of this host's loopback that leads to a port of the shared machine.

Any program of this host can use it, as it can use the SOCKS address: with this guest's rights.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import struct
from collections.abc import Iterator

from connect_vm.accepting import accept
from connect_vm.opener import Opener
from tunnel.address import parse_port
from tunnel.dialler import reason_of, tune
from tunnel.ends import bridge
from tunnel.errors import UsageError, VshareError
from tunnel.socket_end import SocketEnd

MAX_CONNECTIONS = 256  # to one port; more wait in the backlog
BACKLOG = 128  # a browser opens six at once, a load generator hundreds
UNPRIVILEGED = 1_024  # ports from here on are everybody's (ip(7))
INSTEAD = 8_000  # added to ports below: 8080 for 80, 8443 for 443
TRIED = 100  # ports, from the one that was wanted on
_NO_IPV6 = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends a reset (socket(7))

log = logging.getLogger(__name__)


def parse_map(text: str) -> tuple[int, int]:
    """`3000:8000`: a port of the machine's, and the local one for it. Raises UsageError."""
    port, colon, local = text.partition(":")
    if not colon:
        raise UsageError(f"not PORT:LOCAL: {text[:60]!r}", "the machine's port, then the local one")
    return parse_port(port), parse_port(local)


def listen_on(port: int) -> list[socket.socket]:
    """Listeners at `port` of `localhost`, of both families where there are both: programs try one
    after the other, and must not find somebody else there. Raises OSError."""
    listeners = [_listen(socket.AF_INET, "127.0.0.1", port)]
    try:
        listeners.append(_listen(socket.AF_INET6, "::1", listeners[0].getsockname()[1]))
    except OSError as error:
        if error.errno not in _NO_IPV6:
            listeners[0].close()
            raise
    return listeners


def listen_near(port: int) -> list[socket.socket]:
    """Listeners at `port`, or at the next that is free, or at any. Raises UsageError."""
    for candidate in _candidates(port):
        try:
            return listen_on(candidate)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                break
    return listen_at(0)


def listen_at(port: int) -> list[socket.socket]:
    """Listeners at `port` and no other. Raises UsageError."""
    try:
        return listen_on(port)
    except OSError as error:
        raise UsageError(
            f"the local port {port or 'for it'} cannot be had: {reason_of(error)}",
            "choose another one",
        ) from error


def _candidates(port: int) -> Iterator[int]:
    yield port
    first = port + 1 if port >= UNPRIVILEGED else port + INSTEAD
    yield from range(first, min(first + TRIED, 65_536))


def _listen(family: int, host: str, port: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        tune(listener)  # what is accepted inherits it
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


async def serve_port(listeners: list[socket.socket], opener: Opener, port: int) -> None:
    """Carry what connects to `listeners` (their owner's) to `port` of the machine, until cancelled;
    all that is open is then reset."""
    free = asyncio.Semaphore(MAX_CONNECTIONS)
    async with asyncio.TaskGroup() as connections:

        async def serve(listener: socket.socket) -> None:
            while True:
                await free.acquire()
                sock, _ = await accept(listener, f"a connection for port {port}")
                task = connections.create_task(_carry(sock, opener, port), name="local port")

                def done(_: asyncio.Task[None], sock: socket.socket = sock) -> None:
                    sock.close()  # for one that was cancelled before it began
                    free.release()

                task.add_done_callback(done)

        for listener in listeners:
            connections.create_task(serve(listener), name="local port")


async def _carry(sock: socket.socket, opener: Opener, port: int) -> None:
    try:
        stream = await opener.open("", port)
    except VshareError as error:
        log.info("port %d: %s", port, error.text)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        return
    try:
        await bridge(SocketEnd(sock), stream)
    except OSError as error:
        log.debug("a program is gone: %s", error)
