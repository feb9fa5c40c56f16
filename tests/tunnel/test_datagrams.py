from __future__ import annotations

import asyncio
import socket

import pytest

from tests.loops import run, until
from tests.tls_pair import connection_pair
from tunnel import client_flows, datagrams, fair_queue
from tunnel.client_flows import ClientFlows
from tunnel.codes import Code
from tunnel.connection import LANE_UNSENT, MAX_FRAMES, Connection
from tunnel.datagrams import GuestFlows, ServerFlow, ServerLane
from tunnel.errors import LostError, RefusedError
from tunnel.flows import CountingFlow, FlowReceiver
from tunnel.frames import MAX_DATAGRAM, FlowOpen, FrameType, Open, serialize, serialize_message
from tunnel.lane_sender import MAX_QUEUED


class Receiver:
    def __init__(self) -> None:
        self.got: asyncio.Queue[bytes | Code | None] = asyncio.Queue()

    def datagram_received(self, data: bytes) -> None:
        self.got.put_nowait(data)

    def flow_refused(self, code: Code) -> None:
        self.got.put_nowait(code)

    def flow_closed(self) -> None:
        self.got.put_nowait(None)


class Loop:
    """The machine's side: sends back what comes."""

    def __init__(self, receiver: FlowReceiver) -> None:
        self.receiver = receiver
        self.sent: list[bytes] = []
        self.closed = 0
        self.dropped = 0

    def send(self, data: bytes) -> None:
        self.sent.append(data)
        self.receiver.datagram_received(data)

    def close(self) -> None:
        self.closed += 1


class Machine:
    def __init__(self) -> None:
        self.ways: list[Loop] = []
        self.may_open = asyncio.Event()
        self.may_open.set()

    async def open_flow(self, host: str, port: int, receiver: FlowReceiver) -> CountingFlow:
        await self.may_open.wait()
        if host == "refused":
            raise RefusedError(Code.NOT_ALLOWED, "no")
        if host == "broken":
            raise LostError("the way to the machine is gone")
        if host == "none":
            raise OSError("no descriptors")
        self.ways.append(Loop(receiver))
        return self.ways[-1]


async def never() -> Connection:
    raise LostError("there is no other lane")


async def lane(flows: GuestFlows | None = None) -> tuple[Connection, ServerLane, Connection]:
    """A connection turned over to datagrams: the client's end of it, and the share's lane."""
    return await small_lane(0, flows)


async def small_lane(
    buffer: int, flows: GuestFlows | None = None
) -> tuple[Connection, ServerLane, Connection]:
    client, share, _ = await connection_pair(buffer)
    end = client.open(Open(bytes(16), "datagram", "", 0))
    _, theirs = await share.next_open()
    share.accept(theirs)
    server_lane = ServerLane(share, flows)
    await end.opened
    return client, server_lane, share


async def lane_pair(buffer: int = 0) -> tuple[ClientFlows, ServerLane, Connection, Connection]:
    client, server_lane, share = await small_lane(buffer)
    flows = ClientFlows(never)
    flows.attach(client)
    return flows, server_lane, client, share


def test_flows_open_answer_and_close() -> None:
    async def main() -> None:
        lane, server, client, _ = await lane_pair()
        machine, receiver = Machine(), Receiver()
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve(machine.open_flow))
            flow = lane.open_flow("", 53, receiver)
            flow.send(b"question")
            assert await receiver.got.get() == b"question"
            flow.send(bytes(65_508))  # larger than UDP can be: dropped
            flow.close()
            flow.send(b"late")
            for host, code in (
                ("refused", Code.NOT_ALLOWED),
                ("broken", Code.HOST_UNREACHABLE),
                ("none", Code.HOST_UNREACHABLE),
            ):
                lane.open_flow(host, 53, receiver)
                assert await receiver.got.get() is code
            assert machine.ways[0].closed == 1
            assert machine.ways[0].sent == [b"question"]
            lane.open_flow("", 53, receiver)
            lane.close()
            assert await receiver.got.get() is None
            client.abort("test")

    run(main)


def test_early_datagrams_are_kept_but_not_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datagrams, "MAX_EARLY", 16 * (1 + fair_queue.OVERHEAD) + 10)

    async def main() -> None:
        lane, server, client, _ = await lane_pair()
        machine, receiver = Machine(), Receiver()
        machine.may_open.clear()
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve(machine.open_flow))
            flow = lane.open_flow("", 53, receiver)
            for number in range(21):
                flow.send(b"%c" % number)
            last = lane.open_flow("refused", 53, receiver)
            del last
            await until(lambda: len(server._flows) >= 2)
            dropped = server._flows[1].dropped
            machine.may_open.set()
            for number in range(5, 21):
                assert await receiver.got.get() == b"%c" % number
            assert dropped == 5
            assert server._early.size == 0
            client.abort("test")

    run(main)


def test_too_many_flows(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        monkeypatch.setattr(datagrams, "MAX_FLOWS", 3)
        monkeypatch.setattr(client_flows, "MAX_FLOWS", 3)
        lane, server, client, _ = await lane_pair()
        machine = Machine()
        receivers = [Receiver() for _ in range(5)]
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve(machine.open_flow))
            for receiver in receivers:
                lane.open_flow("", 53, receiver)  # the client ends its idlest
            assert [await receiver.got.get() for receiver in receivers[:2]] == [None, None]
            assert len(lane._flows) == 3
            # A client that does not keep to the limit is refused, also by opening and closing.
            machine.may_open.clear()
            await until(lambda: not (server._opening))
            for number in range(100, 110):
                message = FlowOpen("", 53)
                client.send_lane(serialize_message(FrameType.FLOW_OPEN, number, message))
                client.send_lane(serialize(FrameType.FLOW_CLOSE, number))
            await asyncio.sleep(0.02)
            assert server._opening <= 3
            machine.may_open.set()
            client.abort("test")
        assert all(way.closed == 1 for way in machine.ways)

    run(main)


def test_a_congested_lane_drops_the_oldest_datagrams_and_no_control_frame() -> None:
    async def main() -> None:
        lane, server, client, share = await lane_pair(16_384)
        machine, receiver = Machine(), Receiver()
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve(machine.open_flow))
            share.pause_reading()
            flow = lane.open_flow("", 53, receiver)
            for number in range(2000):
                if number == 500:
                    other = lane.open_flow("", 54, Receiver())  # in the middle of the flood
                flow.send(number.to_bytes(4, "big") + bytes(1400))
            other.send(b"x")
            assert client.congested
            assert lane._sender.queued <= MAX_QUEUED
            assert lane.count.dropped > 1000
            assert lane.count.sent == 2001
            share.resume_reading()
            numbers: list[int] = []
            while not numbers or numbers[-1] != 1999:
                data = await receiver.got.get()
                assert isinstance(data, bytes)
                numbers.append(int.from_bytes(data[:4], "big"))
            assert numbers == sorted(numbers)
            await until(lambda: len(machine.ways) >= 2 and machine.ways[1].sent)
            client.abort("test")

    run(main)


def test_the_kernel_keeps_little_unsent() -> None:
    async def main() -> None:
        _, _, client, share = await lane_pair()
        for connection in (client, share):
            option = connection._tls._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)
            assert option == LANE_UNSENT
        client.abort("test")
        share.abort("test")

    run(main)


def test_silent_flows_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        lane, server, client, _ = await lane_pair()
        machine, receiver = Machine(), Receiver()
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve(machine.open_flow))
            flow = lane.open_flow("", 53, receiver)
            flow.send(b"x")
            assert await receiver.got.get() == b"x"
            lane.sweep()
            monkeypatch.setattr(client_flows, "FLOW_IDLE", -1.0)
            lane.sweep()
            assert await receiver.got.get() is None
            await until(lambda: machine.ways[0].closed)
            client.abort("test")

    run(main)


def test_a_lane_made_of_a_lost_connection_hears_of_it() -> None:
    async def main() -> None:
        client, share, _ = await connection_pair()
        client.open(Open(bytes(16), "datagram", "", 0))
        await share.next_open()
        share.abort("pulled")
        client.abort("pulled")
        flows = ClientFlows(never)
        flows.attach(client)
        await ServerLane(share).serve(Machine().open_flow)
        await until(lambda: flows._connection is None)

    run(main)


@pytest.mark.parametrize(
    "frames",
    [
        serialize_message(FrameType.FLOW_OPEN, 1, FlowOpen("", 1)) * 2,
        serialize(FrameType.FLOW_REFUSED, 1, b"\x92\x01\xa0"),
        serialize(FrameType.DATA, 1, b"x"),
        serialize_message(FrameType.OPEN, 2, Open(bytes(16), "tcp", "", 80)),
        serialize(FrameType.FLOW_OPEN, 1, b"junk"),
        serialize(FrameType.RESET, 1, b"\x92\x01\xa0"),  # the lane's own stream: an orderly end
    ],
)
def test_what_ends_a_lane(frames: bytes) -> None:
    async def main() -> None:
        _, server, client, share = await lane_pair()
        client.send_lane(frames)
        await server.serve(Machine().open_flow)
        assert share.is_lost
        await until(lambda: client.is_lost)

    run(main)


def test_a_flow_that_ended_is_told_of_with_what_it_carried() -> None:
    async def main() -> None:
        ends = Ends()
        machine, receiver = Machine(), Receiver()
        client, server, _ = await lane(GuestFlows(ends))
        flows = ClientFlows(never)
        flows.attach(client)
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve(machine.open_flow))
            flow = flows.open_flow("", 53, receiver)
            flow.send(b"hello")
            flow.send(b"you")
            assert [await receiver.got.get(), await receiver.got.get()] == [b"hello", b"you"]
            machine.ways[0].dropped = 3  # the kernel's word
            flow.close()
            await until(lambda: ends.told)
            ended, seconds, code = ends.told[0]
            assert (ended.host, ended.port, ended.bytes_in, ended.bytes_out) == ("", 53, 8, 8)
            assert ended.dropped == 3
            assert 0 <= seconds < 20
            assert code is None

            flows.open_flow("refused", 1, receiver)
            assert await receiver.got.get() is Code.NOT_ALLOWED
            flows.open_flow("", 54, receiver)
            await until(lambda: len(machine.ways) == 2)
            machine.ways[1].receiver.flow_refused(Code.CONNECTION_REFUSED)
            assert await receiver.got.get() is Code.CONNECTION_REFUSED
            flows.open_flow("", 55, receiver).send(b"x")
            assert await receiver.got.get() == b"x"
            client.close()  # in order: nobody comes back
        told = [(flow.port, code) for flow, _, code in ends.told]
        assert told == [(53, None), (54, Code.CONNECTION_REFUSED), (55, Code.LOST)]

    run(main)


class Ends:
    def __init__(self) -> None:
        self.told: list[tuple[ServerFlow, float, Code | None]] = []

    def __call__(self, flow: ServerFlow, seconds: float, code: Code | None) -> None:
        self.told.append((flow, seconds, code))


class Guest:
    """A client whose lanes can be cut, and the share's flows for it."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self.ends = Ends()
        self.kept = GuestFlows(self.ends)
        self.machine = Machine()
        self.way = asyncio.Event()
        self.way.set()
        self.lanes: list[tuple[Connection, ServerLane, Connection]] = []
        self.flows = ClientFlows(self.open_lane)
        self._group = group
        self._runner = group.create_task(self.flows.run())

    async def open_lane(self) -> Connection:
        await self.way.wait()
        self.lanes.append(await lane(self.kept))
        client, server, _ = self.lanes[-1]
        self._group.create_task(server.serve(self.machine.open_flow))
        return client

    async def end(self) -> None:
        self._runner.cancel()
        self.flows.close()
        for client, _, share in self.lanes:
            share.resume_reading()
            client.close()
        await until(lambda: not self.kept.open)


def test_a_flow_goes_on_over_the_next_lane() -> None:
    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            guest, receiver = Guest(group), Receiver()
            flow = guest.flows.open_flow("", 53, receiver)
            flow.send(b"before the first lane")
            assert await receiver.got.get() == b"before the first lane"
            guest.way.clear()
            guest.lanes[0][0].abort("pulled")
            await until(lambda: guest.kept.open[0].lane is None)
            way = guest.machine.ways[0]
            way.receiver.datagram_received(b"nobody is there")
            flow.send(b"waits")
            guest.way.set()
            assert await receiver.got.get() == b"waits"  # and not None: it has not ended
            way.receiver.datagram_received(b"unasked")
            assert await receiver.got.get() == b"unasked"
            assert len(guest.machine.ways) == 1, "the machine sees one source all the time"
            assert guest.kept.open[0].dropped == 1
            assert guest.flows.lanes == 2
            flow.close()
            await until(lambda: guest.ends.told)
            ended, _, code = guest.ends.told[0]
            assert (ended.bytes_in, ended.bytes_out, code) == (26, 33, None)
            await guest.end()

    run(main)


def test_a_flow_that_is_silent_goes_on_as_well() -> None:
    """What the machine sends unasked has to come through without a word of the guest's."""

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            guest, receiver = Guest(group), Receiver()
            guest.flows.open_flow("", 53, receiver).send(b"hello")
            assert await receiver.got.get() == b"hello"
            for number in range(3):
                client, _, share = guest.lanes[-1]
                (client if number % 2 else share).abort("pulled")
                await until(lambda number=number: len(guest.lanes) == number + 2)  # type: ignore[misc]
                await until(lambda: guest.kept.open[0].lane is guest.lanes[-1][1])
                guest.machine.ways[0].receiver.datagram_received(b"news")
                assert await receiver.got.get() == b"news"
            await guest.end()

    run(main)


def test_the_next_lane_takes_a_flow_from_one_that_is_not_known_to_be_dead() -> None:
    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            guest, receiver = Guest(group), Receiver()
            flow = guest.flows.open_flow("", 53, receiver)
            flow.send(b"one")
            assert await receiver.got.get() == b"one"
            old, server, share = guest.lanes[0]
            share.pause_reading()  # so that it does not notice
            old.abort("pulled")
            flow.send(b"two")
            assert await receiver.got.get() == b"two"
            assert not server._flows
            share.resume_reading()
            await until(lambda: share.is_lost)
            flow.send(b"three")
            assert await receiver.got.get() == b"three"
            assert len(guest.machine.ways) == 1
            assert not guest.ends.told
            await guest.end()

    run(main)


def test_nobody_comes_back_for_a_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datagrams, "KEEP_SECONDS", 0.05)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            guest, receiver = Guest(group), Receiver()
            flow = guest.flows.open_flow("", 53, receiver)
            flow.send(b"x")
            assert await receiver.got.get() == b"x"
            guest.way.clear()
            guest.lanes[0][0].abort("pulled")
            await until(lambda: guest.ends.told)
            assert guest.ends.told[0][2] is Code.LOST
            assert guest.machine.ways[0].closed == 1
            guest.way.set()  # later than that: as a new flow
            flow.send(b"y")
            assert await receiver.got.get() == b"y"
            assert len(guest.machine.ways) == 2
            await guest.end()

    run(main)


def test_flows_that_wait_have_one_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often a guest drops its lane: and each flow waits as long as it should."""
    monkeypatch.setattr(datagrams, "KEEP_SECONDS", 0.05)

    async def main() -> None:
        ends = Ends()
        kept = GuestFlows(ends)
        _, server, share = await lane(kept)
        flows = []
        for number in range(3):
            message = FlowOpen("", 53, bytes([number]) * 16)
            flows.append(ServerFlow(server, number, message, 0.0))
            kept.opened(flows[-1])
        kept.keep(flows[0])
        timer = kept._timer
        for _ in range(10):
            kept.keep(flows[1])
            assert kept.take(FlowOpen("", 53, flows[1].id)) is flows[1]
        kept.keep(flows[1])
        assert kept._timer is timer
        await asyncio.sleep(0.02)
        kept.keep(flows[2])
        await until(lambda: len(ends.told) == 2)
        assert kept.open == [flows[2]]
        await until(lambda: len(ends.told) == 3)
        assert kept._timer is None
        share.abort("test")

    run(main)


def test_another_place_or_a_removed_guest_gets_no_flow_back() -> None:
    async def main() -> None:
        ends, machine = Ends(), Machine()
        kept = GuestFlows(ends)
        connection, server, share = await lane(kept)
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve(machine.open_flow))
            id = bytes(range(16))
            for number, (host, port) in enumerate((("", 53), ("", 54))):
                message = FlowOpen(host, port, id)
                connection.send_lane(serialize_message(FrameType.FLOW_OPEN, number + 1, message))
            await until(lambda: len(machine.ways) == 2)
            assert len(kept.open) == 2
            kept.end_all()
            assert all(way.closed for way in machine.ways)
            message = FlowOpen("", 55, bytes(16))
            connection.send_lane(serialize_message(FrameType.FLOW_OPEN, 9, message))
            await until(lambda: len(machine.ways) == 3)
            share.abort("pulled")
        assert not kept.open
        assert [code for _, _, code in ends.told] == [Code.LOST] * 3

    run(main)


def test_a_way_that_died_in_silence_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("TICK", 0.01), ("PROBE_AFTER", 0.05), ("PROBE_ENDS", 0.05)):
        monkeypatch.setattr(client_flows, name, seconds)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            guest, receiver = Guest(group), Receiver()
            flow = guest.flows.open_flow("", 53, receiver)
            flow.send(b"one")
            assert await receiver.got.get() == b"one"
            guest.lanes[0][2].pause_reading()
            while len(guest.lanes) < 2:
                flow.send(b"is anybody there?")
                await asyncio.sleep(0.005)
            flow.send(b"last")
            while await receiver.got.get() != b"last":
                pass
            await guest.end()

    run(main)


def test_a_share_without_datagrams_refuses_every_flow() -> None:
    async def main() -> None:
        async def refused() -> Connection:
            raise RefusedError(Code.NOT_ALLOWED, "datagrams are for guests")

        flows = ClientFlows(refused)
        async with asyncio.TaskGroup() as group:
            runner = group.create_task(flows.run())
            receiver = Receiver()
            flow = flows.open_flow("", 53, receiver)
            flow.send(b"x")
            assert await receiver.got.get() is Code.NOT_ALLOWED
            flow.send(b"y")
            assert flows.count.dropped == 1
            runner.cancel()

    run(main)


def test_while_there_is_no_lane_little_waits() -> None:
    async def main() -> None:
        flows = ClientFlows(never)
        flow, other = (flows.open_flow("", port, Receiver()) for port in (53, 54))
        other.send(b"kept")
        for _ in range(100):
            flow.send(bytes(MAX_DATAGRAM))
        assert flows._sender.queued <= MAX_QUEUED
        assert flows.count.dropped >= 96
        other.close()
        assert flows.count.dropped + 3 >= 98
        flow.send(bytes(MAX_DATAGRAM + 1))
        assert flows.count.sent == 101

    run(main)


def test_what_is_sent_in_one_turn_leaves_in_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        lane, server, client, _ = await lane_pair()
        writes: list[int] = []
        write = Connection.send_lane

        def counted(self: Connection, frame: bytes) -> None:
            writes.append(len(frame))
            write(self, frame)

        machine, receiver = Machine(), Receiver()
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve(machine.open_flow))
            flow = lane.open_flow("", 53, receiver)
            flow.send(b"open")
            assert await receiver.got.get() == b"open"
            monkeypatch.setattr(Connection, "send_lane", counted)
            for number in range(50):
                flow.send(b"%d" % number)
            assert not writes
            for number in range(50):
                assert await receiver.got.get() == b"%d" % number
            assert len(writes) <= 3  # ours, and the share's of one read or two
            client.abort("test")

    run(main)


@pytest.mark.parametrize("size", [0, 10])
def test_tiny_datagrams_by_the_thousand_do_not_end_a_lane(size: int) -> None:
    """More of them fit into one read than frames of other kinds may come at once."""

    async def main() -> None:
        flows, server, client, share = await lane_pair()
        machine, receiver = Machine(), Receiver()
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve(machine.open_flow))
            flow = flows.open_flow("", 53, receiver)
            flow.send(b"open")
            assert await receiver.got.get() == b"open"
            frame = serialize(FrameType.DGRAM, 1, bytes(size))
            client.data_received(memoryview(frame * (MAX_FRAMES + 5)))
            share.data_received(memoryview(frame * (MAX_FRAMES + 7)))
            assert flows.count.received == 1 + MAX_FRAMES
            assert flows.count.dropped == 5
            assert server._flows[1].dropped == 7
            assert len(machine.ways[0].sent) == 1 + MAX_FRAMES
            assert not client.is_lost
            assert not share.is_lost
            client.abort("test")

    run(main)


def test_long_silences_with_a_word_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """As mosh does it: what is said within the time keeps the flow, on both sides."""
    monkeypatch.setattr(client_flows, "TICK", 0.01)
    monkeypatch.setattr(datagrams, "SWEEP_EVERY", 0.01)
    idle, was_late = 0.0, False

    async def main() -> None:
        nonlocal was_late
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            guest, receiver = Guest(group), Receiver()
            flow = guest.flows.open_flow("", 60_001, receiver)
            for _ in range(4):
                said = loop.time()
                flow.send(b"still here")
                answer = await receiver.got.get()
                await asyncio.sleep(idle * 0.4)
                if was_late := loop.time() - said > idle * 0.8:
                    await guest.end()
                    return
                assert answer == b"still here"
            assert len(guest.machine.ways) == 1
            assert await receiver.got.get() is None  # now it says nothing
            await until(lambda: guest.machine.ways[0].closed)
            assert guest.ends.told[0][2] is None
            await guest.end()

    for idle in (0.2, 1.0, 4.0):  # by how busy the machine is
        monkeypatch.setattr(client_flows, "FLOW_IDLE", idle)
        monkeypatch.setattr(datagrams, "FLOW_IDLE", idle)
        run(main)
        if not was_late:
            return
    pytest.fail("never in time")
