"""A plain TCP (or UNIX) socket as the end of a stream.

Reads go into one buffer per thread that is handed on at once, so an idle socket owns no
buffer; what the kernel does not take is kept, and the peer stops reading until it is gone: at
most one read of the peer's, CIPHERTEXT_SIZE and a record, since reading is paused at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import struct
import threading

from tunnel.closing_sockets import ClosingSockets
from tunnel.codes import Code, code_for_os_error
from tunnel.ends import Bytes, End
from tunnel.frames import HEADER_SIZE
from tunnel.send_queue import SendQueue
from tunnel.socket_watch import ERROR, QUIET, READABLE, SocketWatch, watch_of
from tunnel.turns import SHORT, Pace, are_short

# One read's size: large enough for full speed, small enough that one busy stream does not
# hold up the others for long.
READ_SIZE = 256 * 1024
# A program's bytes are read in such portions: with its header a frame fills 16 TLS records.
DATA_SIZE = READ_SIZE - HEADER_SIZE
# 16 full records of TLS 1.3 on the wire (RFC 8446 5.2): 5 bytes before, 1 and a tag of 16 behind
CIPHERTEXT_SIZE = 16 * (16 * 1024 + 22)

_LINGER_ZERO = struct.pack("ii", 1, 0)


class _Scratch(threading.local):
    """Read buffers of one thread, and what of them a short turn fills. Valid only until the
    callback that filled them returns."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(CIPHERTEXT_SIZE))
        self.data = self.view[:DATA_SIZE]
        self.short_view = self.view[: CIPHERTEXT_SIZE * SHORT // READ_SIZE]
        self.short_data = self.view[: SHORT - HEADER_SIZE]


scratch = _Scratch()


def hidden_error(sock: socket.socket) -> OSError | None:
    """The error that `sock` has besides what was just read from it, if any.

    libuv stops watching a descriptor for good when data and an error arrive in one wake-up, and
    tells its reader once; so whoever reads only the data has to ask. (Under asyncio's own loop
    it would be called again.)
    """
    number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return OSError(number, os.strerror(number)) if number else None


def reset_on_close(sock: socket.socket) -> None:
    """Let close() send RST (socket(7), SO_LINGER with zero): `sock`'s peer sees an error."""
    with contextlib.suppress(OSError):  # it is dead already; closing it is all that is left
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)


class SocketEnd(End):
    """The end made of `sock`: connected and non-blocking; owned, and closed when done."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__()
        self._watch: SocketWatch | None = None  # while it knows the socket, reading or not
        self._sock = sock
        self._queue = SendQueue(sock, self._on_moved, self._fail)
        self._pace = Pace()
        self._reading = False
        self._received_eof = False
        self._eof_pending = False
        self._sent_eof = False

    def send(self, data: Bytes) -> None:
        """See End.send."""
        if self.is_done or self._eof_pending:
            return
        self.bytes_sent += len(data)
        self._pace.sent(len(data))
        self._queue.send(data)
        if self._queue.pending:
            self.peer.pause_reading()

    def send_eof(self) -> None:
        """Shut the sending direction down, after what is still queued."""
        if self.is_done or self._eof_pending:
            return
        self._eof_pending = True
        if not self._queue.pending:
            self._shut_down()

    def reset(self, code: Code) -> None:
        """Close with RST, so that the far program sees an error, not an end of file."""
        if self.is_done:
            return
        reset_on_close(self._sock)
        self._close(code)

    def has_hung_up(self, closing: ClosingSockets) -> bool:
        """See End.has_hung_up: its FIN, or RST, has come, or waits until more was read."""
        if self._received_eof or self._sock.fileno() < 0:
            return True
        poll = select.poll()
        poll.register(self._sock, select.POLLRDHUP)
        return bool(poll.poll(0)) or closing.has_closed(self._sock)

    def pause_reading(self) -> None:
        """See End.pause_reading."""
        if self._reading:
            self._reading = False
            if self._watch is not None:
                self._watch.change(self._sock, QUIET)

    def resume_reading(self) -> None:
        """See End.resume_reading."""
        if not self._reading and not self._received_eof and not self.is_done:
            self._reading = True
            if self._watch is not None:
                self._watch.change(self._sock, READABLE)
            else:
                self._watch = watch_of(asyncio.get_running_loop())
                self._watch.add(self._sock, self._on_events, READABLE)

    def _on_events(self, events: int) -> bool:
        if not self._reading:
            return False  # an error shows again as soon as reading goes on
        try:
            size = self._sock.recv_into(scratch.short_data if are_short() else scratch.data)
        except (BlockingIOError, InterruptedError):
            if events & ERROR and (error := hidden_error(self._sock)):
                self._fail(error)
            return False
        except OSError as error:
            self._fail(error)
            return False
        if size:
            self.peer.send(scratch.data[:size])
            much = self._pace.received(size)
            if much:
                os.sched_yield()
            return much
        self.pause_reading()
        self._received_eof = True
        self.peer.send_eof()
        self._maybe_finish()
        return False

    def _on_moved(self) -> None:
        if self._queue.pending:
            return
        if self._eof_pending:
            self._shut_down()
        # Also after EOF: the peer may have to hear that its stream was reset.
        self.peer.resume_reading()

    def _shut_down(self) -> None:
        self._sent_eof = True
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            self._fail(error)
            return
        self._maybe_finish()

    def _maybe_finish(self) -> None:
        if self._received_eof and self._sent_eof:
            self._close(None)

    def _fail(self, error: OSError) -> None:
        code = code_for_os_error(error)
        self._close(code)
        self.peer.reset(code)

    def _close(self, code: Code | None) -> None:
        if self.is_done:
            return
        self._reading = False
        if self._watch is not None:
            self._watch.remove(self._sock)
        self._queue.stop()
        self._sock.close()
        self.closed(code)
