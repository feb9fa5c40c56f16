from __future__ import annotations

import asyncio
import socket

import pytest

from tests.loops import run, until
from tests.tls_pair import connection_pair
from tunnel import datagrams
from tunnel.codes import Code
from tunnel.connection import LANE_UNSENT, Connection
from tunnel.datagrams import MAX_EARLY, MAX_QUEUED, ClientLane, ServerLane
from tunnel.errors import LostError, RefusedError
from tunnel.flows import Flow, FlowReceiver
from tunnel.frames import FlowOpen, FrameType, Open, serialize, serialize_message


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

    async def open_flow(self, host: str, port: int, receiver: FlowReceiver) -> Flow:
        await self.may_open.wait()
        if host == "refused":
            raise RefusedError(Code.NOT_ALLOWED, "no")
        if host == "broken":
            raise LostError("the way to the machine is gone")
        if host == "none":
            raise OSError("no descriptors")
        self.ways.append(Loop(receiver))
        return self.ways[-1]


async def lane_pair(buffer: int = 0) -> tuple[ClientLane, ServerLane, Connection, Connection]:
    client, share, _ = await connection_pair(buffer)
    end = client.open(Open(bytes(16), "datagram", "", 0))
    _, theirs = await share.next_open()
    share.accept(theirs)
    server_lane = ServerLane(share)
    await end.opened
    return ClientLane(client, lambda lane: None), server_lane, client, share


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
            client.abort("test")
        assert await receiver.got.get() is None
        with pytest.raises(LostError):
            lane.open_flow("", 53, receiver)

    run(main)


def test_early_datagrams_are_kept_but_not_all() -> None:
    async def main() -> None:
        lane, server, client, _ = await lane_pair()
        machine, receiver = Machine(), Receiver()
        machine.may_open.clear()
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve(machine.open_flow))
            flow = lane.open_flow("", 53, receiver)
            for number in range(MAX_EARLY + 5):
                flow.send(b"%d" % number)
            last = lane.open_flow("refused", 53, receiver)
            del last
            await until(lambda: len(server._flows) >= 2)
            machine.may_open.set()
            for number in range(5, MAX_EARLY + 5):
                assert await receiver.got.get() == b"%d" % number
            client.abort("test")

    run(main)


def test_too_many_flows(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        monkeypatch.setattr(datagrams, "MAX_FLOWS", 3)
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
            assert lane._sender._queued <= MAX_QUEUED
            assert lane.dropped > 1000
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
            monkeypatch.setattr(datagrams, "FLOW_IDLE", -1.0)
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
        lane = ClientLane(client, lambda lane: None)
        await ServerLane(share).serve(Machine().open_flow)
        assert lane.is_lost

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
        lane, server, client, _ = await lane_pair()
        machine, receiver = Machine(), Receiver()
        ends: list[tuple[str, int, int, int, float, Code | None]] = []
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve(machine.open_flow, lambda *told: ends.append(told)))
            flow = lane.open_flow("", 53, receiver)
            flow.send(b"hello")
            flow.send(b"you")
            assert [await receiver.got.get(), await receiver.got.get()] == [b"hello", b"you"]
            flow.close()
            await until(lambda: ends)
            assert ends[0][:4] == ("", 53, 8, 8)
            assert 0 <= ends[0][4] < 20
            assert ends[0][5] is None

            lane.open_flow("refused", 1, receiver)
            assert await receiver.got.get() is Code.NOT_ALLOWED
            lane.open_flow("", 54, receiver)
            await until(lambda: len(machine.ways) == 2)
            machine.ways[1].receiver.flow_refused(Code.CONNECTION_REFUSED)
            assert await receiver.got.get() is Code.CONNECTION_REFUSED
            lane.open_flow("", 55, receiver).send(b"x")
            assert await receiver.got.get() == b"x"
            client.abort("enough")
        told = [(port, code) for _, port, _, _, _, code in ends]
        assert told == [(53, None), (54, Code.CONNECTION_REFUSED), (55, Code.LOST)]

    run(main)
