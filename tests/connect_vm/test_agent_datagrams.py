from __future__ import annotations

import asyncio
from typing import cast

from connect_vm.agent import wire
from connect_vm.agent_datagrams import MAX_QUEUED, DatagramLink
from tests.connect_vm.test_agent_link import Session
from tests.loops import run, until


class Transport:
    """The agent's connection, as far as a link ends it."""

    def __init__(self, ended: list[str]) -> None:
        self._ended = ended

        self.written: list[bytes] = []

    def abort(self) -> None:
        self._ended.append("aborted")

    def write(self, data: bytes) -> None:
        self.written.append(data)


def test_a_flow_number_that_is_open_already_is_nonsense() -> None:
    """Else the flow that had it would never be closed."""
    header = wire.Header(wire.UDP, b"\x0a\0\0\x02", 53, b"\x0a\0\0\x01", 40_000).encode()

    async def main() -> None:
        session = Session()
        transports: list[str] = []
        async with asyncio.TaskGroup() as group:
            link = DatagramLink(session, group)
            link._transport = cast(asyncio.Transport, Transport(transports))
            link.data_received(wire.frame(wire.FLOW_OPEN, 1, header))
            await until(lambda: session.flows)
            assert not transports
            link.data_received(wire.frame(wire.FLOW_OPEN, 1, header))
            assert transports == ["aborted"]
            link.connection_lost(None)
        assert [flow.closed for flow in session.flows] == [True]

    run(main)


def test_what_the_agent_cannot_take_is_dropped_and_counted() -> None:
    async def main() -> None:
        dropped: list[int] = []
        transport = Transport([])
        async with asyncio.TaskGroup() as group:
            link = DatagramLink(Session(), group, dropped.append)
            link._transport = cast(asyncio.Transport, transport)
            link.pause_writing()
            for number in range(1000):
                link.send(wire.DGRAM, 1, number.to_bytes(2, "big") + bytes(1000))
            link.send(wire.DGRAM, 2, b"of another flow")
            link.send(wire.FLOW_REFUSED, 3, b"\2")
            assert transport.written == [wire.frame(wire.FLOW_REFUSED, 3, b"\2")]
            assert link._queue.size <= MAX_QUEUED
            link.resume_writing()
            link.data_received(wire.frame(wire.DROPPED, 0, (500).to_bytes(4, "big")))
            link.connection_lost(None)
        frames = [each for data in transport.written for each in wire.FrameReader().feed(data)]
        assert (wire.DGRAM, 2, b"of another flow") in frames
        assert [*dropped[:-1], dropped[-1]] == [1] * (len(dropped) - 1) + [500]
        assert len(dropped) - 1 + len(frames) == 1002
        assert frames[-1][2][:2] == (999).to_bytes(2, "big")  # the oldest went, not the newest

    run(main)
