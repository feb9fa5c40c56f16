"""Something crosses every kind of connection before a middle box forgets it (protocol.md 2.2).

Parked connections: tests/relay/test_lot.py; TCP's own: tests/tunnel/test_dialler.py.
"""

from __future__ import annotations

import asyncio

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.frames import Frame, Opcode
from websockets.protocol import Event

from relay.config import RelayConfig
from relay.server import Relay
from tests.loops import run, until
from tests.share_pair import share_pair, socket_to, tcp_service
from tests.vshare.test_relay_link import make_link
from tunnel import control, liveness, parking
from tunnel.codes import Code
from tunnel.connection import Connection
from tunnel.dialler import KEEP_IDLE

FORGOTTEN_AFTER = 30.0  # seconds; the shortest memory that was met


class Told:
    """A flow's user."""

    def datagram_received(self, data: bytes) -> None: ...

    def flow_refused(self, code: Code) -> None: ...

    def flow_closed(self) -> None: ...


def test_all_come_in_time() -> None:
    late = liveness.PING_EVERY + liveness.TICK
    for seconds in (control.PING_EVERY, parking.PING_EVERY, late, KEEP_IDLE):
        assert seconds < FORGOTTEN_AFTER


def test_idle_ones_open_streams_and_lanes_are_pinged(monkeypatch: pytest.MonkeyPatch) -> None:
    pinged: set[Connection] = set()
    ping = Connection.ping

    def noted(connection: Connection, payload: bytes = b"") -> None:
        pinged.add(connection)
        ping(connection, payload)

    monkeypatch.setattr(Connection, "ping", noted)
    monkeypatch.setattr(liveness, "PING_EVERY", 0.0)
    monkeypatch.setattr("tunnel.pool.TICK", 0.01)

    async def main() -> None:
        async with share_pair() as pair, tcp_service() as port, pair.client() as client:
            sock, task = await socket_to(client, port)  # open, and nothing is sent
            flow = await client.open_flow("", port, Told())
            await until(lambda: len(client.pool.idle) >= 2 and len(client.pool.connections) >= 4)
            pinged.clear()
            await until(lambda: set(client.pool.connections) <= pinged)
            flow.close()
            sock.close()
            await task

    run(main)


def test_the_control_channel_is_pinged_by_the_share(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[Opcode] = set()
    process_event = ClientConnection.process_event

    def noted(channel: ClientConnection, event: Event) -> None:
        if isinstance(event, Frame):
            seen.add(event.opcode)
        process_event(channel, event)

    monkeypatch.setattr(ClientConnection, "process_event", noted)
    monkeypatch.setattr(control, "PING_EVERY", 0.05)

    async def main() -> None:
        async with Relay(RelayConfig()) as relay, make_link(relay.address, asyncio.Queue()):
            await until(lambda: Opcode.PONG in seen)

    run(main)
