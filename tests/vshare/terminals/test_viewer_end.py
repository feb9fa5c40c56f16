"""Guests look at a terminal through a stream of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import pytest
from msgspec import msgpack

from tests.loops import run, until
from tests.share_pair import Pair, share_pair
from tests.shared_terminals import MemoryProgram
from tests.vshare.peers import Peer
from tunnel.client import Client
from tunnel.codes import Code
from tunnel.errors import RefusedError
from tunnel.identity import Role
from tunnel.stream_end import StreamEnd
from tunnel.terminal_messages import (
    FROM_SHARE,
    WINDOW,
    End,
    MessageType,
    Seen,
    Size,
    TerminalParser,
    serialize,
    serialize_payload,
)
from vshare.policy import Rights
from vshare.terminals.terminal import SharedTerminal, Terms
from vshare.terminals.viewer import Viewer
from vshare.terminals.viewer_end import MAX_SKIPPED, MESSAGES_A_TURN


class Guest(Peer):
    """The guest's side of the stream."""

    def __init__(self) -> None:
        super().__init__()
        self.parser = TerminalParser(FROM_SHARE)
        self.messages: list[tuple[MessageType, bytes]] = []
        self.shown = 0

    def send(self, data: bytes | bytearray | memoryview) -> None:
        self.parser.receive_data(data)
        while (message := self.parser.maybe_message()) is not None:
            self.messages.append(message)
            if message[0] in (MessageType.SCREEN, MessageType.OUTPUT):
                self.shown += len(message[1])

    def said(self, kind: MessageType) -> list[bytes]:
        return [payload for found, payload in self.messages if found is kind]


async def look(client: Client, name: str = "") -> Guest:
    end = await client.open_special("terminal", name)
    guest = Guest()
    guest.peer = end
    end.link(guest)
    return guest


def with_terminal(
    main: Callable[[Pair, SharedTerminal, MemoryProgram], Coroutine[None, None, None]],
) -> None:
    async def start() -> None:
        async with share_pair() as pair:
            terminal = pair.streams.terminals.open("build", Terms(read_write=True))
            await main(pair, terminal, MemoryProgram(terminal))

    run(start)


def test_a_guest_sees_types_and_leaves() -> None:
    async def main(pair: Pair, terminal: SharedTerminal, program: MemoryProgram) -> None:
        terminal.output(b"make\r\n")
        async with pair.client() as client:
            guest = await look(client)
            await until(lambda: guest.said(MessageType.SCREEN))
            assert b"make" in guest.said(MessageType.SCREEN)[0]
            assert guest.messages[0][0] is MessageType.STATE
            guest.peer.send(serialize(MessageType.INPUT, b"ls\r") + serialize_payload(Size(90, 20)))
            await until(lambda: program.typed == b"ls\r")
            await until(lambda: terminal.viewers[0].size == Size(90, 20))
            assert terminal.viewers[0].identity.name == "guest"
            guest.peer.send_eof()
            await until(lambda: not terminal.viewers)
            await until(lambda: pair.told("stream"))
            fields = pair.told("stream")[0].fields
            assert fields["protocol"] == "terminal"
            assert int(fields["bytes_in"] or 0) > 0

    with_terminal(main)


def test_the_end_is_told_and_the_stream_closed() -> None:
    async def main(pair: Pair, terminal: SharedTerminal, program: MemoryProgram) -> None:
        async with pair.client() as client:
            guest = await look(client, "build")
            terminal.ended("the sharer has ended it")
            await until(lambda: guest.said(MessageType.END))
            end = msgpack.decode(guest.said(MessageType.END)[0], type=End)
            assert end == End(Code.CLOSED, "the sharer has ended it")
            await guest.eof.wait()
            with pytest.raises(RefusedError, match="no terminal"):
                await look(client, "build")

    with_terminal(main)


def test_who_may_look() -> None:
    async def main(pair: Pair, terminal: SharedTerminal, program: MemoryProgram) -> None:
        web = frozenset({80})
        async with pair.client(rights=Rights(web)) as limited:
            with pytest.raises(RefusedError, match="not open to you"):
                await look(limited)
        async with pair.client(rights=Rights(web, terminals=True)) as invited:
            await look(invited)
            assert "terminal" in (await invited.ready()).rights
        async with pair.client(Role.GATEWAY) as gateway:
            with pytest.raises(RefusedError, match="for guests"):
                await look(gateway)
        assert {each.fields["protocol"] for each in pair.told("refused")} == {"terminal"}

    with_terminal(main)


def test_a_guest_that_is_removed_looks_and_types_no_longer() -> None:
    async def main(pair: Pair, terminal: SharedTerminal, program: MemoryProgram) -> None:
        async with pair.client() as client:
            guest = await look(client)
            await until(lambda: terminal.viewers)
            pair.guests.remove(pair.guests.of_role(Role.GUEST)[0], "go")
            await until(lambda: not terminal.viewers)
            guest.peer.send(serialize(MessageType.INPUT, b"x"))
            await asyncio.sleep(0)
            assert program.typed == b""

    with_terminal(main)


def test_what_a_guest_may_not_say_ends_its_stream_alone() -> None:
    async def main(pair: Pair, terminal: SharedTerminal, program: MemoryProgram) -> None:
        async with pair.client() as client:
            good, bad = await look(client), await look(client)
            await until(lambda: len(terminal.viewers) == 2)
            bad.peer.send(serialize_payload(Seen(2**40)))
            await until(lambda: bad.was_reset is not None)
            assert len(terminal.viewers) == 1
            good.peer.send(serialize(MessageType.INPUT, b"x"))
            await until(lambda: program.typed == b"x")

    with_terminal(main)


def test_a_guest_that_shows_nothing_is_sent_no_more_than_a_window() -> None:
    async def main(pair: Pair, terminal: SharedTerminal, program: MemoryProgram) -> None:
        async with pair.client() as client:
            guest = await look(client)
            viewer = terminal.viewers[0]
            while not viewer.is_stale:
                terminal.output(b"x" * 8192)
                await asyncio.sleep(0)
            await until(lambda: guest.shown >= WINDOW)
            terminal.output(b"\r\nthe present")
            guest.peer.send(serialize_payload(Seen(guest.shown)))
            await until(lambda: len(guest.said(MessageType.SCREEN)) == 2)
            assert b"the present" in guest.said(MessageType.SCREEN)[1]
            assert guest.shown <= 2 * WINDOW

    with_terminal(main)


def test_a_flood_is_listened_to_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vshare.terminals.viewer_end.REST", 0.001)
    count = 10 * MESSAGES_A_TURN + 1
    heard: list[int] = []  # messages, between one rest and the next
    receive = Viewer.receive

    def counted(viewer: Viewer, kind: MessageType, payload: bytes) -> None:
        heard[-1] += 1
        receive(viewer, kind, payload)

    def paused(end: StreamEnd) -> None:
        heard.append(0)

    async def main(pair: Pair, terminal: SharedTerminal, program: MemoryProgram) -> None:
        async with pair.client() as client:
            guest, other = await look(client), await look(client)
            heard.append(0)
            monkeypatch.setattr(Viewer, "receive", counted)
            monkeypatch.setattr(StreamEnd, "pause_reading", paused)
            guest.peer.send(serialize(MessageType.INPUT, b"f") * count)
            await until(lambda: sum(heard) == count)
            assert max(heard) == MESSAGES_A_TURN
            monkeypatch.undo()
            guest.peer.send(serialize(MessageType.INPUT, b"g"))
            other.peer.send(serialize(MessageType.INPUT, b"o"))
            await until(lambda: b"g" in program.typed and b"o" in program.typed)
            assert program.typed.count(b"f") == count

    with_terminal(main)


def test_a_flood_of_what_nobody_knows_ends_the_stream() -> None:
    async def main(pair: Pair, terminal: SharedTerminal, program: MemoryProgram) -> None:
        async with pair.client() as client:
            guest = await look(client)
            guest.peer.send(bytes([99, 0, 0, 0]) * MAX_SKIPPED)
            guest.peer.send(serialize(MessageType.INPUT, b"x"))
            await until(lambda: program.typed == b"x")
            guest.peer.send(bytes([99, 0, 0, 0]) * (MAX_SKIPPED + 1))
            await until(lambda: guest.was_reset is not None)

    with_terminal(main)


def test_the_share_ends() -> None:
    async def main() -> None:
        async with share_pair() as pair:
            terminal = pair.streams.terminals.open("build", Terms())
            program = MemoryProgram(terminal)
            client = pair.client()
            await client.__aenter__()
            guest = await look(client)
        assert program.is_closed
        await until(lambda: guest.said(MessageType.END) or guest.was_reset)
        await client.__aexit__(None, None, None)

    run(main)
