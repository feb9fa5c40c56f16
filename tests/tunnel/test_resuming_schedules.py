"""Two ResumableEnds, their connections cut at any byte, in any order: what comes out is right.

The connections are in memory, so that a schedule drawn from a seed decides what moves when: bytes
in either direction, writes, ends of stream, readers that stop, cuts that both sides notice, or the
client alone, and streams that are reset.
"""

from __future__ import annotations

import asyncio
import random
from typing import cast

import pytest

from tests.loops import run
from tunnel import replay, resumable_end
from tunnel.client import Client
from tunnel.codes import Code
from tunnel.connection import Connection
from tunnel.ends import Bytes, End
from tunnel.errors import LostError, RefusedError, RemoteProtocolError
from tunnel.frames import Hello, Open, Opened, Resume
from tunnel.identity import Role
from tunnel.resumable_end import Phase, ResumableEnd
from tunnel.stream_end import StreamEnd
from tunnel.tls_socket import Receiver, TlsSocket
from vshare.guests import Guest
from vshare.resumables import Resumables
from vshare.streams import Streams

ID = b"i" * 16
HELLO = Hello(1, "x", [], "guest", "bob", [])
KERNEL = 700  # bytes that the way takes before its sender is congested
TURNS = 5  # of the event loop, in which tasks come to rest


class Wire:
    """One side of a connection in memory, as a TlsSocket."""

    def __init__(self) -> None:
        self.out = bytearray()
        self.other: Wire = self
        self.receiver: Receiver | None = None
        self.is_reading = True
        self.is_lost = False
        self.peer_certificate = None
        self.progress_at = 0.0

    @property
    def congested(self) -> bool:
        return len(self.out) > KERNEL

    def start(self, receiver: Receiver) -> None:
        self.receiver = receiver

    def write(self, head: bytes, data: Bytes = b"") -> None:
        if not self.is_lost:
            self.out += head
            self.out += data

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    def limit_unsent(self, size: int) -> None:
        """Nothing here is a kernel."""

    def close(self) -> None:
        self.abort()

    def abort(self, error: Exception | None = None) -> None:
        if not self.is_lost:
            self.is_lost = True
            self.out.clear()
            assert self.receiver is not None
            self.receiver.connection_lost(error)

    def move(self, count: int) -> bool:
        """Carry some bytes to the other side; whether there were any that it takes."""
        other = self.other
        if not self.out or self.is_lost or not other.is_reading or other.is_lost:
            return False
        was_congested = self.congested
        data = self.out[:count]
        del self.out[:count]
        assert other.receiver is not None
        try:
            other.receiver.data_received(memoryview(data))
        except RemoteProtocolError as error:
            other.abort(error)
            raise AssertionError("an honest peer was blamed") from error
        if was_congested and not self.congested and not self.is_lost:
            assert self.receiver is not None
            self.receiver.writable()
        return True


class Program(End):
    """A program at one end: sends `data`, checks that what comes is a part of `expected`."""

    def __init__(self, data: bytes, expected: bytes) -> None:
        super().__init__()
        self.data, self.expected = data, expected
        self.at = self.got = 0
        self.reads = True  # what comes; else it stops whoever delivers
        self.may_send = False
        self.sent_eof = self.got_eof = self.was_reset = False

    def send(self, data: Bytes) -> None:
        assert not self.got_eof
        assert self.expected[self.got : self.got + len(data)] == data
        self.got += len(data)
        if not self.reads:
            self.peer.pause_reading()

    def send_eof(self) -> None:
        assert not self.got_eof
        assert self.got == len(self.expected)
        self.got_eof = True
        self._settle()

    def reset(self, code: Code) -> None:
        self.was_reset = True
        self.closed(code)

    def pause_reading(self) -> None:
        self.may_send = False

    def resume_reading(self) -> None:
        self.may_send = True

    def go(self, count: int) -> bool:
        """Send some, or the end of stream; whether there was anything to do."""
        if self.finished.done() or self.sent_eof or not self.may_send:
            return False
        if self.at < len(self.data):
            piece = self.data[self.at : self.at + count]
            self.at += len(piece)
            self.peer.send(piece)
        else:
            self.sent_eof = True
            self.peer.send_eof()
            self._settle()
        return True

    def toggle(self) -> None:
        """Stop reading, or go on."""
        self.reads = not self.reads
        if self.reads:
            self.peer.resume_reading()

    def _settle(self) -> None:
        if self.got_eof and self.sent_eof:
            self.closed(None)


class World:
    """A client's and a share's end of one stream, and the connection between them."""

    def __init__(self, random_: random.Random) -> None:
        up, down = (random_.randbytes(random_.choice((0, 1, 4_000, 9_000))) for _ in range(2))
        self.client, self.machine = Program(up, down), Program(down, up)
        self.resumables = Resumables()
        self.guest = Guest("bob", Role.GUEST, "f" * 64, "test")
        self.tasks: set[asyncio.Task[None]] = set()
        self.stream: ResumableEnd | None = None
        self.asking: StreamEnd | None = None  # for the stream to go on
        self.wires: list[Wire] = []  # both sides of the connection of now
        self.all_wires: list[Wire] = []

    def connect(self) -> Connection:
        """A connection; whatever was there before is nobody's concern here."""
        ours, theirs = self.wires = [Wire(), Wire()]
        ours.other, theirs.other = theirs, ours
        self.all_wires += self.wires
        ends = [
            Connection(cast(TlsSocket, wire), is_client=wire is ours, on_change=lambda _: None)
            for wire in self.wires
        ]
        task = asyncio.get_running_loop().create_task(self._serve(ends[1]))
        self.tasks.add(task)
        ends[1].send_hello(HELLO)
        return ends[0]

    async def _serve(self, connection: Connection) -> None:
        try:
            while True:
                message, end = await connection.next_open()
                if isinstance(message, Resume):
                    Streams.resume(cast(Streams, self), connection, self.guest, message, end)
                    continue
                visitor = self.resumables.accept(connection, self.guest, message, end)
                self.machine.peer = visitor
                visitor.link(self.machine)
                self.machine.may_send = True
        except LostError:
            pass

    @property
    def _resumables(self) -> Resumables:  # as `Streams.resume` has it
        return self.resumables

    async def rest(self) -> None:
        """Let tasks do what they can."""
        for _ in range(TURNS):
            await asyncio.sleep(0)

    async def open(self) -> None:
        end = self.connect().open(Open(ID, "tcp", "", 80, True))
        while not end.opened.done():
            self.move_all()
            await self.rest()
        assert end.opened.result() == Opened(True)
        self.stream = ResumableEnd(ID, end, lambda _: None)
        self.client.peer = self.stream
        self.stream.link(self.client)
        self.client.may_send = True

    def move_all(self) -> bool:
        moved = [wire.move(1 << 20) for wire in self.wires]  # both, not up to the first
        return any(moved)

    def resume(self) -> None:
        """What a Client does for a stream that is detached, without its pool and its clock."""
        assert self.stream is not None
        if self.asking is None and self.stream.phase is Phase.DETACHED:
            self.stream.generation += 1
            message = Resume(ID, self.stream.generation, self.stream.received)
            self.asking = self.connect().open(message)
        if self.asking is None or not self.asking.opened.done():
            return
        asked, self.asking = self.asking, None
        try:
            answer = asked.opened.result()
            Client._go_on(cast(Client, None), self.stream, asked, answer)
        except RefusedError as error:
            self.stream.give_up(error.code)
        except LostError:
            pass  # the next try

    def cut(self, both_notice: bool) -> None:
        ours, theirs = self.wires
        ours.abort(LostError("cut"))
        if both_notice:
            theirs.abort(LostError("cut"))

    async def step(self, random_: random.Random, fault: float) -> None:
        """Something happens."""
        draw = random_.random()
        if draw < fault:
            self.cut(random_.random() < 0.5)
        elif draw < 0.1:
            random_.choice((self.client, self.machine)).toggle()
        elif draw < 0.5:
            random_.choice((self.client, self.machine)).go(random_.randrange(1, 1_500))
        else:
            random_.choice(self.wires).move(random_.randrange(1, 1_500))
        await asyncio.sleep(0)
        self.resume()

    async def finish(self) -> None:
        """No more faults; until nothing moves."""
        for program in (self.client, self.machine):
            if not program.reads:
                program.toggle()
        quiet = 0
        while quiet < TURNS:
            moved = [self.client.go(1_500), self.machine.go(1_500), self.move_all()]
            await self.rest()
            self.resume()
            quiet = 0 if any(moved) else quiet + 1

    async def close(self) -> None:
        for wire in self.all_wires:
            wire.abort()
        self.resumables.end_all()
        if self.stream is not None:
            self.stream.give_up(Code.CLOSED)
        for task in self.tasks:
            await task


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is full soon, and a piece of what is kept has an end."""
    monkeypatch.setattr(resumable_end, "WINDOW", 2_000)
    monkeypatch.setattr(resumable_end, "MIN_WINDOW", 2_000)
    monkeypatch.setattr(resumable_end, "ACK_EVERY", 600)
    monkeypatch.setattr(resumable_end, "MAX_FRUITLESS", 1_000)
    monkeypatch.setattr(replay, "SLOT", 256)
    monkeypatch.setattr(replay, "_free", [])


async def until_over(world: World, *, was_reset: bool = False) -> None:
    """A PING each way, as happens each 10 s: both tell what they have, and forget the stream."""
    assert world.stream is not None
    is_cut = any(wire.is_lost for wire in world.wires)
    for wire in world.wires:
        assert isinstance(wire.receiver, Connection)
        wire.receiver.ping()
    await world.finish()
    if not is_cut:  # then the connection is free for another stream
        for wire in world.wires:
            assert isinstance(wire.receiver, Connection)
            assert wire.receiver.stream.is_idle
    if is_cut or was_reset:  # one side knows that all is over, and cannot tell the other
        world.cut(both_notice=True)
        await world.finish()
        world.resumables.end_all()
    assert world.stream.phase is Phase.OVER
    assert not len(world.resumables)


@pytest.mark.parametrize("group", range(4))
def test_whatever_is_cut_both_sides_end_alike_with_every_byte(group: int) -> None:
    async def one(seed: int) -> None:
        random_ = random.Random(seed)
        world = World(random_)
        await world.open()
        for _ in range(random_.randrange(10, 150)):
            await world.step(random_, fault=0.05)
        await world.finish()
        for program in (world.client, world.machine):
            assert program.got_eof
            assert not program.was_reset
        assert world.stream is not None
        assert world.stream.finished.done()
        assert world.stream.finished.result() is None
        await until_over(world)
        await world.close()

    async def main() -> None:
        for seed in range(group * 25, group * 25 + 25):
            await one(seed)

    run(main)


@pytest.mark.parametrize("group", range(2))
def test_a_reset_is_never_an_end_of_stream(group: int) -> None:
    """One program fails at some time. Program's own assertions say that no byte is wrong."""

    async def one(seed: int) -> None:
        random_ = random.Random(seed)
        world = World(random_)
        await world.open()
        for _ in range(random_.randrange(5, 60)):
            await world.step(random_, fault=0.05)
        failing = random_.choice((world.client, world.machine))
        other = world.machine if failing is world.client else world.client
        was_over = failing.finished.done()
        failing.peer.reset(Code.CONNECTION_RESET)
        failing.closed(Code.CONNECTION_RESET)
        assert world.stream is not None
        await world.finish()
        if world.stream.phase is Phase.OVER:
            world.resumables.end_all()  # a guest that is detached cannot tell: as after HELD_FOR
        if not was_over:
            assert other.was_reset or other.got_eof
        await until_over(world, was_reset=True)
        await world.close()

    async def main() -> None:
        for seed in range(1_000 + group * 25, 1_000 + group * 25 + 25):
            await one(seed)

    run(main)


def test_what_is_not_sent_yet_cannot_be_acknowledged() -> None:
    """After a cut the way is full before all that is kept was sent again."""

    async def main() -> None:
        world = World(random.Random(1))
        world.machine.data = world.client.expected = bytes(9_000)
        await world.open()
        while world.machine.may_send:
            world.machine.go(500)
        world.cut(both_notice=False)
        (held,) = world.resumables._streams.values()
        while held.generation == 0:
            world.resume()
            world.move_all()
            await world.rest()
        sent, kept = held._wire, held._replay.end
        assert sent < kept
        theirs = cast(Connection, world.wires[1].receiver)
        with pytest.raises(RemoteProtocolError):
            theirs._ack_received(1, memoryview((sent + 1).to_bytes(8, "big")))
        theirs._ack_received(1, memoryview(sent.to_bytes(8, "big")))
        await world.close()

    run(main)
