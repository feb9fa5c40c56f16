"""Accepting connections of programs on this host, also when the process is out of descriptors."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket

from tunnel.socket_watch import READABLE, until_ready

PAUSE = 0.1  # seconds; out of file descriptors: let some connections end first
OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

log = logging.getLogger(__name__)


async def accept(listener: socket.socket, what: str) -> tuple[socket.socket, tuple[str, int]]:
    """The next connection to `listener` (both not blocking), and where it comes from.

    `what` names the listener in the log. Errors that are of the one connection that was lost
    (accept(2), "Error handling") are passed over.
    """
    while True:
        try:
            sock, source = listener.accept()
            sock.setblocking(False)
            return sock, source
        except BlockingIOError:
            await until_ready(listener, READABLE)
        except OSError as error:
            if error.errno in OUT_OF_RESOURCES:
                log.warning("cannot accept %s: %s", what, error.strerror)
                await asyncio.sleep(PAUSE)
