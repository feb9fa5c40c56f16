"""The datagram link to the connect VM's agent: its frames are flows of the session."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Callable
from typing import cast

from connect_vm.agent import wire
from connect_vm.opener import Opener
from tunnel.codes import Code
from tunnel.errors import VshareError
from tunnel.fair_queue import FairQueue
from tunnel.flows import Flow

log = logging.getLogger(__name__)

MAX_FLOWS = 1_024  # docs/protocol.md 9
MAX_QUEUED = 256 * 1024  # bytes towards the agent in user space; beyond it the oldest go
HIGH_WATER = 64 * 1024  # bytes in the transport; beyond it they are queued here
NOTSENT_LOWAT = 64 * 1024  # bytes in the kernel
BACKLOG = 16  # datagrams while open_flow, which does not wait for the network, runs
_TCP_NOTSENT_LOWAT = 25  # linux/tcp.h


class _Receiver:
    """What comes back for one of the agent's flows."""

    def __init__(self, link: DatagramLink, number: int) -> None:
        self._link = link
        self._number = number
        self.ended = False

    def datagram_received(self, data: bytes) -> None:
        """See FlowReceiver."""
        self._link.send(wire.DGRAM, self._number, data)

    def flow_refused(self, code: Code) -> None:
        """See FlowReceiver."""
        self.ended = True
        self._link.forget(self._number)
        self._link.send(wire.FLOW_REFUSED, self._number, bytes([code]))

    def flow_closed(self) -> None:
        """See FlowReceiver."""
        self.ended = True
        self._link.forget(self._number)
        self._link.send(wire.FLOW_CLOSE, self._number)


class DatagramLink(asyncio.Protocol):
    """One connection of kind `U`. `lost` is done when it has ended, its flows closed.

    Flows are opened in tasks of `group`, which must outlive the link. `on_dropped(count)` is told
    of datagrams that were lost, here or in the VM, for want of room. `host_of` as AgentLink has it.
    """

    def __init__(
        self,
        session: Opener,
        group: asyncio.TaskGroup,
        on_dropped: Callable[[int], None] = lambda count: None,
        host_of: Callable[[wire.Header], str] = lambda header: "",
    ) -> None:
        self._host_of = host_of
        self._loop = asyncio.get_running_loop()
        self._session = session
        self._group = group
        self._reader = wire.FrameReader()
        self._flows: dict[int, Flow] = {}
        self._opening: dict[int, asyncio.Task[None]] = {}
        self._backlog: dict[int, deque[bytes]] = {}
        self._on_dropped = on_dropped
        self._queue = FairQueue(MAX_QUEUED, lambda flow: on_dropped(1))
        self._paused = False
        self._transport: asyncio.Transport | None = None
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=HIGH_WATER)
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, NOTSENT_LOWAT)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._transport = None
        for task in self._opening.values():
            task.cancel()
        for flow in self._flows.values():
            flow.close()
        self._flows.clear()
        if not self.lost.done():
            self.lost.set_result(None)

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        self._paused = True

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self._paused = False
        now = self._loop.time()
        while not self._paused and self._transport and (frame := self._queue.pop(now)) is not None:
            self._transport.write(frame)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        try:
            for kind, number, payload in self._reader.feed(data):
                self._on_frame(kind, number, payload)
        except wire.WireError as error:
            log.warning("the connect VM's agent sent nonsense: %s", error)
            if self._transport:
                self._transport.abort()

    def send(self, kind: int, number: int, payload: bytes = b"") -> None:
        """One frame to the agent; when it does not keep up, the oldest datagrams are dropped.

        What ends a flow is written at once: there is one for each flow that the agent opened.
        """
        if not self._transport:
            return
        frame = wire.frame(kind, number, payload)
        if self._paused and kind == wire.DGRAM:
            self._queue.push(number, frame, self._loop.time())
        else:
            self._transport.write(frame)

    def forget(self, number: int) -> None:
        """The session's side of a flow is gone."""
        self._flows.pop(number, None)

    def _on_frame(self, kind: int, number: int, payload: bytes) -> None:
        if kind == wire.FLOW_OPEN:
            header = wire.decode_header(payload)
            if number in self._flows or number in self._opening:
                raise wire.WireError(f"flow {number} is open already")
            if len(self._flows) + len(self._opening) >= MAX_FLOWS:
                self.send(wire.FLOW_CLOSE, number)
            else:
                self._backlog[number] = deque(maxlen=BACKLOG)
                task = self._group.create_task(self._open(number, header), name=f"flow {number}")
                self._opening[number] = task
        elif kind == wire.DGRAM:
            self._deliver(number, payload)
        elif kind == wire.FLOW_CLOSE:
            self._close(number)
        elif kind == wire.DROPPED:
            self._on_dropped(int.from_bytes(payload[:4], "big"))

    def _deliver(self, number: int, payload: bytes) -> None:
        flow = self._flows.get(number)
        if flow:
            flow.send(payload)
        elif number in self._backlog:
            waiting = self._backlog[number]
            if len(waiting) == BACKLOG:
                self._on_dropped(1)
            waiting.append(payload)

    async def _open(self, number: int, header: wire.Header) -> None:
        receiver = _Receiver(self, number)
        try:
            flow = await self._session.open_flow(self._host_of(header), header.dport, receiver)
        except VshareError as error:
            log.debug("UDP port %d: %s", header.dport, error)
            self.send(wire.FLOW_CLOSE, number)
            return
        except Exception:  # of ours; it must not end the static IP for all
            log.exception("UDP port %d: this flow ended by a fault of ours", header.dport)
            self.send(wire.FLOW_CLOSE, number)
            return
        finally:
            self._opening.pop(number, None)
            waiting = self._backlog.pop(number, ())
        if receiver.ended:
            return
        self._flows[number] = flow
        for datagram in waiting:
            flow.send(datagram)

    def _close(self, number: int) -> None:
        task = self._opening.pop(number, None)
        if task:
            task.cancel()
        flow = self._flows.pop(number, None)
        if flow:
            flow.close()
