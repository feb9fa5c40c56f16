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
import functools
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from tunnel import turns
from tunnel.socket_end import reset_on_close
from tunnel.socket_watch import ERROR, HUNG_UP, QUIET, READABLE, WRITABLE, SocketWatch, watch_of

BIG_PIPE = 1 << 20  # bytes; /proc/sys/fs/pipe-max-size for everybody
SHORT_FILLING = 2 * turns.SHORT  # bytes while turns are short: they are cheap here
MAX_BIG_PIPES = 32  # half of what pipe-user-pages-soft (64 MiB) grants an ordinary user
MAX_PIPES = 512  # at a time, unless told otherwise; streams beyond go through user space
MAX_IDLE_PIPES = 32  # kept for the next burst; each is two file descriptors
SCATTER = 64 * 1024  # bytes held in user space where no pipe is to be had
F_SETPIPE_SZ = 1031  # fcntl(2); the name is missing from `fcntl` before Python 3.10 on some builds
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

    def fill(self, source: socket.socket, size: int) -> int:
        """Take bytes, `size` at most, while empty; 0 at the end of the stream."""

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

    def fill(self, source: socket.socket, size: int) -> int:
        self.pending = os.splice(source.fileno(), self._in, size, flags=_NONBLOCK)
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

    def fill(self, source: socket.socket, size: int) -> int:
        self._data = memoryview(source.recv(min(size, SCATTER)))
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


class _Side:
    """One of the two sockets, and what is waited for on it."""

    def __init__(self, sock: socket.socket, watch: SocketWatch) -> None:
        self.sock = sock
        self.wanted = READABLE
        self._watch = watch

    def want(self, event: int) -> None:
        self.wanted |= event
        self._watch.change(self.sock, self.wanted)

    def unwant(self, event: int) -> None:
        if self.wanted & event:
            self.wanted &= ~event
            self._watch.change(self.sock, self.wanted or QUIET)


class _Direction:
    """Bytes from `source` to `target`; calls `on_end(None)` after EOF was passed on."""

    def __init__(
        self,
        source: _Side,
        target: _Side,
        pace: turns.Pace,
        on_end: Callable[[OSError | None], None],
    ) -> None:
        self._source, self._target, self._pace, self._on_end = source, target, pace, on_end
        self._carrier: _Carrier | None = None
        self.moved = 0
        self.ended = False  # EOF was passed on: the target is shut down for writing

    def on_readable(self) -> bool:
        """Move one filling of a carrier: then other connections have their turn. True if it was
        a large one."""
        carrier = self._carrier = self._carrier or PIPES.take()
        much, short = False, turns.are_short()
        try:
            count = carrier.fill(self._source.sock, SHORT_FILLING if short else BIG_PIPE)
            self.moved += count
            much = self._pace.received(count)
            if much and not short:  # else what is little would wait for whoever has the CPU then
                os.sched_yield()
            if count == 0:
                self._pass_on_eof()
            elif not self._drain(carrier):
                self._source.unwant(READABLE)
                self._target.want(WRITABLE)
        except BlockingIOError:
            self.release()
        except OSError as error:
            self._on_end(error)
        return much

    def on_writable(self) -> None:
        """Go on with what is pending."""
        try:
            if self._carrier is None or self._drain(self._carrier):
                self._target.unwant(WRITABLE)
                self._source.want(READABLE)
        except OSError as error:
            self._on_end(error)

    def _pass_on_eof(self) -> None:
        self.release()
        self.ended = True
        self._source.unwant(READABLE)
        with contextlib.suppress(OSError):  # ENOTCONN: it is gone, which its reader reports
            self._target.sock.shutdown(socket.SHUT_WR)
        self._on_end(None)

    def _drain(self, carrier: _Carrier) -> bool:
        """Whether all that was pending is sent."""
        try:
            while carrier.pending:
                carrier.drain(self._target.sock)
        except BlockingIOError:
            return False
        self.release()
        return True

    def release(self) -> None:
        """Give the carrier back."""
        if self._carrier is not None:
            self._carrier.release()
            self._carrier = None


class _Splice:
    """Both directions, and who is told when they are done."""

    def __init__(self, a: socket.socket, b: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[OSError | None] = loop.create_future()
        self._open = 2
        self._watch = watch_of(loop)
        one, other = self._sides = _Side(a, self._watch), _Side(b, self._watch)
        pace = turns.Pace()
        self.forth = _Direction(one, other, pace, self._on_end)
        self.back = _Direction(other, one, pace, self._on_end)
        for side, out, back in ((one, self.forth, self.back), (other, self.back, self.forth)):
            on_events = functools.partial(self._on_events, side, out, back)
            self._watch.add(side.sock, on_events, side.wanted)

    def _on_events(self, side: _Side, out: _Direction, back: _Direction, events: int) -> bool:
        """`out` comes out of `side`, `back` goes into it."""
        if self.ended.done():
            return False
        if events & ERROR:
            number = side.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or errno.ECONNRESET
            self._on_end(OSError(number, os.strerror(number)))
            return False
        if events & HUNG_UP and not back.ended:  # shut down both ways, from here: somebody cut it
            self._on_end(OSError(errno.ECONNABORTED, os.strerror(errno.ECONNABORTED)))
            return False
        much = False
        if events & side.wanted & READABLE:
            much = out.on_readable()
        if events & side.wanted & WRITABLE and not self.ended.done():
            back.on_writable()
            much = True  # only then was there more than the target took at once
        return much

    def _on_end(self, error: OSError | None) -> None:
        self._open -= 1
        if not self.ended.done() and (error is not None or self._open == 0):
            self.stop()
            self.ended.set_result(error)

    def moved(self) -> tuple[int, int]:
        """Bytes to the first socket, and from it."""
        return self.back.moved, self.forth.moved

    def stop(self) -> None:
        """Watch nothing any more, give the pipes back. Idempotent."""
        for side in self._sides:
            self._watch.remove(side.sock)
        self.forth.release()
        self.back.release()


def reset_socket(sock: socket.socket) -> None:
    """Close `sock` so that its peer sees a reset."""
    reset_on_close(sock)
    sock.close()


async def splice_sockets(
    a: socket.socket,
    b: socket.socket,
    began: Callable[[Callable[[], tuple[int, int]]], None] | None = None,
) -> Totals:
    """Move bytes both ways until both directions have ended; closes both sockets.

    Both are connected, non-blocking stream sockets. An error on one resets the other, and
    is reported in the Totals rather than raised. Cancelled, or one shut down both ways by the
    caller's side: both are reset, for the other peer may be one that never answers.

    `began` is given what tells, then and later, the bytes moved to `a` and from it.
    """
    splice = _Splice(a, b)
    if began is not None:
        began(splice.moved)
    clean = False
    try:
        error = await splice.ended
        clean = error is None
        return Totals(splice.forth.moved, splice.back.moved, error)
    finally:
        splice.stop()
        for sock in (a, b):
            if clean:
                sock.close()
            else:
                reset_socket(sock)
