"""One UDP association of a SOCKS client (RFC 1928 7): datagrams to and from the share.

The counterpart of `Opener.open_flow`. Each destination that the client names is a flow; what
comes back on it is sent to the client behind the very header that the client wrote.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import OrderedDict
from types import TracebackType

from connect_vm import socks
from connect_vm.opener import Opener
from connect_vm.own_names import OwnNames
from tunnel.codes import Code
from tunnel.errors import RemoteProtocolError, VshareError
from tunnel.flows import Flow
from tunnel.udp_socket import dropped_by_kernel, enlarge

log = logging.getLogger(__name__)

MAX_FLOWS = 256  # per association; a resolver or a scan names many destinations
MAX_FLOWS_OF_SERVER = 1_024  # what one lane carries (docs/protocol.md 9)
IDLE_SECONDS = 60.0  # docs/protocol.md 9: as long as the lane keeps a silent flow
MAX_UNOPENED = 64  # datagrams that wait for their flow to be opened, per association
MAX_BATCH = 64  # datagrams read per wake-up, so that one association cannot hold the loop
MAX_DATAGRAM = 65_535  # nothing longer fits UDP's own length field (RFC 768)


class FlowBudget:
    """How many flows all associations of a server may have together; and what they lost."""

    def __init__(self, limit: int = MAX_FLOWS_OF_SERVER) -> None:
        self.left = limit
        self.dropped = 0  # datagrams, for want of room


class _ClientFlow:
    """One destination of the client's: the share's flow, and the receiver of its answers."""

    def __init__(self, association: Association, header: bytes) -> None:
        self._association = association
        self.header = header
        self.flow: Flow | None = None
        self.last_used = 0.0

    def datagram_received(self, data: bytes) -> None:
        self._association.send_to_client(self, data)

    def flow_refused(self, code: Code) -> None:
        # UDP through SOCKS has no way to tell the client.
        log.debug("a flow was refused: %s", code.name)
        self._association.forget(self)

    def flow_closed(self) -> None:
        self._association.forget(self)


class Association:
    """Datagrams of one client, on a socket of its own. Use as an async context manager.

    `client_host` is the only address datagrams are taken from; the port is that of the first
    one. `local_host` is where the socket listens: the address the client reached us at.
    """

    def __init__(
        self,
        opener: Opener,
        own_names: OwnNames,
        budget: FlowBudget,
        *,
        local_host: str,
        client_host: str,
    ) -> None:
        self._opener = opener
        self._own_names = own_names
        self._budget = budget
        self._local_host = local_host
        self._client_host = client_host
        self._client: tuple[str, int] | None = None
        self._flows: OrderedDict[bytes, _ClientFlow] = OrderedDict()  # least recently used first
        self._last: _ClientFlow | None = None  # of the latest datagram; most go to one place
        self._unopened: asyncio.Queue[tuple[bytes, socks.UdpHeader]] = asyncio.Queue(MAX_UNOPENED)
        self._sweep: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Association:
        """Bind. Raises OSError."""
        self._loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in self._local_host else socket.AF_INET
        self._sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            enlarge(self._sock)
            self._sock.bind((self._local_host, 0))
            self._loop.add_reader(self._sock, self._on_readable)
        except BaseException:
            self._sock.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close every flow and the socket."""
        self._loop.remove_reader(self._sock)
        self._budget.dropped += dropped_by_kernel(self._sock)
        self._sock.close()
        if self._sweep:
            self._sweep.cancel()
        for entry in list(self._flows.values()):
            self._close_flow(entry)

    @property
    def address(self) -> tuple[str, int]:
        """Where the client sends its datagrams: an IP address and a port."""
        host, port = self._sock.getsockname()[:2]
        return host, port

    async def open_flows(self) -> None:
        """Open a flow for each new destination; runs until cancelled."""
        while True:
            datagram, header = await self._unopened.get()
            entry = self._flows.get(datagram[: header.size])
            try:
                entry = entry or await self._open_flow(datagram[: header.size], header)
            except VshareError as error:
                log.debug("no flow to %s:%d: %s", header.host, header.port, error.text)
                continue
            if entry and entry.flow:
                self._use(entry)
                entry.flow.send(datagram[header.size :])

    def send_to_client(self, entry: _ClientFlow, data: bytes) -> None:
        """Send an answer; dropped, as UDP may, where it does not fit or cannot be taken."""
        if self._client and entry.header in self._flows:
            self._use(entry)
            try:
                self._sock.sendto(entry.header + data, self._client)
            except OSError:  # too long with its header, buffer full, or the client's socket is gone
                self._budget.dropped += 1

    def forget(self, entry: _ClientFlow) -> None:
        """Drop a flow that has ended; the next datagram for it opens a new one. Idempotent."""
        if self._flows.get(entry.header) is entry:
            del self._flows[entry.header]
            self._budget.left += 1
        if self._last is entry:
            self._last = None

    def _on_readable(self) -> None:
        for _ in range(MAX_BATCH):
            try:
                datagram, source = self._sock.recvfrom(MAX_DATAGRAM)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                # An ICMP error for what was sent to the client; the socket is good still.
                log.debug("association of %s: %s", self._client_host, error)
                return
            if source == self._client or self._is_client(source[:2]):
                self._receive_datagram(datagram)

    def _is_client(self, source: tuple[str, int]) -> bool:
        if self._client is None and source[0] == self._client_host:
            self._client = source
        return source == self._client

    def _receive_datagram(self, datagram: bytes) -> None:
        last = self._last
        if last is not None and last.flow is not None and datagram.startswith(last.header):
            self._use(last)
            last.flow.send(datagram[len(last.header) :])
            return
        try:
            header = socks.parse_udp_header(datagram)
        except RemoteProtocolError as error:
            log.debug("dropped: %s", error.text)
            return
        entry = self._flows.get(datagram[: header.size])
        if entry and entry.flow:
            self._last = entry
            self._use(entry)
            entry.flow.send(datagram[header.size :])
            return
        if self._unopened.full():
            self._unopened.get_nowait()  # the oldest
            self._budget.dropped += 1
        self._unopened.put_nowait((datagram, header))

    async def _open_flow(self, raw_header: bytes, header: socks.UdpHeader) -> _ClientFlow | None:
        """A new flow, in place of the least recently used one where there is no room for it."""
        if self._flows and (len(self._flows) >= MAX_FLOWS or not self._budget.left):
            self._close_flow(next(iter(self._flows.values())))
        if not self._budget.left or not header.port:
            return None
        entry = _ClientFlow(self, raw_header)
        self._flows[raw_header] = entry
        self._budget.left -= 1
        self._use(entry)
        host = self._own_names.resolve(header.host)
        try:
            flow = await self._opener.open_flow(host, header.port, entry)
        except BaseException:
            self.forget(entry)
            raise
        if self._flows.get(raw_header) is not entry:  # refused already
            flow.close()
            return None
        entry.flow = flow
        return entry

    def _close_flow(self, entry: _ClientFlow) -> None:
        self.forget(entry)
        if entry.flow:
            entry.flow.close()

    def _use(self, entry: _ClientFlow) -> None:
        entry.last_used = self._loop.time()
        self._flows.move_to_end(entry.header)
        if self._sweep is None:
            self._sweep = self._loop.call_later(IDLE_SECONDS, self._close_idle)

    def _close_idle(self) -> None:
        """Close what was silent too long, and come back when the next one may have been."""
        self._sweep = None
        now = self._loop.time()
        while self._flows:
            entry = next(iter(self._flows.values()))
            due = entry.last_used + IDLE_SECONDS
            if due > now:
                self._sweep = self._loop.call_at(due, self._close_idle)
                return
            self._close_flow(entry)
