"""Moves bytes between two sockets inside the kernel (splice(2)), both ways, until both ended.

Half-close crosses per direction, a reset crosses as a reset, and nothing is read that the
other side cannot take: at most one pipe of bytes lies between the two. A pipe is held
only while it has bytes in it, because a user who is not root gets few of them (pipe(7)).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import select
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

BIG_PIPE = 1 << 20  # bytes; /proc/sys/fs/pipe-max-size for everybody
MAX_BIG_PIPES = 32  # half of what pipe-user-pages-soft (64 MiB) grants an ordinary user
MAX_PIPES = 512  # at a time, unless told otherwise; streams beyond go through user space
MAX_IDLE_PIPES = 32  # kept for the next burst; each is two file descriptors
SCATTER = 64 * 1024  # bytes held in user space where no pipe is to be had
ROUNDS = 4  # pipe fillings per wake-up: then other connections have their turn
F_SETPIPE_SZ = 1031  # fcntl(2); the name is missing from `fcntl` before Python 3.10 on some builds
_LINGER_RESET = struct.pack("ii", 1, 0)
_NONBLOCK = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK


@dataclass(frozen=True, slots=True)
class Totals:
    """Bytes moved each way; `error` is what cut it short, None after two clean ends."""

    a_to_b: int
    b_to_a: int
    error: OSError | None = None


class _Carrier(Protocol):
    """Holds bytes on their way. Both calls raise BlockingIOError instead of waiting."""

    pending: int

    def fill(self, source: socket.socket) -> int:
        """Take bytes while empty; 0 at the end of the stream."""

    def drain(self, target: socket.socket) -> None:
        """Send some of what is pending."""

    def release(self) -> None:
        """No longer needed; whatever is pending is dropped."""


class _Pipe:
    """A carrier inside the kernel."""

    def __init__(self, pool: PipePool) -> None:
        self._pool = pool
        self.pending = 0
        self._out, self._in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.big = pool.may_grow() and _grow(self._in)

    def fill(self, source: socket.socket) -> int:
        self.pending = os.splice(source.fileno(), self._in, BIG_PIPE, flags=_NONBLOCK)
        return self.pending

    def drain(self, target: socket.socket) -> None:
        count = os.splice(self._out, target.fileno(), self.pending, flags=_NONBLOCK)
        if count == 0:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        self.pending -= count

    def release(self) -> None:
        self._pool.put_back(self)

    def close(self) -> None:
        os.close(self._out)
        os.close(self._in)


def _grow(pipe: int) -> bool:
    try:
        fcntl.fcntl(pipe, F_SETPIPE_SZ, BIG_PIPE)
    except OSError:  # EPERM: the user's quota is used up; 64 KiB or less will do
        return False
    return True


class _Buffer:
    """A carrier in user space, for when there is no file descriptor left for a pipe."""

    def __init__(self) -> None:
        self.pending = 0
        self._data = memoryview(b"")

    def fill(self, source: socket.socket) -> int:
        self._data = memoryview(source.recv(SCATTER))
        self.pending = len(self._data)
        return self.pending

    def drain(self, target: socket.socket) -> None:
        self._data = self._data[target.send(self._data) :]
        self.pending = len(self._data)

    def release(self) -> None:
        self._data = memoryview(b"")


class PipePool:
    """The process's pipes: at most `limit`, of which MAX_BIG_PIPES are large; a few are kept."""

    def __init__(self) -> None:
        self._idle: list[_Pipe] = []
        self._big = 0
        self._made = 0
        self.limit = MAX_PIPES

    def may_grow(self) -> bool:
        """Whether another pipe may be made large."""
        return self._big < MAX_BIG_PIPES

    def take(self) -> _Carrier:
        """A carrier with nothing in it; never waits."""
        if self._idle:
            return self._idle.pop()
        if self._made >= self.limit:
            return _Buffer()
        try:
            pipe = _Pipe(self)
        except OSError:  # EMFILE, ENFILE: no descriptor, or no pipe pages left for this user
            return _Buffer()
        self._big += pipe.big
        self._made += 1
        return pipe

    def put_back(self, pipe: _Pipe) -> None:
        """Keep an empty pipe for the next; close one that has bytes in it."""
        small_is_enough = pipe.big or not self.may_grow()
        if pipe.pending == 0 and small_is_enough and len(self._idle) < MAX_IDLE_PIPES:
            self._idle.append(pipe)
            return
        self._close(pipe)

    def close_idle(self) -> None:
        """Close what is kept; pipes in use are not touched."""
        while self._idle:
            self._close(self._idle.pop())

    def _close(self, pipe: _Pipe) -> None:
        self._big -= pipe.big
        self._made -= 1
        pipe.close()


PIPES = PipePool()


class _ErrorWatch:
    """Notices a reset on sockets that nobody reads or writes just now.

    After one direction has ended, or while its reader waits for the other side, a socket
    is not watched by the loop, which cannot wait for errors alone. An epoll of its own can
    (epoll_ctl(2): EPOLLERR is always reported), and the loop watches that one descriptor.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[], None]] = {}

    def add(self, sock: socket.socket, callback: Callable[[], None]) -> None:
        if not self._callbacks:
            self._loop.add_reader(self._epoll.fileno(), self._on_events)
        self._epoll.register(sock.fileno(), select.EPOLLET)
        self._callbacks[sock.fileno()] = callback

    def remove(self, sock: socket.socket) -> None:
        if self._callbacks.pop(sock.fileno(), None) is None:
            return
        self._epoll.unregister(sock.fileno())
        if not self._callbacks:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            del _watches[self._loop]

    def _on_events(self) -> None:
        for number, events in self._epoll.poll(0):
            callback = self._callbacks.get(number)
            if callback is not None and events & select.EPOLLERR:
                callback()


# One per running loop, while it has something to splice.
_watches: dict[asyncio.AbstractEventLoop, _ErrorWatch] = {}


def _watch_for(loop: asyncio.AbstractEventLoop) -> _ErrorWatch:
    watch = _watches.get(loop)
    if watch is None:
        watch = _watches[loop] = _ErrorWatch(loop)
    return watch


class _Direction:
    """Bytes from `source` to `target`; calls `on_end(None)` after EOF was passed on."""

    def __init__(
        self,
        source: socket.socket,
        target: socket.socket,
        on_end: Callable[[OSError | None], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._source, self._target, self._on_end = source, target, on_end
        self._carrier: _Carrier | None = None
        self.moved = 0
        self._loop.add_reader(source, self._on_readable)

    def _on_readable(self) -> None:
        with self._reporting():
            for _ in range(ROUNDS):
                if not self._fill():
                    return
                if not self._drain():
                    self._loop.remove_reader(self._source)
                    self._loop.add_writer(self._target, self._on_writable)
                    return

    def _on_writable(self) -> None:
        with self._reporting():
            if self._drain():
                self._loop.remove_writer(self._target)
                self._loop.add_reader(self._source, self._on_readable)

    def _fill(self) -> bool:
        """Whether there is something to send now."""
        carrier = self._carrier or PIPES.take()
        self._carrier = carrier
        try:
            count = carrier.fill(self._source)
        except BlockingIOError:
            self._release()
            return False
        if count == 0:
            self._release()
            self._loop.remove_reader(self._source)
            with contextlib.suppress(OSError):  # ENOTCONN: it is gone, which its reader reports
                self._target.shutdown(socket.SHUT_WR)
            self._on_end(None)
            return False
        self.moved += count
        return True

    def _drain(self) -> bool:
        """Whether all that was pending is sent."""
        carrier = self._carrier
        while carrier is not None and carrier.pending:
            try:
                carrier.drain(self._target)
            except BlockingIOError:
                return False
        self._release()
        return True

    def _release(self) -> None:
        if self._carrier is not None:
            self._carrier.release()
            self._carrier = None

    @contextlib.contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.stop()
            self._on_end(error)

    def stop(self) -> None:
        """Watch nothing any more, give the pipe back."""
        self._loop.remove_reader(self._source)
        self._loop.remove_writer(self._target)
        self._release()


class _Splice:
    """Both directions, and who is told when they are done."""

    def __init__(self, a: socket.socket, b: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[OSError | None] = loop.create_future()
        self._open = 2
        self.forth = _Direction(a, b, self._on_end)
        self.back = _Direction(b, a, self._on_end)

    def _on_end(self, error: OSError | None) -> None:
        self._open -= 1
        if not self.ended.done() and (error is not None or self._open == 0):
            self.ended.set_result(error)

    def on_socket_error(self, sock: socket.socket) -> None:
        """The watch saw an error on `sock`."""
        self.stop()  # asking for the error clears it: a read would take it for an end of stream
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not self.ended.done():
            number = number or errno.ECONNRESET
            self.ended.set_result(OSError(number, os.strerror(number)))

    def stop(self) -> None:
        self.forth.stop()
        self.back.stop()


def reset_socket(sock: socket.socket) -> None:
    """Close `sock` so that its peer sees a reset (socket(7): SO_LINGER with zero)."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
    sock.close()


async def splice_sockets(a: socket.socket, b: socket.socket) -> Totals:
    """Move bytes both ways until both directions have ended; closes both sockets.

    Both are connected, non-blocking stream sockets. An error on one resets the other, and
    is reported in the Totals rather than raised. Cancelled: both are reset.
    """
    watch = _watch_for(asyncio.get_running_loop())
    splice = _Splice(a, b)
    clean = False
    try:
        for sock in (a, b):
            watch.add(sock, lambda sock=sock: splice.on_socket_error(sock))  # type: ignore[misc]  # a default binds the loop's variable
        error = await splice.ended
        clean = error is None
        return Totals(splice.forth.moved, splice.back.moved, error)
    finally:
        watch.remove(a)
        watch.remove(b)
        splice.stop()
        for sock in (a, b):
            if clean:
                sock.close()
            else:
                reset_socket(sock)
