"""The share's end of a lane: datagrams in a connection of their own (docs/protocol.md 9).

Reliable streams make datagrams late, not lost; so what cannot leave at once waits in a small
queue that drops its oldest, and the kernel is told to keep little unsent. Order inside a flow
is kept, though nobody should count on it. The client's end is tunnel/client_flows.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tunnel.codes import Code
from tunnel.connection import Connection
from tunnel.errors import RefusedError, RemoteProtocolError, VshareError
from tunnel.fair_queue import FairQueue
from tunnel.flows import FLOW_IDLE, MAX_FLOWS, CountingFlow, FlowReceiver
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
from tunnel.lane_sender import LaneSender

SWEEP_EVERY = 15.0  # seconds between looks for silent flows
MAX_EARLY = 256 * 1024  # bytes of datagrams, of all flows whose sockets are being opened
KEEP_SECONDS = 60.0  # that a flow waits for its guest's next lane: as long as a stream does
MAX_KEPT = 1024  # flows of one guest without a lane; the oldest make room

# Opens a flow's way out on the share's side: (host, port, receiver). Raises RefusedError.
OpenFlow = Callable[[str, int, FlowReceiver], Awaitable[CountingFlow]]


class ServerFlow:
    """One flow at the share's end: between a lane, the next lane, and the machine's socket."""

    def __init__(self, lane: ServerLane, number: int, message: FlowOpen, now: float) -> None:
        self.lane: ServerLane | None = lane  # None: lost, another may come
        self._guest = lane.guest
        self.number = number
        self.id, self.host, self.port = message.id, message.host, message.port
        self.began_at = now
        self.active_at = now
        self.bytes_in = 0  # from the guest
        self.bytes_out = 0  # to the guest
        self.out: CountingFlow | None = None
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """Datagrams lost on this side of the lane so far, either way."""
        return self._dropped + (self.out.dropped if self.out is not None else 0)

    def drop(self, count: int = 1) -> None:
        """Count datagrams that were lost."""
        self._dropped += count

    def datagram_received(self, data: bytes) -> None:
        """See FlowReceiver: from the machine."""
        if self.lane is None:
            self._dropped += 1
        else:
            self.lane.send_datagram(self, data)

    def flow_refused(self, code: Code) -> None:
        """See FlowReceiver: the machine refused (ICMP port unreachable)."""
        if self.lane is not None:
            self.lane.refuse(self, code, "")
        else:
            self._guest.ended(self, code)

    def flow_closed(self) -> None:
        """See FlowReceiver."""
        if self.lane is not None:
            self.lane.end_flow(self)
        else:
            self._guest.ended(self, Code.LOST)

    def close_out(self) -> None:
        """Close the machine's side. `dropped` stays what it was."""
        out, self.out = self.out, None
        if out is not None:
            out.close()
            self._dropped += out.dropped


# Told of a flow that was open and has ended, with the seconds it lasted, and why: None when it was
# closed or silent, else the machine's code, or LOST.
OnFlowEnd = Callable[[ServerFlow, float, Code | None], None]


class GuestFlows:
    """The flows of one guest that are open, on whatever lane; they outlive it for KEEP_SECONDS."""

    def __init__(self, on_end: OnFlowEnd = lambda flow, seconds, code: None) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_end = on_end
        self._flows: dict[ServerFlow, None] = {}
        self._by_id: dict[bytes, ServerFlow] = {}
        self._kept: dict[ServerFlow, float] = {}  # with the time since when, the oldest first
        self._timer: asyncio.TimerHandle | None = None  # for the oldest of them
        self._over = False

    @property
    def open(self) -> list[ServerFlow]:
        """All of them."""
        return list(self._flows)

    def opened(self, flow: ServerFlow) -> None:
        """The machine's side of a flow is open."""
        self._flows[flow] = None
        if flow.id:
            self._by_id[flow.id] = flow

    def ended(self, flow: ServerFlow, code: Code | None = None) -> None:
        """Close a flow, and tell of it once."""
        if flow not in self._flows:
            return
        del self._flows[flow]
        self._kept.pop(flow, None)
        if self._by_id.get(flow.id) is flow:
            del self._by_id[flow.id]
        flow.close_out()
        self._on_end(flow, self._loop.time() - flow.began_at, code)

    def keep(self, flow: ServerFlow) -> None:
        """Its lane was lost: the guest may come back for it."""
        if flow not in self._flows or not flow.id or self._over:
            self.ended(flow, Code.LOST)
            return
        flow.lane = None
        self._kept[flow] = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_later(KEEP_SECONDS, self._expire)
        if len(self._kept) > MAX_KEPT:
            self.ended(next(iter(self._kept)), Code.LOST)

    def take(self, message: FlowOpen) -> ServerFlow | None:
        """The open flow with this id, for another lane; its earlier lane has it no more."""
        flow = self._by_id.get(message.id)
        if flow is None or (flow.host, flow.port) != (message.host, message.port):
            return None
        if flow.lane is not None:
            flow.lane.release(flow)
        self._kept.pop(flow, None)
        return flow

    def end_all(self) -> None:
        """The guest may not come back."""
        self._over = True
        for flow in self.open:
            self.ended(flow, Code.LOST)

    def _expire(self) -> None:
        self._timer = None
        limit = self._loop.time() - KEEP_SECONDS
        for flow in [flow for flow, since in self._kept.items() if since <= limit]:
            self.ended(flow, Code.LOST)
        if self._kept:
            oldest = next(iter(self._kept.values()))
            self._timer = self._loop.call_at(oldest + KEEP_SECONDS, self._expire)


class ServerLane:
    """The share's end. `serve` runs until the connection is lost."""

    def __init__(self, connection: Connection, flows: GuestFlows | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self.guest = flows or GuestFlows()
        self._flows: dict[int, ServerFlow] = {}
        self._sender = LaneSender(self._dropped)
        self._early = FairQueue(MAX_EARLY, self._dropped)
        self._asked: asyncio.Queue[tuple[ServerFlow, FlowOpen]] = asyncio.Queue(MAX_FLOWS)
        self._opening = 0  # asked for and not answered yet, whether or not still wanted
        self._lost = asyncio.Event()
        connection.become_lane(self)
        self._sender.attach(connection)
        if not connection.congested:
            self._sender.writable()

    async def serve(self, open_flow: OpenFlow) -> None:
        """Open what the client asks for with `open_flow` until the lane is lost.

        What is open then is kept for the guest's next lane, unless it was ended on purpose.
        """
        keep = False
        try:
            async with asyncio.TaskGroup() as group:
                sweeper = group.create_task(self._sweep(), name="lane sweep")
                opener = group.create_task(self._open_flows(group, open_flow), name="lane opener")
                await self._lost.wait()
                keep = not self._ended_in_order()
                sweeper.cancel()
                opener.cancel()
        finally:
            for flow in list(self._flows.values()):
                if keep:
                    self.guest.keep(flow)
                else:
                    self.guest.ended(flow, Code.LOST)

    def _ended_in_order(self) -> bool:
        """Whether a side closed the lane: then nobody comes back for its flows."""
        error = self._connection.error
        return error is not None and error.__cause__ is None

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
        if self._flows.get(flow.number) is not flow or self._lost.is_set():
            out.close()
            return
        flow.out = out
        self.guest.opened(flow)
        for data in self._early.drain(flow.number):
            out.send(data)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY)
            limit = self._loop.time() - FLOW_IDLE
            for flow in [one for one in self._flows.values() if one.active_at < limit]:
                self.end_flow(flow)

    # -- from the client

    def frame_received(self, kind: int, flow: int, payload: memoryview) -> None:
        """See LaneReceiver."""
        if kind == FrameType.DGRAM:
            found = self._flows.get(flow)
            if found is not None:
                self._datagram_received(found, bytes(payload))
        elif kind == FrameType.FLOW_OPEN:
            self._open_received(flow, parse_message(FlowOpen, payload))
        elif kind == FrameType.FLOW_CLOSE:
            closed = self._flows.get(flow)
            if closed is not None:
                self._drop(closed)
        else:
            raise RemoteProtocolError(f"unexpected frame type {kind} in a lane")

    def _datagram_received(self, flow: ServerFlow, data: bytes) -> None:
        now = self._loop.time()
        flow.active_at = now
        flow.bytes_in += len(data)
        if flow.out is not None:
            flow.out.send(data)
        else:
            self._early.push(flow.number, data, now)

    def _open_received(self, number: int, message: FlowOpen) -> None:
        if number in self._flows:
            raise RemoteProtocolError(f"flow {number} is open already")
        flow = self.guest.take(message) if message.id else None
        if flow is not None:
            flow.lane, flow.number = self, number
        else:
            flow = ServerFlow(self, number, message, self._loop.time())
        if len(self._flows) >= MAX_FLOWS or self._opening >= MAX_FLOWS:
            self.refuse(flow, Code.BUSY, f"more than {MAX_FLOWS} flows")
            return
        flow.active_at = self._loop.time()
        self._flows[number] = flow
        if flow.out is None:
            self._opening += 1
            self._asked.put_nowait((flow, message))

    # -- from the machine

    def send_datagram(self, flow: ServerFlow, data: bytes) -> None:
        """For flows: a datagram of the machine's, towards the guest."""
        if self._flows.get(flow.number) is flow and len(data) <= MAX_DATAGRAM:
            flow.active_at = self._loop.time()
            flow.bytes_out += len(data)
            self._sender.send(flow.number, data)

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

    def release(self, flow: ServerFlow) -> None:
        """Another lane carries this flow on."""
        if self._flows.get(flow.number) is flow:
            del self._flows[flow.number]
            flow.drop(self._sender.forget(flow.number))

    def _drop(self, flow: ServerFlow, code: Code | None = None) -> None:
        self.release(flow)
        flow.drop(len(self._early.drain(flow.number)))
        self.guest.ended(flow, code)

    def _dropped(self, number: int) -> None:
        flow = self._flows.get(number)
        if flow is not None:
            flow.drop()

    def datagram_dropped(self, flow: int) -> None:
        """See LaneReceiver."""
        self._dropped(flow)

    def writable(self) -> None:
        """See LaneReceiver."""
        self._sender.writable()

    def connection_lost(self) -> None:
        """See LaneReceiver."""
        self._sender.detach()
        self._lost.set()
