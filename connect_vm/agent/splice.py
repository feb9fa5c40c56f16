"""Two sockets joined: bytes move from one to the other inside the kernel (splice(2)).

Half-close crosses, a reset crosses as a reset (tcp(7), SO_LINGER 0). A pipe is held only
while bytes are in it, so idle streams cost two descriptors.
"""

import fcntl
import os
import socket
import struct
from collections.abc import Callable

from .loop import ERR, Loop

PIPE_SIZE = 256 * 1024  # bytes; more does not help through one emulated NIC
MAX_SPARE_PIPES = 16
TURN = 8  # splices before another stream has its turn
_F_SETPIPE_SZ = 1031  # fcntl(2); not in Python 3.11's fcntl on every build
_MOVE = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

Pipe = tuple[int, int]


class PipePool:
    """Empty pipes for whoever moves bytes."""

    def __init__(self) -> None:
        self._spare: list[Pipe] = []

    def take(self) -> Pipe:
        """An empty pipe. Raises OSError when there are no descriptors."""
        if self._spare:
            return self._spare.pop()
        read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.fcntl(write, _F_SETPIPE_SZ, PIPE_SIZE)
        except OSError:
            pass  # 64 KiB do as well, only slower
        return read, write

    def give(self, pipe: Pipe, empty: bool) -> None:
        """Take a pipe back; one with bytes in it, or one too many, is closed."""
        if empty and len(self._spare) < MAX_SPARE_PIPES:
            self._spare.append(pipe)
        else:
            os.close(pipe[0])
            os.close(pipe[1])

    def close(self) -> None:
        """Close the spare pipes."""
        while self._spare:
            for descriptor in self._spare.pop():
                os.close(descriptor)


def reset(sock: socket.socket) -> None:
    """Close with a TCP reset, whatever is still queued."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    except OSError:
        pass  # reset by the peer already
    sock.close()


class _Direction:
    """Bytes from `source` to `sink`, then the end of stream."""

    def __init__(self, source: socket.socket, sink: socket.socket, pipes: PipePool) -> None:
        self._source = source.fileno()
        self._sink = sink.fileno()
        self._shutdown = sink.shutdown
        self._pipes = pipes
        self._pipe: Pipe | None = None
        self._held = 0  # bytes in the pipe
        self.ended = False

    def move(self) -> bool:
        """Move what can be moved; True when there is more to do at once. Raises OSError."""
        for _ in range(TURN):
            if self.ended:
                return False
            try:
                if not (self._drain() if self._held else self._fill()):
                    return False
            except BlockingIOError:
                if not self._held:
                    self.release()
                return False
        return True

    def _fill(self) -> bool:
        if self._pipe is None:
            self._pipe = self._pipes.take()
        self._held = os.splice(self._source, self._pipe[1], PIPE_SIZE, flags=_MOVE)
        if self._held == 0:
            self.ended = True
            self.release()
            self._shutdown(socket.SHUT_WR)
        return not self.ended

    def _drain(self) -> bool:
        if self._pipe is not None:
            self._held -= os.splice(self._pipe[0], self._sink, self._held, flags=_MOVE)
        return True

    def release(self) -> None:
        """Give the pipe back."""
        if self._pipe is not None:
            self._pipes.give(self._pipe, empty=self._held == 0)
            self._pipe = None


class Joint:
    """Joins two connected sockets, which the loop knows already; closes both when done."""

    def __init__(
        self,
        loop: Loop,
        pipes: PipePool,
        pair: tuple[socket.socket, socket.socket],
        done: Callable[["Joint"], None],
    ) -> None:
        self._loop = loop
        self._sockets = pair
        self._done = done
        self._directions = (
            _Direction(pair[0], pair[1], pipes),
            _Direction(pair[1], pair[0], pipes),
        )
        self._closed = False
        for sock in pair:
            loop.replace(sock.fileno(), self._on_event)

    def _on_event(self, events: int) -> None:
        if self._closed:
            return
        try:
            if events & ERR:
                self._raise_error()
            more = [direction.move() for direction in self._directions]
        except OSError:
            self._close(reset)
            return
        if all(direction.ended for direction in self._directions):
            self._close(socket.socket.close)
        elif any(more):
            self._loop.again(lambda: self._on_event(0))

    def reset(self) -> None:
        """End both connections at once."""
        self._close(reset)

    def _raise_error(self) -> None:
        for sock in self._sockets:
            number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if number:
                raise OSError(number, "")

    def _close(self, how: Callable[[socket.socket], None]) -> None:
        self._closed = True
        for direction in self._directions:
            direction.release()
        for sock in self._sockets:
            self._loop.remove(sock.fileno())
            how(sock)
        self._done(self)
