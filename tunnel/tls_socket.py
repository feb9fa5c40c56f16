"""TLS over a non-blocking socket, driven by callbacks, with large reads and writes.

asyncio's own TLS and `ssl.SSLSocket` make a system call per 16 KiB record or several; here
one `recv` of 256 KiB feeds OpenSSL's memory BIO and one `send` takes what it made of a whole
frame. Buffers for reading are shared by all connections of a thread, so an idle one has none.

Memory per connection, in bytes: `congested` users hold at most what one of their reads made
(CIPHERTEXT_SIZE), and a reader that pauses at most one incomplete record in OpenSSL. What a read
gave is handed on at once. OpenSSL's two memory BIOs keep about 85 and 110 KiB after bulk.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from typing import Protocol, cast

from tunnel.dialler import tune
from tunnel.ends import Bytes
from tunnel.errors import LostError, RemoteProtocolError
from tunnel.network_watch import is_stranded
from tunnel.send_queue import SendQueue
from tunnel.socket_end import READ_SIZE, scratch
from tunnel.socket_watch import HANG_UP, READABLE, SocketWatch, watch_of
from tunnel.turns import Pace, are_short

HANDSHAKE_TIMEOUT = 5.0  # seconds; a relayed handshake is two round trips
HANDSHAKE_READ = 16 * 1024  # one record
CLOSE_TIMEOUT = 5.0  # seconds that close() waits for the last bytes to leave
# Users stop while `congested`; whoever makes us answer without end and reads nothing is cut off.
MAX_BACKLOG = 8 * 1024 * 1024
_RECORD = 16 * 1024  # bytes of plaintext in a full record (RFC 8446 5.1)
# A memory BIO zeroes what it grows by before it copies, and never shrinks: so it is filled and
# emptied in portions, which stay in the CPU's cache; an idle connection keeps a little over two.
_PORTION = 64 * 1024
# What one read's records hold, and a record begun before: it never fills up.
_PLAIN_SIZE = READ_SIZE + 2 * _RECORD


class _Plain(threading.local):
    def __init__(self) -> None:
        self.view = memoryview(bytearray(_PLAIN_SIZE))


_plain = _Plain()
_NOTHING = memoryview(b"")


class Receiver(Protocol):
    """What a TlsSocket tells its user, from the event loop."""

    def data_received(self, data: memoryview) -> None:
        """Plaintext; valid only during the call."""

    def writable(self) -> None:
        """`congested` has become false."""

    def hung_up(self) -> None:
        """The peer is gone, or sends nothing any more, seen while reading is paused.

        Perhaps told again. What it sent before can still be read.
        """

    def connection_lost(self, error: Exception | None) -> None:
        """It is over; None after a close_notify or our own close. Called once."""


class TlsSocket:
    """An established TLS connection over `sock`, which it owns.

    Make one with `handshake`. `start` begins delivery. Errors never raise out of its
    methods: they arrive as `connection_lost`.
    """

    def __init__(
        self,
        sock: socket.socket,
        tls: ssl.SSLObject,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._tls = tls
        # Into a buffer, read() returns how much; typeshed knows the other form alone.
        self._read = cast(Callable[[int, memoryview], int], tls.read)
        self._incoming = incoming
        self._outgoing = outgoing
        self._queue = SendQueue(sock, self._on_moved, self._lose)  # ciphertext
        self._receiver: Receiver | None = None
        self._pace = Pace()
        self._watch: SocketWatch | None = None  # while it knows the socket, reading or not
        self._reading = False
        self._closing = False
        self._peer_closed = False
        self._read_error: ssl.SSLError | None = None  # what came before it is delivered first
        self._lost = False
        self.progress_at = self._loop.time()  # loop time when bytes last came, or left after a wait
        self._timer: asyncio.TimerHandle | None = None

    @property
    def peer_certificate(self) -> bytes | None:
        """The peer's certificate, DER."""
        return self._tls.getpeercert(binary_form=True)

    @property
    def alpn(self) -> str | None:
        """The application protocol agreed on (RFC 7301)."""
        return self._tls.selected_alpn_protocol()

    @property
    def congested(self) -> bool:
        """Whether the kernel did not take everything yet. Stop writing until `writable`."""
        return bool(self._queue.pending)

    @property
    def is_reading(self) -> bool:
        """Whether delivery is not paused."""
        return self._reading

    @property
    def is_lost(self) -> bool:
        """Whether the connection is over or about to be."""
        return self._lost or self._closing

    @property
    def is_stranded(self) -> bool:
        """See tunnel.network_watch.is_stranded."""
        return not self._lost and is_stranded(self._sock)

    def start(self, receiver: Receiver) -> None:
        """Deliver to `receiver`, first what came together with the handshake's end."""
        self._receiver = receiver
        self._loop.call_soon(self._deliver)
        self.resume_reading()

    def pause_reading(self) -> None:
        """Read no more from the socket; what was read already may still be delivered."""
        if self._reading:
            self._reading = False
            if self._watch is not None:
                self._watch.change(self._sock, HANG_UP)

    def resume_reading(self) -> None:
        """Read again."""
        if not self._reading and not self.is_lost:
            self._reading = True
            self.progress_at = self._loop.time()  # the pause was ours: it counts for nothing
            if self._watch is not None:
                self._watch.change(self._sock, READABLE)
            else:
                self._watch = watch_of(self._loop)
                self._watch.add(self._sock, self._on_events, READABLE)

    def limit_unsent(self, size: int) -> None:
        """Keep at most `size` bytes in the kernel that were not sent yet (tcp(7))."""
        if self._sock.family in (socket.AF_INET, socket.AF_INET6) and not self._lost:
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, size)

    def write(self, head: bytes, data: Bytes = b"") -> None:
        """Encrypt and send `head` and then `data`, which the caller may reuse at once."""
        if self._lost or self._closing:
            return
        made: list[bytes] = []
        try:
            if len(head) + len(data) <= _RECORD:
                self._tls.write(head + data if data else head)
            else:  # records stay full: a small one costs a lot
                self._pace.sent(len(data))
                room = max(0, _RECORD - len(head))
                view = memoryview(data)
                self._tls.write(head + view[:room])
                for at in range(room, len(view), _PORTION):
                    made.append(self._outgoing.read())
                    self._tls.write(view[at : at + _PORTION])
        except ssl.SSLError as error:
            self._lose_soon(error)
            return
        self._flush(made)

    def close(self) -> None:
        """Send close_notify, let what is queued leave (bounded), then close. Reads no more."""
        if self._lost or self._closing:
            return
        self._stop_reading()
        self._closing = True
        with contextlib.suppress(ssl.SSLError):  # unwrap wants the peer's answer: not waited for
            self._tls.unwrap()
        self._flush()
        if self._queue.pending:
            self._timer = self._loop.call_later(CLOSE_TIMEOUT, self._lose, None)
        else:
            self._lose(None)

    def abort(self, error: Exception | None = None) -> None:
        """Close at once; the receiver is told `error`."""
        self._lose(error)

    def _stop_reading(self) -> None:
        """For good."""
        self._reading = False
        if self._watch is not None:
            self._watch.remove(self._sock)
            self._watch = None

    def _on_events(self, events: int) -> bool:
        """An error stays visible after data was read: it comes with the next event."""
        if not self._reading:
            if events & ~READABLE and self._receiver is not None and not self.is_lost:
                self._receiver.hung_up()
            return False
        try:
            size = self._sock.recv_into(scratch.short_view if are_short() else scratch.view)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            self._lose(error)
            return False
        if size == 0:
            self._lose(LostError("the connection ended without a word"))
            return False
        self.progress_at = self._loop.time()
        self._deliver(scratch.view[:size])
        much = self._pace.received(size)
        if much:
            os.sched_yield()
        return much

    def _deliver(self, data: memoryview = _NOTHING) -> None:
        receiver = self._receiver
        if receiver is None or self.is_lost:
            return
        view = _plain.view
        filled = self._decrypt(data, view)
        try:
            if filled:
                receiver.data_received(view[:filled])
        except RemoteProtocolError as error:
            self._lose(error)
            return
        except Exception as error:
            self._lose(LostError(f"a fault on this side: {type(error).__name__}"))
            raise  # for the event loop's exception handler to log
        if self._outgoing.pending and not self._lost:
            self._flush()  # an alert, or the answer to a KeyUpdate
        if self._read_error is not None or self._peer_closed:
            self._lose(self._read_error)

    def _decrypt(self, data: memoryview, view: memoryview) -> int:
        """Feed `data`, fill `view` with the plaintext of all whole records; returns its size."""
        filled = at = 0
        size = len(data)
        incoming, read = self._incoming, self._read
        while True:
            if size:
                incoming.write(data[at : at + _PORTION] if size > _PORTION else data)
                at += _PORTION
            try:
                while incoming.pending:  # asking in vain costs an exception
                    taken = read(_RECORD, view[filled:] if filled else view)
                    if not taken:  # close_notify
                        self._peer_closed = True
                        return filled
                    filled += taken
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as error:
                self._read_error = error
                return filled
            if at >= size:
                return filled

    def _flush(self, made: Sequence[bytes] = ()) -> None:
        rest = self._outgoing.read()
        if rest:
            if made:
                self._queue.send_all([*made, rest])
            else:
                self._queue.send(rest)
            if len(self._queue.pending) > MAX_BACKLOG:
                self._lose_soon(LostError("the other side reads nothing"))

    def _on_moved(self) -> None:
        self.progress_at = self._loop.time()
        if self._queue.pending:
            return
        if self._closing:
            self._lose(None)
        elif self._receiver is not None:
            self._receiver.writable()

    def _lose_soon(self, error: Exception) -> None:
        """Not from within the user's call: nothing that it holds changes under its hands."""
        self._loop.call_soon(self._lose, error)

    def _lose(self, error: Exception | None) -> None:
        if self._lost:
            return
        self._stop_reading()
        self._lost = True
        self._queue.stop()
        if self._timer is not None:
            self._timer.cancel()
        self._sock.close()
        if self._receiver is not None:
            self._receiver.connection_lost(error)


async def handshake(
    sock: socket.socket,
    context: ssl.SSLContext,
    *,
    server_hostname: str | None = None,
    timeout: float = HANDSHAKE_TIMEOUT,
) -> TlsSocket:
    """Do the TLS handshake over a connected non-blocking socket; a server when no hostname.

    The socket belongs to the TlsSocket returned, and is closed if this fails: OSError,
    ssl.SSLError, TimeoutError, LostError.
    """
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    loop = asyncio.get_running_loop()
    try:
        tune(sock)  # an accepted socket comes as the system makes it
        tls = context.wrap_bio(
            incoming, outgoing, server_side=server_hostname is None, server_hostname=server_hostname
        )
        async with asyncio.timeout(timeout):
            while True:
                try:
                    tls.do_handshake()
                    finished = True
                except ssl.SSLWantReadError:
                    finished = False
                except ssl.SSLError:
                    with contextlib.suppress(OSError):  # the alert; the reason counts for more
                        sock.send(outgoing.read())
                    raise
                if outgoing.pending:
                    await loop.sock_sendall(sock, outgoing.read())
                if finished:
                    return TlsSocket(sock, tls, incoming, outgoing)
                data = await loop.sock_recv(sock, HANDSHAKE_READ)
                if not data:
                    raise LostError("the connection was ended during the TLS handshake")
                incoming.write(data)
    except BaseException:
        sock.close()
        raise
