"""Guests of one shared terminal, in one process: `python -m bench.crowd KIND CONNECT CODE`.

KIND: `crowd`, 50 who look on; `flooding`, and one who sends keys without end; `stopped`, and one
who says that it has shown nothing, and reads nothing. Says `ready`, and goes on until it is ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys

from connect_vm.join_share import join_share
from connect_vm.terminal_link import StreamLink
from tunnel.address import parse_connect_line
from tunnel.client import Client
from tunnel.ends import End
from tunnel.names import parse_code
from tunnel.relay_tls import dial_relay
from tunnel.terminal_messages import (
    FROM_SHARE,
    MAX_INPUT,
    PROTOCOL,
    SEEN_EVERY,
    MessageType,
    Seen,
    Size,
    TerminalParser,
    serialize,
    serialize_payload,
)
from tunnel.vt.seat import SEEN_LATER

COUNT = 50
WINDOWS = 10  # of a guest's
KINDS = ("crowd", "flooding", "stopped")
SIZE = Size(80, 24)
PACE = 0.01  # seconds between messages of who floods, when it is let
# One that cat's terminal echoes as ^@ and takes away again, and Ctrl-Q, which it keeps to itself: a
# screen that scrolls, or a line that is full, would show nobody's keys any more.
KEYS = b"\0\x7f".ljust(MAX_INPUT, b"\x11")


async def look_on(link: StreamLink) -> None:
    """As `vconnect terminal` does."""
    loop = asyncio.get_running_loop()
    parser, seen, said = TerminalParser(FROM_SHARE), 0, 0
    later: asyncio.TimerHandle | None = None

    def say() -> None:
        nonlocal said, later
        later, said = None, seen
        link.write(serialize_payload(Seen(seen)))

    while True:
        parser.receive_data(await link.receive())
        while (message := parser.maybe_message()) is not None:
            if message[0] in (MessageType.SCREEN, MessageType.OUTPUT):
                seen += len(message[1])
        if seen - said >= SEEN_EVERY:
            link.write(serialize_payload(Seen(seen)))
            said = seen
        elif seen != said and later is None:
            later = loop.call_later(SEEN_LATER, say)


async def flood(link: StreamLink) -> None:
    """Keys, as many as the stream takes."""
    while True:
        link.write(serialize(MessageType.INPUT, KEYS))
        await link.drain()
        await asyncio.sleep(PACE)


async def main(kind: str, line: str, code: str) -> None:
    """Few join for all: a guest may look from several windows."""
    assert kind in KINDS
    wanted = parse_connect_line(line)
    relay = wanted.relay
    assert relay is not None

    async def dial() -> socket.socket:
        return await dial_relay(relay)

    async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as group:

        async def join(name: str) -> Client:
            identity = await join_share(dial, wanted.name, parse_code(code), name)
            return await stack.enter_async_context(Client(dial, identity, wanted.name))

        for number in range(COUNT // WINDOWS):
            client = await join(f"{kind}-{number}")
            for _ in range(WINDOWS):
                _, link = await sit(client)
                group.create_task(look_on(link), name="guest")
        if kind != "crowd":
            stream, link = await sit(await join(kind))
            if kind == "stopped":
                stream.pause_reading()
            else:
                group.create_task(look_on(link), name="guest")
                group.create_task(flood(link), name="flood")
        print("ready", flush=True)
        await asyncio.Event().wait()


async def sit(client: Client) -> tuple[End, StreamLink]:
    """One more viewer."""
    stream = await client.open_special(PROTOCOL)
    link = StreamLink(stream)
    link.write(serialize_payload(SIZE))
    return stream, link


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
