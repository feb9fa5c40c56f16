"""One end-to-end connection of `vshare/1`: frames over TLS, one stream at a time.

docs/protocol.md 8. Both sides use this class; `is_client` says who opens streams. The
stream under way is a StreamEnd; a lane takes the connection over with `become_lane`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import msgspec

from tunnel.codes import Code
from tunnel.ends import Bytes
from tunnel.errors import LostError, RefusedError, RemoteProtocolError
from tunnel.frames import (
    MAX_TEXT,
    FrameParser,
    FrameType,
    Hello,
    Notice,
    Open,
    Opened,
    Reason,
    Resume,
    data_header,
    header,
    parse_message,
    serialize,
    serialize_message,
)
from tunnel.stream_end import StreamEnd
from tunnel.stream_state import ANSWERED, Input, State, StreamState
from tunnel.tls_socket import TlsSocket

# In one read (256 KiB): more would take the event loop for a tenth of a second and longer. What
# programs send comes in frames as large as a read; PINGs come seconds apart.
MAX_FRAMES = 8_192
MAX_PINGS = 16
ACK_SIZE = 8  # bytes of an offset
OPENED = Opened()
# An enumeration's members are slow to get at, and to compare; each frame needs these.
_DATA, _PING = int(FrameType.DATA), int(FrameType.PING)
_FLOW_OPEN, _DGRAM = int(FrameType.FLOW_OPEN), int(FrameType.DGRAM)
LANE_UNSENT = 64 * 1024  # bytes in the kernel; more would only be late (docs/protocol.md 9)


class LaneReceiver(Protocol):
    """What a connection tells the lane that took it over."""

    def frame_received(self, kind: int, flow: int, payload: memoryview) -> None:
        """A frame of types 32 to 35."""

    def datagram_dropped(self, flow: int) -> None:
        """More DGRAM frames came at once than are taken; this one was of `flow`."""

    def writable(self) -> None:
        """The connection takes frames again."""

    def connection_lost(self) -> None:
        """It is over."""


class Connection:
    """Frames over an established TlsSocket. Callback-driven; errors end it and are told once.

    on_change is called when the connection became idle, was retired or was lost; on_notice
    with what the share tells a client unasked.
    """

    def __init__(
        self,
        tls: TlsSocket,
        *,
        is_client: bool,
        on_change: Callable[[Connection], None],
        on_notice: Callable[[Notice], None] = lambda notice: None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._tls = tls
        self._is_client = is_client
        self._on_change = on_change
        self._on_notice = on_notice
        self._parser = FrameParser()
        self._lane: LaneReceiver | None = None
        self._asked: tuple[Open | Resume, StreamEnd] | None = None
        self._next_open: asyncio.Future[tuple[Open | Resume, StreamEnd]] | None = None
        self._settled: StreamEnd | None = None  # a resumable one that ended here, the last
        self.hello: asyncio.Future[Hello] = self._loop.create_future()
        self.stream = StreamState()
        self.end: StreamEnd | None = None
        self.patience = 0.0  # seconds that an answer may well take; a client's, as it dialled
        self.retired_by_us = False
        self.retired_by_them = False
        self.error: LostError | None = None
        tls.start(self)

    @property
    def is_lost(self) -> bool:
        """Whether nothing can be sent any more."""
        return self.error is not None or self._tls.is_lost

    @property
    def peer_certificate(self) -> bytes:
        """The other side's certificate, DER."""
        return self._tls.peer_certificate or b""

    @property
    def is_usable(self) -> bool:
        """Whether a stream could be opened here now."""
        retired = self.retired_by_us or self.retired_by_them
        return self.stream.is_idle and self._lane is None and not retired and not self.is_lost

    @property
    def heard_at(self) -> float:
        """Loop time when bytes last came, or left although the kernel was full."""
        return self._tls.progress_at

    @property
    def is_paused(self) -> bool:
        """Whether its stream has stopped reading, so that silence means nothing."""
        return not self._tls.is_reading

    @property
    def is_stranded(self) -> bool:
        """Whether this host has lost the address that the connection has here."""
        return self._tls.is_stranded

    @property
    def congested(self) -> bool:
        """Whether what was written has not all been taken by the kernel."""
        return self._tls.congested

    # -- what a client does

    def open(self, message: Open | Resume, begin: bytes = b"") -> StreamEnd:
        """Send OPEN, whose StreamEnd can be sent to at once, or RESUME, whose has to be attached
        first; await `end.opened` for the answer. `begin`: what the stream begins with (MAX_DATA at
        most), which leaves together with OPEN.

        On a connection that is lost or retired the answer is a LostError. Raises
        LocalProtocolError while a stream is under way.
        """
        if self.is_lost or self.retired_by_us or self.retired_by_them:
            end = StreamEnd(self)
            end.lose(self.error or LostError("the connection takes no further streams"))
            return end
        self.stream.send(Input.SEND_OPEN)
        end = self.end = StreamEnd(self)
        kind = FrameType.OPEN if isinstance(message, Open) else FrameType.RESUME
        frame = serialize_message(kind, end.number, message)
        if begin:
            end.bytes_sent += len(begin)
            frame += data_header(len(begin), end.number)
        self._tls.write(frame, begin)
        return end

    # -- what a share does

    def send_hello(self, hello: Hello) -> None:
        """The share's first frame."""
        self._tls.write(serialize_message(FrameType.HELLO, 0, hello))

    def turn_away(self, code: Code, text: str) -> None:
        """Say REFUSED in place of HELLO, then close: this client may not come in."""
        reason = Reason(code, text[:MAX_TEXT])
        self._tls.write(serialize_message(FrameType.REFUSED, 0, reason))
        self._tls.close()

    def send_notice(self, notice: Notice) -> None:
        """Tell the client something, after HELLO; whatever stream is under way goes on."""
        notice = msgspec.structs.replace(notice, text=notice.text[:MAX_TEXT])
        self._tls.write(serialize_message(FrameType.NOTICE, 0, notice))

    def close(self) -> None:
        """End it in good order: what was sent, such as a notice that says why, still leaves."""
        self._tls.close()

    async def next_open(self) -> tuple[Open | Resume, StreamEnd]:
        """The next OPEN or RESUME with its stream, to be answered by `accept` or `refuse`.

        Raises LostError. One waits at a time.
        """
        if self._asked is not None:
            asked, self._asked = self._asked, None
            return asked
        if self.error is not None:
            raise self.error
        self._next_open = self._loop.create_future()
        try:
            return await self._next_open
        finally:
            self._next_open = None

    def accept(self, end: StreamEnd, answer: Opened | Resume = OPENED) -> None:
        """Answer OPENED, or to RESUME the like."""
        if end is self.end and self.stream.state is not State.RESETTING:
            kind = FrameType.OPENED if isinstance(answer, Opened) else FrameType.RESUME
            self._tls.write(serialize_message(kind, self.stream.number, answer))

    def refuse(self, end: StreamEnd, code: Code, text: str) -> None:
        """Answer REFUSED: the stream is over."""
        end.terminate(code, text, FrameType.REFUSED)

    # -- both

    def become_lane(self, receiver: LaneReceiver) -> None:
        """Frames 32 to 35 go to `receiver` from now on; no stream runs here again.

        Where the connection is lost already, `receiver` is told soon.
        """
        self._lane = receiver
        self._tls.limit_unsent(LANE_UNSENT)
        if self.error is not None:
            self._loop.call_soon(receiver.connection_lost)

    def send_lane(self, frame: bytes) -> None:
        """Send a frame of a lane."""
        self._tls.write(frame)

    def ping(self, payload: bytes = b"") -> None:
        """Ask for a PONG."""
        self._tls.write(serialize(FrameType.PING, 0, payload))

    def retire(self) -> None:
        """Say that no further stream starts here; close as soon as it is idle."""
        if not self.retired_by_us and not self.is_lost:
            self.retired_by_us = True
            self._tls.write(serialize(FrameType.RETIRE, 0))
            self._settle()

    def abort(self, text: str) -> None:
        """End it at once; a stream under way ends with LOST."""
        self._tls.abort(LostError(text))

    # -- for StreamEnd

    def send_data(self, data: Bytes) -> None:
        """Send DATA of the current stream, whose state allows it."""
        self._tls.write(data_header(len(data), self.stream.number), data)

    def send_stream(self, step: Input, kind: FrameType, head: bytes, data: Bytes = b"") -> None:
        """Account for `step` and send a frame of the current stream."""
        self.stream.send(step)
        self._tls.write(header(kind, len(head) + len(data), self.stream.number) + head, data)

    def send_ack(self, number: int, offset: int) -> None:
        """Send ACK for stream `number`, which may have ended."""
        if not self.is_lost:
            self._tls.write(serialize(FrameType.ACK, number, offset.to_bytes(ACK_SIZE, "big")))

    def pause_reading(self) -> None:
        """For back-pressure by the stream."""
        self._tls.pause_reading()

    def resume_reading(self) -> None:
        """For the stream's peer, when it takes more."""
        self._tls.resume_reading()

    def stream_changed(self) -> None:
        """The stream's state moved: end it and go idle where both sides are done."""
        end = self.end
        if not self.stream.is_idle or end is None:
            return
        self.end = None
        self._tls.resume_reading()  # whatever the stream's peer wanted, the next one's may come
        end.closed(end.reason)
        if end.carries is not None and end.reason is None:
            self._settled = end
            end.carries.settled()
        self._settle()

    def _other_side_settled(self, code: Code | None = None) -> None:
        """A frame came that the other side sends only when it is done with the stream before; with
        `code`, it has reset that."""
        settled, self._settled = self._settled, None
        if settled is not None and settled.carries is not None:
            settled.carries.other_side_settled(code)
            settled.carries = None  # no cycle is left behind

    def _settle(self) -> None:
        """Close when nothing comes any more. A share that said RETIRE waits for the client to
        close, whose OPEN may be on its way."""
        over = self.retired_by_them or (self.retired_by_us and self._is_client)
        if self.stream.is_idle and (over or self._lane is not None):
            self._tls.close()
        self._on_change(self)

    # -- Receiver

    def data_received(self, data: memoryview) -> None:
        """Plaintext: frames and pieces. Raises RemoteProtocolError, which ends the connection."""
        single = self._parser.maybe_data(data)
        if single is not None:
            self._data_received(*single)
            return
        pings = 0
        for frames, (kind, number, payload) in enumerate(self._parser.receive_data(data), 1):
            if self._lane is not None and kind == _DGRAM:
                if frames <= MAX_FRAMES:
                    self._lane.frame_received(_DGRAM, number, payload)
                else:  # tiny ones, for which nobody is to blame
                    self._lane.datagram_dropped(number)
                continue
            pings += kind == _PING
            if frames > MAX_FRAMES or pings > MAX_PINGS:
                raise RemoteProtocolError("a flood of small frames")
            self._frame_received(kind, number, payload)
            if self._tls.is_lost:
                return

    def hung_up(self) -> None:
        """See Receiver: while paused. A client goes on elsewhere at once. A share first takes what
        still lies in the kernel: the guest may have left in good order, and not come back."""
        if self._is_client and self.end is not None and self.end.carries is not None:
            self.abort("the other side hung up")

    def writable(self) -> None:
        """See Receiver."""
        if self._lane is not None:
            self._lane.writable()
        elif self.end is not None:
            self.end.peer.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        """See Receiver."""
        self.error = LostError(f"the connection was lost: {error or 'closed by the other side'}")
        self.error.__cause__ = error  # a TLS alert may say more
        if not self.hello.done():
            self.hello.set_exception(self.error)
            self.hello.exception()  # somebody may have stopped waiting for it
        if self._next_open is not None and not self._next_open.done():
            self._next_open.set_exception(self.error)
        end, self.end = self.end, None
        settled, self._settled = self._settled, None
        if end is not None:
            end.lose(self.error)
        for each in (end, settled):
            if each is not None and each.carries is not None:
                each.carries.detach()
        if self._lane is not None:
            self._lane.connection_lost()
        self._on_change(self)

    def _frame_received(self, kind: int, number: int, payload: memoryview) -> None:
        if kind == _DATA:
            self._data_received(number, payload)
        elif kind >= _FLOW_OPEN and self._lane is not None:
            self._lane.frame_received(kind, number, payload)
        elif (handler := _HANDLERS.get(kind)) is not None:
            handler(self, number, payload)
        else:
            raise RemoteProtocolError("datagrams on a connection that is not a lane (yet)")

    def _data_received(self, number: int, payload: memoryview) -> None:
        if self._lane is not None:
            raise RemoteProtocolError("DATA in a lane")
        if self.stream.receive_data(number) and self.end is not None:
            self.end.data_received(payload)

    def _hello_received(self, number: int, payload: memoryview) -> None:
        if not self._is_client or self.hello.done():
            raise RemoteProtocolError("unexpected HELLO")
        self.hello.set_result(parse_message(Hello, payload))

    def _open_received(self, number: int, payload: memoryview) -> None:
        if self._is_client or self._lane is not None:
            raise RemoteProtocolError("unexpected OPEN")
        self._asked_for(parse_message(Open, payload), number)

    def _asked_for(self, message: Open | Resume, number: int) -> None:
        self.stream.receive(Input.RECEIVE_OPEN, number)
        self._other_side_settled()
        end = self.end = StreamEnd(self)
        end.opened.set_result(OPENED)
        if self.retired_by_us:
            self.refuse(end, Code.RETIRED, "this connection takes no further streams")
        elif self._next_open is None or self._next_open.done():
            self._asked = (message, end)  # one at most: the next needs this one's end
        else:
            self._next_open.set_result((message, end))

    def _opened_received(self, number: int, payload: memoryview) -> None:
        self._answered(parse_message(Opened, payload), number)

    def _answered(self, answer: Opened | Resume, number: int) -> None:
        if not self._is_client or number != self.stream.number or self.end is None:
            raise RemoteProtocolError(f"unexpected answer for stream {number}")
        self._other_side_settled()
        if not self.end.opened.done():
            self.end.opened.set_result(answer)

    def _eof_received(self, number: int, payload: memoryview) -> None:
        expected = self.stream.state is not State.RESETTING
        self.stream.receive(Input.RECEIVE_EOF, number)
        if expected and self.end is not None:
            self.end.eof_received()
        self.stream_changed()

    def _reset_received(self, number: int, payload: memoryview) -> None:
        reason = parse_message(Reason, payload)
        if number == 0 and self._is_client and not self.hello.done():
            self._turned_away(RefusedError(Code.from_wire(reason.code), reason.text[:MAX_TEXT]))
            return
        answer = self.stream.state in ANSWERED
        code = Code.from_wire(reason.code)
        if not self.stream.receive(Input.RECEIVE_RESET, number):
            if self._settled is not None and self._settled.number == number:
                self._other_side_settled(code)  # by giving it up, behind its EOF
            return
        self._other_side_settled()
        if answer:
            self._tls.write(serialize_message(FrameType.RESET, number, Reason(Code.CLOSED)))
        if self.end is not None:
            self.end.reset_received(code, reason.text[:MAX_TEXT])
        self.stream_changed()

    def _turned_away(self, error: RefusedError) -> None:
        self.hello.set_exception(error)
        self.hello.exception()  # somebody may have stopped waiting for it
        self._tls.close()

    def _ping_received(self, number: int, payload: memoryview) -> None:
        self._flush_acks()
        self._tls.write(serialize(FrameType.PONG, 0, bytes(payload)))

    def _retire_received(self, number: int, payload: memoryview) -> None:
        self.retired_by_them = True
        self._settle()

    def _notice_received(self, number: int, payload: memoryview) -> None:
        if not self._is_client or not self.hello.done():
            raise RemoteProtocolError("unexpected NOTICE")
        self._on_notice(parse_message(Notice, payload))

    def _resume_received(self, number: int, payload: memoryview) -> None:
        message = parse_message(Resume, payload)
        if self._is_client:
            self._answered(message, number)
        elif self._lane is not None:
            raise RemoteProtocolError("RESUME in a lane")
        else:
            self._asked_for(message, number)

    def _ack_received(self, number: int, payload: memoryview) -> None:
        """For the stream under way or the one before; for others it comes too late to matter."""
        if len(payload) != ACK_SIZE:
            raise RemoteProtocolError(f"an ACK of {len(payload)} bytes")
        for end in (self.end, self._settled):
            if end is not None and end.number == number and end.carries is not None:
                end.carries.acked(int.from_bytes(payload, "big"))

    def _pong_received(self, number: int, payload: memoryview) -> None:
        """That bytes came is what it is for; our PING made the other side tell what it has."""
        self._flush_acks()

    def _flush_acks(self) -> None:
        for end in (self.end, self._settled):
            if end is not None and end.carries is not None:
                end.carries.flush_ack()


_HANDLERS: dict[int, Callable[[Connection, int, memoryview], None]] = {
    FrameType.HELLO: Connection._hello_received,
    FrameType.OPEN: Connection._open_received,
    FrameType.OPENED: Connection._opened_received,
    FrameType.REFUSED: Connection._reset_received,
    FrameType.EOF: Connection._eof_received,
    FrameType.RESET: Connection._reset_received,
    FrameType.ACK: Connection._ack_received,
    FrameType.PING: Connection._ping_received,
    FrameType.PONG: Connection._pong_received,
    FrameType.RETIRE: Connection._retire_received,
    FrameType.RESUME: Connection._resume_received,
    FrameType.NOTICE: Connection._notice_received,
}
