from __future__ import annotations

import asyncio
from typing import cast

from connect_vm.agent import wire
from connect_vm.agent_datagrams import DatagramLink
from tests.connect_vm.test_agent_link import Session
from tests.loops import run, until


class Transport:
    """The agent's connection, as far as a link ends it."""

    def __init__(self, ended: list[str]) -> None:
        self._ended = ended

    def abort(self) -> None:
        self._ended.append("aborted")


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
