"""What leaves through a non-blocking socket: at once if the kernel takes it, else when it does.

Both kinds of ends send through this (tunnel/socket_end.py, tunnel/tls_socket.py). It is
bounded by its user, who stops when `pending` is not empty.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from tunnel.ends import Bytes


class SendQueue:
    """Sends over `sock`, which stays its user's.

    `moved` is called when some of what was pending has left, from the event loop; so is
    `failed`, once or more often, never from within `send`.
    """

    def __init__(
        self,
        sock: socket.socket,
        moved: Callable[[], None],
        failed: Callable[[OSError], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._moved = moved
        self._failed = failed
        self.pending = bytearray()

    def send(self, data: Bytes) -> None:
        """Take all of `data`, which the caller may reuse at once."""
        if self.pending:
            self.pending += data
            return
        try:
            sent = self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            # Not from within the user's call: nothing that it holds changes under its hands.
            self._loop.call_soon(self._failed, error)
            return
        if sent < len(data):
            self.pending += memoryview(data)[sent:]
            self._loop.add_writer(self._sock, self._on_writable)

    def send_all(self, parts: list[bytes]) -> None:
        """The same for several, by one system call."""
        sent = 0
        if not self.pending:
            try:
                sent = self._sock.sendmsg(parts)
            except (BlockingIOError, InterruptedError):
                pass
            except OSError as error:
                self._loop.call_soon(self._failed, error)
                return
            if sent == sum(map(len, parts)):
                return
            self._loop.add_writer(self._sock, self._on_writable)
        for part in parts:
            self.pending += memoryview(part)[sent:]
            sent = max(0, sent - len(part))

    def stop(self) -> None:
        """Drop what is pending, tell nobody anything any more; before the socket is closed."""
        if self.pending:
            self._loop.remove_writer(self._sock)
            self.pending.clear()
        self._moved, self._failed = _nobody_moves, _nobody_fails  # no cycle is left behind

    def _on_writable(self) -> None:
        try:
            sent = self._sock.send(self.pending)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._failed(error)
            return
        del self.pending[:sent]
        if not self.pending:
            self._loop.remove_writer(self._sock)
        self._moved()


def _nobody_moves() -> None:
    """Its user has stopped the queue."""


def _nobody_fails(error: OSError) -> None:
    """Its user has stopped the queue."""
