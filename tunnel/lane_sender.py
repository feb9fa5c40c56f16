"""What leaves on a lane: datagrams in batches, the fewest possible waiting (docs/protocol.md 9)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from tunnel.connection import Connection
from tunnel.fair_queue import FairQueue
from tunnel.frames import FrameType, header, serialize

MAX_QUEUED = 256 * 1024  # bytes of datagrams waiting for a congested connection, or for a lane
MAX_CONTROL_QUEUED = 1024 * 1024  # bytes of other frames: only a peer that plays tricks fills it
BATCH = 64 * 1024  # bytes in one write; four TLS records, and what the kernel keeps unsent


class LaneSender:
    """Frames towards a lane's connection, which may come, go and be replaced.

    What is sent in one turn of the event loop leaves in one TLS write. `on_drop(flow)` is told
    of each datagram that is thrown away for want of room.
    """

    def __init__(self, on_drop: Callable[[int], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._blocked = True  # nothing more is written until the connection is writable
        self._batch: list[bytes] = []
        self._batched = 0
        self._is_due = False  # the batch's write
        self._control: deque[bytes] = deque()  # never dropped: a flow would hang for a minute
        self._controlled = 0
        self._queue = FairQueue(MAX_QUEUED, on_drop)

    @property
    def queued(self) -> int:
        """Bytes of datagrams that wait."""
        return self._queue.size

    def attach(self, connection: Connection) -> None:
        """Send over `connection` from now on; `writable` when the first frames may go."""
        self._connection = connection

    def detach(self) -> None:
        """The connection is lost, with what was on its way. Datagrams wait for the next."""
        self._connection = None
        self._blocked = True
        self._control.clear()
        self._controlled = 0

    def send(self, flow: int, data: bytes) -> None:
        """Send or queue one datagram."""
        if self._blocked:
            frame = serialize(FrameType.DGRAM, flow, data)
            self._queue.push(flow, frame, self._loop.time())
            return
        self._batch += (header(FrameType.DGRAM, len(data), flow), data)
        self._grown(len(data))

    def send_control(self, frame: bytes) -> None:
        """Send or queue a frame that opens, refuses or closes a flow; ahead of what is queued.

        Nothing where there is no connection: it would mean nothing on the next.
        """
        if self._connection is None:
            return
        if not self._blocked:
            self._batch.append(frame)
            self._grown(len(frame))
            return
        self._control.append(frame)
        self._controlled += len(frame)
        if self._controlled > MAX_CONTROL_QUEUED:
            self._connection.abort("the lane's other side reads nothing")

    def forget(self, flow: int) -> int:
        """Throw away what is queued of a flow that has ended; how many datagrams that were."""
        return len(self._queue.drain(flow))

    def writable(self) -> None:
        """The connection takes frames: what waits, control frames first."""
        self._blocked = False
        now = self._loop.time()
        while not self._blocked:
            frame: bytes | None
            if self._control:
                frame = self._control.popleft()
                self._controlled -= len(frame)
            else:
                frame = self._queue.pop(now)
            if frame is None:
                return
            self._batch.append(frame)
            self._grown(len(frame))

    def write_batch(self) -> None:
        """Write what was gathered."""
        self._is_due = False
        batch, self._batch, self._batched = self._batch, [], 0
        if batch and self._connection is not None:
            self._connection.send_lane(b"".join(batch))
            self._blocked = self._connection is None or self._connection.congested

    def _grown(self, size: int) -> None:
        self._batched += size
        if self._batched >= BATCH:
            self.write_batch()
        elif not self._is_due:
            self._is_due = True
            self._loop.call_soon(self.write_batch)
