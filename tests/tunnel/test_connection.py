from __future__ import annotations

import asyncio

import pytest

from tests.loops import Factory, both_loops, run, until
from tests.tls_pair import connection_pair, tcp_pair
from tunnel.codes import Code
from tunnel.connection import MAX_FRAMES, MAX_PINGS, Connection
from tunnel.ends import Bytes, End, bridge
from tunnel.errors import LocalProtocolError, LostError, RefusedError, RemoteProtocolError
from tunnel.frames import FrameType, Open, Reason, serialize, serialize_message
from tunnel.socket_end import SocketEnd
from tunnel.stream_end import StreamEnd
from tunnel.stream_state import Input

OPEN = Open(b"i" * 16, "tcp", "", 80)


class Probe(End):
    """An end that records what it is told, and says when a condition holds."""

    def __init__(self) -> None:
        super().__init__()
        self.data = bytearray()
        self.eof = False
        self.code: Code | None = None
        self.paused = False
        self._news = asyncio.Event()

    def send(self, data: Bytes) -> None:
        self.data += data
        self._news.set()

    def send_eof(self) -> None:
        self.eof = True
        self._news.set()

    def reset(self, code: Code) -> None:
        self.code = code
        self._news.set()

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    async def until(self, size: int = 0, *, eof: bool = False, reset: bool = False) -> None:
        while len(self.data) < size or (eof and not self.eof) or (reset and self.code is None):
            self._news.clear()
            await self._news.wait()


def linked(end: StreamEnd) -> Probe:
    probe = Probe()
    end.link(probe)
    probe.peer = end
    return probe


async def opened(client: Connection, share: Connection) -> tuple[StreamEnd, StreamEnd]:
    ours = client.open(OPEN)
    message, theirs = await share.next_open()
    assert message == OPEN
    share.accept(theirs)
    await ours.opened
    return ours, theirs


async def settled(*connections: Connection) -> None:
    """A PING each way has been answered: all that was sent before has arrived."""
    for connection in connections:
        before = connection.heard_at
        while connection.heard_at == before and not connection.is_lost:
            connection.ping()
            await asyncio.sleep(0.001)


@both_loops
@pytest.mark.parametrize("first", [0, 1])
def test_half_close_in_both_orders_and_the_connection_is_used_again(
    factory: Factory, first: int
) -> None:
    async def main() -> None:
        client, share, changes = await connection_pair()
        for number in (1, 2, 3):
            ends = await opened(client, share)
            probes = [linked(end) for end in ends]
            ends[first].send(b"last words")
            ends[first].send_eof()
            await probes[1 - first].until(10, eof=True)
            ends[1 - first].send(b"an answer after EOF")
            ends[1 - first].send_eof()
            await probes[first].until(19, eof=True)
            assert [await end.finished for end in ends] == [None, None]
            assert client.stream.number == share.stream.number == number
            assert changes.idle == number  # given back once per stream
        client.abort("test")
        share.abort("test")

    run(main, factory)


@pytest.mark.parametrize("who", [0, 1])
def test_reset_arrives_with_its_code_and_the_connection_goes_on(who: int) -> None:
    async def main() -> None:
        client, share, changes = await connection_pair()
        for number in (1, 2):
            ends = await opened(client, share)
            probes = [linked(end) for end in ends]
            ends[1 - who].send(b"thrown away")
            ends[who].reset(Code.CONNECTION_RESET)
            ends[who].reset(Code.INTERNAL)  # idempotent
            await probes[1 - who].until(reset=True)
            assert probes[1 - who].code is Code.CONNECTION_RESET
            assert await ends[0].finished is await ends[1].finished is Code.CONNECTION_RESET
            assert not probes[who].data
            assert probes[who].code is None  # who resets is not told of the answer
            assert changes.idle == number
        client.abort("test")
        share.abort("test")

    run(main)


def test_reset_crosses_eof() -> None:
    async def main() -> None:
        client, share, changes = await connection_pair()
        ours, theirs = await opened(client, share)
        mine, yours = linked(ours), linked(theirs)
        ours.send_eof()
        ours.reset(Code.CLOSED)  # behind our EOF
        theirs.send_eof()  # crosses both
        assert await ours.finished is Code.CLOSED
        await yours.until(eof=True)
        assert not mine.eof  # what came after our RESET is not delivered
        second = await opened(client, share)  # the late RESET does not end this one
        for end in second:
            linked(end)
            end.send_eof()
        assert [await end.finished for end in second] == [None, None]
        assert changes.idle == 2
        client.abort("test")
        share.abort("test")

    run(main)


def test_resets_cross() -> None:
    async def main() -> None:
        client, share, changes = await connection_pair()
        ours, theirs = await opened(client, share)
        ours.reset(Code.CLOSED)
        theirs.reset(Code.LOST)
        assert (await ours.finished, await theirs.finished) == (Code.CLOSED, Code.LOST)
        assert changes.idle == 1
        await opened(client, share)
        client.abort("test")
        share.abort("test")

    run(main)


def test_refused_although_data_was_sent() -> None:
    async def main() -> None:
        client, share, changes = await connection_pair()
        ours = client.open(OPEN)
        ours.send(b"x" * 1000)
        _, theirs = await share.next_open()
        share.refuse(theirs, Code.CONNECTION_REFUSED, "nothing listens on port 80")
        with pytest.raises(RefusedError, match="nothing listens") as caught:
            await ours.opened
        assert caught.value.code is Code.CONNECTION_REFUSED
        assert await theirs.finished is Code.CONNECTION_REFUSED
        assert client.is_usable
        assert share.is_usable
        assert changes.idle == 1
        share.accept(theirs)  # too late: nothing is sent
        await opened(client, share)
        client.abort("test")
        share.abort("test")

    run(main)


def test_given_up_before_the_answer() -> None:
    async def main() -> None:
        client, share, _ = await connection_pair()
        ours = client.open(OPEN)
        ours.reset(Code.CLOSED)
        _, theirs = await share.next_open()
        share.accept(theirs)
        linked(theirs)
        assert await ours.finished is Code.CLOSED
        assert await theirs.finished is Code.CLOSED
        await opened(client, share)
        client.abort("test")
        share.abort("test")

    run(main)


def test_what_came_before_the_link_is_kept_and_bounded() -> None:
    async def main() -> None:
        client, share, _ = await connection_pair()
        ours, theirs = await opened(client, share)
        sender = linked(ours)
        sent = 0
        while not sender.paused:  # as a peer that respects back-pressure
            ours.send(b"x" * 65_536)
            sent += 65_536
            await asyncio.sleep(0)
        assert len(theirs._early) <= 600_000
        receiver = linked(theirs)
        await receiver.until(sent)
        assert not bool(sender.paused)  # mypy has seen it true
        ours.send_eof()
        await receiver.until(eof=True)
        client.abort("test")
        share.abort("test")

    run(main)


def test_a_whole_stream_before_the_link() -> None:
    async def main() -> None:
        client, share, _ = await connection_pair()
        ours, theirs = await opened(client, share)
        theirs.send(b"short")
        theirs.send_eof()
        ours.send_eof()
        assert await theirs.finished is None
        await settled(client)
        probe = linked(ours)
        assert (bytes(probe.data), probe.eof, probe.code) == (b"short", True, None)
        assert client.is_usable
        client.abort("test")
        share.abort("test")

    run(main)


def test_more_than_a_frame_holds_is_cut() -> None:
    async def main() -> None:
        client, share, _ = await connection_pair()
        ours, theirs = await opened(client, share)
        probe = linked(theirs)
        ours.send(bytes(1_000_000))
        ours.send_eof()
        await probe.until(1_000_000, eof=True)
        client.abort("test")
        share.abort("test")

    run(main)


def test_a_stream_that_ends_while_paused_leaves_the_connection_reading() -> None:
    async def main() -> None:
        client, share, _ = await connection_pair()
        ours, theirs = await opened(client, share)
        linked(ours)
        linked(theirs)
        ours.send_eof()
        theirs.pause_reading()  # its peer is full
        theirs.send_eof()
        # The client's EOF cannot be read while paused; a real peer resumes when it has room.
        theirs.resume_reading()
        assert await theirs.finished is None
        theirs.pause_reading()  # late: that stream is over
        second = await opened(client, share)
        probe = linked(second[1])
        second[0].send(b"heard")
        await probe.until(5)
        second[1].pause_reading()
        theirs.resume_reading()  # late as well
        assert share.is_paused
        second[1].reset(Code.CLOSED)
        second[1].pause_reading()  # the answer to RESET must be seen
        assert await second[1].finished is Code.CLOSED
        assert not bool(share.is_paused)  # mypy has seen it true
        client.abort("test")
        share.abort("test")

    run(main)


def test_reset_is_heard_after_the_other_side_ended_while_our_peer_was_full() -> None:
    # They sent much and EOF, our socket took it late: their RESET must be heard all the same.
    async def main() -> None:
        client, share, _ = await connection_pair()
        ours, theirs = await opened(client, share)
        linked(ours)
        near, far = tcp_pair(65_536)
        end = SocketEnd(near)
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(bridge(theirs, end))
            size = 2_000_000
            ours.send(bytes(size))
            ours.send_eof()
            got = 0
            while got < size:
                got += len(await loop.sock_recv(far, 1_000_000))
            assert await loop.sock_recv(far, 1) == b""
            ours.reset(Code.CONNECTION_RESET)
            assert await task is Code.CONNECTION_RESET
        with pytest.raises(ConnectionError):  # after its end of stream, that is how RST shows
            await loop.sock_sendall(far, b"x")
        far.close()
        client.abort("test")
        share.abort("test")

    run(main)


def test_open_crosses_retire() -> None:
    async def main() -> None:
        client, share, _ = await connection_pair()
        share.retire()
        assert not share.is_lost  # an OPEN may be on its way
        ours = client.open(OPEN)
        with pytest.raises(RefusedError) as caught:
            await ours.opened
        assert caught.value.code is Code.RETIRED
        with pytest.raises(LostError):
            await share.next_open()
        assert client.is_lost

    run(main)


@pytest.mark.parametrize("who", [0, 1])
def test_retire_lets_the_stream_under_way_end(who: int) -> None:
    async def main() -> None:
        pair = (await connection_pair())[:2]
        ends = await opened(*pair)
        probes = [linked(end) for end in ends]
        pair[who].retire()
        pair[who].retire()
        await settled(*pair)
        for end, probe in zip(ends, reversed(probes), strict=True):
            end.send(b"still works")
            end.send_eof()
            await probe.until(11, eof=True)
        with pytest.raises(LostError):
            await pair[1].next_open()
        await until(lambda: all(connection.is_lost for connection in pair))
        with pytest.raises(LostError):
            await pair[0].open(OPEN).opened

    run(main)


def test_an_idle_client_that_retires_is_gone_at_once() -> None:
    async def main() -> None:
        client, share, changes = await connection_pair()
        client.retire()
        assert client.is_lost
        assert not client.is_usable
        assert changes.idle == 0
        with pytest.raises(LostError):
            await share.next_open()
        client.retire()
        client.abort("twice")

    run(main)


@pytest.mark.parametrize("stage", ["asked", "opened", "local-done", "remote-done", "resetting"])
def test_lost_in_every_state(stage: str) -> None:
    async def main() -> None:
        client, share, _ = await connection_pair()
        ours = client.open(OPEN)
        probe = Probe()
        if stage != "asked":
            _, theirs = await share.next_open()
            share.accept(theirs)
            await ours.opened
            ours.link(probe)
            if stage == "local-done":
                ours.send_eof()
            elif stage == "remote-done":
                theirs.send_eof()
                await probe.until(eof=True)
            elif stage == "resetting":
                ours.reset(Code.BUSY)
        share.abort("pulled")
        if stage == "asked":
            with pytest.raises(LostError):
                await ours.opened
        assert await ours.finished is (Code.BUSY if stage == "resetting" else Code.LOST)
        assert probe.code is (None if stage == "asked" else Code.LOST)
        for action in (ours.send_eof, ours.pause_reading, ours.resume_reading):
            action()
        ours.send(b"nowhere")
        ours.reset(Code.CLOSED)
        late = client.open(OPEN)
        with pytest.raises(LostError):
            await late.opened
        with pytest.raises(LostError):
            await share.next_open()

    run(main)


def test_lost_before_the_link() -> None:
    async def main() -> None:
        client, share, _ = await connection_pair()
        ours, theirs = await opened(client, share)
        theirs.send(b"these still count")
        await until(lambda: client.is_paused)  # the data has come, and waits for the link
        share.abort("pulled")
        probe = linked(ours)
        assert bytes(probe.data) == b"these still count"
        assert await ours.finished is probe.code is Code.LOST

    run(main)


def test_an_open_waits_until_it_is_asked_for() -> None:
    async def main() -> None:
        client, share, _ = await connection_pair()
        client.open(OPEN)
        await settled(client)
        message, _ = await share.next_open()
        assert message == OPEN
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await share.next_open()
        with pytest.raises(LocalProtocolError):
            client.open(OPEN)
        share.abort("test")
        with pytest.raises(LostError):
            await share.next_open()
        client.abort("test")

    run(main)


def reason(kind: FrameType, stream: int) -> bytes:
    return serialize_message(kind, stream, Reason(1, ""))


@pytest.mark.parametrize(
    "frames",
    [
        serialize(FrameType.DATA, 1, b"x"),
        serialize(FrameType.EOF, 1),
        serialize_message(FrameType.OPEN, 2, OPEN),
        serialize_message(FrameType.OPEN, 1, OPEN) * 2,
        serialize_message(FrameType.OPEN, 1, OPEN) + serialize(FrameType.EOF, 1) * 2,
        serialize_message(FrameType.OPEN, 1, OPEN)
        + serialize(FrameType.EOF, 1)
        + serialize(FrameType.DATA, 1, b"x"),
        serialize_message(FrameType.OPEN, 1, OPEN) + serialize(FrameType.DATA, 2, b"x"),
        reason(FrameType.RESET, 1),
        reason(FrameType.REFUSED, 0),
        serialize(FrameType.HELLO, 0, b"\x90"),
        serialize(FrameType.OPENED, 0, b"\x90"),
        serialize(FrameType.OPEN, 1, b"not msgpack"),
        serialize(FrameType.RESUME, 1, b"\x90"),
        serialize(FrameType.DGRAM, 1, b"x"),
        serialize_message(FrameType.OPEN, 1, Open(b"i" * 16, "datagram", "", 0))
        + serialize(FrameType.FLOW_OPEN, 1, b"\x92\xa0\x35"),
        serialize(FrameType.DATA, 1, bytes(262_145)),
    ],
)
def test_what_the_protocol_does_not_allow_ends_the_connection(frames: bytes) -> None:
    async def main() -> None:
        client, share, _ = await connection_pair()
        client.send_lane(frames)  # as a client that breaks the rules
        await until(lambda: share.is_lost)
        await until(lambda: client.is_lost)

    run(main)


def test_turned_away_in_place_of_hello() -> None:
    async def main() -> None:
        from tests.tls_pair import tls_pair

        client_tls, share_tls = await tls_pair()
        share = Connection(share_tls, is_client=False, on_change=lambda connection: None)
        share.turn_away(Code.NOT_ALLOWED, "you were removed")
        client = Connection(client_tls, is_client=True, on_change=lambda connection: None)
        with pytest.raises(RefusedError, match="you were removed"):
            await client.hello
        assert client.is_lost

    run(main)


def test_a_fault_in_a_callback_ends_the_connection_and_is_reported() -> None:
    async def main() -> None:
        client, share, _ = await connection_pair()
        ours, theirs = await opened(client, share)
        faults: list[object] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: faults.append(context.get("exception")))
        probe = linked(theirs)
        probe.send = lambda data: 1 / 0  # type: ignore[assignment,method-assign]
        ours.send(b"x")
        assert await theirs.finished is Code.LOST
        assert share.is_lost
        assert isinstance(faults[0], ZeroDivisionError)
        client.abort("test")

    run(main)


def test_a_peer_that_makes_us_answer_and_reads_nothing_is_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        monkeypatch.setattr("tunnel.tls_socket.MAX_BACKLOG", 100_000)
        client, share, _ = await connection_pair(16_384)
        client.pause_reading()
        while not share.is_lost:
            client.ping(b"x" * 64)
            await asyncio.sleep(0)
        client.abort("test")

    run(main)


@pytest.mark.parametrize(
    ("frame", "count"),
    [
        (serialize(FrameType.PING, 0), MAX_PINGS + 1),
        (serialize(FrameType.PONG, 0), MAX_FRAMES + 1),
    ],
)
def test_a_flood_of_small_frames_ends_the_connection(frame: bytes, count: int) -> None:
    async def main() -> None:
        for number in (count - 1, count):
            client, share, _ = await connection_pair()
            flood = frame * number
            if number == count:
                with pytest.raises(RemoteProtocolError, match="flood"):
                    share.data_received(memoryview(flood))
            else:
                share.data_received(memoryview(flood))
            client.abort("test")
            share.abort("test")

    run(main)


def test_send_stream_is_for_states_that_allow_it() -> None:
    async def main() -> None:
        client, share, _ = await connection_pair()
        with pytest.raises(LocalProtocolError, match="cannot send DATA while idle"):
            client.send_stream(Input.SEND_DATA, FrameType.DATA, b"")
        client.abort("test")
        share.abort("test")

    run(main)
