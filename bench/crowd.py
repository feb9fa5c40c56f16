"""Guests of one shared terminal, in one process: `python -m bench.crowd KIND CONNECT CODE`.

KIND: `crowd`, 50 who look on; `flooding`, one who sends keys without end; `stopped`, 8 who say that
they have shown nothing, and read nothing. Says `ready`, and goes on until it is ended.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import sys

from connect_vm.join_share import join_share
from connect_vm.terminal_link import StreamLink
from tunnel.address import parse_connect_line
from tunnel.client import Client
from tunnel.names import parse_code
from tunnel.relay_tls import dial_relay
from tunnel.terminal_messages import (
    FROM_SHARE,
    MAX_INPUT,
    PROTOCOL,
    MessageType,
    Seen,
    Size,
    TerminalParser,
    serialize,
    serialize_payload,
)

COUNT = {"crowd": 50, "flooding": 1, "stopped": 8}
SIZE = Size(80, 24)
PACE = 0.01  # seconds between messages of who floods, when it is let
KEYS = b"\0" * (MAX_INPUT - 1)  # which cat's terminal echoes as ^@


async def look_on(link: StreamLink) -> None:
    """As `vconnect terminal` does."""
    parser, seen, said = TerminalParser(FROM_SHARE), 0, 0
    while True:
        parser.receive_data(await link.receive())
        while (message := parser.maybe_message()) is not None:
            if message[0] in (MessageType.SCREEN, MessageType.OUTPUT):
                seen += len(message[1])
        if seen != said:
            said = seen
            link.write(serialize_payload(Seen(seen)))


async def flood(link: StreamLink) -> None:
    """Keys, as many as the stream takes."""
    while True:
        link.write(serialize(MessageType.INPUT, KEYS))
        await link.drain()
        await asyncio.sleep(PACE)


async def main(kind: str, line: str, code: str) -> None:
    """Join once for all: a guest may look from several windows."""
    wanted = parse_connect_line(line)
    relay = wanted.relay
    assert relay is not None

    async def dial() -> socket.socket:
        return await dial_relay(relay)

    identity = await join_share(dial, wanted.name, parse_code(code), kind)
    async with Client(dial, identity, wanted.name) as client, asyncio.TaskGroup() as group:
        for _ in itertools.repeat(None, COUNT[kind]):
            stream = await client.open_special(PROTOCOL)
            link = StreamLink(stream)
            link.write(serialize_payload(SIZE))
            if kind == "stopped":
                stream.pause_reading()
                continue
            group.create_task(look_on(link), name="guest")
            if kind == "flooding":
                group.create_task(flood(link), name="flood")
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
