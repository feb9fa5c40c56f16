"""UDP: datagrams to the static IP become flows on the datagram link, and come back.

The first datagram of a flow arrives at the tproxy socket, with its destination beside it
(IP_RECVORIGDSTADDR). A socket of the flow's own, bound to that destination and connected
to the client, then receives the rest and sends the replies.
"""

import socket
import struct
import time
from collections import deque
from collections.abc import Callable

from . import wire
from .fair_queue import FairQueue
from .loop import IN, Loop
from .splice import reset
from .wire import Header

IP_TRANSPARENT = 19  # linux/in.h; not in Python 3.11's socket module
IP_RECVORIGDSTADDR = 20
_CMSG_SIZE = socket.CMSG_SPACE(16)  # one struct sockaddr_in

MAX_FLOWS = 1_024  # docs/protocol.md 9
IDLE_SECONDS = 60.0
MAX_QUEUED = 256 * 1024  # bytes of datagrams towards vconnect; beyond it the oldest go
MAX_CONTROL = 1024 * 1024  # bytes of other frames: only a vconnect that hangs lets it come to that
BATCH = 64 * 1024  # bytes handed to the kernel at a time; only what is queued can be dropped
NOTSENT_LOWAT = 64 * 1024  # what the kernel queues besides
TURN = 64  # datagrams before others have their turn
_TCP_NOTSENT_LOWAT = 25  # linux/tcp.h
_ICMP_PORT_UNREACHABLE = 3, 3  # RFC 792


class _Flow:
    """One (source, destination) pair."""

    def __init__(self, number: int, header: Header) -> None:
        self.number = number
        self.header = header
        self.last = time.monotonic()
        self.sock = transparent_udp()
        try:
            self.sock.bind(header.destination)
            self.sock.connect(header.source)
        except OSError:
            self.sock.close()
            raise


class _Link:
    """The datagram link to vconnect: frames out (bounded, the oldest datagrams go), bytes in."""

    def __init__(self, sock: socket.socket, on_drop: Callable[[int], None]) -> None:
        self.sock = sock
        self.reader = wire.FrameReader()
        self._control: deque[bytes] = deque()
        self._controlled = 0
        self._queue = FairQueue(MAX_QUEUED, on_drop)
        self._rest = memoryview(b"")
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, NOTSENT_LOWAT)

    def queue(self, kind: int, flow: int, payload: bytes = b"") -> None:
        """Add a frame; where it is too much, the oldest datagrams go."""
        data = wire.frame(kind, flow, payload)
        if kind == wire.DGRAM:
            self._queue.push(flow, data, time.monotonic())
        else:
            self._control.append(data)
            self._controlled += len(data)

    def flush(self) -> None:
        """Send until the kernel has enough. Raises OSError other than BlockingIOError."""
        try:
            while self._rest or self._gather():
                self._rest = self._rest[self.sock.send(self._rest) :]
        except BlockingIOError:
            if self._controlled > MAX_CONTROL:
                raise ConnectionAbortedError("vconnect reads nothing") from None

    def _gather(self) -> bool:
        """Take the next frames; whether there were any."""
        batch = list(self._control)
        size, now = self._controlled, time.monotonic()
        self._control.clear()
        self._controlled = 0
        while size < BATCH:
            data = self._queue.pop(now)
            if data is None:
                break
            batch.append(data)
            size += len(data)
        self._rest = memoryview(b"".join(batch))
        return bool(batch)


class Flows:
    """All flows; the tproxy socket in, the datagram link out."""

    def __init__(self, loop: Loop, listener: socket.socket) -> None:
        self._loop = loop
        self._listener = listener
        self._by_header: dict[Header, _Flow] = {}
        self._by_number: dict[int, _Flow] = {}
        self._next = 1
        self._link: _Link | None = None
        self._dropped = 0  # datagrams that vconnect was not told of yet
        self._icmp = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self._icmp.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
        listener.setsockopt(socket.SOL_IP, IP_RECVORIGDSTADDR, 1)
        loop.add(listener.fileno(), self._on_first, IN)  # level: a turn may leave some
        loop.every_tick(self._tick)

    def link_up(self, sock: socket.socket) -> None:
        """vconnect opened its datagram link (again): flows start from nothing."""
        self._link_down()
        self._link = _Link(sock, self._drop)
        self._loop.replace(sock.fileno(), self._on_link)

    def _link_down(self) -> None:
        if self._link:
            self._loop.remove(self._link.sock.fileno())
            reset(self._link.sock)
            self._link = None
        for flow in list(self._by_number.values()):
            self._forget(flow)

    # From clients.

    def _on_first(self, _events: int) -> None:
        for _ in range(TURN):
            try:
                data, extra, _flags, source = self._listener.recvmsg(65_535, _CMSG_SIZE)
            except OSError:
                break
            destination = _original_destination(extra)
            if destination:
                self._from_client(Header.of(wire.UDP, destination, source), data)
        self._flush()

    def _from_client(self, header: Header, data: bytes) -> None:
        if not self._link:
            self._dropped += 1  # nobody to carry it
            return
        flow = self._by_header.get(header) or self._open(header, self._link)
        if flow:
            flow.last = time.monotonic()
            self._link.queue(wire.DGRAM, flow.number, data)

    def _open(self, header: Header, link: _Link) -> _Flow | None:
        if len(self._by_number) >= MAX_FLOWS:
            self._close(min(self._by_number.values(), key=lambda flow: flow.last))
        try:
            flow = _Flow(self._next, header)
        except OSError:
            return None  # no descriptors, or an address nobody can reply to
        self._next = self._next % 0xFFFF_FFFF + 1
        self._by_header[header] = self._by_number[flow.number] = flow
        self._loop.add(flow.sock.fileno(), lambda _events: self._on_flow(flow), IN)
        link.queue(wire.FLOW_OPEN, flow.number, header.encode())
        return flow

    def _on_flow(self, flow: _Flow) -> None:
        for _ in range(TURN):
            try:
                data = flow.sock.recv(65_535)
            except BlockingIOError:
                break
            except OSError:  # the client's port is closed: an ICMP came back
                self._close(flow)
                break
            self._from_client(flow.header, data)
        self._flush()

    # From vconnect.

    def _on_link(self, _events: int) -> None:
        link = self._link
        if not link:
            return
        try:
            link.flush()
            for _ in range(TURN):
                data = link.sock.recv(65_536)
                if not data:
                    self._link_down()
                    return
                for kind, number, payload in link.reader.feed(data):
                    self._on_frame(kind, number, payload)
        except BlockingIOError:
            return
        except (OSError, wire.WireError):
            self._link_down()
            return
        self._loop.again(lambda: self._on_link(0))

    def _on_frame(self, kind: int, number: int, payload: bytes) -> None:
        flow = self._by_number.get(number)
        if flow is None:
            return  # closed here meanwhile
        if kind == wire.DGRAM:
            flow.last = time.monotonic()
            try:
                flow.sock.send(payload)
            except OSError:
                self._dropped += 1  # full, or the client is gone
        elif kind == wire.FLOW_REFUSED:
            self._refuse(flow.header)
            self._forget(flow)
        elif kind == wire.FLOW_CLOSE:
            self._forget(flow)

    def _refuse(self, header: Header) -> None:
        """ICMP port unreachable, from the static IP, about the client's datagram."""
        try:
            self._icmp.bind((socket.inet_ntoa(header.dst), 0))
            self._icmp.sendto(port_unreachable(header), (socket.inet_ntoa(header.src), 0))
        except OSError:
            return  # it would only have been quicker

    # Ends.

    def _close(self, flow: _Flow) -> None:
        if self._link:
            self._link.queue(wire.FLOW_CLOSE, flow.number)
        self._forget(flow)

    def _forget(self, flow: _Flow) -> None:
        if self._by_number.pop(flow.number, None):
            del self._by_header[flow.header]
            self._loop.remove(flow.sock.fileno())
            flow.sock.close()

    def _flush(self) -> None:
        try:
            if self._link:
                self._link.flush()
        except OSError:
            self._link_down()

    def _drop(self, _flow: int) -> None:
        self._dropped += 1

    def _tick(self, now: float) -> None:
        if self._dropped and self._link:
            self._link.queue(wire.DROPPED, 0, struct.pack("!I", min(self._dropped, 0xFFFF_FFFF)))
            self._dropped = 0
        for flow in list(self._by_number.values()):
            if flow.last + IDLE_SECONDS < now:
                self._close(flow)
        self._flush()


def transparent_udp() -> socket.socket:
    """A non-blocking UDP socket that may have an address which is not ours (ip(7))."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    sock.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return sock


def _original_destination(extra: list[tuple[int, int, bytes]]) -> tuple[str, int] | None:
    for level, kind, data in extra:
        if level == socket.SOL_IP and kind == IP_RECVORIGDSTADDR and len(data) >= 8:
            (port,) = struct.unpack_from("!H", data, 2)
            return socket.inet_ntoa(data[4:8]), port
    return None


def port_unreachable(header: Header) -> bytes:
    """The ICMP message that tells `header`'s source that nobody listens (RFC 792).

    It quotes the IPv4 header and the 8 bytes after it of the datagram that was refused: the
    client's kernel finds the socket by the addresses and ports in them.
    """
    udp = struct.pack("!HHHH", header.sport, header.dport, 8, 0)
    inner = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, wire.UDP, 0)
    inner += header.src + header.dst
    inner = inner[:10] + struct.pack("!H", checksum(inner)) + inner[12:]
    message = struct.pack("!BBHI", *_ICMP_PORT_UNREACHABLE, 0, 0) + inner + udp
    return message[:2] + struct.pack("!H", checksum(message)) + message[4:]


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
