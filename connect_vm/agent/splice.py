"""Two sockets joined: bytes move from one to the other inside the kernel (splice(2)).

Half-close crosses, a reset crosses as a reset (tcp(7), SO_LINGER 0). A pipe is held only
while bytes are in it, so idle streams cost two descriptors.
"""

import fcntl
import os
import socket
import struct
from collections.abc import Callable

from .loop import ERR, HUP, IN, RDHUP, Loop

PIPE_SIZE = 1 << 20  # bytes; each splice costs the same under emulation, so few large ones
MIN_SLOTS = 16  # buffers that any pipe of ours has room for, each of a byte or more (pipe(7))
MAX_SPARE_PIPES = 16
TURN = 8  # splices before another stream has its turn
_F_SETPIPE_SZ = 1031  # fcntl(2); not in Python 3.11's fcntl on every build
_splice = os.splice
_LAST = RDHUP | HUP | ERR
_READABLE = IN | _LAST
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
        self.held = 0  # bytes in the pipe
        self.more = False  # its turn ended before the kernel said EAGAIN: no event will come
        self.ended = False

    def move(self, last: bool) -> None:
        """Move what can be moved; `more` says whether to be called again soon. Raises OSError.

        `last`: the end of stream may come without another event, so it has to be read now. One
        flat loop, because under emulation a call costs what moving 16 KiB costs.
        """
        self.more = False
        if self.ended:
            return
        if self._pipe is None:
            self._pipe = self._pipes.take()
        read, write = self._pipe
        source, sink, held = self._source, self._sink, self.held
        try:
            for _ in range(TURN):
                if not held:
                    held = moved = _splice(source, write, PIPE_SIZE, None, None, _MOVE)
                    if not moved:
                        self._end()
                        return
                else:
                    moved = PIPE_SIZE
                held -= _splice(read, sink, held, None, None, _MOVE)
                if not held and moved < MIN_SLOTS and not last:
                    break  # no pipe is full of so little: the socket has no more
            else:
                self.more = True
        except BlockingIOError:
            pass
        finally:
            self.held = held
            if not held:
                self.release()

    def _end(self) -> None:
        self.ended = True
        self._shutdown(socket.SHUT_WR)

    def release(self) -> None:
        """Give the pipe back."""
        if self._pipe is not None:
            self._pipes.give(self._pipe, empty=self.held == 0)
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
        there = _Direction(pair[0], pair[1], pipes)
        back = _Direction(pair[1], pair[0], pipes)
        self._directions = there, back
        self._closed = False
        for sock, out, into in ((pair[0], there, back), (pair[1], back, there)):
            loop.replace(sock.fileno(), self._handler(out, into))

    def _handler(self, out: _Direction, into: _Direction) -> Callable[[int], None]:
        """For one of the sockets: `out` is read from it, `into` written to it."""

        def on_event(events: int) -> None:
            if self._closed:
                return
            try:
                if events & ERR:
                    self._raise_error()
                if into.held or into.more:
                    into.move(True)
                if out.more or (events & _READABLE and not out.held):  # else the sink's event does
                    out.move(out.more or bool(events & _LAST))
            except OSError:
                self._close(reset)
                return
            if out.more or into.more:
                self._loop.again(lambda: on_event(0))
            elif out.ended and into.ended:
                self._close(socket.socket.close)

        return on_event

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
