"""A lane: datagrams in a connection of their own (docs/protocol.md 9).

Reliable streams make datagrams late, not lost; so what cannot leave at once waits in a small
queue that drops its oldest, and the kernel is told to keep little unsent. Order inside a flow
is kept, though nobody should count on it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from tunnel.codes import Code
from tunnel.connection import Connection
from tunnel.errors import LostError, RefusedError, RemoteProtocolError, VshareError
from tunnel.flows import Flow, FlowReceiver
from tunnel.frames import (
    MAX_DATAGRAM,
    MAX_TEXT,
    FlowOpen,
    FrameType,
    Reason,
    parse_message,
    serialize,
    serialize_message,
)

MAX_FLOWS = 1024  # per lane; a resolver or a game uses dozens
MAX_QUEUED = 256 * 1024  # bytes of datagrams waiting for a congested connection
MAX_CONTROL_QUEUED = 1024 * 1024  # bytes of other frames: only a peer that plays tricks fills it
FLOW_IDLE = 60.0  # seconds without a datagram; RFC 4787 asks NATs for more, DNS needs far less
SWEEP_EVERY = 15.0  # seconds between looks for silent flows
MAX_EARLY = 16  # datagrams kept while a flow's socket is being opened


class _Sender:
    """Frames towards a connection, the oldest datagrams dropped while it is congested."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._control: deque[bytes] = deque()  # never dropped: a flow would hang for a minute
        self._controlled = 0
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self.dropped = 0

    def send(self, frame: bytes) -> None:
        """Send or queue a DGRAM frame."""
        if not self._connection.congested:
            self._connection.send_lane(frame)
            return
        self._queue.append(frame)
        self._queued += len(frame)
        while self._queued > MAX_QUEUED:
            self._queued -= len(self._queue.popleft())
            self.dropped += 1

    def send_control(self, frame: bytes) -> None:
        """Send or queue a frame that opens, refuses or closes a flow; ahead of datagrams."""
        if not self._connection.congested:
            self._connection.send_lane(frame)
            return
        self._control.append(frame)
        self._controlled += len(frame)
        if self._controlled > MAX_CONTROL_QUEUED:
            self._connection.abort("the lane's other side reads nothing")

    def flush(self) -> None:
        """The connection takes frames again."""
        while self._control and not self._connection.congested:
            frame = self._control.popleft()
            self._controlled -= len(frame)
            self._connection.send_lane(frame)
        while self._queue and not self._connection.congested:
            frame = self._queue.popleft()
            self._queued -= len(frame)
            self._connection.send_lane(frame)


class _ClientFlow:
    """One flow at the client's end of a lane."""

    def __init__(self, lane: ClientLane, number: int, receiver: FlowReceiver, now: float) -> None:
        self._lane = lane
        self._number = number
        self.receiver = receiver
        self.active_at = now

    def send(self, data: bytes) -> None:
        """See Flow.send."""
        self._lane.send_datagram(self._number, data)

    def close(self) -> None:
        """See Flow.close."""
        self._lane.close_flow(self._number)


class ClientLane:
    """The client's end: opens flows. `on_lost` is called once when the connection is gone."""

    def __init__(self, connection: Connection, on_lost: Callable[[ClientLane], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._sender = _Sender(connection)
        self._flows: dict[int, _ClientFlow] = {}
        self._number = 0
        self._on_lost = on_lost
        self.is_lost = False
        connection.become_lane(self)

    @property
    def dropped(self) -> int:
        """Datagrams dropped for want of room."""
        return self._sender.dropped

    def open_flow(self, host: str, port: int, receiver: FlowReceiver) -> Flow:
        """Begin a flow; a refusal arrives at `receiver`. The idlest goes when there are too many.

        Raises LostError when the lane is lost.
        """
        if self.is_lost:
            raise LostError("the way to the share for datagrams was lost")
        if len(self._flows) >= MAX_FLOWS:
            self._end_flow(min(self._flows, key=lambda key: self._flows[key].active_at))
        self._number += 1
        flow = _ClientFlow(self, self._number, receiver, self._loop.time())
        self._flows[self._number] = flow
        message = serialize_message(FrameType.FLOW_OPEN, self._number, FlowOpen(host, port))
        self._sender.send_control(message)
        return flow

    def send_datagram(self, number: int, data: bytes) -> None:
        """For flows: send unless the flow has ended."""
        flow = self._flows.get(number)
        if flow is not None and len(data) <= MAX_DATAGRAM:
            flow.active_at = self._loop.time()
            self._sender.send(serialize(FrameType.DGRAM, number, data))

    def close_flow(self, number: int) -> None:
        """For flows: tell the share that no more comes."""
        if self._flows.pop(number, None) is not None:
            self._sender.send_control(serialize(FrameType.FLOW_CLOSE, number))

    def sweep(self) -> None:
        """End the flows that were silent for FLOW_IDLE seconds."""
        limit = self._loop.time() - FLOW_IDLE
        for number in [key for key, flow in self._flows.items() if flow.active_at < limit]:
            self._end_flow(number)

    def _end_flow(self, number: int) -> None:
        receiver = self._flows[number].receiver
        self.close_flow(number)
        receiver.flow_closed()

    def frame_received(self, kind: int, flow: int, payload: memoryview) -> None:
        """See LaneReceiver."""
        found = self._flows.get(flow)
        if found is None:
            return  # closed here while it was on its way
        if kind == FrameType.DGRAM:
            found.active_at = self._loop.time()
            found.receiver.datagram_received(bytes(payload))
        elif kind == FrameType.FLOW_REFUSED:
            del self._flows[flow]
            found.receiver.flow_refused(Code.from_wire(parse_message(Reason, payload).code))
        elif kind == FrameType.FLOW_CLOSE:
            del self._flows[flow]
            found.receiver.flow_closed()
        else:
            raise RemoteProtocolError(f"unexpected frame type {kind} in a lane")

    def writable(self) -> None:
        """See LaneReceiver."""
        self._sender.flush()

    def connection_lost(self) -> None:
        """See LaneReceiver."""
        if self.is_lost:
            return
        self.is_lost = True
        flows, self._flows = self._flows, {}
        for flow in flows.values():
            flow.receiver.flow_closed()
        self._on_lost(self)


# Opens a flow's way out on the share's side: (host, port, receiver). Raises RefusedError.
OpenFlow = Callable[[str, int, FlowReceiver], Awaitable[Flow]]
# Told of a flow that was open and has ended: host, port, bytes from the guest, bytes to the
# guest, seconds, and why: None when it was closed or silent, else the machine's code, or LOST.
OnFlowEnd = Callable[[str, int, int, int, float, Code | None], None]


class ServerFlow:
    """One flow at the share's end: between the lane and the machine's socket."""

    def __init__(self, lane: ServerLane, number: int, message: FlowOpen, now: float) -> None:
        self._lane = lane
        self.number = number
        self.host, self.port = message.host, message.port
        self.began_at = now
        self.active_at = now
        self.bytes_in = 0  # from the guest
        self.bytes_out = 0  # to the guest
        self.out: Flow | None = None
        self.early: deque[bytes] = deque(maxlen=MAX_EARLY)

    def opened(self, out: Flow) -> None:
        """The machine's side is ready: send what waited."""
        self.out = out
        while self.early:
            out.send(self.early.popleft())

    def datagram_received(self, data: bytes) -> None:
        """See FlowReceiver: from the machine."""
        self._lane.send_datagram(self, data)

    def flow_refused(self, code: Code) -> None:
        """See FlowReceiver: the machine refused (ICMP port unreachable)."""
        self._lane.refuse(self, code, "")

    def flow_closed(self) -> None:
        """See FlowReceiver."""
        self._lane.end_flow(self)


class ServerLane:
    """The share's end. `serve` runs until the connection is lost."""

    def __init__(self, connection: Connection) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._sender = _Sender(connection)
        self._flows: dict[int, ServerFlow] = {}
        self._asked: asyncio.Queue[tuple[ServerFlow, FlowOpen]] = asyncio.Queue(MAX_FLOWS)
        self._opening = 0  # asked for and not answered yet, whether or not still wanted
        self._lost = asyncio.Event()
        self._on_flow_end: OnFlowEnd | None = None
        connection.become_lane(self)

    async def serve(self, open_flow: OpenFlow, on_flow_end: OnFlowEnd | None = None) -> None:
        """Open what the client asks for with `open_flow` until the lane is lost.

        `on_flow_end` is told of each flow that was opened, when it has ended.
        """
        self._on_flow_end = on_flow_end
        try:
            async with asyncio.TaskGroup() as group:
                sweeper = group.create_task(self._sweep(), name="lane sweep")
                opener = group.create_task(self._open_flows(group, open_flow), name="lane opener")
                await self._lost.wait()
                sweeper.cancel()
                opener.cancel()
        finally:
            for flow in list(self._flows.values()):
                self._drop(flow, Code.LOST)

    async def _open_flows(self, group: asyncio.TaskGroup, open_flow: OpenFlow) -> None:
        while True:
            flow, message = await self._asked.get()
            group.create_task(self._open_one(flow, message, open_flow), name="flow")

    async def _open_one(self, flow: ServerFlow, message: FlowOpen, open_flow: OpenFlow) -> None:
        try:
            out = await open_flow(message.host, message.port, flow)
        except (VshareError, OSError) as error:
            code = error.code if isinstance(error, RefusedError) else Code.HOST_UNREACHABLE
            self.refuse(flow, code, str(error))
            return
        finally:
            self._opening -= 1
        if self._flows.get(flow.number) is flow and not self._lost.is_set():
            flow.opened(out)
        else:
            out.close()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY)
            limit = self._loop.time() - FLOW_IDLE
            for flow in [one for one in self._flows.values() if one.active_at < limit]:
                self.end_flow(flow)

    def frame_received(self, kind: int, flow: int, payload: memoryview) -> None:
        """See LaneReceiver."""
        if kind == FrameType.DGRAM:
            found = self._flows.get(flow)
            if found is not None:
                found.active_at = self._loop.time()
                found.bytes_in += len(payload)
                if found.out is not None:
                    found.out.send(bytes(payload))
                else:
                    found.early.append(bytes(payload))
        elif kind == FrameType.FLOW_OPEN:
            self._open_received(flow, parse_message(FlowOpen, payload))
        elif kind == FrameType.FLOW_CLOSE:
            closed = self._flows.get(flow)
            if closed is not None:
                self._drop(closed)
        else:
            raise RemoteProtocolError(f"unexpected frame type {kind} in a lane")

    def _open_received(self, number: int, message: FlowOpen) -> None:
        if number in self._flows:
            raise RemoteProtocolError(f"flow {number} is open already")
        flow = ServerFlow(self, number, message, self._loop.time())
        if len(self._flows) >= MAX_FLOWS or self._opening >= MAX_FLOWS:
            self.refuse(flow, Code.BUSY, f"more than {MAX_FLOWS} flows")
            return
        self._flows[number] = flow
        self._opening += 1
        self._asked.put_nowait((flow, message))

    def send_datagram(self, flow: ServerFlow, data: bytes) -> None:
        """For flows: a datagram of the machine's, towards the guest."""
        if self._flows.get(flow.number) is flow and len(data) <= MAX_DATAGRAM:
            flow.active_at = self._loop.time()
            flow.bytes_out += len(data)
            self._sender.send(serialize(FrameType.DGRAM, flow.number, data))

    def refuse(self, flow: ServerFlow, code: Code, text: str) -> None:
        """End a flow with FLOW_REFUSED."""
        self._drop(flow, code)
        reason = Reason(code, text[:MAX_TEXT])
        self._sender.send_control(serialize_message(FrameType.FLOW_REFUSED, flow.number, reason))

    def end_flow(self, flow: ServerFlow) -> None:
        """End a flow with FLOW_CLOSE."""
        if self._flows.get(flow.number) is flow:
            self._drop(flow)
            self._sender.send_control(serialize(FrameType.FLOW_CLOSE, flow.number))

    def _drop(self, flow: ServerFlow, code: Code | None = None) -> None:
        if self._flows.get(flow.number) is flow:
            del self._flows[flow.number]
        out, flow.out = flow.out, None
        if out is None:
            return
        out.close()
        if self._on_flow_end is not None:
            seconds = self._loop.time() - flow.began_at
            numbers = (flow.bytes_in, flow.bytes_out, seconds)
            self._on_flow_end(flow.host, flow.port, *numbers, code)

    def writable(self) -> None:
        """See LaneReceiver."""
        self._sender.flush()

    def connection_lost(self) -> None:
        """See LaneReceiver."""
        self._lost.set()
