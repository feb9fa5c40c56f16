"""A client's flows, and the lane that carries them (docs/protocol.md 9).

Flows outlive lanes. When one is lost the next is opened at once, and each flow goes on there:
its id tells the share to go on with the socket that it has for it, so the machine's programs
see the same source, and both sides notice lost datagrams and nothing else.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress

from tunnel.codes import Code
from tunnel.connection import Connection
from tunnel.errors import RefusedError, RemoteProtocolError, VshareError
from tunnel.flows import FLOW_IDLE, MAX_FLOWS, Datagrams, Flow, FlowReceiver
from tunnel.frames import (
    MAX_DATAGRAM,
    FlowOpen,
    FrameType,
    Reason,
    parse_message,
    serialize,
    serialize_message,
)
from tunnel.lane_sender import LaneSender

TICK = 1.0  # seconds between looks at the lane and at silent flows, while there are flows
LANE_TIMEOUT = 5.0  # seconds for one attempt at a lane: a round trip or two
RETRY_PAUSE = 0.2  # seconds between attempts; the pool, which is asked, dials no sooner for it
PROBE_AFTER = 2.0  # seconds without a byte, while we send, before the share is asked for a PONG
PROBE_ENDS = 4.0  # seconds for the PONG; what is later than that is of no use to datagrams
FINAL = frozenset({Code.NOT_ALLOWED, Code.UNSUPPORTED, Code.EXPIRED})  # no lane, ever


class _ClientFlow:
    """See Flow."""

    def __init__(
        self, flows: ClientFlows, number: int, message: FlowOpen, receiver: FlowReceiver
    ) -> None:
        self._flows = flows
        self.number = number
        self.message = message
        self.receiver = receiver
        self.active_at = 0.0

    def send(self, data: bytes) -> None:
        """See Flow.send."""
        self._flows.send(self, data)

    def close(self) -> None:
        """See Flow.close."""
        self._flows.close_flow(self)


class ClientFlows:
    """All flows of a client. `run` keeps a lane while there are flows; `open_lane` makes one.

    A LaneReceiver of whatever connection is the lane.
    """

    def __init__(self, open_lane: Callable[[], Awaitable[Connection]]) -> None:
        self._loop = asyncio.get_running_loop()
        self._open_lane = open_lane
        self._connection: Connection | None = None
        self._sender = LaneSender(self._dropped)
        self._flows: dict[int, _ClientFlow] = {}
        self._number = 0
        self._wanted = asyncio.Event()
        self._pinged_at = 0.0
        self._sent_before = 0
        self.lanes = 0  # that were opened
        self.count = Datagrams()

    # -- what users do

    def open_flow(self, host: str, port: int, receiver: FlowReceiver) -> Flow:
        """Begin a flow; a refusal arrives at `receiver`. The idlest goes when there are too many.

        Never waits: while there is no lane, a few datagrams do.
        """
        if len(self._flows) >= MAX_FLOWS:
            self._end(min(self._flows.values(), key=lambda flow: flow.active_at))
        self._number += 1
        message = FlowOpen(host, port, secrets.token_bytes(16))
        flow = _ClientFlow(self, self._number, message, receiver)
        flow.active_at = self._loop.time()
        self._flows[self._number] = flow
        self._sender.send_control(serialize_message(FrameType.FLOW_OPEN, flow.number, message))
        self._wanted.set()
        return flow

    def send(self, flow: _ClientFlow, data: bytes) -> None:
        """For flows: send unless the flow has ended."""
        if flow.number not in self._flows:
            return
        if len(data) > MAX_DATAGRAM:
            self.count.dropped += 1
            return
        flow.active_at = self._loop.time()
        self.count.sent += 1
        self._sender.send(flow.number, data)

    def close_flow(self, flow: _ClientFlow) -> None:
        """For flows: tell the share that no more comes."""
        if self._flows.pop(flow.number, None) is not None:
            self.count.dropped += self._sender.forget(flow.number)
            self._sender.send_control(serialize(FrameType.FLOW_CLOSE, flow.number))

    def close(self) -> None:
        """End every flow, in good order where there is a lane. The connection is not closed."""
        for flow in list(self._flows.values()):
            self._end(flow)
        self._sender.write_batch()

    def _end(self, flow: _ClientFlow) -> None:
        flow.close()
        flow.receiver.flow_closed()

    def lost_outside(self, count: int) -> None:
        """Count datagrams that were lost between the programs that use flows, and here."""
        self.count.dropped += count

    def _dropped(self, number: int) -> None:
        self.count.dropped += 1

    # -- the lane

    async def run(self) -> None:
        """Keep a lane while there are flows, and end silent ones, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK if self._flows else None):
                    await self._wanted.wait()
            self._wanted.clear()
            self.sweep()
            if self._connection is not None:
                self._probe(self._connection)
            elif self._flows:
                await self._find_lane()

    async def _find_lane(self) -> None:
        while self._flows:
            try:
                async with asyncio.timeout(LANE_TIMEOUT):
                    connection = await self._open_lane()
            except (VshareError, TimeoutError) as error:
                if isinstance(error, RefusedError) and error.code in FINAL:
                    self._refuse_all(error.code)
                    return
                await asyncio.sleep(RETRY_PAUSE)
                self.sweep()
            else:
                self.attach(connection)
                return

    def attach(self, connection: Connection) -> None:
        """This connection is the lane now: all flows go on there."""
        self._connection = connection
        self.lanes += 1
        self._pinged_at = 0.0
        self._sender.attach(connection)
        connection.become_lane(self)
        for flow in self._flows.values():
            message = serialize_message(FrameType.FLOW_OPEN, flow.number, flow.message)
            self._sender.send_control(message)
        if not connection.congested:
            self._sender.writable()

    def _refuse_all(self, code: Code) -> None:
        flows, self._flows = self._flows, {}
        for flow in flows.values():
            self.count.dropped += self._sender.forget(flow.number)
            flow.receiver.flow_refused(code)

    def _probe(self, connection: Connection) -> None:
        """A way that died without a word swallows all that is sent: end it, and find another."""
        now, heard = self._loop.time(), connection.heard_at
        if self._pinged_at > heard:
            if now - self._pinged_at > PROBE_ENDS:
                connection.abort("the way for datagrams was silent")
            return
        if self.count.sent != self._sent_before and now - heard > PROBE_AFTER:
            connection.ping()
            self._pinged_at = now
        else:
            self._sent_before = self.count.sent

    def sweep(self) -> None:
        """End the flows that were silent for FLOW_IDLE seconds."""
        limit = self._loop.time() - FLOW_IDLE
        for flow in [each for each in self._flows.values() if each.active_at < limit]:
            self._end(flow)

    # -- LaneReceiver

    def frame_received(self, kind: int, flow: int, payload: memoryview) -> None:
        """See LaneReceiver."""
        found = self._flows.get(flow)
        if found is None:
            return  # closed here while it was on its way
        if kind == FrameType.DGRAM:
            found.active_at = self._loop.time()
            self.count.received += 1
            found.receiver.datagram_received(bytes(payload))
        elif kind == FrameType.FLOW_REFUSED:
            code = Code.from_wire(parse_message(Reason, payload).code)
            del self._flows[flow]
            found.receiver.flow_refused(code)
        elif kind == FrameType.FLOW_CLOSE:
            del self._flows[flow]
            found.receiver.flow_closed()
        else:
            raise RemoteProtocolError(f"unexpected frame type {kind} in a lane")

    def datagram_dropped(self, flow: int) -> None:
        """See LaneReceiver."""
        self._dropped(flow)

    def writable(self) -> None:
        """See LaneReceiver."""
        self._sender.writable()

    def connection_lost(self) -> None:
        """See LaneReceiver."""
        self._connection = None
        self._sender.detach()
        self._wanted.set()
