"""Between vconnect and the agent in its VM: frames, headers, netlink, held SYNs."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable
from typing import cast

from connect_vm.agent import netlink, syns, wire
from connect_vm.agent.loop import Loop
from connect_vm.agent.parking import Answer, Parked, Parking
from connect_vm.agent_datagrams import MAX_FLOWS, DatagramLink
from tests.fuzz.target import Target, choose, cuts_of, require, same_however_cut
from tests.fuzz.targets import loop
from tunnel.codes import Code
from tunnel.ends import End
from tunnel.errors import RefusedError
from tunnel.flows import Flow, FlowReceiver

HEADER = wire.Header(wire.UDP, b"\x0a\0\0\x02", 53, b"\x0a\0\0\x01", 40_000)
SECRET = bytes(32)
FRAMES = (
    wire.frame(wire.FLOW_OPEN, 1, HEADER.encode()),
    wire.frame(wire.DGRAM, 1, b"datagram"),
    wire.frame(wire.FLOW_CLOSE, 1),
    wire.frame(wire.FLOW_REFUSED, 1, b"\x02"),
    wire.frame(wire.FLOW_OPEN, 2, HEADER.encode()),
    wire.frame(9, 1, b"?"),
)
LINKS = (b"".join(FRAMES), FRAMES[0] * 3 + FRAMES[2], FRAMES[0] + FRAMES[2] + FRAMES[0])


def run_frames(data: bytes) -> None:
    def feed(pieces: Iterable[bytes]) -> object:
        reader, found = wire.FrameReader(), []
        try:
            for piece in pieces:
                found += list(reader.feed(piece))
                kept = len(reader._buffer)
                require(kept < 9 + wire.MAX_DATAGRAM, "what is kept is below one frame", kept)
        except wire.WireError:
            return "error"
        return found, bytes(reader._buffer)

    same_however_cut(data, feed)


def run_header(data: bytes) -> None:
    which, data = choose(data)
    if which & 1:
        nonce = bytes(32)
        found = wire.check_answer(SECRET, nonce, data)
        require(found is None, "nobody proves a secret by chance")
        require(not wire.check_agent(SECRET, nonce, nonce, data), "nor the agent")
        return
    header = wire.decode_header(data)
    require(header.encode() == data, "a header survives being written")
    require(header.destination[1] <= 65_535, "a port is one")


class _Transport:
    """The agent's connection."""

    def __init__(self) -> None:
        self.aborted = False

    def write(self, data: bytes) -> None:
        """Taken; thrown away after an abort, as asyncio's transports do."""

    def abort(self) -> None:
        self.aborted = True


class _Flow:
    def __init__(self) -> None:
        self.closed = False

    def send(self, data: bytes) -> None:
        require(len(data) <= wire.MAX_DATAGRAM, "a datagram has its length")

    def close(self) -> None:
        self.closed = True


class _Session:
    def __init__(self, which: int) -> None:
        self._which = which
        self.flows: list[tuple[_Flow, FlowReceiver]] = []

    async def open(self, host: str, port: int) -> End:
        raise NotImplementedError

    async def open_flow(self, host: str, port: int, receiver: FlowReceiver) -> Flow:
        if self._which & 1 and port % 2:
            raise RefusedError(Code.NOT_ALLOWED, "no")
        if self._which & 2:
            await loop.settle(1)
        self.flows.append((_Flow(), receiver))
        if self._which & 4:
            receiver.datagram_received(b"answer")
        if self._which & 8:
            receiver.flow_refused(Code.CONNECTION_REFUSED)
        return self.flows[-1][0]


async def _link(which: int, pieces: Iterable[bytes]) -> None:
    session = _Session(which)
    async with asyncio.TaskGroup() as group:
        link = DatagramLink(session, group)
        transport = _Transport()
        link._transport = cast(asyncio.Transport, transport)
        for piece in pieces:
            if transport.aborted:
                break
            link.data_received(piece)
            if which & 16:
                await loop.settle(2)
            flows = len(link._flows) + len(link._opening)
            require(flows <= MAX_FLOWS, "flows have a limit", flows)
            require(len(link._backlog) <= MAX_FLOWS, "and so what waits", len(link._backlog))
        await loop.settle(4)
        link.connection_lost(None)
        await loop.settle(2)
    require(not link._flows and not link._opening, "nothing is left of a lost link")
    if not which & 8:
        closed = all(flow.closed for flow, _ in session.flows)
        require(closed, "every flow is closed in the end")


def run_link(data: bytes) -> None:
    """DatagramLink: all that an agent may send."""
    which, rest = choose(data)
    for pieces in [[rest], *cuts_of(rest)][:2]:
        loop.run(_link(which, pieces))


def packet(options: int = 0) -> bytes:
    """An IPv4 TCP SYN."""
    head = bytes([0x45 + options]) + bytes(8) + b"\x06" + bytes(2) + b"\x0a\0\0\x01\x0a\0\0\x02"
    return head + bytes(4 * options) + struct.pack("!HH", 40_000, 80) + bytes(16)


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def held(number: int) -> bytes:
    attributes = netlink.attribute(1, struct.pack("!IHBB", number, 0x0800, 1, 0))
    return message(0x300, bytes(4) + attributes + netlink.attribute(10, packet()))


NETLINK = (held(1), held(1) + held(2), message(2, struct.pack("=i", -1)), packet(), packet(10))


def run_netlink(data: bytes) -> None:
    """From the kernel, but the packets in it are strangers'. Never an exception."""
    size = 0
    for _kind, body in netlink.messages(data):
        size += len(body)
        for value in netlink.attributes(body[4:]).values():
            size += len(value)
            header = netlink.parse_packet(value)
            require(header is None or wire.decode_header(header.encode()) == header, "a header")
    require(size <= 2 * len(data), "what is found has come")
    netlink.parse_packet(data)


class _Queue:
    """The kernel's side: every packet gets at most one verdict."""

    def __init__(self) -> None:
        self.waiting: set[int] = set()

    def verdict(self, number: int, verdict: int, mark: int) -> None:
        require(number in self.waiting, "a packet gets one verdict")
        self.waiting.discard(number)


class _Parked:
    def __init__(self) -> None:
        self.answer: Answer | None = None
        self.closed = False
        self.asked = 0

    def ask(self, header: wire.Header, answer: Answer) -> None:
        self.asked += 1
        require(self.asked == 1, "a parked connection is asked once")
        self.answer = answer

    def close(self) -> None:
        self.closed = True
        self.answer = None


class _Parking:
    def __init__(self) -> None:
        self.on_parked = lambda: None
        self.free: list[_Parked] = []
        self.taken: list[_Parked] = []

    def take(self) -> Parked | None:
        if not self.free:
            return None
        self.taken.append(self.free.pop())
        return cast(Parked, self.taken[-1])


class _Ticks:
    def every_tick(self, ticker: object) -> None:
        """Called by hand."""


def run_syns(data: bytes) -> None:
    """SYNs, answers, parked connections and time, in any order: two bytes each."""
    queue, parking = _Queue(), _Parking()
    found = syns.Syns(cast(Loop, _Ticks()), queue, cast(Parking, parking))
    now = 0.0
    for number in range(0, len(data) - 1, 2):
        what, value = data[number] % 4, data[number + 1]
        header = wire.Header(wire.TCP, bytes(4), 80, bytes(4), value % 5)
        if what == 0:
            queue.waiting.add(number)
            found.on_syn(netlink.Held(number, header))
        elif what == 1:
            parking.free.append(_Parked())
            found._serve_waiting()
        elif what == 2 and parking.taken:
            parked = parking.taken[value % len(parking.taken)]
            answer, parked.answer = parked.answer, None
            if answer is not None:
                answer(value % 16)
        elif what == 3:
            now = max(now, max((ask.deadline for ask in found._asks.values()), default=0.0))
            now += 0.001 * (value % 2)
            found.tick(now)
        require(len(queue.waiting) <= len(found._asks), "a held packet is asked for")
    found.tick(now + 1e9)
    found.tick(now + 2e9)
    require(not queue.waiting, "every packet gets its verdict in the end")
    require(all(parked.closed for parked in parking.taken), "every connection is closed in the end")
    found.close()


def _modes(seeds: Iterable[bytes]) -> tuple[bytes, ...]:
    return tuple(bytes([which]) + seed for seed in seeds for which in (0, 2, 5, 8, 16, 31))


TARGETS = (
    Target(
        "agent-frames", run_frames, (), (*FRAMES, *LINKS), ("connect_vm.agent.wire",), FRAMES,
        None, 70_000,
    ),
    Target(
        "agent-header", run_header, (wire.WireError,),
        (b"\0" + HEADER.encode(), b"\x01" + wire.answer(SECRET, b"a" * 32, b"v" * 32, b"P")),
        ("connect_vm.agent.wire",), (b"\x06", b"\x11"), None, 256,
    ),
    Target(
        "agent-link", run_link, (), _modes(LINKS), ("connect_vm.agent_datagrams",), FRAMES, None,
        4096, 0.5, "two links with tasks each",
    ),
    Target("netlink", run_netlink, (), NETLINK, ("connect_vm.agent.netlink",), NETLINK[-2:]),
    Target(
        "held-syns", run_syns, (), (bytes((0, 1, 1, 0, 2, 0, 3, 1)), bytes((0, 1, 3, 1, 0, 1))),
        ("connect_vm.agent.syns",), (b"\0\1", b"\1\0", b"\2\0", b"\3\1"), None, 256,
    ),
)  # fmt: skip
