"""A stream that outlives the connections that carry it (docs/protocol.md 8.2), as an End.

Both sides keep what they sent until the other has it. When the connection is lost, the client
opens another with RESUME, each tells the other how much has arrived, and sends the rest again.
Nothing is lost, doubled or reordered: a byte is delivered once, at its offset.

```
                       lose                        attach
  ┌──────────┐ ──────────────────▶ ┌──────────┐ ──────────▶ attached again
  │ attached │                     │ detached │
  └──────────┘ ─┬─ both ended ──┐  └──────────┘ ── give_up ─▶ over
                └─ reset ▶ over └▶ settled ── confirmed ─▶ over
```

Memory: per stream and side at most WINDOW and one read (256 KiB) of what was sent; with many
streams a share of BUDGET each. Whoever is full asks for an ACK with a PING. As much again of what
came is kept where both sides send and neither's program reads: ACKs lie behind the data then.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from typing import Final

from tunnel.closing_sockets import ClosingSockets
from tunnel.codes import Code
from tunnel.ends import Bytes, End
from tunnel.errors import RemoteProtocolError
from tunnel.frames import FrameType
from tunnel.replay import Replay
from tunnel.socket_end import DATA_SIZE
from tunnel.stream_end import StreamEnd

WINDOW = 1152 * 1024  # bytes sent and not acknowledged: with all other buffers below 2 MiB a stream
MIN_WINDOW = 128 * 1024  # of one among very many streams
BUDGET = 256 * 1024 * 1024  # bytes that the streams of a process keep all together
ACK_EVERY = 512 * 1024  # bytes received: at full speed a small frame for two or three reads
RESUME_WITHIN = 60.0  # seconds that a client tries to go on
HELD_FOR = 75.0  # seconds that a share keeps a stream for its guest: the same, and a slow join
MAX_FRUITLESS = 8  # resumptions in a row after which not a byte moved


class Phase(enum.Enum):
    """Where the stream is."""

    ATTACHED = "attached"
    DETACHED = "detached"
    SETTLED = "settled"  # both directions have ended; the other side may not know yet
    OVER = "over"


_ATTACHED: Final = Phase.ATTACHED  # an enumeration's members are slow to get at


class _Count:
    """How many streams share the budget."""

    def __init__(self) -> None:
        self.streams = 0

    def window(self) -> int:
        """Bytes that each may keep now."""
        return max(MIN_WINDOW, min(WINDOW, BUDGET // max(self.streams, 1)))


_count = _Count()


class ResumableEnd(End):
    """`attachment` is the stream in the connection that carries it now.

    `id` is the OPEN's. `on_change(self)` is called when it was detached, and when it is over: until
    then whoever made it keeps it, so that it can be resumed.
    """

    def __init__(
        self, id: bytes, attachment: StreamEnd, on_change: Callable[[ResumableEnd], None]
    ) -> None:
        super().__init__()
        self.id = id
        self.generation = 0
        self.phase = Phase.ATTACHED
        self.reason: Code | None = None
        self.received = 0  # offset: bytes delivered, and one for the end of stream
        self.attachment = attachment
        attachment.carries = self
        self._inlet = _Inlet(self)
        self._on_change = on_change
        self._replay = Replay()
        self._wire = 0  # offset up to which this attachment was given everything
        self._acked = 0  # offset that we told last
        self._linked = False
        self._ended = False  # the local side's end of stream came
        self._end_known = False  # and the other side has it
        self._heard_eof = False
        self._wire_full = False
        self._local_full = False
        self._inbox = bytearray()  # what came while the local side was full
        self._end_in_inbox = False
        self._has_settled = False  # both directions have ended: what is in the inbox is counted
        self._asked = False
        self._fruitless = 0
        self._moved_at = (-1, -1)
        _count.streams += 1

    @property
    def total(self) -> int:
        """Offset of the end of what is to be sent, so far."""
        return self._replay.end + self._ended

    def is_owed(self, closing: ClosingSockets) -> bool:
        """Whether the local side has said all that it says, and the other may not have it yet."""
        if self.phase is Phase.OVER or self._end_known:
            return False
        return self._ended or self.peer.has_hung_up(closing)

    # -- End, for the local side

    def link(self, peer: End) -> None:
        """See End.link. What came early is delivered first."""
        self.peer = peer
        self._linked = True
        self._local_full = False
        if self.phase is _ATTACHED:
            self._take_early()
        elif self.phase is Phase.OVER and self.reason is not None:
            peer.reset(self.reason)

    def send(self, data: Bytes) -> None:
        """See End.send."""
        if self._ended or self.is_done:
            return
        self.bytes_sent += len(data)
        caught_up = self._wire == self._replay.end and self.phase is _ATTACHED
        self._replay.append(data)
        if caught_up:
            self._wire = self._replay.end
            self.attachment.send(data)
        else:
            self.peer.pause_reading()
        if self._is_full():
            self.peer.pause_reading()
            if self._local_full:
                self._steer_reading()

    def send_eof(self) -> None:
        """See End.send_eof."""
        if self._ended or self.is_done:
            return
        self._ended = True
        self._send_rest()

    def reset(self, code: Code) -> None:
        """See End.reset. A stream that has settled stays so."""
        self.terminate(code, "")

    def terminate(self, code: Code, text: str, kind: FrameType = FrameType.RESET) -> None:
        """End the stream with RESET; one that is detached is forgotten."""
        if self.is_done:
            return
        if self.phase is Phase.OVER:  # but for what is in the inbox, which nobody takes any more
            self._inbox.clear()
            self.closed(code)
            return
        attached = self.phase is _ATTACHED
        self._finish(code)
        if attached:
            self.attachment.terminate(code, text, kind)

    def pause_reading(self) -> None:
        """See End.pause_reading."""
        self._local_full = True
        self._steer_reading()

    def resume_reading(self) -> None:
        """See End.resume_reading."""
        self._local_full = False
        if self._inbox:
            asyncio.get_running_loop().call_soon(self._empty_inbox)
        else:
            self._steer_reading()

    # -- going on elsewhere

    def attach(self, attachment: StreamEnd, offset: int) -> None:
        """Go on in `attachment`, from `offset`, up to which the other side has everything.

        Raises RemoteProtocolError for an offset that cannot be.
        """
        self.require(offset)
        self._acknowledge(offset)
        if self.phase is Phase.OVER:  # the other side had everything: the connection is free again
            attachment.send_eof()
            attachment.discard()
            return
        moved = (self.received, offset)
        self._fruitless = 0 if moved != self._moved_at else self._fruitless + 1
        self._moved_at = moved
        self.attachment.carries = None
        self.attachment = attachment
        attachment.carries = self
        self._inlet = _Inlet(self)
        self._wire = self._replay.start
        self._acked = self.received
        self._asked = self._wire_full = False
        self.phase = Phase.ATTACHED
        if self._linked:
            self._take_early()
        if self._local_full:
            self._steer_reading()
        self._send_rest()

    def require(self, offset: int) -> None:
        """Raises RemoteProtocolError unless the other side may have everything below `offset`."""
        if not self._replay.start <= offset <= self.total:
            raise RemoteProtocolError(
                f"a stream goes on from {offset}, not from {self._replay.start} to {self.total}"
            )

    @property
    def is_hopeless(self) -> bool:
        """Whether resuming has led nowhere so often that it is given up."""
        return self._fruitless >= MAX_FRUITLESS

    def detach(self) -> None:
        """The connection is of no use any more: stop the local side until `attach`."""
        if self.phase not in (Phase.ATTACHED, Phase.SETTLED):
            return
        self.phase = Phase.DETACHED
        self._inlet.owner = None
        if not self._has_settled:
            self.peer.pause_reading()
            self._inbox.clear()  # it was not counted, and comes again
            if self._end_in_inbox:
                self._heard_eof = self._end_in_inbox = False
        self._on_change(self)

    def give_up(self, code: Code) -> None:
        """End what cannot go on: both sides see an error, not an end of stream."""
        if self.phase is Phase.OVER:
            return
        if self._has_settled:
            was_attached = self.phase is _ATTACHED
            self._finish_settled(code)
            if was_attached:
                self.attachment.reset(code)
            return
        self.terminate(code, "")
        self.peer.reset(code)

    def ask(self) -> None:
        """Make the other side tell what it has."""
        if self.phase in (Phase.ATTACHED, Phase.SETTLED):
            self.attachment.connection.ping()

    def leave(self) -> None:
        """This side ends for good. Where the other has all, to its end, no RESET is sent, which
        would overtake what a program there has not read: it goes on with that by itself, for as
        long as it waits for us. Any other stream is left as it is."""
        if self._end_known and self.phase is not Phase.OVER:
            self._finish(Code.CLOSED)
            self.peer.reset(Code.CLOSED)

    # -- what the connection tells

    def acked(self, offset: int) -> None:
        """ACK came. Raises RemoteProtocolError for what was never sent."""
        self._asked = False
        if self.phase is _ATTACHED and self._wire < min(offset, self._replay.end):
            raise RemoteProtocolError(f"offset {offset} is acknowledged, {self._wire} were sent")
        self._acknowledge(offset)
        if self.phase is _ATTACHED:
            if self._local_full:
                self._steer_reading()
            self._maybe_resume_peer()

    def flush_ack(self) -> None:
        """Tell how much has come, if that was not told yet."""
        if self._acked != self.received:
            self._acked = self.received
            self.attachment.send_ack(self.received)

    def settled(self) -> None:
        """Both directions have ended on the connection."""
        if self.phase is _ATTACHED:
            self.phase = Phase.SETTLED
            if not self._has_settled:  # else it was resumed: the inbox is counted
                self._has_settled = True
                self.received += len(self._inbox) + self._end_in_inbox
            if not self._inbox:
                self.closed(None)
            if self._end_known:
                self._finish(None)

    def other_side_settled(self, code: Code | None = None) -> None:
        """What came next on the connection proves that the other side will not ask for anything
        again: it has everything; or it has reset the stream, with `code`."""
        if self.phase is Phase.SETTLED:
            self._finish_settled(code)

    # -- inside

    def _take_early(self) -> None:
        """Deliver what came before, and tell that: the PING that asked for it may have passed."""
        attachment = self.attachment
        attachment.link(self._inlet)
        if self.attachment is attachment and self.phase is _ATTACHED:
            self.flush_ack()

    def _acknowledge(self, offset: int) -> None:
        if offset > self.total:
            raise RemoteProtocolError(f"offset {offset} is acknowledged, {self.total} were sent")
        data = min(offset, self._replay.end)
        if data > self._replay.start:
            self._replay.release(data)
        if self._ended and offset == self.total:
            self._end_known = True
            if self.phase is Phase.SETTLED or self._is_settled_elsewhere():
                self._finish(None)

    def _is_settled_elsewhere(self) -> bool:
        """Whether both directions had ended before the connection was lost."""
        return self.phase is Phase.DETACHED and self._has_settled

    def _is_full(self) -> bool:
        """Whether as much as may be is under way. A small window is less than what the other side
        waits for before it sends an ACK: then a PING asks for one."""
        window = _count.window()
        if self._replay.held < window:
            return False
        if window < 2 * ACK_EVERY and not self._asked and self.phase is _ATTACHED:
            self._asked = True
            self.attachment.connection.ping()
        return True

    def _send_rest(self) -> None:
        """Bring the attachment up to date, as far as the connection takes it."""
        if self.phase is not _ATTACHED:
            return
        attachment = self.attachment
        while self._wire < self._replay.end:
            if self._wire_full:
                return
            piece = self._replay.piece(self._wire)
            self._wire += len(piece)
            attachment.send(piece)
            if self.attachment is not attachment or self.phase is not _ATTACHED:
                return
        if self._ended:
            attachment.send_eof()
        else:
            self._maybe_resume_peer()

    def _maybe_resume_peer(self) -> None:
        behind = self._wire < self._replay.end or self._wire_full
        if not behind and not self.is_done and not self._is_full():
            self.peer.resume_reading()

    def _steer_reading(self) -> None:
        """Read what the local side takes; and where it takes nothing, while ACKs are waited for,
        which lie behind the data: else two sides that both send first would stand still."""
        if self.phase is not _ATTACHED or self._has_settled:
            return
        if not self._local_full or self._replay.held >= _count.window():
            self.attachment.resume_reading()
        else:
            self.attachment.pause_reading()

    def _empty_inbox(self) -> None:
        while self._inbox and not self._local_full:
            piece = bytes(self._inbox[:DATA_SIZE])
            del self._inbox[: len(piece)]
            if self._has_settled:
                self.peer.send(piece)
            else:
                self._deliver(piece)
        if self._inbox or self._local_full:
            return
        if self._end_in_inbox:
            self._end_in_inbox = False
            self.received += not self._has_settled
            self.peer.send_eof()
        if self._has_settled:
            self.closed(self.reason)
        self._steer_reading()

    def _data_received(self, data: Bytes) -> None:
        if self._local_full or self._inbox:
            self._inbox += data  # bounded by the other side's window: it is not acknowledged
        else:
            self._deliver(data)

    def _deliver(self, data: Bytes) -> None:
        self.received += len(data)
        self.peer.send(data)
        if self.received - self._acked >= ACK_EVERY and self.phase is _ATTACHED:
            self.flush_ack()

    def _eof_received(self) -> None:
        if not self._heard_eof:  # it is said again after RESUME, even to whoever has heard it
            self._heard_eof = True
            if self._inbox:
                self._end_in_inbox = True
                return
            self.received += 1
            self.peer.send_eof()

    def _reset_received(self, code: Code) -> None:
        if self.attachment.lost:
            self.detach()
        else:
            self.give_up(code)

    def _wire_writable(self) -> None:
        self._wire_full = False
        self._send_rest()

    def _wire_congested(self) -> None:
        self._wire_full = True
        if not self.is_done:
            self.peer.pause_reading()

    def _finish_settled(self, code: Code | None) -> None:
        """What came is whole, and the local side gets it to its end. With `code` the other side
        may not have all of ours: who asks for the result is told, if it is not known yet."""
        if not self.is_done:
            self.reason = code
        self._finish(None)

    def _finish(self, code: Code | None) -> None:
        self.phase = Phase.OVER
        self.reason = self.reason or code
        self._inlet.owner = None
        self._replay.clear()
        _count.streams -= 1
        if code is not None:
            self._inbox.clear()
        if not self._inbox:
            self.closed(code)
        self._on_change(self)


class _Inlet(End):
    """What one attachment delivers to; without an owner once that has moved on."""

    def __init__(self, owner: ResumableEnd) -> None:  # nobody waits for its end, so no future
        self.owner: ResumableEnd | None = owner

    def send(self, data: Bytes) -> None:
        if self.owner is not None:
            self.owner._data_received(data)

    def send_eof(self) -> None:
        if self.owner is not None:
            self.owner._eof_received()

    def reset(self, code: Code) -> None:
        if self.owner is not None:
            self.owner._reset_received(code)

    def pause_reading(self) -> None:
        if self.owner is not None:
            self.owner._wire_congested()

    def resume_reading(self) -> None:
        if self.owner is not None:
            self.owner._wire_writable()
