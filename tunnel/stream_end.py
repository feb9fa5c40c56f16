"""The stream under way in a connection (tunnel/connection.py), as an End."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tunnel.codes import Code
from tunnel.ends import Bytes, End, Sink
from tunnel.errors import LostError, RefusedError
from tunnel.frames import (
    HEADER_SIZE,
    MAX_DATA,
    MAX_TEXT,
    FrameType,
    Opened,
    Reason,
    Resume,
    serialize_message,
)
from tunnel.stream_state import Input, State

if TYPE_CHECKING:
    from tunnel.connection import Connection
    from tunnel.resumable_end import ResumableEnd


class StreamEnd(End):
    """The stream under way in a connection, as an End.

    `opened` is done when the share has answered: with its message, RefusedError or LostError. What
    comes before `link` is kept (one read's worth, since reading is then paused).
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self.connection = connection
        self.number = connection.stream.number
        self.carries: ResumableEnd | None = None  # the stream that outlives this connection
        self._early = bytearray()
        self._early_eof = False
        self._linked = False
        self.opened: asyncio.Future[Opened | Resume] = asyncio.get_running_loop().create_future()
        self.reason: Code | None = None
        self.lost = False
        self.bytes_received = 0  # DATA; what was sent is `bytes_sent`

    def link(self, peer: End) -> None:
        """See End.link. What came early is delivered first."""
        self.peer = peer
        self._linked = True
        self.resume_reading()
        if self._early:
            early, self._early = self._early, bytearray()
            peer.send(early)
        if self._early_eof:
            peer.send_eof()
        if self.is_done and self.reason is not None:
            peer.reset(self.reason)

    def send(self, data: Bytes) -> None:
        """See End.send: DATA. The peer delivers at most one read's worth at once."""
        connection = self.connection
        if connection.end is not self or not connection.stream.may_send_data:
            return
        self.bytes_sent += len(data)
        if len(data) <= MAX_DATA:
            connection.send_data(data)
        else:  # what came before `link`, or the other end reads more at once than we do
            view = memoryview(data)
            for at in range(0, len(view), MAX_DATA):
                connection.send_data(view[at : at + MAX_DATA])
        if connection.congested:
            self.peer.pause_reading()

    def send_eof(self) -> None:
        """See End.send_eof: EOF."""
        if self._may(Input.SEND_EOF):
            self.connection.send_stream(Input.SEND_EOF, FrameType.EOF, b"")
            self.connection.stream_changed()

    def reset(self, code: Code) -> None:
        """See End.reset: RESET, unless both sides are done."""
        self.terminate(code, "", FrameType.RESET)

    def terminate(self, code: Code, text: str, kind: FrameType) -> None:
        """End the stream with RESET or REFUSED; nothing more is delivered."""
        if self._may(Input.SEND_RESET):
            self.reason = code
            message = serialize_message(kind, 0, Reason(code, text[:MAX_TEXT]))[HEADER_SIZE:]
            self.connection.send_stream(Input.SEND_RESET, kind, message)
            self.connection.resume_reading()  # the answer must be seen, whatever the peer takes
            self.connection.stream_changed()

    def pause_reading(self) -> None:
        """See End.pause_reading. After RESET all is read, to see the answer."""
        if self._is_current and self.connection.stream.state is not State.RESETTING:
            self.connection.pause_reading()

    def resume_reading(self) -> None:
        """See End.resume_reading."""
        if self._is_current:
            self.connection.resume_reading()

    def send_ack(self, offset: int) -> None:
        """Say that everything below `offset` has arrived (docs/protocol.md 8.2)."""
        self.connection.send_ack(self.number, offset)

    @property
    def _is_current(self) -> bool:
        return self.connection.end is self

    def _may(self, step: Input) -> bool:
        """Whether `step` still means something: the stream may have ended a moment ago."""
        return self._is_current and self.connection.stream.allows(step)

    def discard(self) -> None:
        """Throw away what still comes."""
        self.link(Sink())

    # -- what the connection tells

    def data_received(self, data: memoryview) -> None:
        """DATA arrived."""
        self.bytes_received += len(data)
        if self._linked:
            self.peer.send(data)
            return
        self._early += data
        self.connection.pause_reading()

    def eof_received(self) -> None:
        """EOF arrived."""
        if self._linked:
            self.peer.send_eof()
        else:
            self._early_eof = True

    def reset_received(self, code: Code, text: str) -> None:
        """RESET or REFUSED arrived."""
        if not self.opened.done():
            self.opened.set_exception(RefusedError(code, text))
            self.opened.exception()  # the opener may have gone
        if self.reason is None:  # else it only answers ours
            self.reason = code
            self.peer.reset(code)

    def lose(self, error: LostError) -> None:
        """The connection is gone."""
        self.reason = self.reason or Code.LOST
        self.lost = True
        if not self.opened.done():
            self.opened.set_exception(error)
            self.opened.exception()
        self.peer.reset(Code.LOST)
        self.closed(self.reason)
