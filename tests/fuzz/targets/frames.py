"""`vshare/1`: frames, their messages, a connection, a lane's two ends."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import msgspec

from tests.fuzz.target import Target, choose, cuts_of, require, same_however_cut
from tests.fuzz.targets import loop
from tests.fuzz.targets.fake_tls import FakeTls
from tunnel import frames
from tunnel.client_flows import ClientFlows
from tunnel.codes import Code
from tunnel.connection import Connection
from tunnel.datagrams import MAX_EARLY, ServerLane
from tunnel.ends import Sink
from tunnel.errors import LocalProtocolError, LostError, RefusedError, RemoteProtocolError
from tunnel.flows import MAX_FLOWS, CountingFlow, FlowReceiver
from tunnel.frames import (
    FlowOpen,
    FrameParser,
    FrameType,
    Hello,
    Open,
    Opened,
    Reason,
    Resume,
    serialize,
    serialize_message,
)
from tunnel.resumable_end import Phase, ResumableEnd
from tunnel.stream_end import StreamEnd
from tunnel.stream_state import MAX_STREAM, State

ID = b"0123456789abcdef"
HEADER_AND_LARGEST = 8 + max(frames.MAX_CONTROL, frames.MAX_DATAGRAM)
MESSAGES: tuple[Any, ...] = (
    Hello(1, "frosty-weasel-0857", ["datagram"], "guest", "Kim", ["80", "443"]),
    Open(ID, "tcp", "", 80),
    Opened(),
    Reason(7, "no"),
    Resume(ID, 1, 2**40),
    FlowOpen("192.0.2.1", 53),
)
KINDS: tuple[Any, ...] = tuple(
    kind
    for kind in vars(frames).values()
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
)
_TYPE_OF: dict[Any, FrameType] = {
    Hello: FrameType.HELLO,
    Open: FrameType.OPEN,
    Opened: FrameType.OPENED,
    Reason: FrameType.RESET,
    Resume: FrameType.RESUME,
    FlowOpen: FrameType.FLOW_OPEN,
}


def _message(message: Any, stream: int = 1) -> bytes:
    return serialize_message(_TYPE_OF[type(message)], stream, message)


HELLO, OPEN, OPENED, RESET, RESUME, FLOW_OPEN = map(_message, MESSAGES)
HELLO = _message(MESSAGES[0], 0)
DATA = serialize(FrameType.DATA, 1, b"some data")
EOF = serialize(FrameType.EOF, 1)
REFUSED = serialize_message(FrameType.REFUSED, 1, Reason(7, "no"))
PING = serialize(FrameType.PING, 0, b"ping")
RETIRE = serialize(FrameType.RETIRE, 0)
FLOW_CLOSE = serialize(FrameType.FLOW_CLOSE, 1)
DGRAM = serialize(FrameType.DGRAM, 1, b"datagram")
UNKNOWN = bytes([200, 0, 0, 4]) + bytes(4) + b"skip"
OPEN_2 = _message(Open(ID[::-1], "ssh-key", "example.com", 0, True), 2)
ALL = (HELLO, OPEN, OPENED, RESET, RESUME, FLOW_OPEN, DATA, EOF, REFUSED, PING, RETIRE,
       FLOW_CLOSE, DGRAM, UNKNOWN, OPEN_2)  # fmt: skip
STREAMS = (
    b"".join((OPEN, DATA, EOF, OPEN_2, RESET)),
    b"".join((HELLO, OPENED, DATA, EOF, RETIRE)),
    b"".join((OPEN, DATA, DATA, RESET, OPEN_2, DATA, RETIRE)),
    b"".join((HELLO, OPENED, RESET, PING, UNKNOWN)),
    serialize_message(FrameType.REFUSED, 0, Reason(9, "come back later")),
)
LANES = (
    b"".join((FLOW_OPEN, DGRAM, DGRAM, FLOW_CLOSE)),
    b"".join((FLOW_OPEN, _message(FlowOpen("", 1), 2), DGRAM, FLOW_CLOSE, PING)),
    b"".join((DGRAM, serialize_message(FrameType.FLOW_REFUSED, 1, Reason(2)), FLOW_CLOSE)),
)


def _odd_value(chance: random.Random, depth: int = 0) -> Any:
    kind = chance.randrange(10 if depth < 3 else 8)
    if kind < 2:
        return chance.choice((0, 1, -1, 80, 65_535, 65_536, 2**31, 2**32, 2**63, 2**64 - 1))
    if kind < 4:
        return chance.choice((b"", ID, ID + b"x", b"\xff" * 300, b"\0"))
    if kind < 6:
        text = ("", "tcp", "udp", "x" * 33, "h" * 255, "h" * 256, "\0", "\x1b[2J", "\u202e", "é")
        return chance.choice(text)
    if kind == 6:
        return chance.choice((None, True, False))
    if kind == 7:
        return chance.choice((0.0, 1.5, float("nan"), float("inf")))
    return [_odd_value(chance, depth + 1) for _ in range(chance.randrange(5))]


def odd_message(chance: random.Random) -> bytes:
    """A message's payload with a field replaced, added or left out."""
    fields = list(msgspec.structs.astuple(chance.choice(MESSAGES)))
    for _ in range(chance.randrange(3)):
        at = chance.randrange(len(fields) + 1)
        change = chance.randrange(3)
        if change == 0:
            fields[at : at + 1] = [_odd_value(chance)]
        elif change == 1:
            fields.insert(at, _odd_value(chance))
        else:
            del fields[at : at + 1]
    return msgspec.msgpack.encode(fields)


def odd_stream(chance: random.Random) -> bytes:
    """A few frames in any order, some with odd payloads, headers or numbers."""
    found = [chance.randbytes(1)]
    for _ in range(chance.randrange(1, 9)):
        if chance.random() < 0.75:
            found.append(chance.choice(ALL))
        else:
            kind = chance.choice((*(int(each) for each in FrameType), 0, 36, 255))
            payload = odd_message(chance) if chance.random() < 0.8 else chance.randbytes(9)
            number = chance.choice((0, 1, 1, 2, 3, 2**32 - 1))
            found.append(
                bytes([kind]) + len(payload).to_bytes(3, "big") + number.to_bytes(4, "big")
            )
            found.append(payload)
    return b"".join(found)


def run_frames(data: bytes) -> None:
    """The parser alone."""

    def feed(pieces: Iterable[bytes]) -> object:
        parser = FrameParser()
        found: list[tuple[int, int, bytes]] = []
        try:
            for piece in pieces:
                for kind, stream, payload in parser.receive_data(memoryview(piece)):
                    if kind == FrameType.DATA and found and found[-1][:2] == (kind, stream):
                        found[-1] = (kind, stream, found[-1][2] + bytes(payload))
                    else:
                        found.append((kind, stream, bytes(payload)))
                kept = len(parser._partial)
                require(kept <= HEADER_AND_LARGEST, "what is kept is one frame at most", kept)
                require(kept <= len(data), "what is kept has come", kept)
        except RemoteProtocolError as error:
            return found, str(error)
        return found, ""

    same_however_cut(data, feed)


def run_message(data: bytes) -> None:
    """A control frame's payload: what parses can be written, and parses as the same again."""
    which, data = choose(data)
    kind = KINDS[which % len(KINDS)]
    message = frames.parse_message(kind, data)
    again = frames.parse_message(kind, msgspec.msgpack.encode(message))
    same = again == message or repr(again) == repr(message)  # NaN is not equal to itself
    require(same, "a message survives being written", (message, again))
    port = getattr(message, "port", 0)
    require(0 <= port <= 65_535, "a port is one", message)
    require(len(getattr(message, "host", "")) <= 255, "a host is one", message)


def _connection(data: bytes, *, act: bool) -> Any:
    which, _ = choose(data)

    async def main(pieces: Iterable[bytes]) -> object:
        tls = FakeTls(congested=bool(which & 2))
        connection = Connection(
            tls.as_tls, is_client=bool(which & 1), on_change=lambda connection: None
        )
        ends: Ends = []
        if which & 1:
            ends.append(connection.open(Open(ID, "tcp", "", 80)))
        for number, piece in enumerate(pieces):
            tls.deliver([piece])
            if act:
                await _act(connection, ends, which >> 2, number)
            _check(connection, tls, act=act)
        state = (connection.stream.state, connection.stream.number, bytes(tls.written))
        error = str(tls.error) if tls.error else ""
        verdict = (state, error, tls.is_lost, connection.hello.done())
        tls.lose(None)
        for end in ends:
            over = end.finished.done() or connection.end is not end
            require(over or isinstance(end, ResumableEnd), "a lost stream has ended")
            if isinstance(end, ResumableEnd):
                require(end.phase is not Phase.ATTACHED, "a lost stream is detached")
                end.give_up(Code.LOST)
        return verdict

    return main


Ends = list[StreamEnd | ResumableEnd]


async def _act(connection: Connection, ends: Ends, which: int, number: int) -> None:
    """What this side may do, chosen by the input's first byte and the piece's number."""
    if connection._asked is not None:
        _, end = await connection.next_open()
        if which & 1:
            connection.refuse(end, Code.NOT_ALLOWED, "no")
        elif which & 2:
            connection.accept(end, Opened(resumable=True))
            stream = ResumableEnd(ID, end, lambda stream: None)
            ends.append(stream)
            stream.link(Sink(100))
        else:
            connection.accept(end)
            ends.append(end)
            end.link(Sink(100))
    step = (which + number) % 8
    if ends and not ends[-1].finished.done():
        if step == 1:
            ends[-1].send(b"data")
        elif step == 2:
            ends[-1].send_eof()
        elif step == 3:
            ends[-1].reset(Code.CLOSED)
    if step == 4 and connection.is_usable and connection._is_client:
        ends.append(connection.open(Open(ID, "tcp", "", 81)))
    elif step == 5:
        connection.retire()
    connection.resume_reading()


def _check(connection: Connection, tls: FakeTls, *, act: bool) -> None:
    require(isinstance(connection.stream.state, State), "a stream's state is one of the table")
    require(0 <= connection.stream.number <= MAX_STREAM, "a stream's number is one")
    kept = len(connection._parser._partial)
    require(kept <= HEADER_AND_LARGEST, "what is kept is one frame at most", kept)
    end = connection.end
    if end is not None and end._early:
        require(not tls.is_reading or act, "what nobody takes stops the reading")
    if not connection.is_lost and end is None:
        require(connection.stream.is_idle, "no stream under way means idle")


def run_connection(data: bytes) -> None:
    """Any bytes, first without a word of ours, then with everything that we may do between."""
    passive, active = _connection(data, act=False), _connection(data, act=True)
    _, rest = choose(data)
    same_however_cut(rest, lambda pieces: loop.run(passive(pieces)))
    for pieces in cuts_of(rest):
        try:
            loop.run(active(pieces))
        except LocalProtocolError as error:
            raise AssertionError("the peer makes us break the protocol") from error


class _FakeFlow:
    """The machine's socket."""

    def __init__(self) -> None:
        self.closed = False

    def send(self, data: bytes) -> None:
        require(len(data) <= frames.MAX_DATAGRAM, "a datagram has its length")

    @property
    def dropped(self) -> int:
        return 0

    def close(self) -> None:
        self.closed = True


def run_server_lane(data: bytes) -> None:
    """The share's end: everything that a guest may send in a lane."""
    which, rest = choose(data)
    made: list[_FakeFlow] = []

    async def open_flow(host: str, port: int, receiver: FlowReceiver) -> CountingFlow:
        if port == 1:
            raise RefusedError(Code.CONNECTION_REFUSED, "no")
        if port == 2:
            raise LostError("lost")
        if which & 4:
            await loop.settle(1)
        made.append(_FakeFlow())
        if which & 8:
            receiver.datagram_received(b"answer")
        if port == 3:
            receiver.flow_refused(Code.CONNECTION_REFUSED)
        return made[-1]

    async def main(pieces: Iterable[bytes]) -> None:
        import asyncio

        tls = FakeTls(congested=bool(which & 2))
        connection = Connection(tls.as_tls, is_client=False, on_change=lambda connection: None)
        lane = ServerLane(connection)
        async with asyncio.TaskGroup() as group:
            group.create_task(lane.serve(open_flow))
            await loop.settle(1)
            for piece in pieces:
                tls.deliver([piece])
                if which & 1:
                    await loop.settle(2)
                require(len(lane._flows) <= MAX_FLOWS, "a lane has its flows at most")
                require(lane._early.size <= MAX_EARLY, "few datagrams wait for flows")
            await loop.settle(3)
            tls.lose(None)
        require(all(flow.closed for flow in made), "every socket is closed in the end")

    for pieces in [[rest], *cuts_of(rest)][:2]:
        made.clear()
        loop.run(main(pieces))


class _Receiver:
    def datagram_received(self, data: bytes) -> None:
        """An answer."""

    def flow_refused(self, code: Code) -> None:
        require(isinstance(code, Code), "a reason is a code")

    def flow_closed(self) -> None:
        """The end."""


async def never() -> Connection:
    raise LostError("there is no other lane")


def run_client_lane(data: bytes) -> None:
    """The guest's end: everything that a share may send in a lane."""
    which, rest = choose(data)

    async def main(pieces: Iterable[bytes]) -> object:
        tls = FakeTls(congested=bool(which & 2))
        connection = Connection(tls.as_tls, is_client=True, on_change=lambda connection: None)
        lane = ClientFlows(never)
        lane.attach(connection)
        flows = [lane.open_flow("", 53, _Receiver()) for _ in range(3)]
        await loop.settle(1)  # what was sent in one turn leaves in the next
        tls.deliver(pieces)
        verdict = (sorted(lane._flows), str(tls.error), len(tls.written))
        for flow in flows:
            flow.send(b"question")
        tls.congested = False
        lane.writable()
        tls.lose(None)
        require(lane._wanted.is_set(), "the loss of a lane is told")
        return verdict

    same_however_cut(rest, lambda pieces: loop.run(main(pieces)))


def _with_modes(seeds: Iterable[bytes], modes: Iterable[int]) -> tuple[bytes, ...]:
    modes = tuple(modes)
    return tuple(bytes([mode]) + seed for seed in seeds for mode in modes)


_MODES = (0, 1, 4, 6, 13, 21)
TARGETS = (
    Target(
        "frames", run_frames, (), (*ALL, *STREAMS), ("tunnel.frames",), ALL,
        lambda chance: odd_stream(chance)[1:], 70_000,
    ),
    Target(
        "frame-message", run_message, (RemoteProtocolError,),
        tuple(bytes([at]) + each[8:] for each in (HELLO, OPEN, OPENED, RESET, RESUME, FLOW_OPEN)
              for at in range(len(KINDS))),
        ("tunnel.frames",), (), lambda chance: chance.randbytes(1) + odd_message(chance),
    ),
    Target(
        "connection", run_connection, (), _with_modes(STREAMS, _MODES),
        ("tunnel.connection", "tunnel.stream_state"), ALL, odd_stream, 2048,
        0.5, "several connections each, about 0.5 ms",
    ),
    Target(
        "server-lane", run_server_lane, (), _with_modes(LANES, _MODES),
        ("tunnel.datagrams", "tunnel.connection"), ALL, odd_stream, 4096,
        0.5, "two connections with tasks each, about 0.5 ms",
    ),
    Target(
        "client-lane", run_client_lane, (), _with_modes(LANES, _MODES),
        ("tunnel.client_flows", "tunnel.lane_sender"), ALL, odd_stream, 2048,
        0.5, "several connections each, about 0.3 ms",
    ),
)  # fmt: skip
