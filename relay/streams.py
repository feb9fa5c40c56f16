"""The gateway's two byte streams, to a visitor and to a share, as coroutines see them.

Both are bounded: what is not taken in time stops the reading at its source. Of either a callback
may take what comes, before it is kept for a coroutine (relay/quick_path.py).
"""

from __future__ import annotations

import asyncio
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import cast

from relay.accounts.meters import Flow
from tunnel.codes import Code
from tunnel.ends import Bytes, End
from tunnel.errors import LostError

HIGH_WATER = 256 * 1024  # bytes kept before the source is paused
SEND_AT_ONCE = 256 * 1024  # bytes handed to the share's connection before asking if it takes more


# Given the next bytes, which are valid during the call; says whether it took them.
Taker = Callable[[Bytes], bool]


def _nobody(data: Bytes) -> bool:
    return False


class _Inbox:
    """Received bytes until somebody takes them."""

    def __init__(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self._pause, self._resume = pause, resume
        self._data = bytearray()
        self._paused = False
        self._changed = asyncio.Event()
        self.is_quiet = True  # nothing waits to be taken, not even the end
        self.ended = False
        self.error: LostError | None = None

    def put(self, data: Bytes) -> None:
        self._data += data
        self.is_quiet = not self._data and not self.ended
        self._changed.set()
        if len(self._data) >= HIGH_WATER and not self._paused:
            self._paused = True
            self._pause()

    def end(self, error: LostError | None = None) -> None:
        self.ended, self.is_quiet = True, False
        self.error = self.error or error
        self._changed.set()

    async def take(self) -> bytes:
        while not self._data:
            if self.error is not None:
                raise self.error
            if self.ended:
                return b""
            self._changed.clear()
            await self._changed.wait()
        return self.take_now()

    def take_now(self) -> bytes:
        """What has come, perhaps nothing."""
        data, self._data = bytes(self._data), bytearray()
        self.is_quiet = not self.ended
        if self._paused:
            self._paused = False
            self._resume()
        return data


class ByteStream(ABC):
    """What the gateway needs of either side. Not for concurrent use in one direction."""

    @abstractmethod
    async def receive_some(self) -> bytes:
        """The next bytes; empty at the end of the stream. Raises LostError."""

    @abstractmethod
    async def send_all(self, data: Bytes) -> None:
        """Send, and wait while the other side takes no more. Raises LostError."""

    @abstractmethod
    def send_eof(self) -> None:
        """Nothing more will be sent; receiving goes on where the medium allows it."""

    @abstractmethod
    def abort(self) -> None:
        """End both directions at once. Idempotent."""


class VisitorStream(asyncio.Protocol, ByteStream):
    """A visitor's connection. `on_lost` and `on_eof` are called when it goes or half-closes,
    `on_writable` when `is_writable` has become true."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._inbox = _Inbox(self.pause, self.resume)
        self._writable = asyncio.Event()
        self._writable.set()
        self.is_writable = True  # what was written has left, nearly
        self.closed = asyncio.Event()
        self.sock: socket.socket | None = None  # under it, where that is known
        self.on_lost: Callable[[], None] = lambda: None
        self.on_eof: Callable[[], None] = lambda: None
        self.on_writable: Callable[[], None] = lambda: None
        self.taker: Taker = _nobody

    @property
    def is_quiet(self) -> bool:
        """Whether nothing waits to be received, not even the end of the stream."""
        return self._inbox.is_quiet

    def put(self, data: Bytes) -> None:
        """Keep for `receive_some` what a taker took and does not want."""
        self._inbox.put(data)

    def maybe_early(self) -> bytes:
        """What has come before there was a taker; nothing if the visitor has ended its side."""
        return b"" if self._inbox.ended else self._inbox.take_now()

    def write(self, data: Bytes) -> None:
        """Send what a caller who heeds `is_writable` has, who may reuse it at once."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data if isinstance(data, bytes) else bytes(data))

    def pause(self) -> None:
        """Read no more for now."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.BaseProtocol."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclasses of it

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if not self.taker(data):
            self._inbox.put(data)

    def eof_received(self) -> bool:
        """See asyncio.Protocol. Plain TCP stays half open; asyncio's TLS cannot."""
        self._inbox.end()
        self.on_eof()
        return self._transport is not None and not self._transport.get_extra_info("sslcontext")

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.BaseProtocol."""
        self._inbox.end(LostError("the visitor has gone") if exc else None)
        self._writable.set()
        self.is_writable = True
        self.closed.set()
        self.on_lost()

    def pause_writing(self) -> None:
        """See asyncio.BaseProtocol."""
        self._writable.clear()
        self.is_writable = False

    def resume_writing(self) -> None:
        """See asyncio.BaseProtocol."""
        self._writable.set()
        self.is_writable = True
        self.on_writable()

    async def receive_some(self) -> bytes:
        """See ByteStream."""
        return await self._inbox.take()

    async def send_all(self, data: Bytes) -> None:
        """See ByteStream."""
        if self._transport is None or self.closed.is_set():
            raise LostError("the visitor has gone")
        if data:
            self._transport.write(data)
        await self._writable.wait()
        if self.closed.is_set():
            raise LostError("the visitor has gone")

    def send_eof(self) -> None:
        """See ByteStream. TLS closes as a whole."""
        if self._transport is None or self._transport.is_closing():
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    def close(self) -> None:
        """Close after what is queued has been sent."""
        if self._transport is not None and not self.closed.is_set():
            self._transport.close()

    def abort(self) -> None:
        """See ByteStream."""
        if self._transport is not None and not self.closed.is_set():
            self._transport.abort()


class _Receiver(End):
    """The peer of a stream in the tunnel: keeps what comes, for UpstreamStream to take."""

    def __init__(self, end: End) -> None:
        super().__init__()
        self.inbox = _Inbox(end.pause_reading, end.resume_reading)
        self.writable = asyncio.Event()
        self.writable.set()
        self.is_writable = True  # the tunnel takes more now
        self.received = 0
        self.taker: Taker = _nobody
        self.on_end: Callable[[], None] = lambda: None
        self.link(end)
        end.link(self)

    def send(self, data: Bytes) -> None:
        """See End.send: bytes from the share."""
        self.received += len(data)
        if not self.taker(data):
            self.inbox.put(data)

    def send_eof(self) -> None:
        """See End.send_eof: the share ended its direction."""
        self.inbox.end()
        self.on_end()

    def reset(self, code: Code) -> None:
        """See End.reset: the share, the tunnel or the gateway ended both directions."""
        reason = code.name.lower().replace("_", " ")
        self.inbox.end(LostError(f"the connection to the shared machine ended: {reason}"))
        self.writable.set()
        self.is_writable = False
        self.closed(code)
        self.on_end()

    def pause_reading(self) -> None:
        """See End.pause_reading: the tunnel takes no more for now."""
        self.writable.clear()
        self.is_writable = False

    def resume_reading(self) -> None:
        """See End.resume_reading."""
        self.writable.set()
        self.is_writable = not self.finished.done()


class UpstreamStream(ByteStream):
    """A stream to a share's port, over the `end` that the client opened."""

    def __init__(self, end: End) -> None:
        self._receiver = _Receiver(end)
        self._end = end
        self.sent = 0  # bytes so far, but for those that it was opened with
        self.flow: Flow | None = None  # as which it counts for limits

    @property
    def is_quiet(self) -> bool:
        """Whether nothing has come since the last answer: it may carry another request."""
        return self._receiver.inbox.is_quiet

    @property
    def received(self) -> int:
        """Bytes received so far."""
        return self._receiver.received

    @property
    def is_writable(self) -> bool:
        """Whether the tunnel takes more now."""
        return self._receiver.is_writable

    def take_with(self, taker: Taker, on_end: Callable[[], None]) -> None:
        """Give what comes to `taker` first, and call `on_end` when the share ended its direction,
        or both."""
        self._receiver.taker, self._receiver.on_end = taker, on_end

    def write(self, data: bytes) -> None:
        """Send what a caller who heeds `is_writable` has."""
        self.sent += len(data)
        self._end.send(data)

    def put(self, data: Bytes) -> None:
        """Keep for `receive_some` what a taker took and does not want."""
        self._receiver.inbox.put(data)

    def pause(self) -> None:
        """Deliver nothing for now (but what was read already)."""
        self._end.pause_reading()

    def resume(self) -> None:
        """Deliver again."""
        self._end.resume_reading()

    async def receive_some(self) -> bytes:
        """See ByteStream."""
        return await self._receiver.inbox.take()

    async def send_all(self, data: Bytes) -> None:
        """See ByteStream."""
        view = memoryview(data)
        self.sent += len(view)
        while view:
            await self._receiver.writable.wait()
            if self._receiver.finished.done():
                raise LostError("the connection to the shared machine ended")
            self._end.send(view[:SEND_AT_ONCE])
            view = view[SEND_AT_ONCE:]

    def send_eof(self) -> None:
        """See ByteStream."""
        if not self._receiver.finished.done():
            self._end.send_eof()

    def abort(self) -> None:
        """See ByteStream."""
        if not self._receiver.finished.done():
            self._end.reset(Code.CLOSED)
            self._receiver.reset(Code.CLOSED)
